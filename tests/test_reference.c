/* SPDX-License-Identifier: Apache-2.0 */
/* test_reference.c - backend reference against sums over explicit lists of keys, with libm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fold.h"
#include "reference/reference.h"
#include "reference/softmax.h"
#include "support/program.h"
#include "support/random.h"

enum { MAX_TOKENS = 9, MAX_KEYS = 41, MAX_HEADS = 6, MAX_DIM = 19 };

/* Which options a case has: its whole description, printed when it fails. */
struct options {
    int tokens, keys, hkv, group, dk, dv;
    int right, window, chunk; /* right -1 = all */
    int softcap, slopes, bias, mask, active, bounds, sinks, shuffled, f64;
    uint32_t seed;
};

struct fixture {
    struct options o;
    struct gqa__params params;
    struct gqa__segment segment;
    float slopes[MAX_HEADS], sinks[MAX_HEADS];
    int32_t positions[MAX_TOKENS], key_positions[MAX_KEYS];
    int32_t begin[MAX_TOKENS], end[MAX_TOKENS];
    float q[MAX_TOKENS * MAX_HEADS * MAX_DIM];
    float k[MAX_KEYS * MAX_HEADS * MAX_DIM], v[MAX_KEYS * MAX_HEADS * MAX_DIM];
    float bias[MAX_HEADS * MAX_TOKENS * MAX_KEYS];
    uint8_t mask[MAX_TOKENS * MAX_KEYS], active[MAX_TOKENS * MAX_TOKENS];
    float out[MAX_TOKENS * MAX_HEADS * MAX_DIM], lse[MAX_TOKENS * MAX_HEADS];
    float m[MAX_TOKENS * MAX_HEADS], l[MAX_TOKENS * MAX_HEADS];
    float state_o[MAX_TOKENS * MAX_HEADS * MAX_DIM];
};

static void describe(const struct options *o)
{
    print_error("tokens %d keys %d hkv %d group %d dk %d dv %d right %d window %d chunk %d softcap "
                "%d slopes %d bias %d mask %d active %d bounds %d sinks %d shuffled %d f64 %d seed "
                "%u\n",
                o->tokens, o->keys, o->hkv, o->group, o->dk, o->dv, o->right, o->window, o->chunk,
                o->softcap, o->slopes, o->bias, o->mask, o->active, o->bounds, o->sinks,
                o->shuffled, o->f64, o->seed);
}

/* The last tokens of the keys are the queries; position ids start at 7 and rise by 1 or 2. */
static void place_tokens(struct fixture *f, uint64_t *seed)
{
    const struct options *o = &f->o;
    int32_t position = 7;
    for (int j = 0; j < o->keys; j++) {
        f->key_positions[j] = position;
        position += 1 + (int32_t)(random_u32(seed) % 2);
    }
    for (int j = o->keys - 1; j > 0 && o->shuffled; j--) {
        int other = (int)(random_u32(seed) % (unsigned)(j + 1));
        int32_t swap = f->key_positions[j];
        f->key_positions[j] = f->key_positions[other];
        f->key_positions[other] = swap;
    }
    for (int i = 0; i < o->tokens; i++) {
        int32_t a = (int32_t)(random_u32(seed) % (unsigned)(o->keys + 1));
        int32_t b = (int32_t)(random_u32(seed) % (unsigned)(o->keys + 1));
        f->positions[i] = f->key_positions[o->keys - o->tokens + i];
        f->begin[i] = a < b ? a : b;
        f->end[i] = a < b ? b : a;
    }
}

static void set_params(struct fixture *f, uint64_t *seed)
{
    const struct options *o = &f->o;
    struct gqa__shape *shape = &f->params.shape;
    gqa_config *config = &f->params.config;
    shape->hq = o->hkv * o->group;
    shape->hkv = o->hkv;
    shape->group = o->group;
    shape->dk = o->dk;
    shape->dv = o->dv;
    shape->right = o->right;
    shape->window = o->window;
    shape->chunk = o->chunk;
    shape->score_scale = 0.37f;
    config->softcap = o->softcap ? 1.7f : 0.0f;
    config->reference_f64 = o->f64;
    random_floats(seed, f->slopes, MAX_HEADS, 0.3f);
    random_floats(seed, f->sinks, MAX_HEADS, 2.0f);
    f->sinks[1] = -INFINITY;
    f->params.slopes = o->slopes ? f->slopes : NULL;
}

