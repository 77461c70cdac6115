/* SPDX-License-Identifier: Apache-2.0 */
/* The public stage functions as functions: faults of the caller, no tokens, many tokens, threads,
 * a host in another floating-point mode, memory that runs out. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

enum { MANY = 261, HIDDEN = 20, HQ = 6, HKV = 2, DK = 10, DV = 9 };

/* A layer that has every stage. */
static void full(struct weight_set *set)
{
    weight_set_init(set);
    set->config.input_norm = GQA_NORM_LAYER;
    set->config.attn_in_multiplier = 1.1f;
    set->config.qkv_bias = 1;
    set->config.clip_qkv = 2.0f;
    set->config.v_norm = GQA_NORM_RMS;
    set->config.key_multiplier = 0.7f;
    set->config.qk_norm_scope = GQA_QK_NORM_HEAD;
    set->config.qk_norm = GQA_NORM_LAYER;
    set->config.rope = GQA_ROPE_HALF;
    set->config.query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
    set->config.query_temperature_scale = 0.1f;
    set->config.query_temperature_floor = 4.0f;
    set->config.gate = GQA_GATE_ELEMENT;
    set->config.post_norm = GQA_NORM_RMS;
    set->config.add_residual = 1;
    weight_set_fill(set);
}

/* All stages of n tokens, one after the other, from x. */
struct run {
    float x[MANY * HIDDEN], sum[MANY * HIDDEN], normed[MANY * HIDDEN];
    float q[MANY * HQ * DK], k[MANY * HKV * DK], v[MANY * HKV * DV], gate[MANY * HQ * DV];
    float c[MANY * DK / 2], s[MANY * DK / 2], attn[MANY * HQ * DV];
    float o[MANY * HIDDEN], out[MANY * HIDDEN];
    int32_t positions[MANY];
};

static void start(struct run *run)
{
    uint64_t seed = 31;
    memset(run, 0, sizeof *run);
    random_floats(&seed, run->x, MANY * HIDDEN, 2.0f);
    random_floats(&seed, run->attn, MANY * HQ * DV, 1.0f);
    for (int32_t i = 0; i < MANY; i++) {
        run->positions[i] = 3 * i;
        run->x[i * HIDDEN] *= 1e-39f; /* denormals */
    }
}

static gqa_status stages(const gqa_layer *layer, struct run *r, int64_t at, int64_t n)
{
    const gqa_tensor x = gqa_tensor_2d(r->x + at * HIDDEN, GQA_F32, n, HIDDEN);
    const gqa_tensor sum = gqa_tensor_2d(r->sum + at * HIDDEN, GQA_F32, n, HIDDEN);
    const gqa_tensor normed = gqa_tensor_2d(r->normed + at * HIDDEN, GQA_F32, n, HIDDEN);
    const gqa_tensor q = gqa_tensor_3d(r->q + at * HQ * DK, GQA_F32, n, HQ, DK);
    const gqa_tensor k = gqa_tensor_3d(r->k + at * HKV * DK, GQA_F32, n, HKV, DK);
    const gqa_tensor v = gqa_tensor_3d(r->v + at * HKV * DV, GQA_F32, n, HKV, DV);
    const gqa_tensor gate = gqa_tensor_3d(r->gate + at * HQ * DV, GQA_F32, n, HQ, DV);
    const gqa_tensor c = gqa_tensor_2d(r->c + at * DK / 2, GQA_F32, n, DK / 2);
    const gqa_tensor s = gqa_tensor_2d(r->s + at * DK / 2, GQA_F32, n, DK / 2);
    const gqa_tensor attn = gqa_tensor_3d(r->attn + at * HQ * DV, GQA_F32, n, HQ, DV);
    const gqa_tensor o = gqa_tensor_2d(r->o + at * HIDDEN, GQA_F32, n, HIDDEN);
    const gqa_tensor out = gqa_tensor_2d(r->out + at * HIDDEN, GQA_F32, n, HIDDEN);
    const int32_t *const ids = r->positions + at;
    gqa_status status = gqa_stage_input_norm(layer, &x, &x, &sum, &normed, NULL);
    status = status ? status : gqa_stage_qkv(layer, &normed, &q, &k, &v, &gate, NULL);
    status = status ? status : gqa_stage_clip(layer, &q, &k, &v, NULL);
    status = status ? status : gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &q, &k, NULL);
    status = status ? status : gqa_stage_rope_table(layer, ids, 1, 0, &c, &s, NULL);
    status = status ? status : gqa_stage_rope(layer, &c, &s, &q, NULL);
    status = status ? status : gqa_stage_rope(layer, &c, &s, &k, NULL);
    status = status ? status : gqa_stage_query_temperature(layer, ids, &q, NULL);
    status = status ? status : gqa_stage_gate(layer, &gate, &attn, NULL);
    status = status ? status : gqa_stage_output_projection(layer, &attn, &o, NULL);
    return status ? status : gqa_stage_output(layer, &o, &sum, &out, NULL);
}

