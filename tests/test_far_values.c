/* SPDX-License-Identifier: Apache-2.0 */
/* test_far_values.c - logits near the largest f32 and large V through the
 * public calls, on every kernel set of backend cpu and on backend reference: biases
 * and sinks are what their arithmetic says, a result is finite, and calls that
 * may not differ in a bit do not.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "gqa/gqa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { KEYS = 300, HQ = 4, D = 8, DV = 8, BLOCK_KEYS = 256 };

/* What a layer is made for. */
struct server {
    gqa_backend backend;
    gqa_isa isa;
    gqa_numerics numerics;
    int32_t f64;
};

/* A call with one query token, and its results. */
struct call {
    const float *sinks; /* [HQ] or NULL */
    float score_scale;
    float q[HQ * D], k[KEYS * D], v[KEYS * DV];
    gqa_tensor bias; /* [1, 1|HQ, 1, keys] or absent */
    uint8_t mask[HQ * KEYS];
    int masked;
    int32_t keys;
    float out[HQ * DV], lse[HQ];
    float m[HQ], l[HQ], o[HQ * DV];
};

static float biases[HQ * KEYS];

static void call_init(struct call *c, int32_t keys)
{
    memset(c, 0, sizeof *c);
    memset(c->mask, 1, sizeof c->mask);
    c->keys = keys;
    c->score_scale = 1.0f;
    for (int32_t i = 0; i < keys * DV; i++) {
        c->v[i] = (float)(i / DV % 2); /* 0 in even keys, 1 in odd ones */
    }
}

static gqa_layer *make_layer(const struct server *server, const struct call *c)
{
    gqa_config config;
    gqa_weights weights;
    gqa_layer *layer = NULL;
    gqa_error err;

    config = attention_config(HQ, 1, D, DV);
    gqa_weights_init(&weights);
    config.score_scale = c->score_scale;
    config.backend = server->backend;
    config.isa = server->isa;
    config.numerics = server->numerics;
    config.reference_f64 = server->f64;
    if (c->sinks != NULL) {
        config.learned_sinks_size = 1;
        weights.sinks = gqa_tensor_1d((float *)c->sinks, GQA_F32, HQ);
    }
    if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return layer;
}

/* Keys [begin, end) (end 0: all), after those of prior, if any; states only if
 * they are wanted. */