static void set_segment(struct fixture *f)
{
    const struct options *o = &f->o;
    struct gqa__segment *s = &f->segment;
    gqa_tensor key = gqa_tensor_3d(f->k, GQA_F32, o->keys, o->hkv, o->dk);
    gqa_tensor value = gqa_tensor_3d(f->v, GQA_F32, o->keys, o->hkv, o->dv);
    int64_t hq = f->params.shape.hq;
    gqa__view_plain(&s->view, NULL, &key, &value, o->keys, f->key_positions);
    s->n = o->tokens;
    s->positions = f->positions;
    s->q = f->q;
    s->q_stride = hq * o->dk;
    s->out = f->out;
    s->out_stride = hq * o->dv;
    s->lse = f->lse;
    s->m = f->m;
    s->l = f->l;
    s->o = f->state_o;
    s->sinks = o->sinks ? f->sinks : NULL;
    s->active_column = o->keys - o->tokens;
    if (o->mask) {
        s->mask = gqa_tensor_4d(f->mask, GQA_U8, 1, 1, o->tokens, o->keys);
    }
    if (o->bias) {
        s->bias = gqa_tensor_4d(f->bias, GQA_F32, 1, hq, o->tokens, o->keys);
    }
    if (o->active) {
        s->active_mask = gqa_tensor_3d(f->active, GQA_U8, 1, o->tokens, o->tokens);
    }
    if (o->bounds) {
        s->key_begin = f->begin;
        s->key_end = f->end;
    }
}

static struct fixture *make(const struct options *o)
{
    struct fixture *f = calloc(1, sizeof *f);
    uint64_t seed = o->seed;
    assert_non_null(f);
    f->o = *o;
    set_params(f, &seed);
    place_tokens(f, &seed);
    random_floats(&seed, f->q, MAX_TOKENS * MAX_HEADS * MAX_DIM, 2.0f);
    random_floats(&seed, f->k, MAX_KEYS * MAX_HEADS * MAX_DIM, 2.0f);
    random_floats(&seed, f->v, MAX_KEYS * MAX_HEADS * MAX_DIM, 1.0f);
    random_floats(&seed, f->bias, MAX_HEADS * MAX_TOKENS * MAX_KEYS, 1.0f);
    for (int i = 0; i < MAX_TOKENS * MAX_KEYS; i++) {
        f->mask[i] = (uint8_t)(random_u32(&seed) % 4 != 0);
    }
    for (int i = 0; i < MAX_TOKENS * MAX_TOKENS; i++) {
        f->active[i] = (uint8_t)(random_u32(&seed) % 2);
    }
    f->bias[3] = -INFINITY;
    set_segment(f);
    return f;
}

static void run(struct fixture *f)
{
    size_t size = gqa__reference_scratch_bytes(&f->params, f->o.keys);
    void *scratch = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    assert_non_null(scratch);
    memset(scratch, 0xff, size);
    gqa__reference_attend(&f->params, &f->segment, 1, scratch,
                          &(struct gqa__reference_record){NULL, NULL});
    free(scratch);
}

static bool sees(const struct fixture *f, int i, int j)
{
    const struct options *o = &f->o;
    int p = f->positions[i], k = f->key_positions[j], origin = f->key_positions[0];
    bool yes = o->right < 0 || k <= p + o->right;
    int active = j - (o->keys - o->tokens);
    yes = yes && (o->window == 0 || k >= p - o->window + 1);
    yes = yes && (o->chunk == 0 ||
                  floor((double)(p - origin) / o->chunk) == floor((double)(k - origin) / o->chunk));
    yes = yes && (!o->bounds || (j >= f->begin[i] && j < f->end[i]));
    yes = yes && (!o->mask || f->mask[i * o->keys + j]);
    return yes && (!o->active || active < 0 || f->active[i * o->tokens + active]);
}

