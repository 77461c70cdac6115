/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels.c - the attention entries of every kernel set against kernels8, bit by bit, and
 * against double.
 *
 * One test per kernel set and set of sizes; its name is the command that repeats it:
 * test_kernels "NAME". A failing case prints its own parameters.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fold.h"
#include "base/number.h"
#include "support/attend_kernels.h"
#include "support/guarded_buffer.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

static char current[256]; /* parameters of the running case */

static void name_case(const struct kernels_under_test *test, const struct problem *p)
{
    snprintf(current, sizeof current,
             "%s rows=%d first=%d group=%d keys=%d dk=%d dv=%d fill=%s features=%d\n", test->name,
             p->rows, p->first, p->group, p->keys, p->dk, p->dv, fill_name(p->fill), p->features);
}

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

/* The kernel set under test and kernels8, whole and cut, give the same bits; and near double where
 * that says anything. */
static void run_case(const struct kernels_under_test *test, const struct problem *p)
{
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);
    struct answer want = answer_new(p), got = answer_new(p);
    const struct variant whole = {false, false, false}, cut = {true, true, false};
    const struct variant fused = {true, false, true};

    name_case(test, p);
    check(attend(second, p, whole, &want));
    check(attend(test->kernels, p, whole, &got));
    check(same_answers(p, &got, &want, true));
    check(attend(test->kernels, p, cut, &got));
    check(same_answers(p, &got, &want, false));
    check(attend(test->kernels, p, fused, &got));
    check(same_answers(p, &got, &want, false));
    check(near_double(p, test->kernels->numerics, &got));
    answer_free(&want);
    answer_free(&got);
}

static const int32_t row_counts[] = {1, 2, 15, 16, 17, 127, 128};
static const int32_t key_counts[] = {1, 15, 16, 17, 63, 64, 100, 255, 256, 300};
static const int32_t depths[] = {8, 16, 32, 64, 80, 96, 112, 128, 160, 192, 256, 512};

enum {
    ROW_COUNTS = sizeof row_counts / sizeof row_counts[0],
    KEY_COUNTS = sizeof key_counts / sizeof key_counts[0],
    DEPTHS = sizeof depths / sizeof depths[0]
};

/* Every depth with every number of rows; the rest in turn. */
static void test_sizes(void **state)
{
    const struct kernels_under_test *test = *state;
    int32_t turn = 0;

    for (int32_t d = 0; d < DEPTHS; d++) {
        for (int32_t r = 0; r < ROW_COUNTS; r++, turn++) {
            struct problem p = {.rows = row_counts[r],
                                .first = turn % 3,
                                .group = 1 + turn % 5,
                                .keys = key_counts[turn % KEY_COUNTS],
                                .dk = depths[d],
                                .dv = turn % 4 == 0 ? depths[(d + 5) % DEPTHS] : depths[d],
                                .fill = (enum fill)(turn % FILL_COUNT),
                                .features = turn % FEATURES_ALL,
                                .seed = 77u + (uint64_t)turn};
            if (p.rows > 100 && p.dk > 200) {
                p.keys = p.keys < 64 ? p.keys : 33; /* kernels8 is slow */
            }
            problem_fill(&p);
            run_case(test, &p);
            problem_free(&p);
        }
    }
}

/* Every fill with every combination of features, odd depths. */
static void test_fills(void **state)
{
    const struct kernels_under_test *test = *state;

    for (int32_t i = 0; i < FILL_COUNT * FEATURES_ALL; i++) {
        struct problem p = {.rows = 9 + i % 5,
                            .first = i % 4,
                            .group = 3,
                            .keys = 40 + i % 7,
                            .dk = 9 + i % 33,
                            .dv = 8 + i % 13,
                            .fill = (enum fill)(i / FEATURES_ALL),
                            .features = i % FEATURES_ALL,
                            .seed = 1000u + (uint64_t)i};
        problem_fill(&p);
        run_case(test, &p);
        problem_free(&p);
    }
}

/* What sits in the planted key, for K or for V. */
static const float poisons[] = {NAN, INFINITY, -INFINITY, 3e38f};

/* A key that holds NaN or infinity: rows that do not see it keep their bits, and rows that see a
 * NaN in V or K are NaN. */