static void attend_after(const gqa_states *prior, const gqa_layer *layer, const gqa_cache *cache,
                         struct call *c, int32_t begin, int32_t end, gqa_states *states)
{
    static const int32_t first[1] = {0};
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_error err;

    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(c->q, GQA_F32, 1, 1, HQ, D);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(c->k, GQA_F32, 1, c->keys, 1, D);
        in.value = gqa_tensor_4d(c->v, GQA_F32, 1, c->keys, 1, DV);
    } else {
        in.sequences = first;
    }
    in.bias = c->bias;
    if (c->masked) {
        in.mask = gqa_tensor_4d(c->mask, GQA_U8, 1, HQ, 1, c->keys);
    }
    in.range_begin = begin;
    in.range_end = end;
    in.prior = prior;
    out.output = gqa_tensor_4d(c->out, GQA_F32, 1, 1, HQ, DV);
    out.lse = gqa_tensor_3d(c->lse, GQA_F32, 1, 1, HQ);
    out.states.m = gqa_tensor_3d(c->m, GQA_F32, 1, 1, HQ);
    out.states.l = gqa_tensor_3d(c->l, GQA_F32, 1, 1, HQ);
    out.states.o = gqa_tensor_4d(c->o, GQA_F32, 1, 1, HQ, DV);
    if (gqa_attend(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    if (states != NULL) {
        *states = out.states;
    }
}

static void attend(const gqa_layer *layer, const gqa_cache *cache, struct call *c, int32_t begin,
                   int32_t end, gqa_states *states)
{
    attend_after(NULL, layer, cache, c, begin, end, states);
}

static float largest_value(const struct call *c)
{
    float most = 0.0f;

    for (int32_t i = 0; i < c->keys * DV; i++) {
        most = fmaxf(most, fabsf(c->v[i]));
    }
    return most;
}

/* Near enough for a logit beyond the bend of base-2 units, whose spacing there
 * is 2^108 of them: 2.3e32 in natural units. */
static int is_logit(float lse, float want)
{
    return lse == want || fabsf(lse - want) <= (fabsf(want) < 1e38f ? 1e-6f * fabsf(want) : 3e32f);
}

/* Results of the same keys by another way: on backend cpu the same bits. */
static void compare(const struct server *server, const struct call *c, const struct call *other)
{
    for (int32_t i = 0; i < HQ * DV; i++) {
        assert_true(fabsf(other->out[i] - c->out[i]) <= 1e-5f * largest_value(c) ||
                    isnan(c->out[i]));
    }
    for (int32_t i = 0; i < HQ; i++) {
        assert_true(is_logit(other->lse[i], c->lse[i]) || isnan(c->lse[i]));
    }
    if (server->backend == GQA_BACKEND_CPU) {
        assert_memory_equal(other->out, c->out, sizeof c->out);
        assert_memory_equal(other->lse, c->lse, sizeof c->lse);
    }
}

/* The whole call, and again in two ranges: merged and finished, and one after
 * the other. */
static void run(const struct server *server, struct call *c)
{
    static struct call part[2];
    gqa_layer *layer = make_layer(server, c);
    const gqa_tensor out = gqa_tensor_4d(part[0].out, GQA_F32, 1, 1, HQ, DV);
    const gqa_tensor lse = gqa_tensor_3d(part[0].lse, GQA_F32, 1, 1, HQ);
    gqa_states states[2];
    const gqa_states *const list[2] = {&states[0], &states[1]};

    attend(layer, NULL, c, 0, 0, NULL);
    if (c->keys > BLOCK_KEYS) {
        part[0] = part[1] = *c;
        attend(layer, NULL, &part[0], 0, BLOCK_KEYS, &states[0]);
        attend_after(&states[0], layer, NULL, &part[1], BLOCK_KEYS, 0, &states[1]);
        if (server->backend == GQA_BACKEND_CPU || c->sinks == NULL) {
            compare(server, c, &part[1]); /* a state of reference is rounded: no tie with a sink */
        }
        attend(layer, NULL, &part[1], BLOCK_KEYS, 0, &states[1]);
        assert_int_equal(gqa_merge_states(list, 2, &states[0], NULL), GQA_OK);
        assert_int_equal(gqa_finish_states(layer, &states[0], GQA_PHASE_AUTO, 0, &out, &lse, NULL),
                         GQA_OK);
        compare(server, c, &part[0]);
    }
    gqa_destroy(&layer);
}

static void fill(float *x, int32_t n, float value)
{
    for (int32_t i = 0; i < n; i++) {
        x[i] = value;
    }
}

static void bias_of(struct call *c, const float *values)
{
    c->bias = gqa_tensor_4d((float *)values, GQA_F32, 1, 1, 1, c->keys);
}

/* Every head: element 0 of the output and the LSE. */
static void expect(const struct call *c, float out, float lse)
{
    for (int32_t h = 0; h < HQ; h++) {
        if (!(fabsf(c->out[h * DV] - out) <= 1e-6f) || !is_logit(c->lse[h], lse)) {
            fail_msg("head %d: output %.9g, expected %.9g; lse %.9g, expected %.9g", (int)h,
                     (double)c->out[h * DV], (double)out, (double)c->lse[h], (double)lse);
        }
    }
}

static void lowest_biases(void **state)
{
    const struct server *const server = *state;
    static const int32_t counts[] = {5, 256, 300};
    static struct call c;

    for (int32_t i = 0; i < 3; i++) {
        const int32_t n = counts[i];
        const float mean = (float)(n / 2) / (float)n;
        for (int32_t sign = -1; sign <= 1; sign += 2) {
            call_init(&c, n);
            bias_of(&c, biases);
            fill(biases, n, (float)sign * FLT_MAX);
            run(server, &c);
            expect(&c, mean, (float)sign * FLT_MAX);
            assert_true(c.lse[0] == (float)sign * FLT_MAX);
        }
        fill(biases, n, -FLT_MAX); /* the highest wins, and the next highest */
        biases[(n - 2) / 2 * 2] = -2.6e38f;
        run(server, &c);
        expect(&c, 0.0f, -2.6e38f);
        biases[1] = -2.4e38f;
        run(server, &c);
        expect(&c, 1.0f, -2.4e38f);
        biases[2] = -2.3e38f;
        run(server, &c);
        expect(&c, 0.0f, -2.3e38f);
        biases[3] = -1e38f;
        run(server, &c);
        expect(&c, 1.0f, -1e38f);
        biases[4] = 0.0f;
        run(server, &c);
        expect(&c, 0.0f, 0.0f);
        biases[1] = 3.4e38f;
        run(server, &c);
        expect(&c, 1.0f, 3.4e38f);
        biases[0] = FLT_MAX;
        run(server, &c);
        expect(&c, 0.0f, FLT_MAX);
    }
}

/* A score and a bias, both finite, whose sum is beyond FLT_MAX: it saturates
 * there. */
static void sums_beyond_the_range(void **state)
{
    const struct server *const server = *state;
    static struct call c;

    for (int32_t sign = -1; sign <= 1; sign += 2) {
        call_init(&c, 2);
        bias_of(&c, biases);
        fill(biases, 2, (float)sign * FLT_MAX);
        for (int32_t h = 0; h < HQ; h++) {
            c.q[h * D] = (float)sign * 1e38f;
        }
        c.k[0] = c.k[D] = 1.5f;
        run(server, &c);
        expect(&c, 0.5f, (float)sign * FLT_MAX);
    }
}

/* The lowest numbers of the other formats, and -inf, which hides as it always
 * did. */
static void biases_of_all_formats(void **state)
{
    const struct server *const server = *state;
    static uint16_t half[KEYS];
    static struct call c;

    for (int32_t bf16 = 0; bf16 < 2; bf16++) {
        const uint16_t lowest = bf16 ? 0xff7fu : 0xfbffu, hidden = bf16 ? 0xff80u : 0xfc00u;
        const float value = bf16 ? gqa__bf16_to_f32(lowest) : -65504.0f;
        call_init(&c, 5);
        c.bias = gqa_tensor_4d(half, bf16 ? GQA_BF16 : GQA_F16, 1, 1, 1, 5);
        for (int32_t i = 0; i < 5; i++) {
            half[i] = lowest;
        }
        run(server, &c);
        expect(&c, 0.4f, value + logf(5.0f));
        half[1] = half[3] = hidden;
        run(server, &c);
        expect(&c, 0.0f, value + logf(3.0f));
        half[0] = half[2] = half[4] = hidden;
        run(server, &c);
        expect(&c, 0.0f, -INFINITY);
    }
}

static void sinks_of_any_size(void **state)
{
    const struct server *const server = *state;
    static const float sinks[] = {FLT_MAX, 3e38f, 2.3e38f, -2.3e38f, -3e38f, -FLT_MAX};
    static struct call c;

    for (int32_t i = 0; i < 6; i++) {
        float sink[HQ];
        fill(sink, HQ, sinks[i]);
        call_init(&c, 300);
        c.sinks = sink;
        run(server, &c);
        expect(&c, i < 3 ? 0.0f : 0.5f, i < 3 ? sinks[i] : logf(300.0f));
        c.masked = 1; /* a row that sees no key */
        memset(c.mask, 0, sizeof c.mask);
        run(server, &c);
        expect(&c, 0.0f, sinks[i]);
        c.masked = 0; /* beside a bias of the same size */
        bias_of(&c, biases);
        fill(biases, 300, -FLT_MAX);
        biases[1] = sinks[i];
        run(server, &c);
        expect(&c, sinks[i] == -FLT_MAX ? 150.0f / 301.0f : 0.5f, sinks[i]);
    }
}

/* Q, scaled in base-2 units, is f32: it ends at FLT_MAX / log2 e, 2.3586e38.
 * What lies beyond is infinite on backend cpu, and NaN comes of it; backend
 * reference scales the product, in double. */
static void queries_end(void **state)
{
    const struct server *const server = *state;
    static struct call c;

    call_init(&c, 1);
    c.k[0] = 2e-38f;
    c.v[0] = 1.0f;
    for (int32_t h = 0; h < HQ; h++) {
        c.q[h * D] = 2.3e38f;
    }
    run(server, &c);
    for (int32_t h = 0; h < HQ; h++) { /* bf16: both operands are rounded, 2^-8 together */
        assert_true(fabsf(c.lse[h] - 4.6f) < 4.6f * 0x1p-7f && c.out[h * DV] == 1.0f);
        c.q[h * D] = 2.4e38f;
    }
    run(server, &c);
    for (int32_t h = 0; h < HQ; h++) {
        assert_true(server->backend == GQA_BACKEND_CPU ? isnan(c.lse[h])
                                                       : fabsf(c.lse[h] - 4.8f) < 1e-5f);
    }
}

/* --- large V
 * ---------------------------------------------------------------------------------
 */

/* Scores that climb by 32 per 32 keys in base-2 units, all exact in bf16; V of
 * `size` in some keys, which head 3 does not see. */
static void climb(struct call *c, float size)
{
    call_init(c, KEYS);
    c->masked = 1;
    c->score_scale = 0.69314718f; /* q.k in base-2 units */
    for (int32_t h = 0; h < HQ; h++) {
        c->q[h * D] = 1.0f - 0.25f * (float)(h % 2);
        c->q[h * D + 1] = 1.0f;
    }
    for (int32_t key = 0; key < KEYS; key++) {
        c->k[key * D] = 32.0f * (float)(key / 32);
        c->k[key * D + 1] = -0.125f * (float)(key % 7);
        for (int32_t d = 0; d < DV; d++) {
            c->v[key * DV + d] = 0.5f + 0.0625f * (float)((key * 3 + d) % 9);
        }
        if (key % 19 == 5) {
            c->v[key * DV + key % DV] = key % 2 == 0 ? size : -size;
            c->mask[3 * KEYS + key] = 0;
        }
    }
}

/* Outputs are finite, and near those of backend reference. P and V are rounded
 * to bf16, 2^-9 each, and p is off by 1e-4 (the fast exponential, and
 * score_scale, which is ln 2 to 2^-25, times 288): 2^-7 of the mean of |v| is
 * above all of it. */
static void large_values(void **state)
{
    const struct server *const server = *state;
    static const float sizes[] = {1e18f, 2e19f, 1e28f, 1e30f, 1e36f};
    const struct server truth = {GQA_BACKEND_REFERENCE, GQA_ISA_AUTO, GQA_NUMERICS_F32, 1};
    static struct call c, exact, positive;

    for (int32_t i = 0; i < 5; i++) {
        climb(&c, sizes[i]);
        exact = c;
        run(server, &c);
        run(&truth, &exact);
        positive = exact;
        for (int32_t j = 0; j < KEYS * DV; j++) {
            positive.v[j] = fabsf(positive.v[j]);
        }
        run(&truth, &positive);
        for (int32_t j = 0; j < HQ * DV; j++) {
            const float bound = 0x1p-7f * positive.out[j];
            if (!(fabsf(c.out[j] - exact.out[j]) <= bound)) {
                fail_msg("V %g: output %d is %g, expected %g +- %g", (double)sizes[i], (int)j,
                         (double)c.out[j], (double)exact.out[j], (double)bound);
            }
        }
    }
}

/* From 2^64 on a row takes its true maximum under bf16, too: 288 at head 0, whose last step of 32 a
 * reference need not follow. */
static void large_from_two_to_64(void **state)
{
    const struct server *const server = *state;
    static const float sizes[] = {0x1.fep63f, 0x1p64f}; /* neighbours in bf16 */
    static struct call c;

    for (int32_t i = 0; i < 2 && server->backend == GQA_BACKEND_CPU; i++) {
        const int lazy = server->numerics == GQA_NUMERICS_BF16 && i == 0;
        climb(&c, sizes[i]);
        run(server, &c);
        assert_true(c.m[0] == (lazy ? 256.0f : 288.0f));
    }
}

/* The keys in a cache, V as this type (F32: the default), K exact; `way` chooses the page size and
 * the pieces in which they are appended. */
static void attend_held(const gqa_layer *layer, struct call *c, gqa_dtype type, int32_t way)
{
    static const int32_t page_sizes[] = {16, 32, 64, 256};
    const int32_t piece = 37 * (way + 1);
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    gqa_error err;

    gqa_cache_options_init(&options, layer);
    options.max_tokens = KEYS;
    options.page_size = page_sizes[way];
    options.dtype_v = type != GQA_F32 ? type : options.dtype_v;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, &err), GQA_OK);
    for (int32_t at = 0, n; at < c->keys; at += n) {
        n = at + piece < c->keys ? piece : c->keys - at;
        const gqa_tensor k = gqa_tensor_3d(c->k + at * D, GQA_F32, n, 1, D);
        const gqa_tensor v = gqa_tensor_3d(c->v + at * DV, GQA_F32, n, 1, DV);
        assert_int_equal(gqa_cache_append(cache, 0, &k, &v, NULL, &err), GQA_OK);
    }
    memset(c->out, 0, sizeof c->out);
    attend(layer, cache, c, 0, 0, NULL);
    gqa_cache_destroy(&cache);
}