/* The score, and in *size the sum of |q k|, which bounds the rounding of the sum. */
static double naive_score(const struct fixture *f, int i, int h, int j, double *size)
{
    const struct options *o = &f->o;
    int hq = o->hkv * o->group;
    const float *q = f->q + (i * hq + h) * o->dk;
    const float *k = f->k + (j * o->hkv + h / o->group) * o->dk;
    double s = 0.0;
    *size = 0.0;
    for (int d = 0; d < o->dk; d++) {
        s += (double)q[d] * k[d];
        *size += fabs((double)q[d] * k[d]);
    }
    s *= (double)f->params.shape.score_scale;
    *size *= (double)f->params.shape.score_scale;
    if (o->softcap) {
        s = (double)f->params.config.softcap * tanh(s / (double)f->params.config.softcap);
    }
    if (o->slopes) {
        s -= (double)f->slopes[h] * abs(f->positions[i] - f->key_positions[j]);
    }
    return o->bias ? s + f->bias[(h * o->tokens + i) * o->keys + j] : s;
}

/* One row by the definition; out [dv], returns the lse and in *bound how far f32 sums may be off,
 * relative to max |v| = 1: a score is off by at most (dk + 1) u sum |q k| (u = 2^-24), so a weight
 * by that factor, twice (numerator and denominator); sums of n terms by n u each, twice; and the
 * result is rounded once. With f64 only that last rounding is left, and the input is exact. */
static double naive_row(const struct fixture *f, int i, int h, double *out, double *bound)
{
    const struct options *o = &f->o;
    double m = -INFINITY, l = 0.0, largest = 0.0, u = 0x1p-24, size;
    for (int j = 0; j < o->keys; j++) {
        double s = sees(f, i, j) ? naive_score(f, i, h, j, &size) : -INFINITY;
        m = s > m ? s : m;
    }
    m = o->sinks && f->sinks[h] > m ? f->sinks[h] : m;
    for (int d = 0; d < o->dv; d++) {
        out[d] = 0.0;
    }
    for (int j = 0; j < o->keys; j++) {
        double s = sees(f, i, j) ? naive_score(f, i, h, j, &size) : -INFINITY;
        if (s == -INFINITY) {
            continue;
        }
        largest = size > largest ? size : largest;
        l += exp(s - m);
        for (int d = 0; d < o->dv; d++) {
            out[d] += exp(s - m) * f->v[(j * o->hkv + h / o->group) * o->dv + d];
        }
    }
    l += o->sinks && f->sinks[h] != -INFINITY ? exp(f->sinks[h] - m) : 0.0;
    for (int d = 0; d < o->dv && l > 0.0; d++) {
        out[d] /= l;
    }
    *bound = o->f64 ? 1e-12 + u : 2.0 * (o->dk + 1) * u * largest + 2.0 * (o->keys + 2) * u + u;
    return l > 0.0 ? m + log(l) : -INFINITY;
}

static void close_to(const struct fixture *f, const char *what, int i, int h, double got,
                     double want, double bound)
{
    if (!(got == want || fabs(got - want) <= bound)) {
        print_error("%s of token %d head %d: %.9g, not %.9g (bound %.3g)\n", what, i, h, got, want,
                    bound);
        describe(&f->o);
        fail();
    }
}

static void check(const struct fixture *f)
{
    const struct options *o = &f->o;
    int hq = o->hkv * o->group;
    for (int i = 0; i < o->tokens; i++) {
        for (int h = 0; h < hq; h++) {
            double out[MAX_DIM], bound;
            double lse = naive_row(f, i, h, out, &bound);
            double got = (double)f->lse[i * hq + h];
            for (int d = 0; d < o->dv; d++) {
                close_to(f, "out", i, h, (double)f->out[(i * hq + h) * o->dv + d], out[d], bound);
            }
            close_to(f, "lse", i, h, got, lse, bound + 0x1p-24 * fabs(lse));
        }
    }
}