static void test_poison(void **state)
{
    const struct kernels_under_test *test = *state;

    for (int32_t i = 0; i < 16; i++) {
        const float poison = poisons[i % 4];
        const bool in_v = i / 4 % 2 != 0;
        const int32_t key = i < 8 ? 21 : 0;
        struct problem p = {.rows = 13, .group = 1, .keys = 45, .dk = 24, .dv = 10};
        struct answer clean, got;

        p.features = FEATURE_RANGE;
        p.seed = 500u + (uint64_t)i;
        problem_fill(&p);
        for (int32_t r = 0; r < p.rows; r++) {
            p.lo[r] = r % 2 == 0 ? key + 1 : key;
            p.hi[r] = p.keys - r % 3;
        }
        clean = answer_new(&p);
        got = answer_new(&p);
        name_case(test, &p);
        check(attend(test->kernels, &p, (struct variant){false, false, false}, &clean));
        (in_v ? p.v + key * p.dv : p.k + key * p.dk)[3] = poison;
        run_case(test, &p);
        check(attend(test->kernels, &p, (struct variant){false, false, false}, &got));
        for (int32_t r = 0; r < p.rows; r++) {
            const float *out = got.out + r * p.dv;
            if (r % 2 == 0) {
                check(same_floats("unseen poison", out, clean.out + r * p.dv, p.dv));
            } else if (isnan(poison)) {
                check(gqa__f32_bits(out[3]) == GQA__NAN_BITS);
            }
        }
        answer_free(&clean);
        answer_free(&got);
        problem_free(&p);
    }
}

/* Merging with a neutral state keeps the other's bits; both neutral stay neutral. */
static void test_neutral(void **state)
{
    const struct kernels_under_test *test = *state;
    enum { LD = 16, DV = 3 };
    float m[LD], l[LD], o[DV * LD], m2[LD], l2[LD], o2[DV * LD];

    snprintf(current, sizeof current, "%s neutral states\n", test->name);
    for (int32_t side = 0; side < 3; side++) {
        for (int32_t j = 0; j < LD; j++) {
            m[j] = side == 0 ? -INFINITY : (float)j - 8.0f;
            l[j] = side == 0 ? 0.0f : j == 3 ? NAN : 1.25f;
            m2[j] = side == 0 ? -1.5f : -INFINITY;
            l2[j] = side == 0 ? 3.0f : 0.0f;
            m[j] = side == 2 ? -INFINITY : m[j];
            l[j] = side == 2 ? 0.0f : l[j];
        }
        for (int32_t j = 0; j < DV * LD; j++) { /* a neutral state's o does not count */
            o[j] = side == 1 ? 0.1f * (float)j : NAN;
            o2[j] = side == 0 ? 0.2f * (float)j : side == 1 ? NAN : 0.0f;
        }
        test->kernels->merge(&(struct gqa__state){m, l, o}, &(struct gqa__state){m2, l2, o2}, DV,
                             LD);
        for (int32_t j = 0; j < LD; j++) {
            const float want_m = side == 0 ? -1.5f : side == 1 ? (float)j - 8.0f : -INFINITY;
            const float want_l = side == 0 ? 3.0f : side == 1 ? (j == 3 ? NAN : 1.25f) : 0.0f;
            check(m[j] == want_m);
            check(l[j] == want_l || (isnan(l[j]) && isnan(want_l)));
            for (int32_t d = 0; d < DV; d++) {
                const float at = (float)(d * LD + j);
                check(o[d * LD + j] == (side == 0 ? 0.2f : side == 1 ? 0.1f : 0.0f) * at);
            }
        }
    }
}

/* Sums that end in -0 are finished as +0: an underflow in f32 (dimension 0), a flushed negative sum
 * in bf16 (dimension 1). Both by hand: q is zero, so p = 2^bias. */
static void test_zero_sign(void **state)
{
    const struct kernels_under_test *test = *state;
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;
    struct problem p = {.rows = 3, .group = 1, .keys = 64, .dk = 8, .dv = 8, .seed = 1};
    struct answer got;

    p.features = FEATURE_BIAS;
    problem_fill(&p);
    got = answer_new(&p);
    memset(p.q, 0, (size_t)(p.rows * p.dk) * sizeof(float));
    memset(p.v, 0, (size_t)(p.keys * p.dv) * sizeof(float));
    memset(p.bias, 0, (size_t)(p.keys * p.rows) * sizeof(float));
    for (int32_t r = 0; r < p.rows; r++) {
        p.bias[63 * p.rows + r] = -3.0f; /* the last key */
    }
    p.v[63 * p.dv] = -0x1p-149f;
    p.v[1] = 0x1p-126f;
    p.v[32 * p.dv + 1] = -0x1.4p-126f;
    run_case(test, &p);
    check(attend(test->kernels, &p, (struct variant){false, false, false}, &got));
    for (int32_t r = 0; r < p.rows; r++) {
        check(got.o[r * p.dv + (bf16 ? 1 : 0)] == 0.0f);
        check(gqa__f32_bits(got.out[r * p.dv + (bf16 ? 1 : 0)]) == 0);
    }
    answer_free(&got);
    problem_free(&p);
}

