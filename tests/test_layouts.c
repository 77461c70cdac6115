/* SPDX-License-Identifier: Apache-2.0 */
/* The same weights in other number formats, strides and layouts make the same layer, to the bit;
 * and the layer keeps nothing of the caller's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layer/layer.h"
#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

enum { TOKENS = 5 };

/* Everything that the stages make of a hidden state: q, k, v, gate, norms, output. */
struct trace {
    float x[TOKENS * 20], normed[TOKENS * 20], q[TOKENS * 60], k[TOKENS * 20], v[TOKENS * 20];
    float gate[TOKENS * 60], o[TOKENS * 20], out[TOKENS * 20];
};

static void run(const gqa_layer *layer, const gqa_config *c, struct trace *t)
{
    const int32_t dv = c->v_head_dim;
    const int32_t gate_dim = c->gate == GQA_GATE_HEAD ? 1 : dv;
    uint64_t seed = 99;
    memset(t, 0, sizeof *t);
    random_floats(&seed, t->x, TOKENS * 20, 1.5f);
    const gqa_tensor x = gqa_tensor_2d(t->x, GQA_F32, TOKENS, 20);
    const gqa_tensor normed = gqa_tensor_2d(t->normed, GQA_F32, TOKENS, 20);
    const gqa_tensor q = gqa_tensor_3d(t->q, GQA_F32, TOKENS, 6, 10);
    const gqa_tensor k = gqa_tensor_3d(t->k, GQA_F32, TOKENS, 2, 10);
    const gqa_tensor v = gqa_tensor_3d(t->v, GQA_F32, TOKENS, 2, dv);
    const gqa_tensor gate = gqa_tensor_3d(t->gate, GQA_F32, TOKENS, 6, gate_dim);
    const gqa_tensor *const gate_out = c->gate == GQA_GATE_NONE ? NULL : &gate;
    const gqa_tensor attn = gqa_tensor_3d(t->q, GQA_F32, TOKENS, 6, dv);
    const gqa_tensor o = gqa_tensor_2d(t->o, GQA_F32, TOKENS, 20);
    const gqa_tensor out = gqa_tensor_2d(t->out, GQA_F32, TOKENS, 20);
    assert_int_equal(gqa_stage_input_norm(layer, &x, NULL, NULL, &normed, NULL), GQA_OK);
    assert_int_equal(gqa_stage_qkv(layer, &normed, &q, &k, &v, gate_out, NULL), GQA_OK);
    assert_int_equal(gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &q, &k, NULL), GQA_OK);
    assert_int_equal(gqa_stage_output_projection(layer, &attn, &o, NULL), GQA_OK);
    assert_int_equal(gqa_stage_output(layer, &o, NULL, &out, NULL), GQA_OK);
}

static void same(const struct trace *a, const struct trace *b, const char *name, const char *what)
{
    if (memcmp(a, b, sizeof *a) != 0) {
        fail_msg("%s: other bits with %s", name, what);
    }
}

/* bf16 and f16 tensors of the same values, and rows that are apart, make the same layer. */
static void formats_and_strides(void **state)
{
    static const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        struct trace first, other;
        weight_set_open(&set, weight_set_cases[i].name);
        weight_set_fill(&set);
        if (set.config.hidden_size == 0) {
            weight_set_free(&set);
            continue;
        }
        gqa_layer *layer = weight_set_layer(&set, NULL);
        run(layer, &set.config, &first);
        gqa_destroy(&layer);
        for (int d = 0; d < 3; d++) {
            for (int f = 0; f < WEIGHT_FIELDS; f++) {
                gqa_tensor *const tensor = weight_field(&set.weights, f);
                if (tensor->data != NULL) {
                    weight_recast(tensor, dtypes[(d + f) % 3], d * 3);
                }
            }
            layer = weight_set_layer(&set, NULL);
            run(layer, &set.config, &other);
            same(&first, &other, weight_set_cases[i].name, "other formats and strides");
            gqa_destroy(&layer);
        }
        weight_set_free(&set);
    }
}