/* m + log2 l is the lse in base 2, and o / l the output, where there is no sink. */
static void check_states(const struct fixture *f)
{
    const struct options *o = &f->o;
    int hq = o->hkv * o->group;
    for (int row = 0; row < o->tokens * hq && !o->sinks; row++) {
        double l = (double)f->l[row], m = (double)f->m[row];
        double lse = l > 0.0 ? (m + log2(l)) * GQA__LN2 : -INFINITY;
        double bound = 4 * 0x1p-24 * (2.0 + fabs(lse));
        close_to(f, "state", row / hq, row % hq, (double)f->lse[row], lse, bound);
        for (int d = 0; d < o->dv; d++) {
            double got = (double)f->state_o[row * o->dv + d];
            double want = l > 0.0 ? got / l : got;
            close_to(f, "state o", row / hq, row % hq, (double)f->out[row * o->dv + d], want,
                     4 * 0x1p-24);
        }
    }
}

static const struct options plain = {
    .tokens = 7, .keys = 37, .hkv = 2, .group = 3, .dk = 17, .dv = 11, .right = 0, .seed = 1};

static void run_and_check(const struct options *o)
{
    struct fixture *f = make(o);
    run(f);
    check(f);
    check_states(f);
    free(f);
}

/* Every option alone, in f32 and in f64. */
static void each_option(void **state)
{
    (void)state;
    for (int f64 = 0; f64 < 2; f64++) {
        for (int option = 0; option < 14; option++) {
            struct options o = plain;
            o.f64 = f64;
            o.seed = (uint32_t)(100 + option);
            o.right = option == 1 ? -1 : option == 2 ? 3 : 0;
            o.window = option == 3 ? 1 : option == 4 ? 6 : 0;
            o.chunk = option == 5 ? 5 : 0;
            o.softcap = option == 6;
            o.slopes = option == 7;
            o.bias = option == 8;
            o.mask = option == 9;
            o.active = option == 10;
            o.bounds = option == 11;
            o.sinks = option == 12;
            o.shuffled = option == 13;
            run_and_check(&o);
        }
    }
}

/* Options in combination, odd sizes. */
static void random_options(void **state)
{
    uint64_t seed = 20260731u;
    (void)state;
    for (int i = 0; i < 400; i++) {
        struct options o = plain;
        o.tokens = 1 + (int)(random_u32(&seed) % MAX_TOKENS);
        o.keys = o.tokens + (int)(random_u32(&seed) % (unsigned)(MAX_KEYS + 1 - o.tokens));
        o.hkv = 1 + (int)(random_u32(&seed) % 2);
        o.group = 1 + (int)(random_u32(&seed) % 3);
        o.dk = 1 + (int)(random_u32(&seed) % MAX_DIM);
        o.dv = 1 + (int)(random_u32(&seed) % MAX_DIM);
        o.right = (int)(random_u32(&seed) % 4) - 1;
        o.window = random_u32(&seed) % 2 ? (int)(random_u32(&seed) % 20) : 0;
        o.chunk = random_u32(&seed) % 2 ? (int)(random_u32(&seed) % 20) : 0;
        o.softcap = random_u32(&seed) % 3 == 0;
        o.slopes = random_u32(&seed) % 3 == 0;
        o.bias = random_u32(&seed) % 3 == 0;
        o.mask = random_u32(&seed) % 3 == 0;
        o.active = random_u32(&seed) % 3 == 0;
        o.bounds = random_u32(&seed) % 3 == 0;
        o.sinks = random_u32(&seed) % 3 == 0;
        o.shuffled = random_u32(&seed) % 4 == 0;
        o.f64 = (int)(random_u32(&seed) % 2);
        o.seed = random_u32(&seed);
        run_and_check(&o);
    }
}