/* --- the reference of the exponentials ------------------------------------------------------- */

enum { PATTERNS = 32, GROUP = 32 };

/* The largest score of a group of keys, by pattern. The first 15: one step, by less than 32, by 32
 * or by more, from one of two bases and at one of five groups. Then ramps, one spike, and at
 * random.
 */
static float level(int32_t pattern, int32_t group)
{
    static const float rise[] = {31.875f, 32.0f, 32.25f};
    static const int32_t place[] = {1, 2, 4, 6, 7};
    uint64_t state = (uint64_t)(pattern * 100 + group);
    const float at = (float)group;

    if (pattern < 15) {
        return (pattern % 2 == 0 ? 0.0f : -5.0f) +
               (group >= place[pattern / 3] ? rise[pattern % 3] : 0.0f);
    }
    switch (pattern) {
    case 15:
        return 36.0f * at - 144.0f;
    case 16:
        return 16.0f * at;
    case 17:
        return -36.0f * at;
    case 18:
        return group == 7 ? 160.0f : 0.0f;
    case 19:
        return group == 0 ? 160.0f : 0.0f;
    default:
        return 16.0f * (float)(random_next(&state) % 17) - 128.0f;
    }
}

/* Row r has pattern r mod PATTERNS as its scores, exactly: q picks one dimension of k. */
static void climbing_fill(struct problem *p)
{
    problem_fill(p);
    memset(p->q, 0, (size_t)(p->tokens * p->group * p->dk) * sizeof(float));
    for (int32_t r = 0; r < p->rows; r++) {
        p->q[(p->first + r) * p->dk + r % PATTERNS] = 4.0f; /* 1 over the scale */
        p->lo[r] = r % 3 == 0 ? 0 : 29 * (r % 8);
        p->hi[r] = r % 4 == 0 ? p->keys : p->keys - 5 * (r % 9);
        p->slope[r] = 0.0625f * (float)(r % 5);
        for (int32_t key = 0; key < p->keys; key++) {
            const bool blind = key / GROUP % 3 == r % 5; /* for whole groups */
            p->visible[key * p->rows + r] &= !blind;
            p->bias[key * p->rows + r] *= 32.0f;
        }
    }
    for (int32_t key = 0; key < p->keys; key++) {
        for (int32_t i = 0; i < p->dk; i++) {
            const int32_t group = key / GROUP;
            const bool top = key % GROUP == (7 * i + 5 * group) % GROUP;
            const float below = (float)(1 + (key * 5 + i) % 9);
            p->k[key * p->dk + i] = level(i, group % 8) - (top ? 0.0f : below);
        }
    }
}

/* Bias that is no number, no score or denormal, in some rows. */
static void plant_bias(struct problem *p)
{
    static const float planted[] = {NAN, -INFINITY, INFINITY, 1e-40f};

    for (int32_t r = 0; r < p->rows; r++) {
        for (int32_t key = 0; key < p->keys; key++) {
            const bool whole =
                key / GROUP == r % 3; /* a group of keys, or one key here and there */
            if (r % 6 < 4 && (whole || key == 100 + r)) {
                p->bias[key * p->rows + r] = planted[r % 6 == 2 && whole ? 1 : r % 6];
            }
        }
    }
}

/* References that rise by less than 32, by 32 and by more, anywhere in the block, with what may
 * stand between the product and the softmax, and with V that must be marked. */
static void test_climbing(void **state)
{
    const struct kernels_under_test *test = *state;
    static const int32_t features[] = {
        0, FEATURE_RANGE, FEATURE_VISIBLE, FEATURE_BIAS, FEATURE_SLOPE, FEATURES_ALL - 1};
    static const int32_t keys[] = {256, 300, 70};

    for (int32_t i = 0; i < 6 * 3 * 2; i++) {
        struct problem p = {.rows = 47, .group = 1, .keys = keys[i / 6 % 3], .dk = PATTERNS};
        p.dv = 16;
        p.features = features[i % 6];
        p.seed = 300u + (uint64_t)i;
        climbing_fill(&p);
        if (p.features & FEATURE_BIAS) {
            plant_bias(&p);
        }
        if (i >= 18) {
            p.v[33 * p.dv + 3] = NAN;
        }
        run_case(test, &p);
        problem_free(&p);
    }
}