/* --- one result ------------------------------------------------------------------------------ */

static void same_bits_in_any_cut(void **state)
{
    static struct run whole, parts;
    struct weight_set set;
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        full(&set);
        set.config.numerics = (gqa_numerics)mode;
        gqa_layer *layer = weight_set_layer(&set, NULL);
        start(&whole);
        assert_int_equal(stages(layer, &whole, 0, MANY), GQA_OK);
        start(&parts);
        for (int64_t at = 0, n = 1; at < MANY; at += n, n += 7) {
            n = n < MANY - at ? n : MANY - at;
            assert_int_equal(stages(layer, &parts, at, n), GQA_OK);
        }
        assert_memory_equal(&whole, &parts, sizeof whole);
        gqa_destroy(&layer);
        weight_set_free(&set);
    }
}

static void same_bits_with_any_threads(void **state)
{
    static const int32_t threads[] = {1, 2, 3, 7, 16};
    static struct run first, other;
    struct weight_set set;
    (void)state;
    full(&set);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        struct host host;
        const gqa_runtime runtime = host_start(&host, threads[i]);
        gqa_layer *layer = weight_set_layer(&set, &runtime);
        start(&other);
        assert_int_equal(stages(layer, &other, 0, MANY), GQA_OK);
        if (i == 0) {
            first = other;
        }
        assert_memory_equal(&first, &other, sizeof first);
        gqa_destroy(&layer);
        assert_int_equal(host.live, 0);
    }
    weight_set_free(&set);
}

/* Create and run with the host's thread rounding upwards and flushing denormals. */
static void same_bits_in_any_mode(void **state)
{
    static struct run first, other;
    struct weight_set set;
    (void)state;
    full(&set);
    set.config.rope_theta = 12345.678;
    gqa_layer *layer = weight_set_layer(&set, NULL);
    start(&first);
    assert_int_equal(stages(layer, &first, 0, MANY), GQA_OK);
    const uint64_t key = gqa_layer_rope_key(layer);
    gqa_destroy(&layer);
    start(&other);
    assert_int_equal(fesetround(FE_UPWARD), 0);
#ifdef __SSE__
    const unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | 0x8040u);                     /* FTZ and DAZ */
    const unsigned flags = _mm_getcsr() & 0x8040u; /* emulators ignore them */
#endif
    layer = weight_set_layer(&set, NULL);
    const gqa_status status = stages(layer, &other, 0, MANY);
    assert_int_equal(fegetround(), FE_UPWARD);
#ifdef __SSE__
    assert_int_equal(_mm_getcsr() & 0x8040u, flags);
    _mm_setcsr(csr);