/* The keys in three ranges, each handed the states of those before it: as in one piece. The states
 * in between are f32: m exactly restated in l and o, which are rounded once per part (3 u each) and
 * once in the sums; |v| < 1. */
static void check_parts(const struct options *o)
{
    const int32_t cuts[4] = {0, 5, 33, 37};
    struct fixture *whole = make(o), *f = make(o);
    float m[MAX_TOKENS * MAX_HEADS], l[MAX_TOKENS * MAX_HEADS];
    float so[MAX_TOKENS * MAX_HEADS * MAX_DIM];
    int hq = o->hkv * o->group;
    for (int i = 0; i < MAX_HEADS * MAX_TOKENS * MAX_KEYS; i++) { /* m far from 0: it is rounded */
        whole->bias[i] = f->bias[i] = whole->bias[i] + 200.0f;
    }
    run(whole);
    for (int part = 0; part < 3; part++) {
        f->segment.range_begin = cuts[part];
        f->segment.range_end = cuts[part + 1];
        f->segment.prior_m = part > 0 ? m : NULL;
        f->segment.prior_l = part > 0 ? l : NULL;
        f->segment.prior_o = part > 0 ? so : NULL;
        run(f);
        memcpy(m, f->m, sizeof m);
        memcpy(l, f->l, sizeof l);
        memcpy(so, f->state_o, sizeof so);
    }
    for (int i = 0; i < o->tokens * hq; i++) {
        double lse = (double)whole->lse[i];
        close_to(f, "lse", i / hq, i % hq, (double)f->lse[i], lse, 0x1p-24 * (8 + fabs(lse)));
        for (int d = 0; d < o->dv; d++) {
            close_to(f, "out", i / hq, i % hq, (double)f->out[i * o->dv + d],
                     (double)whole->out[i * o->dv + d], 12 * 0x1p-24);
        }
    }
    free(whole);
    free(f);
}

static void ranges_with_prior(void **state)
{
    struct options o = plain;
    (void)state;
    o.f64 = 1;
    o.sinks = 1;
    check_parts(&o);
    o.slopes = 1; /* pulls the scores of the parts apart, far below zero */
    check_parts(&o);
    o.window = 12; /* leaves the first part without keys */
    check_parts(&o);
    o.sinks = 0;
    check_parts(&o);
    o.window = 0;
    o.slopes = 0;
    o.bias = 1;
    check_parts(&o);
}

/* |error| below 1e-15 over small, middle and large arguments of both signs. */
static void tanh_of_the_softcap(void **state)
{
    (void)state;
    for (int i = -4000; i <= 4000; i++) {
        double x = i * fabs((double)i) * 3e-6;
        double got = gqa__reference_tanh(x);
        assert_true(fabs(got - tanh(x)) <= 1e-15);
        assert_true(fabs(got - tanh(x)) <= 1e-13 * fabs(x));
    }
    assert_true(gqa__reference_tanh(INFINITY) == 1.0);
    assert_true(gqa__reference_tanh(-INFINITY) == -1.0);
}

static void rows_without_keys(void **state)
{
    (void)state;
    for (int sinks = 0; sinks < 2; sinks++) {
        struct options o = plain;
        struct fixture *f;
        o.sinks = sinks;
        f = make(&o);
        f->segment.key_begin = f->begin;
        f->segment.key_end = f->begin; /* empty for every row */
        memset(f->out, 0xa5, sizeof f->out);
        run(f);
        for (int i = 0; i < o.tokens * 6; i++) {
            float want = sinks ? f->sinks[i % 6] : -INFINITY;
            const float zeros[MAX_DIM] = {0};
            assert_memory_equal(f->out + i * o.dv, zeros, (size_t)o.dv * sizeof(float));
            assert_memory_equal(f->state_o + i * o.dv, zeros, (size_t)o.dv * sizeof(float));
            assert_true(f->lse[i] == want);
            assert_true(f->m[i] == -INFINITY && f->l[i] == 0.0f);
        }
        free(f);
    }
}