/* Head 3 sees no large V: not a bit of it depends on their size. And no bit of
 * any head depends on the way the keys are held: plain, or in pages of any
 * size, appended in any pieces. */
static void large_values_keep_bits(void **state)
{
    const struct server *const server = *state;
    static struct call small, c, held;
    gqa_layer *layer;

    if (server->backend != GQA_BACKEND_CPU) {
        return;
    }
    climb(&small, 1.0f);
    climb(&c, 1e30f);
    run(server, &small);
    run(server, &c);
    assert_memory_equal(c.out + 3 * DV, small.out + 3 * DV, DV * sizeof(float));
    assert_true(c.m[3] == small.m[3] && c.l[3] == small.l[3]);
    layer = make_layer(server, &c);
    for (int32_t i = 0; i < 4; i++) {
        held = c;
        attend_held(layer, &held, GQA_F32, i);
        assert_memory_equal(held.out, c.out, sizeof c.out);
        assert_memory_equal(held.m, c.m, sizeof c.m);
        assert_memory_equal(held.l, c.l, sizeof c.l);
    }
    gqa_destroy(&layer);
}

/* Is every output near that of backend reference, as in large_values? It reads the same codes. */
static void expect_near(const struct call *c, const struct call *exact, const struct call *positive)
{
    for (int32_t j = 0; j < HQ * DV; j++) {
        if (!(fabsf(c->out[j] - exact->out[j]) <= 0x1p-7f * positive->out[j])) {
            fail_msg("output %d is %g, expected %g", (int)j, (double)c->out[j],
                     (double)exact->out[j]);
        }
    }
}