/* The rule by hand: m stays at the base unless the step is of more than 32. */
static void test_reference(void **state)
{
    const struct kernels_under_test *test = *state;
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;
    struct problem p = {.rows = 32, .group = 1, .keys = 256, .dk = PATTERNS, .dv = 8, .seed = 4};
    struct answer got;

    climbing_fill(&p);
    got = answer_new(&p);
    for (int32_t fused = 0; fused < 2; fused++) {
        name_case(test, &p);
        check(attend(test->kernels, &p, (struct variant){false, false, fused != 0}, &got));
        for (int32_t r = 0; r < 15; r++) {
            check(got.m[r] == level(r, bf16 && r % 3 != 2 ? 0 : 7));
            check(got.l[r] >= 1.0f);
        }
        check(got.m[15] == 108.0f && got.m[17] == 0.0f && got.m[18] == 160.0f &&
              got.m[19] == 160.0f);
        check(got.m[16] == (bf16 ? 96.0f : 112.0f)); /* 0, 48, 96 */
    }
    answer_free(&got);
    problem_free(&p);
}

/* The bias that gives the smallest normal score; it is denormal itself. */
static float bias_of_least(void)
{
    float bias = 0x1.62p-127f;

    while (bias * (float)GQA__LOG2E < 0x1p-126f) {
        bias = nextafterf(bias, 1.0f);
    }
    return bias;
}

/* Scores that are denormal count as zero in bf16. Row 0: all are; row 1: the largest is just
 * normal, so that its distance from them would be denormal; row 2: all are, and negative. */
static void test_denormal(void **state)
{
    const struct kernels_under_test *test = *state;
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;
    const float least = bias_of_least();
    struct problem p = {.rows = 3, .group = 1, .keys = 64, .dk = 8, .dv = 8, .seed = 8};
    struct answer got;

    p.features = FEATURE_BIAS;
    problem_fill(&p);
    got = answer_new(&p);
    memset(p.q, 0, (size_t)(p.rows * p.dk) * sizeof(float));
    for (int32_t key = 0; key < p.keys; key++) {
        float *bias = p.bias + key * p.rows;
        bias[0] = key % 3 == 0 ? -0x1p-130f : 0x1p-131f;
        bias[1] = key == 10 ? least : key % 3 == 0 ? 0x1p-131f : 0.0f;
        bias[2] = -0x1p-130f;
    }
    run_case(test, &p);
    for (int32_t fused = 0; fused < 2; fused++) {
        check(attend(test->kernels, &p, (struct variant){false, false, fused != 0}, &got));
        check(got.l[0] == 64.0f && got.l[2] == 64.0f);
        check(bf16 ? gqa__f32_bits(got.m[0]) == 0 && gqa__f32_bits(got.m[2]) == 0
                   : got.m[0] > 0.0f && got.m[2] < 0.0f);
        check(got.m[1] == 0x1p-126f); /* its bias is denormal, and counts */
    }
    answer_free(&got);
    problem_free(&p);
}

/* A scaled q that is denormal counts as zero in bf16 before it is rounded, which would make it
 * 2^-126; in f32 it counts. */
static void test_denormal_query(void **state)
{
    const struct kernels_under_test *test = *state;
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;
    struct problem p = {.rows = 33, .group = 1, .keys = 64, .dk = 8, .dv = 8, .seed = 9};
    struct answer got;

    p.scale = 0.5f;
    problem_fill(&p);
    got = answer_new(&p);
    for (int32_t i = 0; i < p.rows * p.dk; i++) {
        p.q[i] =
            i % p.dk == 0 ? 0x1p-125f - 0x1p-148f : 0.0f; /* half of it: the largest denormal */
    }
    for (int32_t i = 0; i < p.keys * p.dk; i++) {
        p.k[i] = i / p.dk == 5 ? 0x1p127f : 0.0f;
    }
    name_case(test, &p);
    for (int32_t fused = 0; fused < 2; fused++) {
        check(attend(test->kernels, &p, (struct variant){false, false, fused != 0}, &got));
        check(bf16 ? got.m[0] == 0.0f && got.m[32] == 0.0f : got.m[0] > 1.9f && got.m[32] > 1.9f);
    }
    answer_free(&got);
    problem_free(&p);
}

