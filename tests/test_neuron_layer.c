/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_layer.c - a whole layer of backend neuron, bit by bit, against the same layer written
 * out once more: prompts, one token after them, every I/O type. And made wrong at one rounding
 * point at a time, which must be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/native_twin.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { H = SMALL_HIDDEN, HQ = SMALL_HQ, HKV = SMALL_HKV, D = SMALL_DK, MOST = 24 };

/* A rounding point that is left out, or one too many. */
enum wrong {
    RIGHT,
    INPUT_F32,    /* hidden states are not rounded on their way in */
    X_NORM_F32,   /* the norm's result is not rounded */
    NORM_TWICE,   /* the normalised value is rounded before the weight */
    WEIGHT_F32,   /* matrices are not rounded */
    BIAS_ONCE,    /* product and bias in one rounding */
    QK_NORM_F32,  /* q/k norm is not rounded */
    COS_F32,      /* tables are not rounded */
    ROPE_ONCE,    /* rope in f32, rounded once */
    O_BIAS_ONCE,  /* as BIAS_ONCE, of the output */
    RESIDUAL_F32, /* the last sum is not rounded */
    WRONGS
};
static const char *const wrong_names[WRONGS] = {
    "right",       "input f32", "x_norm f32", "norm twice",  "weight f32",  "bias once",
    "qk norm f32", "cos f32",   "rope once",  "o bias once", "residual f32"};

struct twin {
    const struct weight_set *model;
    bool bf16;
    enum wrong wrong;
    int past, n;                              /* tokens before the call, and of it */
    const float *x;                           /* [n][H] */
    const float *cos, *sin;                   /* [n][D / 2] */
    float k[MOST][HKV * D], v[MOST][HKV * D]; /* of all tokens */
    float q[MOST][HQ * D];
    float out[MOST][H];
};

static float t_of(const struct twin *twin, double x)
{
    return native_twin_round(x, twin->bf16);
}

/* Rounded to T, but for one point. */
static float at(const struct twin *twin, enum wrong point, double x)
{
    return twin->wrong == point ? (float)x : t_of(twin, x);
}

static void norm(const struct twin *twin, enum wrong point, const gqa_tensor *weight, float eps,
                 int n, float *x)
{
    double sum = 0.0;
    float factor;

    for (int i = 0; i < n; i++) {
        const float square = x[i] * x[i];
        sum += (double)square;
    }
    factor = (float)sum / (float)n + eps;
    factor = (float)(1.0 / sqrt((double)factor));
    for (int i = 0; i < n; i++) {
        float y = x[i] * factor;
        if (twin->wrong == NORM_TWICE) {
            y = t_of(twin, (double)y);
        }
        y *= t_of(twin, (double)weight_values(weight)[i]);
        x[i] = at(twin, point, (double)y);
    }
}

static void project(const struct twin *twin, enum wrong once, const gqa_tensor *weight,
                    const gqa_tensor *bias, const float *x, float *y)
{
    const int64_t out = weight->shape[0], in = weight->shape[1];

    for (int64_t o = 0; o < out; o++) {
        double sum = 0.0;
        for (int64_t i = 0; i < in; i++) {
            sum += (double)x[i] *
                   (double)at(twin, WEIGHT_F32, (double)weight_values(weight)[o * in + i]);
        }
        const float b = t_of(twin, (double)weight_values(bias)[o]);
        const float product = twin->wrong == once ? (float)sum : t_of(twin, (double)(float)sum);
        y[o] = t_of(twin, (double)(product + b));
    }
}

static void rotate(const struct twin *twin, int token, float *x)
{
    for (int i = 0; i < D / 2; i++) {
        const float c = at(twin, COS_F32, (double)twin->cos[token * (D / 2) + i]);
        const float s = at(twin, COS_F32, (double)twin->sin[token * (D / 2) + i]);
        const float a = x[i], b = x[i + D / 2];
        const float ac = a * c, bs = b * s, bc = b * c, as = a * s;
        x[i] =
            t_of(twin, (double)(at(twin, ROPE_ONCE, (double)ac) - at(twin, ROPE_ONCE, (double)bs)));
        x[i + D / 2] =
            t_of(twin, (double)(at(twin, ROPE_ONCE, (double)bc) + at(twin, ROPE_ONCE, (double)as)));
    }
}

