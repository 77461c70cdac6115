/* SPDX-License-Identifier: Apache-2.0 */
/* Every stage alone, against double formulas written here, within bounds that are derived beside
 * them. u is 2^-24, half a last place of 1 in f32. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

static const double u = 0x1p-24;

enum { N = 5, HIDDEN = 20, HQ = 6, HKV = 2, DK = 10, MOST = 160 };

/* Room for N tokens of any stage, and views of it. */
struct buffer {
    float data[N * MOST];
};

static void random_buffer(struct buffer *buffer, uint64_t seed, float scale)
{
    random_floats(&seed, buffer->data, N * MOST, scale);
}

static gqa_tensor rows(struct buffer *buffer, int64_t dim)
{
    return gqa_tensor_2d(buffer->data, GQA_F32, N, dim);
}

static gqa_tensor heads(struct buffer *buffer, int64_t count, int64_t dim)
{
    return gqa_tensor_3d(buffer->data, GQA_F32, N, count, dim);
}

static void near(double got, double want, double bound, const char *what, int64_t i)
{
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s: element %lld is %.9g, not %.9g (bound %.3g)", what, (long long)i, got, want,
                 bound);
    }
}

static void done(gqa_status status, const gqa_error *err)
{
    if (status != GQA_OK) {
        fail_msg("%s", err->message);
    }
}

/* Weight i of a vector that may be absent. */
static double value_of(const gqa_tensor *tensor, int64_t i, double otherwise)
{
    return tensor->data == NULL ? otherwise : (double)weight_values(tensor)[i];
}

/* --- norms ----------------------------------------------------------------------------------- */

struct norm {
    gqa_norm kind;
    int64_t n, n_true;
    double eps, offset;
    const gqa_tensor *weight, *bias;
    int64_t at; /* of weight and bias */
};

/* What y[i] of norm(x) must be, and by how much it may differ.
 *
 * The sum of n values (or squares, each with one rounding) has a relative error of at most
 * (n + 2) u of the sum of absolute values. mean: dm = (n + 2) u mean|x|. The root halves the error
 * of the sum of squares; for LAYER, x - mean carries dm to first order into each difference (it
 * cancels in the sum of squares up to n dm^2). Division, eps, root and quotient: 4 u. Then y is
 * three more roundings, and the bias one. */
static double norm_value(const struct norm *norm, const float *x, int64_t i, double *bound)
{
    const double n = (double)norm->n_true;
    double mean = 0.0, absolute = 0.0, squares = 0.0;
    for (int64_t j = 0; j < norm->n_true && norm->kind == GQA_NORM_LAYER; j++) {
        mean += (double)x[j] / n;
        absolute += fabs((double)x[j]) / n;
    }
    for (int64_t j = 0; j < norm->n_true; j++) {
        squares += ((double)x[j] - mean) * ((double)x[j] - mean);
    }
    const double rs = 1.0 / sqrt((norm->kind == GQA_NORM_L2 ? squares : squares / n) + norm->eps);
    const double w =
        norm->weight->data == NULL ? 1.0 : value_of(norm->weight, norm->at + i, 1) + norm->offset;
    const double b = value_of(norm->bias, norm->at + i, 0);
    const double y = ((double)x[i] - mean) * rs * w;
    const double dm = (n + 2) * u * absolute;
    *bound = 1.01 * (fabs(y) * ((n + 2) / 2 + 9) * u + fabs(rs * w) * dm + u * fabs(y + b));
    return y + b;
}

static const gqa_tensor absent;

struct input_case {
    gqa_norm kind;
    int32_t unpadded, offset;
    bool weight, bias;
    float multiplier;
};

