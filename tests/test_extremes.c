/* SPDX-License-Identifier: Apache-2.0 */
/* test_extremes.c - the ends of f32: parameters that are denormal, logits near the largest number,
 * and large V, on every kernel set bit by bit against kernels8, and by hand.
 *
 * One test per kernel set and kind; its name is the command that repeats it: test_extremes "NAME".
 */
#include <float.h>
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
#include "base/units.h"
#include "support/attend_kernels.h"
#include "support/guarded_buffer.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

/* The kernel set under test and kernels8, by entries and by whole blocks, give the same bits. got:
 * of the blocks.
 */
static void run_case(const struct kernels_under_test *test, const struct problem *p,
                     const char *what, struct answer *got)
{
    struct answer want = answer_new(p);
    const struct variant entries = {false, false, false}, fused = {true, false, true};

    snprintf(current, sizeof current, "%s %s rows=%d keys=%d features=%d\n", test->name, what,
             p->rows, p->keys, p->features);
    check(attend(gqa_test_kernels8(test->kernels->numerics), p, entries, &want));
    check(attend(test->kernels, p, entries, got));
    check(same_answers(p, got, &want, true));
    check(attend(test->kernels, p, fused, got));
    check(same_answers(p, got, &want, false));
    answer_free(&want);
}

static void fill_all(float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = value;
    }
}

/* --- denormal parameters --------------------------------------------------------------------- */

/* Whatever a kernel set flushes in its products, parameters are what they are: in each case one is
 * denormal, and all of them in the last. */
static void test_tiny(void **state)
{
    const struct kernels_under_test *test = *state;
    static const int32_t features[] = {FEATURE_SOFTCAP, FEATURE_SLOPE,    FEATURE_BIAS,
                                       FEATURE_SINK,    FEATURE_RANGE,    FEATURE_SOFTCAP,
                                       FEATURE_SLOPE,   FEATURES_ALL - 1, FEATURES_ALL - 1};
    static const int32_t keys[] = {300, 64, 40};

    for (int32_t i = 0; i < 9 * 3; i++) {
        struct problem p = {.rows = 21, .group = 1, .keys = keys[i % 3], .dk = 16, .dv = 8};
        struct answer got;

        p.features = features[i / 3];
        p.softcap = 7e-39f;
        p.scale = i / 3 == 4 || i / 3 == 2 ? 0x1p-130f : PROBLEM_SCALE;
        p.seed = 40u + (uint64_t)i;
        problem_fill(&p);
        fill_all(p.slope, p.rows, i / 3 == 6 ? 0x1p-149f : 0x1p-132f);
        fill_all(p.sink, p.rows, -0x1p-135f);
        for (int64_t j = 0; j < (int64_t)p.keys * p.rows; j++) {
            p.bias[j] *= 0x1p-126f;
        }
        p.v[7 * p.dv] = i % 2 != 0 ? 1e30f : 1.0f; /* large: another way to the maximum */
        got = answer_new(&p);
        run_case(test, &p, "tiny", &got);
        answer_free(&got);
        problem_free(&p);
    }
}

/* By hand: a softcap of 5e-39 leaves no score, so that 64 keys weigh the same. */
static void test_softcap(void **state)
{
    const struct kernels_under_test *test = *state;
    struct problem p = {.rows = 21, .group = 1, .keys = 64, .dk = 16, .dv = 8, .seed = 3};
    struct answer got;

    p.features = FEATURE_SOFTCAP;
    p.softcap = 5e-39f * (float)GQA__LOG2E;
    problem_fill(&p);
    got = answer_new(&p);
    run_case(test, &p, "softcap", &got);
    for (int32_t r = 0; r < p.rows; r++) {
        check(got.l[r] == 64.0f && fabsf(got.m[r]) <= p.softcap);
    }
    answer_free(&got);
    problem_free(&p);
}

/* --- finite logits at the end of the range --------------------------------------------------- */