static void attend(const struct twin *twin, int token, int head, float *out)
{
    static float raw[2][MOST], s[2][MOST], p[2][MOST], o[2][D];
    const int at_kv = head / (HQ / HKV) * D;
    uint8_t mask[MOST];
    const gqa_weights *const w = &twin->model->weights;
    const gqa_tensor *const sinks = twin->past > 0 ? &w->tkg_sinks : &w->sinks;
    const float sink = t_of(twin, (double)weight_values(sinks)[head]);
    struct native_row row = {.d = D,
                             .bf16 = twin->bf16,
                             .parts = twin->past > 0,
                             .q = &twin->q[token][(ptrdiff_t)head * D],
                             .sink = &sink,
                             .out = out};
    const struct native_keys all = {.stride = HKV * D,
                                    .fill = twin->bf16 ? -0x1.fep127f : -0x1.fffffep127f};

    row.prior = row.active = all;
    row.prior.k = &twin->k[0][at_kv];
    row.prior.v = &twin->v[0][at_kv];
    row.prior.n = twin->past;
    row.active.k = &twin->k[twin->past][at_kv];
    row.active.v = &twin->v[twin->past][at_kv];
    row.active.n = twin->n;
    row.active.mask = mask;
    for (int j = 0; j < twin->n; j++) {
        mask[j] = j <= token;
    }
    if (row.parts) { /* the active part is masked in f32 */
        row.active.fill = -0x1.fffffep127f;
    }
    struct native_keys *const parts[] = {&row.prior, &row.active};
    for (int i = 0; i < 2; i++) {
        parts[i]->raw = raw[i];
        parts[i]->s = s[i];
        parts[i]->p = p[i];
        parts[i]->o = o[i];
    }
    native_twin_row(&row, NATIVE_RIGHT);
}

static void twin_token(struct twin *twin, int token)
{
    const gqa_weights *const w = &twin->model->weights;
    float x[H];
    float *const q = twin->q[token], *const k = twin->k[twin->past + token];

    for (int i = 0; i < H; i++) {
        x[i] = at(twin, INPUT_F32, (double)twin->x[token * H + i]);
    }
    norm(twin, X_NORM_F32, &w->input_norm, twin->model->config.input_norm_eps, H, x);
    project(twin, BIAS_ONCE, &w->wq, &w->bq, x, q);
    project(twin, BIAS_ONCE, &w->wk, &w->bk, x, k);
    project(twin, BIAS_ONCE, &w->wv, &w->bv, x, twin->v[twin->past + token]);
    for (int h = 0; h < HQ; h++) {
        norm(twin, QK_NORM_F32, &w->q_norm, twin->model->config.qk_norm_eps, D, q + h * D);
        rotate(twin, token, q + h * D);
    }
    for (int h = 0; h < HKV; h++) {
        norm(twin, QK_NORM_F32, &w->k_norm, twin->model->config.qk_norm_eps, D, k + h * D);
        rotate(twin, token, k + h * D);
    }
}

static void twin_run(struct twin *twin)
{
    for (int t = 0; t < twin->n; t++) {
        twin_token(twin, t);
    }
    for (int t = 0; t < twin->n; t++) {
        float attn[HQ * D], o[H];
        for (int h = 0; h < HQ; h++) {
            attend(twin, t, h, attn + h * D);
        }
        project(twin, O_BIAS_ONCE, &twin->model->weights.wo, &twin->model->weights.bo, attn, o);
        for (int i = 0; i < H; i++) {
            const float sum = t_of(twin, (double)twin->x[t * H + i]);
            twin->out[t][i] = at(twin, RESIDUAL_F32, (double)(sum + o[i]));
        }
    }
}

/* --- the layer ---------------------------------------------------------------------------------
 */

static void whole(gqa_config *config)
{
    config->v_head_dim = 0;
    config->input_norm = GQA_NORM_RMS;
    config->qkv_bias = 1;
    config->o_bias = 1;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->learned_sinks_size = 1;
    config->add_residual = 1;
    config->rope_attention_factor = 1.34657359f;
    config->backend = GQA_BACKEND_NEURON;
}

static void whole_f32(gqa_config *config)
{
    whole(config);
    config->neuron_io = GQA_NEURON_IO_F32;
}

/* n tokens through the layer and through the twin, whose past is that of the layer's cache. Returns
 * how many results differ. */
