/* SPDX-License-Identifier: Apache-2.0 */
/* test_rules.c - rules of the layer that no other program tests directly, each against numbers by
 * hand or an identity: query temperature, partial rotary, cos and sin in and out, padded hidden.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { T = 7, DIM = 8 };

#define ULP 0x1p-23 /* of f32, relative */

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) {
        fail_msg("%.9g, not %.9g +- %.2g", got, want, tolerance);
    }
}

/* --- query temperature --------------------------------------------------------------------------
 */

/* Positions and the factor of the query there, for s = 0.1 and a floor of 8192: 1 + 0.1 ln(1 + n),
 * n written down by hand. */
static const struct {
    int32_t position;
    int llama4, ministral; /* n = floor((p + 1) / 8192), floor(p / 8192) */
} places[T] = {{0, 0, 0},     {8190, 0, 0},  {8191, 1, 0}, {8192, 1, 1},
               {16382, 1, 1}, {16383, 2, 1}, {65535, 8, 7}};

/* A layer of one head that is attention alone, without rope. */
static gqa_layer *temperature_layer(gqa_query_temperature kind)
{
    gqa_config config = attention_config(1, 1, DIM, 0);
    config.query_temperature = kind;
    config.query_temperature_scale = 0.1f;
    config.query_temperature_floor = 8192;
    return attention_layer(&config, NULL);
}

static double factor_at(gqa_query_temperature kind, int i)
{
    const int n = kind == GQA_QUERY_TEMPERATURE_LLAMA4 ? places[i].llama4 : places[i].ministral;

    return 1.0 + (double)0.1f * log(1.0 + n);
}

/* The stage alone: q times the factor. It is rounded once and the product once: 2 halves of an ulp.
 */
static void stage_of(gqa_query_temperature kind)
{
    gqa_layer *layer = temperature_layer(kind);
    int32_t positions[T];
    float q[T * DIM];
    const gqa_tensor tensor = gqa_tensor_3d(q, GQA_F32, T, 1, DIM);

    for (int i = 0; i < T * DIM; i++) {
        positions[i / DIM] = places[i / DIM].position;
        q[i] = (float)(i % 5 - 2);
    }
    assert_int_equal(gqa_stage_query_temperature(layer, positions, &tensor, NULL), GQA_OK);
    for (int i = 0; i < T * DIM; i++) {
        const double want = (i % 5 - 2) * factor_at(kind, i / DIM);
        near((double)q[i], want, ULP * fabs(want));
    }
    gqa_destroy(&layer);
}

/* A row that sees itself alone (window 1 would say so; here the first token of its own sequence)
 * has lse = factor * q.k / sqrt(8). q = k = ones: q.k = 8. The sum is exact; the scale, the factor,
 * their products and the logarithm's units are each rounded: 8 ulp. */