/* Row of [q heads | k heads | v heads] that is row r of the grouped layout. */
static int64_t fused_row(int64_t r, int64_t q_head, int64_t dk, int64_t dv)
{
    const int64_t per = 3 * q_head + dk + dv, g = r / per, i = r % per;
    if (i < 3 * q_head) {
        return g * 3 * q_head + i;
    }
    return i < 3 * q_head + dk ? 6 * q_head + g * dk + i - 3 * q_head
                               : 6 * q_head + 2 * dk + g * dv + i - 3 * q_head - dk;
}

/* The weights of a separate set, stacked: fused, or grouped. */
static void stack(const struct weight_set *from, struct weight_set *to, gqa_qkv_layout layout)
{
    const gqa_weights *const w = &from->weights;
    const gqa_tensor *const parts[3] = {&w->wq, &w->wk, &w->wv};
    const gqa_tensor *const part_biases[3] = {&w->bq, &w->bk, &w->bv};
    const int64_t rows = w->wq.shape[0] + w->wk.shape[0] + w->wv.shape[0];
    const int64_t dk = from->config.head_dim;
    const int64_t dv = from->config.k_eq_v ? 0 : from->config.v_head_dim;
    weight_set_init(to);
    to->config = from->config;
    to->config.qkv_layout = layout;
    to->weights.wo = weight_ones(2, 20, 6 * from->config.v_head_dim);
    memcpy(to->weights.wo.data, w->wo.data,
           (size_t)(20 * 6 * from->config.v_head_dim) * sizeof(float));
    to->weights.wqkv = weight_ones(2, rows, 20);
    if (from->config.qkv_bias) {
        to->weights.bqkv = weight_ones(1, rows, 0);
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = layout == GQA_QKV_GROUPED ? fused_row(r, w->wq.shape[0] / 6, dk, dv) : r;
        int part = 0;
        while (i >= parts[part]->shape[0]) {
            i -= parts[part++]->shape[0];
        }
        memcpy(weight_values(&to->weights.wqkv) + r * 20, weight_values(parts[part]) + i * 20,
               20 * sizeof(float));
        if (from->config.qkv_bias) {
            weight_values(&to->weights.bqkv)[r] = weight_values(part_biases[part])[i];
        }
    }
}

static void layouts_give_the_same_bits(void **state)
{
    static const char *const names[] = {"none", "biases", "v is k", "tail gate", "int8"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int mode = 0; mode < 4; mode++) {
            struct weight_set set, fused_kit, grouped_kit;
            struct trace separate, other;
            weight_set_open(&set, names[i]);
            set.config.o_bias = 0;
            set.config.numerics = mode == 1 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
            set.config.backend = mode >= 2 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
            set.config.reference_f64 = mode == 3;
            weight_set_fill(&set);
            stack(&set, &fused_kit, GQA_QKV_FUSED);
            /* The config check refuses Q_TAIL in the grouped layout. */
            const bool tail = set.config.gate == GQA_GATE_Q_TAIL;
            stack(&set, &grouped_kit, tail ? GQA_QKV_FUSED : GQA_QKV_GROUPED);
            gqa_layer *layer = weight_set_layer(&set, NULL);
            run(layer, &set.config, &separate);
            gqa_destroy(&layer);
            layer = weight_set_layer(&fused_kit, NULL);
            run(layer, &set.config, &other);
            same(&separate, &other, "fused", "another layout");
            gqa_destroy(&layer);
            layer = weight_set_layer(&grouped_kit, NULL);
            run(layer, &set.config, &other);
            same(&separate, &other, "grouped", "another layout");
            gqa_destroy(&layer);
            weight_set_free(&set);
            weight_set_free(&fused_kit);
            weight_set_free(&grouped_kit);
        }
    }
}