/* V as e4m3: its scale says that it is large, from 2^55 on, and with it all that is said above goes
 * for the elements. Where a key has a large element its others are 0. */
static void large_scales(void **state)
{
    const struct server *const server = *state;
    const struct server truth = {GQA_BACKEND_REFERENCE, GQA_ISA_AUTO, GQA_NUMERICS_F32, 1};
    static const gqa_dtype types[] = {GQA_E4M3, GQA_E4M3_240};
    static struct call small, c, exact, positive, other;

    for (int32_t i = 0; i < 8 && server->backend == GQA_BACKEND_CPU; i++) {
        const float most = i % 2 == 0 ? 448.0f : 240.0f;
        const float sizes[] = {most * 0x1.fffffep54f, most * 0x1p55f, 1e30f, 1e36f};
        const int lazy = server->numerics == GQA_NUMERICS_BF16 && i / 2 == 0;
        climb(&small, 1.0f);
        climb(&c, sizes[i / 2]);
        exact = positive = c;
        for (int32_t j = 0; j < KEYS * DV; j++) {
            positive.v[j] = fabsf(positive.v[j]);
        }
        gqa_layer *layer = make_layer(server, &c), *reference = make_layer(&truth, &c);
        attend_held(layer, &small, types[i % 2], 3);
        attend_held(layer, &c, types[i % 2], 2);
        attend_held(reference, &exact, types[i % 2], 2);
        attend_held(reference, &positive, types[i % 2], 2);
        assert_true(c.m[0] == (lazy ? 256.0f : 288.0f));
        expect_near(&c, &exact, &positive);
        assert_memory_equal(c.out + 3 * DV, small.out + 3 * DV, DV * sizeof(float));
        assert_true(c.m[3] == small.m[3] && c.l[3] == small.l[3]);
        for (int32_t way = 0; way < 4; way++) {
            other = c;
            attend_held(layer, &other, types[i % 2], way);
            assert_memory_equal(other.out, c.out, sizeof c.out);
            assert_memory_equal(other.m, c.m, sizeof c.m);
            assert_memory_equal(other.l, c.l, sizeof c.l);
        }
        gqa_destroy(&reference);
        gqa_destroy(&layer);
    }
}