#endif
    assert_int_equal(fesetround(FE_TONEAREST), 0);
    assert_int_equal(status, GQA_OK);
    assert_memory_equal(&first, &other, sizeof first);
    assert_true(gqa_layer_rope_key(layer) == key); /* of the frequencies in double */
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void no_tokens(void **state)
{
    static struct run run;
    struct weight_set set;
    (void)state;
    full(&set);
    gqa_layer *layer = weight_set_layer(&set, NULL);
    start(&run);
    assert_int_equal(stages(layer, &run, 0, 0), GQA_OK);
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void memory_runs_out(void **state)
{
    static struct run run;
    struct weight_set set;
    struct host host;
    gqa_runtime runtime;
    int refusals = 0;
    (void)state;
    full(&set);
    runtime = host_start(&host, 1);
    gqa_layer *layer = weight_set_layer(&set, &runtime);
    const int64_t live = host.live;
    start(&run);
    for (int n = 0;; n++) {
        host.calls = 0;
        host.fail_at = n;
        const gqa_status status = stages(layer, &run, 0, 3);
        assert_int_equal(host.live, live);
        if (status == GQA_OK) {
            break;
        }
        assert_int_equal(status, GQA_ERR_NOMEM);
        refusals++;
    }
    assert_int_equal(refusals, host.calls);
    assert_true(refusals >= 4);
    gqa_destroy(&layer);
    weight_set_free(&set);
}

/* --- faults ---------------------------------------------------------------------------------- */

static void fault(gqa_status got, const gqa_error *err, gqa_status status, const char *field)
{
    if (got != status || err->status != status || strcmp(err->field, field) != 0 ||
        strstr(err->message, field) == NULL) {
        fail_msg("status %d field %s: %s; expected %d %s", (int)got, err->field, err->message,
                 (int)status, field);
    }
}

/* Good tensors of 3 tokens, to be damaged one at a time. */
struct tensors {
    float data[13][3 * HQ * DK];
    gqa_tensor x, sum, q, k, v, gate, attn, wide, none;
};

static void make_tensors(struct tensors *t)
{
    memset(t, 0, sizeof *t);
    t->x = gqa_tensor_2d(t->data[0], GQA_F32, 3, HIDDEN);
    t->sum = gqa_tensor_2d(t->data[1], GQA_F32, 3, HIDDEN);
    t->q = gqa_tensor_3d(t->data[2], GQA_F32, 3, HQ, DK);
    t->k = gqa_tensor_3d(t->data[3], GQA_F32, 3, HKV, DK);
    t->v = gqa_tensor_3d(t->data[4], GQA_F32, 3, HKV, DV);
    t->gate = gqa_tensor_3d(t->data[5], GQA_F32, 3, HQ, DV);
    t->attn = gqa_tensor_3d(t->data[6], GQA_F32, 3, HQ, DV);
    t->wide = gqa_tensor_2d(t->data[7], GQA_F32, 3, HIDDEN);
    t->wide.stride[0] = HIDDEN + 1; /* not packed */
}

static void faults_of_projections(void **state)
{
    const int32_t bad = GQA_ERR_SHAPE;
    struct tensors t;
    struct weight_set set;
    gqa_error e;
    (void)state;
    full(&set);
    gqa_layer *l = weight_set_layer(&set, NULL);
    make_tensors(&t);
    const gqa_tensor two = gqa_tensor_2d(t.data[8], GQA_F32, 2, HIDDEN);
    fault(gqa_stage_input_norm(NULL, &t.x, NULL, NULL, &t.sum, &e), &e, GQA_ERR_ARG, "layer");
    fault(gqa_stage_input_norm(l, NULL, NULL, NULL, &t.sum, &e), &e, GQA_ERR_ARG, "x");
    fault(gqa_stage_input_norm(l, &t.x, &two, NULL, &t.sum, &e), &e, bad, "residual");
    fault(gqa_stage_input_norm(l, &t.x, NULL, &t.wide, &t.sum, &e), &e, bad, "sum");
    fault(gqa_stage_input_norm(l, &t.x, NULL, NULL, &t.none, &e), &e, GQA_ERR_ARG, "x_norm");
    fault(gqa_stage_qkv(NULL, &t.x, &t.q, &t.k, &t.v, &t.gate, &e), &e, GQA_ERR_ARG, "layer");
    fault(gqa_stage_qkv(l, &t.q, &t.q, &t.k, &t.v, &t.gate, &e), &e, bad, "x_norm");
    fault(gqa_stage_qkv(l, &t.x, &t.k, &t.k, &t.v, &t.gate, &e), &e, bad, "q");
    fault(gqa_stage_qkv(l, &t.x, &t.q, &t.v, &t.v, &t.gate, &e), &e, bad, "k");
    fault(gqa_stage_qkv(l, &t.x, &t.q, &t.k, NULL, &t.gate, &e), &e, GQA_ERR_ARG, "v");
    fault(gqa_stage_qkv(l, &t.x, &t.q, &t.k, &t.v, NULL, &e), &e, GQA_ERR_ARG, "gate");
    fault(gqa_stage_output_projection(l, &t.q, &t.x, &e), &e, bad, "attn");
    fault(gqa_stage_output_projection(l, &t.attn, &two, &e), &e, bad, "o_proj");
    fault(gqa_stage_output(l, NULL, &t.sum, &t.x, &e), &e, GQA_ERR_ARG, "o_proj");
    fault(gqa_stage_output(l, &t.x, NULL, &t.x, &e), &e, GQA_ERR_ARG, "sum");
    fault(gqa_stage_output(l, &t.x, &t.sum, &two, &e), &e, bad, "out");
    gqa_destroy(&l);
    weight_set_free(&set);
    weight_set_init(&set);
    weight_set_fill(&set);
    l = weight_set_layer(&set, NULL);
    fault(gqa_stage_qkv(l, &t.x, &t.q, &t.k, &t.v, &t.gate, &e), &e, GQA_ERR_ARG, "gate");
    fault(gqa_stage_output(l, &t.x, &t.sum, &t.x, &e), &e, GQA_ERR_ARG, "sum");
    gqa_destroy(&l);
    weight_set_free(&set);
}

static void faults_of_vectors(void **state)
{
    const int32_t ids[3] = {0, 1, 2}, below[3] = {0, 1, -1};
    const int32_t bad = GQA_ERR_SHAPE;
    struct tensors t;
    struct weight_set set;
    gqa_error e;
    (void)state;
    full(&set);
    gqa_layer *l = weight_set_layer(&set, NULL);
    make_tensors(&t);
    gqa_tensor f16 = t.q, two = t.k;
    f16.dtype = GQA_F16;
    two.shape[0] = 2;
    fault(gqa_stage_clip(NULL, &t.q, &t.k, &t.v, &e), &e, GQA_ERR_ARG, "layer");
    fault(gqa_stage_clip(l, &f16, &t.k, &t.v, &e), &e, GQA_ERR_ARG, "q");
    fault(gqa_stage_clip(l, &t.q, &two, &t.v, &e), &e, bad, "k");
    fault(gqa_stage_clip(l, &t.q, &t.k, &t.k, &e), &e, bad, "v");
    fault(gqa_stage_qk_norm(l, (gqa_qk_norm_placement)2, &t.q, &t.k, &e), &e, GQA_ERR_ARG,
          "placement");
    fault(gqa_stage_qk_norm(l, GQA_QK_NORM_PRE_ROPE, &t.x, &t.k, &e), &e, bad, "q");
    fault(gqa_stage_qk_norm(l, GQA_QK_NORM_PRE_ROPE, &t.q, &two, &e), &e, bad, "k");
    fault(gqa_stage_query_temperature(l, NULL, &t.q, &e), &e, GQA_ERR_ARG, "positions");
    fault(gqa_stage_query_temperature(l, below, &t.q, &e), &e, GQA_ERR_ARG, "positions");
    fault(gqa_stage_query_temperature(l, ids, &t.k, &e), &e, bad, "q");
    fault(gqa_stage_gate(l, NULL, &t.attn, &e), &e, GQA_ERR_ARG, "gate");
    fault(gqa_stage_gate(l, &t.gate, &t.q, &e), &e, bad, "attn");
    assert_int_equal(gqa_stage_clip(l, NULL, &t.k, NULL, &e), GQA_OK);
    assert_int_equal(gqa_stage_clip(l, NULL, NULL, NULL, &e), GQA_OK);
    assert_int_equal(gqa_stage_qk_norm(l, GQA_QK_NORM_PRE_ROPE, &t.q, NULL, &e), GQA_OK);
    gqa_destroy(&l);
    weight_set_free(&set);
}

/* A layer without projections has the stages between them only. */
static void attention_only(void **state)
{
    struct tensors t;
    struct weight_set set;
    gqa_error e;
    (void)state;
    weight_set_open(&set, "attention only");
    weight_set_fill(&set);
    gqa_layer *l = weight_set_layer(&set, NULL);
    make_tensors(&t);
    const char *const field = "config.hidden_size";
    fault(gqa_stage_input_norm(l, &t.x, NULL, NULL, &t.sum, &e), &e, GQA_ERR_ARG, field);
    fault(gqa_stage_qkv(l, &t.x, &t.q, &t.k, &t.v, NULL, &e), &e, GQA_ERR_ARG, field);
    fault(gqa_stage_output_projection(l, &t.attn, &t.x, &e), &e, GQA_ERR_ARG, field);
    fault(gqa_stage_output(l, &t.x, NULL, &t.x, &e), &e, GQA_ERR_ARG, field);
    assert_int_equal(gqa_stage_clip(l, &t.q, &t.k, &t.v, &e), GQA_OK);
    assert_int_equal(gqa_stage_gate(l, NULL, &t.attn, &e), GQA_OK);
    gqa_destroy(&l);
    weight_set_free(&set);
}

/* The stride of a dimension of one element says nothing, whatever it is. */
static void one_of_any_stride(void **state)
{
    static float x[HIDDEN], y[HIDDEN], head[2 * DK], c[2 * DK / 2], s[2 * DK / 2];
    struct weight_set set;
    gqa_error e;
    (void)state;
    full(&set);
    gqa_layer *l = weight_set_layer(&set, NULL);
    gqa_tensor from = gqa_tensor_2d(x, GQA_F32, 1, HIDDEN);
    gqa_tensor to = gqa_tensor_2d(y, GQA_F32, 1, HIDDEN);
    gqa_tensor heads = gqa_tensor_3d(head, GQA_F32, 2, 1, DK);
    const gqa_tensor cosines = gqa_tensor_2d(c, GQA_F32, 2, DK / 2);
    const gqa_tensor sines = gqa_tensor_2d(s, GQA_F32, 2, DK / 2);
    from.stride[0] = 999;
    to.stride[0] = 7;
    to.stride[1] = from.stride[1] = 1;
    assert_int_equal(gqa_stage_input_norm(l, &from, NULL, NULL, &to, &e), GQA_OK);
    heads.stride[0] = DK;
    heads.stride[1] = 3;
    heads.stride[2] = 1;
    assert_int_equal(gqa_stage_rope(l, &cosines, &sines, &heads, &e), GQA_OK);
    heads.stride[0] = DK + 1; /* of two tokens it matters */
    assert_int_equal(gqa_stage_rope(l, &cosines, &sines, &heads, &e), GQA_ERR_SHAPE);
    gqa_destroy(&l);
    weight_set_free(&set);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_in_any_cut),  cmocka_unit_test(same_bits_with_any_threads),
        cmocka_unit_test(same_bits_in_any_mode), cmocka_unit_test(no_tokens),
        cmocka_unit_test(memory_runs_out),       cmocka_unit_test(faults_of_projections),
        cmocka_unit_test(faults_of_vectors),     cmocka_unit_test(attention_only),
        cmocka_unit_test(one_of_any_stride),
    };
    return RUN_TESTS(argc, argv, tests);
}