static void lse_of(gqa_query_temperature kind)
{
    gqa_layer *layer = temperature_layer(kind);
    float ones[DIM], attn[DIM], lse = 0.0f;

    for (int i = 0; i < DIM; i++) {
        ones[i] = 1.0f;
    }
    for (int i = 0; i < T; i++) {
        const double want = factor_at(kind, i) * 8 / sqrt(8.0);
        gqa_inputs in;
        gqa_output out;
        gqa_inputs_init(&in);
        gqa_output_init(&out);
        in.q_proj = in.k_proj = in.v_proj = gqa_tensor_3d(ones, GQA_F32, 1, 1, DIM);
        in.position_ids = &places[i].position;
        out.attn = gqa_tensor_3d(attn, GQA_F32, 1, 1, DIM);
        out.lse = gqa_tensor_2d(&lse, GQA_F32, 1, 1);
        assert_int_equal(gqa_forward(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
        near((double)lse, want, 8 * ULP * want);
    }
    gqa_destroy(&layer);
}

static void query_temperature(void **state)
{
    (void)state;
    stage_of(GQA_QUERY_TEMPERATURE_LLAMA4);
    stage_of(GQA_QUERY_TEMPERATURE_MINISTRAL);
    lse_of(GQA_QUERY_TEMPERATURE_LLAMA4);
    lse_of(GQA_QUERY_TEMPERATURE_MINISTRAL);
}

/* --- partial rotary -----------------------------------------------------------------------------
 */

enum { WIDE = 12, ROTARY = 4 };

/* K of T tokens (from k_proj) as it is handed to the cache. */
static void rotated(gqa_rope style, int32_t head_dim, int32_t rotary_dim, const float *k,
                    float *out)
{
    static const float zeros[T * WIDE];
    float attn[T * WIDE];
    gqa_layer *layer = NULL;
    gqa_config config;
    gqa_inputs in;
    gqa_output output;
    gqa_error err;

    config = attention_config(1, 1, head_dim, 0);
    config.rope = style;
    config.rope_theta = 100;
    config.rotary_dim = rotary_dim;
    layer = attention_layer(&config, NULL);
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    in.q_proj = in.v_proj = gqa_tensor_3d(zeros, GQA_F32, T, 1, head_dim);
    in.k_proj = gqa_tensor_3d(k, GQA_F32, T, 1, head_dim);
    output.attn = gqa_tensor_3d(attn, GQA_F32, T, 1, head_dim);
    output.present_key_value.k = gqa_tensor_4d(out, GQA_F32, 1, 1, T, head_dim);
    assert_int_equal(gqa_forward(layer, NULL, &in, &output, NULL, 0, &err), GQA_OK);
    gqa_destroy(&layer);
}

/* theta 100 and 4 rotary dims: frequencies 1 and 1/10. Tables are exact to an ulp and a rotation
 * has two products: 3 ulp of |u| + |w|. */
static void rotation_by_hand(gqa_rope style, const float *k, const float *got)
{
    const double frequency[ROTARY / 2] = {1.0, 0.1};

    for (int t = 0; t < T; t++) {
        for (int j = 0; j < ROTARY / 2; j++) {
            const int a = t * WIDE + (style == GQA_ROPE_HALF ? j : 2 * j);
            const int b = a + (style == GQA_ROPE_HALF ? ROTARY / 2 : 1);
            const double c = cos(t * frequency[j]), s = sin(t * frequency[j]);
            const double u = (double)k[a], w = (double)k[b];
            near((double)got[a], u * c - w * s, 3 * ULP * (fabs(u) + fabs(w)));
            near((double)got[b], w * c + u * s, 3 * ULP * (fabs(u) + fabs(w)));
        }
    }
}

static void partial_rotary(void **state)
{
    float k[T * WIDE], part[T * WIDE], full[T * WIDE], whole[T * WIDE];

    (void)state;
    for (int i = 0; i < T * WIDE; i++) {
        k[i] = (float)(i % 11) - 4.5f;
    }
    for (int style = GQA_ROPE_HALF; style <= GQA_ROPE_INTERLEAVED; style++) {
        rotated((gqa_rope)style, WIDE, ROTARY, k, part);
        rotation_by_hand((gqa_rope)style, k, part);
        for (int t = 0; t < T; t++) { /* the tail is what it was, to the bit */
            assert_memory_equal(part + t * WIDE + ROTARY, k + t * WIDE + ROTARY,
                                (WIDE - ROTARY) * sizeof *k);
        }
        rotated((gqa_rope)style, WIDE, 0, k, full); /* rotary_dim = head_dim is the whole head */
        rotated((gqa_rope)style, WIDE, WIDE, k, whole);
        assert_memory_equal(full, whole, sizeof full);
        assert_true(memcmp(full, part, sizeof full) != 0);
    }
}

/* --- cos and sin in and out ---------------------------------------------------------------------
 */

enum { PAIRS = SMALL_DK / 2 };

struct tables {
    float cos[T * PAIRS], sin[T * PAIRS];
    uint64_t key;
};

static void other_theta(gqa_config *config)
{
    config->rope_theta = 10001;
}

/* The call of T tokens, with the tables given (from) or handed out (to), or neither. */
static gqa_status tables_call(struct small_layer *small, const struct tables *from,
                              struct tables *to, float *y)
{
    gqa_inputs in;
    gqa_output out;
    gqa_status status;

    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_2d(small->x, GQA_F32, T, SMALL_HIDDEN);
    out.hidden_states = gqa_tensor_2d(y, GQA_F32, T, SMALL_HIDDEN);
    if (from != NULL) {
        in.cos_cache = gqa_tensor_3d(from->cos, GQA_F32, 1, T, PAIRS);
        in.sin_cache = gqa_tensor_3d(from->sin, GQA_F32, 1, T, PAIRS);
        in.rope_key = from->key;
    }
    if (to != NULL) {
        out.cos_cache = gqa_tensor_3d(to->cos, GQA_F32, 1, T, PAIRS);
        out.sin_cache = gqa_tensor_3d(to->sin, GQA_F32, 1, T, PAIRS);
    }
    status = gqa_forward(small->layer, NULL, &in, &out, NULL, 0, &small->err);
    if (to != NULL) {
        to->key = out.rope_key;
    }
    return status;
}

static void tables_in_and_out(void **state)
{
    struct small_layer small, other;
    struct tables tables, again, turned;
    float plain[T * SMALL_HIDDEN], y[T * SMALL_HIDDEN];

    (void)state;
    small_layer_open(&small, NULL);
    small_layer_open(&other, other_theta);
    assert_int_equal(tables_call(&small, NULL, NULL, plain), GQA_OK);
    assert_int_equal(tables_call(&small, NULL, &tables, y), GQA_OK);
    assert_memory_equal(y, plain, sizeof y); /* handing them out changes nothing */
    assert_true(tables.key == gqa_layer_rope_key(small.layer));
    for (int i = 0; i < T * PAIRS; i++) { /* and they are what they should be, rounded once */
        const double angle = i / PAIRS * pow(10000, -(i % PAIRS) / (double)PAIRS);
        near((double)tables.cos[i], cos(angle), ULP / 2 + 1e-15);
        near((double)tables.sin[i], sin(angle), ULP / 2 + 1e-15);
    }
    assert_int_equal(tables_call(&small, &tables, &again, y), GQA_OK);
    assert_memory_equal(y, plain, sizeof y); /* nor does taking them */
    assert_memory_equal(again.cos, tables.cos, sizeof tables.cos);
    assert_memory_equal(again.sin, tables.sin, sizeof tables.sin);

    turned = tables; /* they are used, not computed again */
    turned.sin[PAIRS] = -turned.sin[PAIRS];
    assert_int_equal(tables_call(&small, &turned, NULL, y), GQA_OK);
    assert_true(memcmp(y, plain, sizeof y) != 0);

    assert_int_equal(tables_call(&other, &tables, NULL, y), GQA_ERR_ARG); /* another theta */
    assert_string_equal(other.err.field, "inputs.rope_key");
    small_layer_close(&small);
    small_layer_close(&other);
}

/* --- padded hidden ------------------------------------------------------------------------------
 */

enum { PADDED = 40 };

/* rows x SMALL_HIDDEN into rows x PADDED, the rest zero; an absent tensor stays absent. */
static void widen(gqa_tensor *t, float *memory, int64_t rows)
{
    if (t->data == NULL) {
        return;
    }
    memset(memory, 0, (size_t)(rows * PADDED) * sizeof *memory);
    for (int64_t i = 0; i < rows; i++) {
        memcpy(memory + i * PADDED, (const float *)t->data + i * SMALL_HIDDEN,
               SMALL_HIDDEN * sizeof *memory);
    }
    *t = rows == 1 ? gqa_tensor_1d(memory, GQA_F32, PADDED)
                   : gqa_tensor_2d(memory, GQA_F32, rows, PADDED);
}

static void normed(gqa_config *config)
{
    config->input_norm = GQA_NORM_RMS;
    config->post_norm = GQA_NORM_LAYER;
    config->o_bias = 1;
    config->add_residual = 1;
}

/* The small's layer with hidden_size PADDED, its weights zero in the padding. */
static gqa_layer *padded_layer(const struct small_layer *small)
{
    enum { ROWS = SMALL_HQ * SMALL_DK, OUT = SMALL_HQ * SMALL_DV };
    static float wq[ROWS * PADDED], wk[ROWS * PADDED], wv[ROWS * PADDED], wo[PADDED * OUT];
    static float norms[4][PADDED];
    gqa_config config = small->model.config;
    gqa_weights weights = small->model.weights;
    gqa_layer *layer = NULL;
    gqa_error err;

    config.hidden_size = PADDED;
    config.hidden_size_unpadded = SMALL_HIDDEN;
    widen(&weights.wq, wq, SMALL_HQ * SMALL_DK);
    widen(&weights.wk, wk, SMALL_HKV * SMALL_DK);
    widen(&weights.wv, wv, SMALL_HKV * SMALL_DV);
    widen(&weights.input_norm, norms[0], 1);
    widen(&weights.post_norm, norms[1], 1);
    widen(&weights.post_norm_bias, norms[2], 1);
    widen(&weights.bo, norms[3], 1);
    memset(wo, 0, sizeof wo);
    memcpy(wo, weights.wo.data, SMALL_HIDDEN * OUT * sizeof *wo);
    weights.wo = gqa_tensor_2d(wo, GQA_F32, PADDED, OUT);
    if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return layer;
}

static void normed_bf16(gqa_config *config)
{
    normed(config);
    config->numerics = GQA_NUMERICS_BF16;
}

static void rms_reference(gqa_config *config)
{
    config->input_norm = GQA_NORM_RMS;
    config->backend = GQA_BACKEND_REFERENCE;
}

/* To the bit on backend cpu: zeros add nothing to a chain, and means are taken over the true width.
 * The products of backend reference may add in another order. There x_norm is below sqrt(24) * 0.3
 * and weights are below 0.3, so v is below 24 * 0.3 * 1.5 = 11 and the 36 terms of an output sum to
 * 119 at most: two orders differ by 36 * 119 * 2^-24 = 2.6e-4, and by no more for what they are
 * fed.
 */
static void padded_equals_unpadded(void (*edit)(gqa_config *), double tolerance)
{
    struct small_layer small;
    gqa_layer *layer;
    gqa_inputs in;
    gqa_output out;
    float y[T * SMALL_HIDDEN], x[T * PADDED], wide[T * PADDED];
    gqa_tensor t;

    small_layer_open(&small, edit);
    layer = padded_layer(&small);
    assert_int_equal(small_layer_forward(&small, NULL, NULL, 1, T, small.x, y), GQA_OK);
    t = gqa_tensor_2d(small.x, GQA_F32, T, SMALL_HIDDEN);
    widen(&t, x, T);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = t;
    out.hidden_states = gqa_tensor_2d(wide, GQA_F32, T, PADDED);
    assert_int_equal(gqa_forward(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    for (int i = 0; i < T; i++) {
        for (int j = 0; j < PADDED; j++) {
            const double want = j < SMALL_HIDDEN ? (double)y[i * SMALL_HIDDEN + j] : 0.0;
            near((double)wide[i * PADDED + j], want, j < SMALL_HIDDEN ? tolerance : 0.0);
        }
    }
    gqa_destroy(&layer);
    small_layer_close(&small);
}

static void hidden_padding(void **state)
{
    (void)state;
    padded_equals_unpadded(normed, 0.0);
    padded_equals_unpadded(rms_reference, 1e-3);
}

static void hidden_padding_bf16(void **state)
{
    (void)state;
    padded_equals_unpadded(normed_bf16, 0.0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_temperature),   cmocka_unit_test(partial_rotary),
        cmocka_unit_test(tables_in_and_out),   cmocka_unit_test(hidden_padding),
        cmocka_unit_test(hidden_padding_bf16),
    };

    return RUN_TESTS(argc, argv, tests);
}