/* Rows of which the largest size is 127 / 128 have the scale 1 / 128: their integers, given. */
static void give_integers(gqa_tensor *matrix, gqa_tensor *scale)
{
    const int64_t rows = matrix->shape[0], n = matrix->shape[1];
    int8_t *const integers = malloc((size_t)(rows * n));
    assert_non_null(integers);
    *scale = weight_ones(1, rows, 0);
    for (int64_t r = 0; r < rows; r++) {
        weight_values(scale)[r] = 1.0f / 128.0f;
        for (int64_t i = 0; i < n; i++) {
            integers[r * n + i] = (int8_t)(weight_values(matrix)[r * n + i] * 128.0f);
        }
    }
    free(matrix->data);
    *matrix = gqa_tensor_2d(integers, GQA_I8, rows, n);
}

static void quantised_or_given(void **state)
{
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        struct weight_set set;
        struct trace quantised, given;
        weight_set_open(&set, "int8 fused gate");
        set.config.numerics = mode == 1 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
        set.config.backend = mode >= 2 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
        set.config.reference_f64 = mode == 3;
        weight_set_fill(&set);
        gqa_tensor *const matrices[] = {&set.weights.wqkv, &set.weights.wgate, &set.weights.wo};
        gqa_tensor *const scales[] = {&set.weights.wqkv_scale, &set.weights.wgate_scale,
                                      &set.weights.wo_scale};
        for (int m = 0; m < 3; m++) {
            for (int64_t r = 0; r < matrices[m]->shape[0]; r++) {
                weight_values(matrices[m])[r * matrices[m]->shape[1] + r % 5] =
                    r % 2 == 0 ? -127.0f / 128.0f : 127.0f / 128.0f;
            }
        }
        gqa_layer *layer = weight_set_layer(&set, NULL);
        run(layer, &set.config, &quantised);
        gqa_destroy(&layer);
        for (int m = 0; m < 3; m++) {
            give_integers(matrices[m], scales[m]);
        }
        layer = weight_set_layer(&set, NULL);
        run(layer, &set.config, &given);
        gqa_destroy(&layer);
        same(&quantised, &given, "int8 fused gate", "integers");
        weight_set_free(&set);
    }
}

/* Nothing of the caller's is read after gqa_create. */
static void nothing_is_borrowed(void **state)
{
    double factors[2][5] = {{1, 2, 3, 4, 5}, {2, 4, 6, 8, 10}}, before[5], after[5];
    float slopes[6] = {1, 2, 3, 4, 5, 6};
    struct weight_set set;
    struct trace first, second;
    (void)state;
    weight_set_init(&set);
    set.config.rope = GQA_ROPE_HALF;
    set.config.rope_scaling = GQA_ROPE_SCALING_LONGROPE;
    set.config.rope_original_context = 100;
    set.config.rope_factor = 2;
    set.config.rope_short_factors = factors[0];
    set.config.rope_long_factors = factors[1];
    set.config.alibi_slopes = slopes;
    weight_set_fill(&set);
    gqa_layer *layer = weight_set_layer(&set, NULL);
    run(layer, &set.config, &first);
    assert_int_equal(gqa_rope_frequencies(layer, 101, before, NULL, NULL), GQA_OK);
    const gqa_config *const own = &layer->params.config;
    assert_true(own->rope_short_factors != factors[0] && own->rope_short_factors[4] == 5);
    assert_true(own->rope_long_factors != factors[1] && own->rope_long_factors[4] == 10);
    assert_true(own->alibi_slopes != slopes && own->alibi_slopes == layer->params.slopes);
    weight_set_free(&set);
    memset(factors, 0, sizeof factors);
    memset(slopes, 0, sizeof slopes);
    run(layer, &set.config, &second);
    assert_int_equal(gqa_rope_frequencies(layer, 101, after, NULL, NULL), GQA_OK);
    same(&first, &second, "set", "freed weights");
    assert_memory_equal(before, after, sizeof before);
    assert_true(layer->params.slopes[5] == 6);
    gqa_destroy(&layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_strides),
        cmocka_unit_test(layouts_give_the_same_bits),
        cmocka_unit_test(quantised_or_given),
        cmocka_unit_test(nothing_is_borrowed),
    };
    return RUN_TESTS(argc, argv, tests);
}