/* A bias of row r for a key. */
static float far_bias(int32_t r, int32_t key)
{
    static const float ends[] = {FLT_MAX, 3.3e38f, 2.6e38f,     2.4e38f, 2.3e38f,
                                 2.2e38f, 1.7e38f, 3.38953e38f, 1e38f,   0.0f};
    uint64_t state = (uint64_t)(r * 1000 + key);
    const float size = ends[random_next(&state) % 10] * (r % 4 == 3 ? random_float(&state) : 1.0f);

    return r % 3 == 0 ? -size : r % 3 == 1 ? size : random_next(&state) % 2 == 0 ? size : -size;
}

/* Biases and sinks of any size, with all that may stand beside them. */
static void test_far(void **state)
{
    const struct kernels_under_test *test = *state;
    static const int32_t features[] = {FEATURE_BIAS, FEATURE_BIAS | FEATURE_RANGE,
                                       FEATURE_BIAS | FEATURE_SINK, FEATURES_ALL - 1};
    static const int32_t keys[] = {300, 64, 5};

    for (int32_t i = 0; i < 4 * 3 * 2; i++) {
        struct problem p = {.rows = 23, .group = 1, .keys = keys[i % 3], .dk = 16, .dv = 8};
        struct answer got;

        p.features = features[i / 3 % 4];
        p.fill = i < 12 ? FILL_RANDOM : FILL_HUGE; /* scores beyond the range, too */
        p.seed = 90u + (uint64_t)i;
        problem_fill(&p);
        for (int32_t r = 0; r < p.rows; r++) {
            p.sink[r] = gqa__to_units((double)far_bias(r, 1000 + i));
            for (int32_t key = 0; key < p.keys; key++) {
                p.bias[key * p.rows + r] = far_bias(r, key + i);
            }
        }
        got = answer_new(&p);
        run_case(test, &p, "far", &got);
        for (int32_t r = 0; r < p.rows && i < 12; r++) {
            check(!isnan(got.lse[r]) && (isfinite(got.lse[r]) || got.l[2 * p.rows + r] == 0.0f));
        }
        answer_free(&got);
        problem_free(&p);
    }
}

/* One row of `keys` keys whose scores are biases alone: how much each key weighs, from one whose V
 * is 1, and the logarithm of the sum. */
struct weighed {
    float share[300], lse;
};

static struct weighed weigh_biases(const struct kernels_under_test *test, const float *bias,
                                   int32_t keys, float sink)
{
    struct problem p = {.rows = 1, .group = 1, .keys = keys, .dk = 8, .dv = 300, .seed = 5};
    struct weighed w;
    struct answer got;

    p.features = FEATURE_BIAS | FEATURE_SINK;
    problem_fill(&p);
    got = answer_new(&p);
    fill_all(p.q, p.dk, 0.0f);
    fill_all(p.v, (int64_t)p.keys * p.dv, 0.0f);
    for (int32_t key = 0; key < keys; key++) {
        p.v[key * p.dv + key] = 1.0f;
        p.bias[key] = bias[key];
    }
    p.sink[0] = gqa__to_units((double)sink);
    run_case(test, &p, "biases", &got);
    memcpy(w.share, got.out, sizeof w.share);
    w.lse = got.lse[0];
    answer_free(&got);
    problem_free(&p);
    return w;
}

/* By hand: a mask made of -FLT_MAX hides nothing by itself, the largest of huge biases wins, and a
 * sink competes with them. */