/* --- all of them
 * -----------------------------------------------------------------------------
 */

enum { MAX_SERVERS = 16 };

static int32_t add_servers(struct server *servers, int32_t n, gqa_numerics numerics)
{
    static const gqa_isa f32[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_NEON};
    static const gqa_isa bf16[] = {GQA_ISA_SCALAR, GQA_ISA_AVX512, GQA_ISA_AMX};
    const int32_t count = numerics == GQA_NUMERICS_F32 ? 4 : 3;

    for (int32_t i = 0; i < count; i++) {
        const gqa_isa isa = numerics == GQA_NUMERICS_F32 ? f32[i] : bf16[i];
        if (gqa_isa_available(isa)) {
            servers[n++] = (struct server){GQA_BACKEND_CPU, isa, numerics, 0};
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } kinds[] = {{"lowest_biases", lowest_biases},
                 {"sums_beyond_the_range", sums_beyond_the_range},
                 {"biases_of_all_formats", biases_of_all_formats},
                 {"sinks_of_any_size", sinks_of_any_size},
                 {"queries_end", queries_end},
                 {"large_values", large_values},
                 {"large_from_two_to_64", large_from_two_to_64},
                 {"large_values_keep_bits", large_values_keep_bits},
                 {"large_scales", large_scales}};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    static struct server servers[MAX_SERVERS] = {
        {GQA_BACKEND_REFERENCE, GQA_ISA_AUTO, GQA_NUMERICS_F32, 0},
        {GQA_BACKEND_REFERENCE, GQA_ISA_AUTO, GQA_NUMERICS_F32, 1}};
    static char names[MAX_SERVERS * KINDS][64];
    static struct CMUnitTest tests[MAX_SERVERS * KINDS];
    int32_t count = add_servers(servers, 2, GQA_NUMERICS_F32);

    count = add_servers(servers, count, GQA_NUMERICS_BF16);
    for (int32_t i = 0; i < count * KINDS; i++) {
        const struct server *const s = &servers[i / KINDS];
        snprintf(names[i], sizeof names[i], "%s isa %d numerics %d%s %s",
                 s->backend == GQA_BACKEND_CPU ? "cpu" : "reference", (int)s->isa, (int)s->numerics,
                 s->f64 ? " f64" : "", kinds[i % KINDS].name);
        tests[i].name = names[i];
        tests[i].test_func = kinds[i % KINDS].run;
        tests[i].initial_state = (void *)s;
    }
    return run_test_program(argc, argv, tests, (size_t)(count * KINDS), NULL, NULL);
}