/* A key that no row may see holds NaN in K and infinity in V: not a bit changes. It is hidden by
 * the mask, or by a bias of -inf. */
static void check_garbage(bool by_bias)
{
    struct options o = plain;
    struct fixture *clean, *dirty;
    o.mask = !by_bias;
    o.bias = by_bias;
    clean = make(&o);
    dirty = make(&o);
    for (int i = 0; i < o.tokens; i++) {
        clean->mask[i * o.keys + 4] = dirty->mask[i * o.keys + 4] = 0;
    }
    for (int i = 0; i < o.hkv * o.group * o.tokens; i++) {
        clean->bias[i * o.keys + 4] = dirty->bias[i * o.keys + 4] = -INFINITY;
    }
    for (int d = 0; d < o.hkv * o.dk; d++) {
        dirty->k[4 * o.hkv * o.dk + d] = NAN;
    }
    for (int d = 0; d < o.hkv * o.dv; d++) {
        dirty->v[4 * o.hkv * o.dv + d] = INFINITY;
    }
    run(clean);
    run(dirty);
    assert_memory_equal(clean->out, dirty->out, sizeof clean->out);
    assert_memory_equal(clean->lse, dirty->lse, sizeof clean->lse);
    free(clean);
    free(dirty);
}

static void invisible_garbage(void **state)
{
    (void)state;
    check_garbage(false);
    check_garbage(true);
}

/* NaN in a visible K reaches exactly the rows that see it, as the canonical NaN. */
static void visible_nan(void **state)
{
    struct options o = plain;
    struct fixture *f;
    const uint32_t canonical = 0x7fc00000u;
    int hq = o.hkv * o.group, poisoned = 0;
    (void)state;
    o.window = 4;
    f = make(&o);
    f->k[(33 * o.hkv + 1) * o.dk + 2] = -NAN; /* KV head 1 of key 33 */
    run(f);
    for (int i = 0; i < o.tokens; i++) {
        for (int h = 0; h < hq; h++) {
            bool hit = h / o.group == 1 && sees(f, i, 33);
            poisoned += hit;
            for (int d = 0; d < o.dv; d++) {
                float x = f->out[(i * hq + h) * o.dv + d];
                assert_true(hit ? memcmp(&x, &canonical, sizeof x) == 0 : x == x);
            }
            assert_true((f->lse[i * hq + h] != f->lse[i * hq + h]) == hit);
        }
    }
    assert_true(poisoned > 0 && poisoned < o.tokens * o.group);
    free(f);
}

/* A wanted subset of outputs leaves the others alone. */
static void outputs_are_optional(void **state)
{
    struct fixture *f = make(&plain);
    float lse[MAX_TOKENS * MAX_HEADS];
    (void)state;
    run(f);
    memcpy(lse, f->lse, sizeof lse);
    memset(f->lse, 0, sizeof f->lse);
    f->segment.out = NULL;
    f->segment.m = f->segment.l = f->segment.o = NULL;
    run(f);
    assert_memory_equal(lse, f->lse, sizeof lse);
    f->segment.lse = NULL;
    run(f);
    free(f);
}

static void scratch_grows_with_keys(void **state)
{
    struct fixture *f = make(&plain);
    (void)state;
    assert_true(gqa__reference_scratch_bytes(&f->params, 0) <
                gqa__reference_scratch_bytes(&f->params, 100));
    assert_true(gqa__reference_scratch_bytes(&f->params, 100) <
                gqa__reference_scratch_bytes(&f->params, INT32_MAX));
    free(f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option),
        cmocka_unit_test(random_options),
        cmocka_unit_test(ranges_with_prior),
        cmocka_unit_test(tanh_of_the_softcap),
        cmocka_unit_test(rows_without_keys),
        cmocka_unit_test(invisible_garbage),
        cmocka_unit_test(visible_nan),
        cmocka_unit_test(outputs_are_optional),
        cmocka_unit_test(scratch_grows_with_keys),
    };
    return RUN_TESTS(argc, argv, tests);
}