static void test_lowest(void **state)
{
    const struct kernels_under_test *test = *state;
    float bias[300];
    struct weighed w;

    for (int32_t sign = -1; sign <= 1; sign += 2) {
        const float end = (float)sign * FLT_MAX;
        fill_all(bias, 300, end);
        w = weigh_biases(test, bias, 4, -INFINITY);
        check(w.share[0] == 0.25f && w.share[3] == 0.25f && w.share[4] == 0.0f && w.lse == end);
        w = weigh_biases(test, bias, 256, -INFINITY);
        check(w.share[0] == 0x1p-8f && w.share[255] == 0x1p-8f && w.lse == end);
        w = weigh_biases(test, bias, 1, end);
        check(w.share[0] == 0.5f && w.lse == end);
        w = weigh_biases(test, bias, 1, (float)sign * 2.6e38f);
        check(w.share[0] == (sign > 0 ? 1.0f : 0.0f) && w.lse == (sign > 0 ? end : w.lse));
    }
    fill_all(bias, 300, -FLT_MAX);
    for (int32_t at = 0; at < 300; at += 299) { /* in either block */
        bias[at] = -2.6e38f;
        w = weigh_biases(test, bias, 300, -INFINITY);
        /* The bend leaves a spacing of 2^108 base-2 units, 2.3e32 in natural ones. */
        check(w.share[at] == 1.0f && w.share[150] == 0.0f && fabsf(w.lse + 2.6e38f) < 4e32f);
        w = weigh_biases(test, bias, 300, -2.5e38f);
        check(w.share[at] == 0.0f && fabsf(w.lse + 2.5e38f) < 4e32f);
        bias[at] = -FLT_MAX;
    }
    bias[7] = 0.0f;
    w = weigh_biases(test, bias, 300, -INFINITY);
    check(w.share[7] == 1.0f && w.lse == 0.0f);
    bias[9] = NAN;
    w = weigh_biases(test, bias + 8, 3, -INFINITY);
    check(isnan(w.share[0]) && isnan(w.share[1]) && isnan(w.lse));
    bias[8] = -INFINITY; /* hides, FLT_MAX or not */
    w = weigh_biases(test, bias + 8, 1, -INFINITY);
    check(w.share[0] == 0.0f && w.lse == -INFINITY);
}

/* --- large V --------------------------------------------------------------------------------- */

enum { RISING = 256 };

/* Scores that rise by 31.5 from one group of 32 keys to the next, so that a lazy reference stays
 * behind: row r begins its climb at group r mod 8. */
static void rising_fill(struct problem *p)
{
    problem_fill(p);
    fill_all(p->q, (int64_t)p->tokens * p->group * p->dk, 0.0f);
    for (int32_t r = 0; r < p->rows; r++) {
        for (int32_t key = 0; key < p->keys; key++) {
            const int32_t step = key / 32 % 8 - r % 8;
            const float score = step > 0 ? 31.5f * (float)step : 0.0f;
            p->bias[key * p->rows + r] = (score - 0.25f * (float)(key % 5)) * (float)GQA__LN2;
        }
    }
}

static const float at_limit = 0x1p64f, below_limit = 0x1.fep63f; /* neighbours in bf16 */

/* A few large values in V, some in keys that some rows do not see, with NaN beside them. */
static void test_large(void **state)
{
    const struct kernels_under_test *test = *state;
    static const float sizes[] = {0x1p64f, 1e28f, 1e30f, 1e36f};
    static const int32_t keys[] = {300, 256, 96};

    for (int32_t i = 0; i < 4 * 3 * 3; i++) {
        struct problem p = {.rows = 37, .group = 1, .keys = keys[i % 3], .dk = 16, .dv = 9};
        struct answer got;

        p.features = FEATURE_BIAS | (i % 2 != 0 ? FEATURE_RANGE | FEATURE_SINK : FEATURE_VISIBLE);
        p.seed = 700u + (uint64_t)i;
        rising_fill(&p);
        for (int32_t key = i % 7; key < p.keys; key += 1 + 40 * (i / 12)) {
            p.v[key * p.dv + key % p.dv] = (key % 2 != 0 ? -1.0f : 1.0f) * sizes[i / 3 % 4];
        }
        if (i % 5 == 4) {
            p.v[90 * p.dv + 2] = NAN;
        }
        got = answer_new(&p);
        run_case(test, &p, "large", &got);
        for (int32_t j = 0; j < p.rows * p.dv; j++) { /* no sum overflows: 300 keys of 1e36 */
            check(isfinite(got.out[j]) || (i % 5 == 4 && j % p.dv == 2));
        }
        answer_free(&got);
        problem_free(&p);
    }
}