static void check_input_norm(const struct input_case *c)
{
    struct weight_set set;
    struct buffer x, r, sum, y;
    gqa_error err;
    char name[128];
    snprintf(name, sizeof name, "input norm kind %d unpadded %d offset %d weight %d bias %d x %g",
             (int)c->kind, (int)c->unpadded, (int)c->offset, c->weight, c->bias,
             (double)c->multiplier);
    weight_set_init(&set);
    set.config.input_norm = c->kind;
    set.config.input_norm_offset = c->offset;
    set.config.input_norm_eps = c->kind == GQA_NORM_NONE ? 1e-6f : 1e-3f;
    set.config.hidden_size_unpadded = c->unpadded;
    set.config.attn_in_multiplier = c->multiplier;
    weight_set_fill(&set);
    if (!c->weight) {
        weight_remove(&set.weights.input_norm);
    }
    if (!c->bias) {
        weight_remove(&set.weights.input_norm_bias);
    }
    gqa_layer *layer = weight_set_layer(&set, NULL);
    random_buffer(&x, 1, 2.0f);
    random_buffer(&r, 2, 1.0f);
    for (int64_t i = 0; i < (int64_t)N * HIDDEN && c->unpadded > 0; i++) {
        if (i % HIDDEN >= c->unpadded) {
            x.data[i] = r.data[i] = 0.0f;
        }
    }
    const gqa_tensor tx = rows(&x, HIDDEN), tr = rows(&r, HIDDEN);
    const gqa_tensor ts = rows(&sum, HIDDEN), ty = rows(&y, HIDDEN);
    done(gqa_stage_input_norm(layer, &tx, &tr, &ts, &ty, &err), &err);
    const double factor = c->multiplier == 0.0f ? 1.0 : (double)c->multiplier;
    const struct norm norm = {c->kind,
                              HIDDEN,
                              c->unpadded > 0 ? c->unpadded : HIDDEN,
                              (double)1e-3f,
                              c->offset,
                              &set.weights.input_norm,
                              &set.weights.input_norm_bias,
                              0};
    for (int64_t i = 0; i < (int64_t)N * HIDDEN; i++) {
        double bound = 0.0, want = (double)sum.data[i];
        assert_true(sum.data[i] == x.data[i] + r.data[i]);
        if (c->kind != GQA_NORM_NONE) {
            want = norm_value(&norm, sum.data + i / HIDDEN * HIDDEN, i % HIDDEN, &bound);
        }
        near((double)y.data[i], want * factor, (bound + u * fabs(want)) * factor * 1.01, name, i);
    }
    /* Without a residual the sum is x; the sum is not needed. */
    done(gqa_stage_input_norm(layer, &ts, NULL, NULL, &tx, &err), &err);
    assert_memory_equal(x.data, y.data, N * HIDDEN * sizeof(float));
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void input_norm(void **state)
{
    static const struct input_case cases[] = {
        {GQA_NORM_NONE, 0, 0, false, false, 0.0f}, {GQA_NORM_NONE, 0, 0, false, false, 0.3f},
        {GQA_NORM_RMS, 0, 0, true, false, 0.0f},   {GQA_NORM_RMS, 0, 1, true, false, 0.0f},
        {GQA_NORM_RMS, 17, 0, true, false, 1.7f},  {GQA_NORM_RMS, 0, 1, false, false, 0.0f},
        {GQA_NORM_LAYER, 0, 0, true, true, 0.0f},  {GQA_NORM_LAYER, 0, 1, true, true, 0.0f},
        {GQA_NORM_LAYER, 0, 0, true, false, 0.0f}, {GQA_NORM_LAYER, 0, 0, false, true, 0.0f},
        {GQA_NORM_LAYER, 19, 0, true, true, 0.5f}, {GQA_NORM_LAYER, 0, 0, false, false, 0.0f},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_input_norm(&cases[i]);
    }
}

/* The normalised value and its product with the weight are rounded to bf16: at most one step of
 * 2^-8 each where the f32 value lies at a boundary, half of one otherwise. */
static void input_norm_cast(void **state)
{
    struct weight_set set;
    struct buffer x, plain, cast;
    gqa_error err;
    int differ = 0;
    (void)state;
    weight_set_init(&set);
    set.config.input_norm = GQA_NORM_RMS;
    weight_set_fill(&set);
    random_buffer(&x, 3, 2.0f);
    const gqa_tensor tx = rows(&x, HIDDEN), tp = rows(&plain, HIDDEN), tc = rows(&cast, HIDDEN);
    gqa_layer *layer = weight_set_layer(&set, NULL);
    done(gqa_stage_input_norm(layer, &tx, NULL, NULL, &tp, &err), &err);
    gqa_destroy(&layer);
    set.config.norm_cast = GQA_BF16;
    layer = weight_set_layer(&set, NULL);
    done(gqa_stage_input_norm(layer, &tx, NULL, NULL, &tc, &err), &err);
    gqa_destroy(&layer);
    for (int i = 0; i < N * HIDDEN; i++) {
        uint32_t bits;
        memcpy(&bits, &cast.data[i], sizeof bits);
        assert_int_equal(bits & 0xffffu, 0);
        near((double)cast.data[i], (double)plain.data[i], 0x1.1p-7 * fabs((double)plain.data[i]),
             "cast", i);
        differ += cast.data[i] != plain.data[i];
    }
    assert_true(differ > N * HIDDEN / 2);
    weight_set_free(&set);
}

static void check_qk_norm(gqa_qk_norm_scope scope, gqa_norm kind, bool per_head, int32_t offset)
{
    struct weight_set set;
    struct buffer x[2], y[2];
    gqa_error err;
    weight_set_init(&set);
    set.norm_per_head = per_head;
    set.config.qk_norm_scope = scope;
    set.config.qk_norm = kind;
    set.config.qk_norm_offset = offset;
    set.config.qk_norm_eps = 0.01f;
    set.config.qk_norm_placement = GQA_QK_NORM_POST_ROPE;
    weight_set_fill(&set);
    gqa_layer *layer = weight_set_layer(&set, NULL);
    random_buffer(&x[0], 1, 2.0f);
    random_buffer(&x[1], 2, 0.3f);
    memcpy(y, x, sizeof y);
    const gqa_tensor q = heads(&y[0], HQ, DK), k = heads(&y[1], HKV, DK);
    done(gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &q, &k, &err), &err);
    assert_memory_equal(x, y, sizeof y); /* the config places it after rope */
    done(gqa_stage_qk_norm(layer, GQA_QK_NORM_POST_ROPE, &q, &k, &err), &err);
    for (int which = 0; which < 2; which++) {
        const int64_t count = which == 0 ? HQ : HKV;
        const int64_t n = scope == GQA_QK_NORM_WHOLE ? count * DK : DK;
        for (int64_t i = 0; i < N * count * DK; i++) {
            struct norm norm = {kind,
                                n,
                                n,
                                (double)0.01f,
                                offset,
                                which == 0 ? &set.weights.q_norm : &set.weights.k_norm,
                                which == 0 ? &set.weights.q_norm_bias : &set.weights.k_norm_bias,
                                per_head ? i / DK % count * DK : 0};
            double bound;
            const double want = norm_value(&norm, x[which].data + i / n * n, i % n, &bound);
            char name[64];
            snprintf(name, sizeof name, "%s scope %d kind %d per head %d offset %d",
                     which == 0 ? "q" : "k", (int)scope, (int)kind, per_head, (int)offset);
            near((double)y[which].data[i], want, bound, name, i);
        }
    }
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void qk_norm(void **state)
{
    (void)state;
    for (int kind = GQA_NORM_RMS; kind <= GQA_NORM_L2; kind++) {
        for (int offset = 0; offset < 2; offset++) {
            check_qk_norm(GQA_QK_NORM_HEAD, (gqa_norm)kind, false, offset);
            check_qk_norm(GQA_QK_NORM_HEAD, (gqa_norm)kind, true, offset);
            check_qk_norm(GQA_QK_NORM_WHOLE, (gqa_norm)kind, false, offset);
        }
    }
}

/* --- projections ----------------------------------------------------------------------------- */

/* Row `row` of w times x plus its bias. In f32 in any order: (n + 2) u of the absolute values. */
static void check_product(float got, const gqa_tensor *w, const gqa_tensor *b, int64_t row,
                          const float *x, const char *what)
{
    const int64_t in = w->shape[1];
    double sum = value_of(b, row, 0.0), absolute = fabs(sum);
    for (int64_t i = 0; i < in; i++) {
        const double product = (double)weight_values(w)[row * in + i] * (double)x[i];
        sum += product;
        absolute += fabs(product);
    }
    near((double)got, sum, 1.01 * (double)(in + 2) * u * absolute, what, row);
}

static void check_qkv(const char *name, gqa_backend backend)
{
    struct weight_set set;
    struct buffer x, q, k, v, gate;
    gqa_error err;
    weight_set_open(&set, name);
    set.config.backend = backend;
    weight_set_fill(&set);
    const gqa_weights *const w = &set.weights;
    const int64_t dv = set.config.v_head_dim;
    const bool tail = set.config.gate == GQA_GATE_Q_TAIL, some = set.config.gate != GQA_GATE_NONE;
    const int64_t gate_dim = set.config.gate == GQA_GATE_HEAD ? 1 : dv;
    const int64_t q_rows = tail ? DK + dv : DK;
    gqa_layer *layer = weight_set_layer(&set, NULL);
    random_buffer(&x, 4, 1.0f);
    const gqa_tensor tx = rows(&x, HIDDEN), tq = heads(&q, HQ, DK), tk = heads(&k, HKV, DK);
    const gqa_tensor tv = heads(&v, HKV, dv), tg = heads(&gate, HQ, gate_dim);
    done(gqa_stage_qkv(layer, &tx, &tq, &tk, &tv, some ? &tg : NULL, &err), &err);
    for (int64_t t = 0; t < N; t++) {
        const float *const xt = x.data + t * HIDDEN;
        for (int64_t i = 0; i < (int64_t)HQ * DK; i++) {
            const int64_t row = i / DK * q_rows + i % DK;
            check_product(q.data[t * HQ * DK + i], &w->wq, &w->bq, row, xt, name);
        }
        for (int64_t i = 0; i < (int64_t)HKV * DK; i++) {
            check_product(k.data[t * HKV * DK + i], &w->wk, &w->bk, i, xt, name);
        }
        for (int64_t i = 0; i < HKV * dv; i++) {
            const bool same = set.config.k_eq_v != 0;
            check_product(v.data[t * HKV * dv + i], same ? &w->wk : &w->wv, same ? &w->bk : &w->bv,
                          i, xt, name);
        }
        for (int64_t i = 0; i < HQ * gate_dim && some; i++) {
            const int64_t row = tail ? i / dv * q_rows + DK + i % dv : i;
            check_product(gate.data[t * HQ * gate_dim + i], tail ? &w->wq : &w->wgate,
                          tail ? &w->bq : &absent, row, xt, name);
        }
    }
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void qkv(void **state)
{
    static const char *const names[] = {"none",         "biases",    "v is k",
                                        "element gate", "head gate", "tail gate"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_qkv(names[i], GQA_BACKEND_CPU);
        check_qkv(names[i], GQA_BACKEND_REFERENCE);
    }
}

static void output_projection(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        struct weight_set set;
        struct buffer attn, o;
        gqa_error err;
        weight_set_open(&set, bias ? "biases" : "none");
        weight_set_fill(&set);
        const int64_t in = HQ * set.config.v_head_dim;
        gqa_layer *layer = weight_set_layer(&set, NULL);
        random_buffer(&attn, 5, 1.0f);
        const gqa_tensor ta = heads(&attn, HQ, set.config.v_head_dim), to = rows(&o, HIDDEN);
        done(gqa_stage_output_projection(layer, &ta, &to, &err), &err);
        for (int64_t i = 0; i < (int64_t)N * HIDDEN; i++) {
            check_product(o.data[i], &set.weights.wo, &set.weights.bo, i % HIDDEN,
                          attn.data + i / HIDDEN * in, "output projection");
        }
        gqa_destroy(&layer);
        weight_set_free(&set);
    }
}

/* --- clip and what follows it ---------------------------------------------------------------- */

static double clipped(float x, float limit)
{
    const double c = (double)limit;
    return limit == 0.0f ? (double)x : fmin(fmax((double)x, -c), c);
}

static void check_clip(float limit, bool v_norm, float v_scale, float key_multiplier)
{
    struct weight_set set;
    struct buffer x[3], y[3];
    gqa_error err;
    weight_set_init(&set);
    set.config.clip_qkv = limit;
    set.config.v_norm = v_norm ? GQA_NORM_RMS : GQA_NORM_NONE;
    set.config.qk_norm_eps = v_norm ? 0.25f : set.config.qk_norm_eps;
    set.config.v_scale = v_scale;
    set.config.key_multiplier = key_multiplier;
    weight_set_fill(&set);
    const int64_t dv = set.config.v_head_dim;
    gqa_layer *layer = weight_set_layer(&set, NULL);
    for (int i = 0; i < 3; i++) {
        random_buffer(&x[i], 6 + (uint64_t)i, 2.0f);
    }
    memcpy(y, x, sizeof y);
    const gqa_tensor q = heads(&y[0], HQ, DK), k = heads(&y[1], HKV, DK), v = heads(&y[2], HKV, dv);
    done(gqa_stage_clip(layer, &q, &k, &v, &err), &err);
    for (int64_t i = 0; i < (int64_t)N * HQ * DK; i++) {
        assert_true((double)y[0].data[i] == clipped(x[0].data[i], limit));
    }
    for (int64_t i = 0; i < (int64_t)N * HKV * DK; i++) {
        const double f = key_multiplier == 0.0f ? 1.0 : (double)key_multiplier;
        const double want = clipped(x[1].data[i], limit) * f;
        near((double)y[1].data[i], want, u * fabs(want), "k", i);
    }
    for (int64_t i = 0; i < N * HKV * dv; i++) {
        const struct norm norm = {GQA_NORM_RMS, dv, dv, 0.25, 0.0, &absent, &absent, 0};
        const double f = v_scale == 0.0f ? 1.0 : (double)v_scale;
        float head[16];
        double bound = 0.0, want;
        for (int64_t d = 0; d < dv; d++) {
            head[d] = (float)clipped(x[2].data[i / dv * dv + d], limit);
        }
        want = v_norm ? norm_value(&norm, head, i % dv, &bound) : (double)head[i % dv];
        near((double)y[2].data[i], want * f, 1.01 * f * (bound + u * fabs(want)), "v", i);
    }
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void clip(void **state)
{
    (void)state;
    check_clip(0.0f, false, 0.0f, 0.0f);
    check_clip(0.75f, false, 0.0f, 0.0f);
    check_clip(0.0f, true, 0.707f, 0.39f);
    check_clip(1.5f, true, 0.707f, 0.0f);
    check_clip(1.0f, false, 0.0f, 3.0f);
}

/* --- temperature, gate, output --------------------------------------------------------------- */

static void temperature(void **state)
{
    const int32_t ids[N] = {0, 7, 8, 4095, 1000000};
    (void)state;
    for (int kind = 0; kind <= 2; kind++) {
        struct weight_set set;
        struct buffer x, y;
        gqa_error err;
        weight_set_init(&set);
        set.config.query_temperature = (gqa_query_temperature)kind;
        set.config.query_temperature_scale = kind > 0 ? 0.1f : 0.0f;
        set.config.query_temperature_floor = kind > 0 ? 8.0f : 0.0f;
        weight_set_fill(&set);
        gqa_layer *layer = weight_set_layer(&set, NULL);
        random_buffer(&x, 9, 1.0f);
        y = x;
        const gqa_tensor q = heads(&y, HQ, DK);
        done(gqa_stage_query_temperature(layer, ids, &q, &err), &err);
        for (int64_t i = 0; i < (int64_t)N * HQ * DK; i++) {
            const int32_t p = ids[i / (HQ * DK)] + (kind == GQA_QUERY_TEMPERATURE_LLAMA4 ? 1 : 0);
            const double f = kind == 0 ? 1.0 : 1.0 + (double)0.1f * log(1.0 + p / 8);
            const double want = f * (double)x.data[i];
            /* The factor and the product are rounded once each. */
            near((double)y.data[i], want, kind == 0 ? 0.0 : 2.01 * u * fabs(want), "temperature",
                 i);
        }
        gqa_destroy(&layer);
        weight_set_free(&set);
    }
}

/* sigmoid and softplus are good to 4 last places, 8 u (base/mathf.h); the product is one more. */
static void gate(void **state)
{
    (void)state;
    for (int kind = GQA_GATE_NONE; kind <= GQA_GATE_Q_TAIL; kind++) {
        for (int activation = 0; activation <= (kind == GQA_GATE_NONE ? 0 : 1); activation++) {
            struct weight_set set;
            struct buffer x, y, g;
            gqa_error err;
            weight_set_init(&set);
            set.config.gate = (gqa_gate)kind;
            set.config.gate_activation = (gqa_gate_activation)activation;
            weight_set_fill(&set);
            const int64_t dv = set.config.v_head_dim, dim = kind == GQA_GATE_HEAD ? 1 : dv;
            gqa_layer *layer = weight_set_layer(&set, NULL);
            random_buffer(&x, 10, 1.0f);
            random_buffer(&g, 11, 9.0f);
            y = x;
            const gqa_tensor attn = heads(&y, HQ, dv), logits = heads(&g, HQ, dim);
            done(gqa_stage_gate(layer, kind == 0 ? NULL : &logits, &attn, &err), &err);
            for (int64_t i = 0; i < N * HQ * dv; i++) {
                const double z = (double)g.data[dim == 1 ? i / dv : i];
                const double a = activation == 0 ? 1.0 / (1.0 + exp(-z)) : log1p(exp(z));
                const double want = (kind == 0 ? 1.0 : a) * (double)x.data[i];
                near((double)y.data[i], want, kind == 0 ? 0.0 : 10 * u * fabs(want), "gate", i);
            }
            gqa_destroy(&layer);
            weight_set_free(&set);
        }
    }
}

static void check_output(gqa_norm kind, float multiplier, bool residual, float residual_multiplier,
                         bool in_place)
{
    struct weight_set set;
    struct buffer o, sum, out;
    float scaled[HIDDEN];
    gqa_error err;
    weight_set_init(&set);
    set.config.post_norm = kind;
    set.config.post_norm_eps = kind == GQA_NORM_NONE ? set.config.post_norm_eps : 0.5f;
    set.config.post_norm_offset = kind == GQA_NORM_RMS;
    set.config.attn_out_multiplier = multiplier;
    set.config.add_residual = residual;
    set.config.residual_multiplier = residual_multiplier;
    weight_set_fill(&set);
    gqa_layer *layer = weight_set_layer(&set, NULL);
    random_buffer(&o, 12, 1.0f);
    random_buffer(&sum, 13, 1.0f);
    out = in_place ? o : sum;
    const gqa_tensor tin = in_place ? rows(&out, HIDDEN) : rows(&o, HIDDEN);
    const gqa_tensor tsum = in_place ? rows(&sum, HIDDEN) : rows(&out, HIDDEN);
    const gqa_tensor tout = rows(&out, HIDDEN);
    done(gqa_stage_output(layer, &tin, residual ? &tsum : NULL, &tout, &err), &err);
    const struct norm norm = {kind,
                              HIDDEN,
                              HIDDEN,
                              0.5,
                              kind == GQA_NORM_RMS ? 1.0 : 0.0,
                              &set.weights.post_norm,
                              &set.weights.post_norm_bias,
                              0};
    for (int64_t i = 0; i < (int64_t)N * HIDDEN; i++) {
        double bound = 0.0, want;
        for (int64_t j = 0; j < HIDDEN; j++) { /* the product with the multiplier is rounded */
            const float x = o.data[i / HIDDEN * HIDDEN + j];
            scaled[j] = multiplier == 0.0f ? x : x * multiplier;
        }
        want = kind == GQA_NORM_NONE ? (double)scaled[i % HIDDEN]
                                     : norm_value(&norm, scaled, i % HIDDEN, &bound);
        if (residual) {
            const double f = residual_multiplier == 0.0f ? 1.0 : (double)residual_multiplier;
            want = (double)sum.data[i] + f * want;
            bound = bound * f + u * fabs(want);
        }
        near((double)out.data[i], want, 1.01 * bound, "output", i);
    }
    gqa_destroy(&layer);
    weight_set_free(&set);
}

static void output(void **state)
{
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        for (int kind = GQA_NORM_NONE; kind <= GQA_NORM_LAYER; kind++) {
            check_output((gqa_norm)kind, 0.0f, false, 0.0f, in_place != 0);
            check_output((gqa_norm)kind, 0.6f, true, 0.0f, in_place != 0);
            check_output((gqa_norm)kind, 0.0f, true, 0.22f, in_place != 0);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_norm),  cmocka_unit_test(input_norm_cast),
        cmocka_unit_test(qk_norm),     cmocka_unit_test(qkv),
        cmocka_unit_test(clip),        cmocka_unit_test(output_projection),
        cmocka_unit_test(temperature), cmocka_unit_test(gate),
        cmocka_unit_test(output),
    };
    return RUN_TESTS(argc, argv, tests);
}