static int differing(struct small_layer *small, struct twin *twin, int n)
{
    float cos[MOST * D / 2], sin[MOST * D / 2], out[MOST * H];
    gqa_inputs in;
    gqa_output output;
    int count = 0;

    gqa_inputs_init(&in);
    gqa_output_init(&output);
    in.hidden_states = gqa_tensor_3d(small->x + twin->past * H, GQA_F32, 1, n, H);
    output.hidden_states = gqa_tensor_3d(out, GQA_F32, 1, n, H);
    output.cos_cache = gqa_tensor_3d(cos, GQA_F32, 1, n, D / 2);
    output.sin_cache = gqa_tensor_3d(sin, GQA_F32, 1, n, D / 2);
    if (gqa_forward(small->layer, small->cache, &in, &output, NULL, 0, &small->err) != GQA_OK) {
        fail_msg("%s", small->err.message);
    }
    assert_int_equal(output.path.neuron_profile,
                     twin->past > 0 ? GQA_NEURON_NATIVE_TKG : GQA_NEURON_NATIVE_PREFILL);
    assert_int_equal(output.path.neuron_strategy, GQA_NEURON_STRATEGY_NONE);
    assert_int_equal(output.path.backend, GQA_BACKEND_NEURON);
    twin->n = n;
    twin->x = small->x + twin->past * H;
    twin->cos = cos;
    twin->sin = sin;
    twin_run(twin);
    for (int i = 0; i < n * H; i++) {
        count += memcmp(&out[i], &twin->out[i / H][i % H], sizeof out[i]) != 0;
    }
    twin->past += n;
    return count;
}

/* A prompt of 11 tokens, one more, and three more. */
static int run(void (*edit)(gqa_config *config), bool bf16, enum wrong wrong)
{
    static struct small_layer small;
    static struct twin twin;
    int count;

    memset(&twin, 0, sizeof twin);
    small_layer_open(&small, edit);
    twin.model = &small.model;
    twin.bf16 = bf16;
    twin.wrong = wrong;
    count = differing(&small, &twin, 11);
    count += differing(&small, &twin, 1);
    count += differing(&small, &twin, 3);
    small_layer_close(&small);
    return count;
}

static void every_bit(void **state)
{
    (void)state;
    assert_int_equal(run(whole, true, RIGHT), 0);
    assert_int_equal(run(whole_f32, false, RIGHT), 0);
}

static void every_rounding_point_is_seen(void **state)
{
    (void)state;
    for (int wrong = RIGHT + 1; wrong < WRONGS; wrong++) {
        const int count = run(whole, true, (enum wrong)wrong);
        print_message("%-12s %d of %d results differ\n", wrong_names[wrong], count, 15 * H);
        assert_true(count > 0);
    }
}

static void whole_bidirectional(gqa_config *config)
{
    whole(config);
    config->bidirectional = 1;
}

/* A bidirectional layer makes all keys before the first query, so q by itself and k and v by
 * themselves: the 40 rows of q end within a block of outputs. Of one token nothing else differs. */
static void two_passes(void **state)
{
    static struct small_layer one, two;
    float a[H], b[H];

    (void)state;
    small_layer_open(&one, whole);
    small_layer_open(&two, whole_bidirectional);
    for (int t = 0; t < 9; t++) {
        assert_int_equal(small_layer_forward(&one, NULL, NULL, 1, 1, one.x + t * H, a), GQA_OK);
        assert_int_equal(small_layer_forward(&two, NULL, NULL, 1, 1, one.x + t * H, b), GQA_OK);
        assert_memory_equal(a, b, sizeof a);
    }
    small_layer_close(&one);
    small_layer_close(&two);
}

/* What Neuron's layer has no step for, one field at a time. */
static void foreign_fields(void **state)
{
    static const char *const names[] = {"numerics", "key_multiplier", "v_scale",
                                        "v_norm",   "softcap",        "k_eq_v",
                                        "gate",     "v_head_dim",     "score_scale"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        gqa_config c = attention_config(HQ, HKV, D, 0);
        gqa_error err;
        char field[32];
        c.backend = GQA_BACKEND_NEURON;
        c.numerics = i == 0 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
        c.key_multiplier = i == 1 ? 2.0f : 0.0f;
        c.v_scale = i == 2 ? 2.0f : 0.0f;
        c.v_norm = i == 3 ? GQA_NORM_RMS : GQA_NORM_NONE;
        c.softcap = i == 4 ? 30.0f : 0.0f;
        c.k_eq_v = i == 5;
        c.gate = i == 6 ? GQA_GATE_HEAD : GQA_GATE_NONE;
        c.v_head_dim = i == 7 ? D - 2 : 0;
        c.score_scale = 0.25f;
        assert_int_equal(gqa_config_check(&c, &err), i == 8 ? GQA_OK : GQA_ERR_UNSUPPORTED);
        c.neuron_release = i == 8 ? GQA_NEURON_2_26 : GQA_NEURON_NEWEST;
        assert_int_equal(gqa_config_check(&c, &err), GQA_ERR_UNSUPPORTED);
        (void)snprintf(field, sizeof field, "config.%s", names[i]);
        assert_string_equal(err.field, field);
        assert_non_null(strstr(err.message, "GQA_BACKEND_NEURON"));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit),
        cmocka_unit_test(every_rounding_point_is_seen),
        cmocka_unit_test(two_passes),
        cmocka_unit_test(foreign_fields),
    };
    return RUN_TESTS(argc, argv, tests);
}