/* By hand: a row of 256 keys whose groups climb by 31.5 to 220.5. In bf16 the reference stays up to
 * 31.5 behind (it ends at 189), so that p is 2^31.5 - unless the row sees a V of 2^64, in whatever
 * key of the block. */
static void test_limit(void **state)
{
    const struct kernels_under_test *test = *state;
    const bool bf16 = test->kernels->numerics == GQA_NUMERICS_BF16;

    for (int32_t i = 0; i < 6; i++) {
        const float v = i % 3 == 0 ? below_limit : i % 3 == 1 ? at_limit : -1e37f;
        const int32_t key = i / 3 == 0 ? 250 : 3; /* among the highest scores, and the lowest */
        struct problem p = {.rows = 2, .group = 1, .keys = RISING, .dk = 16, .dv = 8, .seed = 6};
        struct answer got;

        p.features = FEATURE_BIAS | FEATURE_VISIBLE;
        rising_fill(&p);
        fill_all(p.v, (int64_t)p.keys * p.dv, 1.0f);
        p.v[key * p.dv + 5] = v;
        for (int32_t j = 0; j < p.keys; j++) {
            p.bias[j * p.rows + 1] = p.bias[j * p.rows];
            p.visible[j * p.rows] = 1;
            p.visible[j * p.rows + 1] = j != key; /* the second row does not see it */
        }
        got = answer_new(&p);
        run_case(test, &p, "limit", &got);
        for (int32_t r = 0; r < p.rows; r++) {
            const bool lazy = bf16 && (r == 1 || i % 3 == 0);
            check(fabsf(got.m[r] - (lazy ? 189.0f : 220.5f)) < 1e-3f);
            check(got.l[r] > (lazy ? 0x1p31f : 1.0f));
            check(fabsf(got.out[r * p.dv] - 1.0f) < 0.01f);
        }
        check(isfinite(got.out[5]) && fabsf(got.out[p.dv + 5] - 1.0f) < 0.01f);
        check(key == 3 || (fabsf(got.out[5]) > fabsf(v) / 64.0f && fabsf(got.out[5]) < fabsf(v)));
        answer_free(&got);
        problem_free(&p);
    }
}

/* append_v tells of a value that is special, wherever it lies. */
static void test_special(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *kernels = test->kernels;
    const bool bf16 = kernels->operand == GQA_BF16;
    enum { N = 37, DIM = 24, SLOTS = 64 };
    const float values[] = {at_limit, -at_limit, 1e30f, below_limit, -below_limit, INFINITY, NAN};
    float v[N * DIM];
    static float page[SLOTS * 64];
    struct gqa__append_args args = {
        .page = page, .stride = SLOTS, .slot = 3, .n = N, .src = v, .src_stride = DIM, .dim = DIM};

    for (int32_t i = 0; i < 7 * N * DIM; i++) {
        const float value = values[i % 7];
        const bool special = !isfinite(value) || (bf16 && fabsf(value) >= at_limit);
        fill_all(v, N * DIM, -1.5f);
        v[i / 7] = value;
        snprintf(current, sizeof current, "%s %g at %d\n", test->name, (double)value, i / 7);
        args.storage = kernels->operand;
        check(kernels->append_v(&args) == special);
        if (!bf16) {
            args.storage = GQA_BF16;
            check(kernels->append_v(&args) == special);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {{"tiny", test_tiny},      {"softcap", test_softcap},
                                               {"far", test_far},        {"lowest", test_lowest},
                                               {"large", test_large},    {"limit", test_limit},
                                               {"special", test_special}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], false);
}