/* What is appended: n tokens, of which one value is NaN (any but ours), or infinite in bf16. */
struct append_case {
    gqa_dtype storage;
    int32_t dim, n;
    int32_t token, value; /* of the odd one */
};

/* Stored K and V: the caller's values in the storage type, at their slots and nowhere else. */
static void check_append(const struct kernels_under_test *test, const struct append_case *c,
                         bool is_v)
{
    const struct gqa__kernels *kernels = test->kernels;
    const gqa_dtype storage = c->storage;
    const int32_t dim = c->dim, n = c->n;
    const size_t size = storage == GQA_F32 ? 4 : 2;
    const int32_t slots = n < 12 ? 16 : 64, slot = 3, stride = dim + 4;
    const bool transposed = is_v && kernels->v_transposed;
    const int32_t step = is_v ? kernels->value_step : kernels->depth_step;
    const int32_t wide = (dim + step - 1) / step * step;
    struct guarded_buffer page = guarded_new((size_t)slots * (size_t)wide * size);
    struct guarded_buffer src = guarded_new(((size_t)(n - 1) * (size_t)stride + (size_t)dim) * 4);
    float *x = src.data;
    uint64_t state = 9;
    const float ties[2] = {0x1.01p0f, -0x1.03p0f}; /* bf16 rounds one to either side */
    const struct gqa__append_args args = {.page = page.data,
                                          .stride = transposed ? slots : wide,
                                          .slot = slot,
                                          .n = n,
                                          .src = x,
                                          .src_stride = stride,
                                          .dim = dim,
                                          .storage = storage};
    bool bad = false;

    snprintf(current, sizeof current, "%s append %s storage=%d dim=%d n=%d odd=%d,%d\n", test->name,
             is_v ? "v" : "k", (int)storage, dim, n, c->token, c->value);
    memset(page.data, 0, page.size);
    for (int32_t i = 0; i < (n - 1) * stride + dim; i++) {
        x[i] = i % 11 == 5 ? 1e-41f : random_float(&state);
        x[i] = i % 7 == 3 ? ties[i / 7 % 2] : x[i];
    }
    x[c->token * stride + c->value] = dim % 2 != 0 ? gqa__f32_from_bits(0xffffffffu) : 3.4e38f;
    if (is_v) {
        bad = kernels->append_v(&args);
        check(bad == (dim % 2 != 0 || storage != GQA_F32));
    } else {
        kernels->append_k(&args);
    }
    for (int32_t s = 0; s < slots; s++) {
        for (int32_t d = 0; d < wide; d++) {
            const bool held = s >= slot && s < slot + n && d < dim;
            const float want = held ? x[(s - slot) * stride + d] : 0.0f;
            const int32_t at = transposed ? d * slots + s : s * wide + d;
            if (storage == GQA_F32) {
                check(gqa__f32_bits(((float *)page.data)[at]) ==
                      gqa__f32_bits(gqa__canonical(want)));
            } else {
                check(((uint16_t *)page.data)[at] ==
                      (storage == GQA_F16 ? gqa__f32_to_f16(want) : gqa__f32_to_bf16(want)));
            }
        }
    }
    check(guarded_free(&page) && guarded_free(&src));
}

static void test_append(void **state)
{
    const struct kernels_under_test *test = *state;

    for (int32_t dim = 8; dim < 70; dim += 7) {
        const struct append_case cases[] = {
            {GQA_BF16, dim, 5, 2, dim - 1},   {GQA_BF16, dim, 16, 0, 0},
            {GQA_BF16, dim, 37, 36, 0},       {GQA_BF16, dim, 37, 20, dim / 2},
            {GQA_BF16, dim, 37, 31, dim - 1},
        };
        for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
            struct append_case c = cases[i / 2];
            check_append(test, &c, i % 2 != 0);
            if (test->kernels->numerics == GQA_NUMERICS_F32) {
                c.storage = GQA_F32;
                check_append(test, &c, i % 2 != 0);
                c.storage = GQA_F16;
                check_append(test, &c, i % 2 != 0);
            }
        }
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {
        {"sizes", test_sizes},         {"fills", test_fills},
        {"poison", test_poison},       {"neutral", test_neutral},
        {"zero_sign", test_zero_sign}, {"append", test_append},
        {"climbing", test_climbing},   {"reference", test_reference},
        {"denormal", test_denormal},   {"denormal query", test_denormal_query}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], true);
}
