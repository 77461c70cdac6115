/* SPDX-License-Identifier: Apache-2.0 */
/* weight_set.c - see weight_set.h. */
#include "support/weight_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/random.h"

static const struct {
    const char *name;
    size_t offset;
} fields[WEIGHT_FIELDS] = {
    {"weights.input_norm", offsetof(gqa_weights, input_norm)},
    {"weights.input_norm_bias", offsetof(gqa_weights, input_norm_bias)},
    {"weights.wq", offsetof(gqa_weights, wq)},
    {"weights.bq", offsetof(gqa_weights, bq)},
    {"weights.wk", offsetof(gqa_weights, wk)},
    {"weights.bk", offsetof(gqa_weights, bk)},
    {"weights.wv", offsetof(gqa_weights, wv)},
    {"weights.bv", offsetof(gqa_weights, bv)},
    {"weights.wqkv", offsetof(gqa_weights, wqkv)},
    {"weights.bqkv", offsetof(gqa_weights, bqkv)},
    {"weights.wgate", offsetof(gqa_weights, wgate)},
    {"weights.q_norm", offsetof(gqa_weights, q_norm)},
    {"weights.k_norm", offsetof(gqa_weights, k_norm)},
    {"weights.q_norm_bias", offsetof(gqa_weights, q_norm_bias)},
    {"weights.k_norm_bias", offsetof(gqa_weights, k_norm_bias)},
    {"weights.sinks", offsetof(gqa_weights, sinks)},
    {"weights.tkg_sinks", offsetof(gqa_weights, tkg_sinks)},
    {"weights.wo", offsetof(gqa_weights, wo)},
    {"weights.bo", offsetof(gqa_weights, bo)},
    {"weights.post_norm", offsetof(gqa_weights, post_norm)},
    {"weights.post_norm_bias", offsetof(gqa_weights, post_norm_bias)},
    {"weights.wq_scale", offsetof(gqa_weights, wq_scale)},
    {"weights.wk_scale", offsetof(gqa_weights, wk_scale)},
    {"weights.wv_scale", offsetof(gqa_weights, wv_scale)},
    {"weights.wqkv_scale", offsetof(gqa_weights, wqkv_scale)},
    {"weights.wgate_scale", offsetof(gqa_weights, wgate_scale)},
    {"weights.wo_scale", offsetof(gqa_weights, wo_scale)},
    {"weights.tkg_wq", offsetof(gqa_weights, tkg_wq)},
    {"weights.tkg_bq", offsetof(gqa_weights, tkg_bq)},
    {"weights.tkg_wk", offsetof(gqa_weights, tkg_wk)},
    {"weights.tkg_bk", offsetof(gqa_weights, tkg_bk)},
    {"weights.tkg_wv", offsetof(gqa_weights, tkg_wv)},
    {"weights.tkg_bv", offsetof(gqa_weights, tkg_bv)},
    {"weights.tkg_wqkv", offsetof(gqa_weights, tkg_wqkv)},
    {"weights.tkg_bqkv", offsetof(gqa_weights, tkg_bqkv)},
    {"weights.tkg_wo", offsetof(gqa_weights, tkg_wo)},
    {"weights.tkg_bo", offsetof(gqa_weights, tkg_bo)},
    {"weights.tkg_wq_scale", offsetof(gqa_weights, tkg_wq_scale)},
    {"weights.tkg_wk_scale", offsetof(gqa_weights, tkg_wk_scale)},
    {"weights.tkg_wv_scale", offsetof(gqa_weights, tkg_wv_scale)},
    {"weights.tkg_wqkv_scale", offsetof(gqa_weights, tkg_wqkv_scale)},
    {"weights.tkg_wo_scale", offsetof(gqa_weights, tkg_wo_scale)},
};

/* A tensor that is added to the struct must be added here, and tested. */
_Static_assert(offsetof(gqa_weights, in_place) - offsetof(gqa_weights, input_norm) +
                       sizeof(gqa_weights) - offsetof(gqa_weights, tkg_wq) ==
                   WEIGHT_FIELDS * sizeof(gqa_tensor),
               "every tensor of gqa_weights is listed");

gqa_tensor *weight_field(gqa_weights *weights, int i)
{
    return (gqa_tensor *)(void *)((unsigned char *)weights + fields[i].offset);
}

const char *weight_name(int i)
{
    return fields[i].name;
}

bool weight_may_be_given(struct weight_set *set, int i)
{
    const char *const name = weight_name(i);
    for (int f = 0; f < WEIGHT_FIELDS && strstr(name, "_scale") == NULL; f++) {
        if (strncmp(name, "weights.tkg_w", 13) == 0 &&
            strcmp(weight_name(f) + 8, name + strlen("weights.tkg_")) == 0) {
            return weight_field(&set->weights, f)->data != NULL;
        }
    }
    return false;
}

float *weight_values(const gqa_tensor *tensor)
{
    assert_int_equal(tensor->dtype, GQA_F32);
    return tensor->data;
}

gqa_tensor weight_ones(int32_t rank, int64_t a, int64_t b)
{
    const int64_t n = rank == 2 ? a * b : a;
    float *const data = malloc((size_t)n * sizeof *data);
    assert_non_null(data);
    for (int64_t i = 0; i < n; i++) {
        data[i] = 1.0f;
    }
    return rank == 2 ? gqa_tensor_2d(data, GQA_F32, a, b) : gqa_tensor_1d(data, GQA_F32, a);
}

/* Each tensor of a set has a seed of its own. */
static gqa_tensor draw(const struct weight_set *set, int32_t rank, const int64_t *shape,
                       uint64_t seed)
{
    const gqa_tensor tensor = weight_ones(rank, shape[0], rank == 2 ? shape[1] : 0);
    float *const data = tensor.data;
    for (int64_t i = 0; i < (rank == 2 ? shape[0] * shape[1] : shape[0]); i++) {
        const float x = random_float(&seed);
        data[i] = set->scale != 0.0f ? set->scale * x : (float)(int32_t)(x * 128.0f) / 128.0f;
    }
    return tensor;
}

static gqa_tensor draw_vector(const struct weight_set *set, int64_t n, uint64_t seed)
{
    return draw(set, 1, &n, seed);
}

static gqa_tensor draw_matrix(const struct weight_set *set, int64_t out, int64_t in, uint64_t seed)
{
    return draw(set, 2, (const int64_t[2]){out, in}, seed);
}

void weight_set_init(struct weight_set *set)
{
    memset(set, 0, sizeof *set);
    gqa_config_init(&set->config);
    gqa_weights_init(&set->weights);
    set->config.hidden_size = 20;
    set->config.num_attention_heads = 6;
    set->config.num_key_value_heads = 2;
    set->config.head_dim = 10;
    set->config.v_head_dim = 9;
    set->config.isa = GQA_ISA_SCALAR;
}

/* The projections of one phase in the struct, and what they are drawn from. */
struct phase {
    gqa_tensor *wq, *bq, *wk, *bk, *wv, *bv, *wqkv, *bqkv, *wo, *bo;
    uint64_t seed; /* is added to the seed of each */
};

static void fill_qkv(const struct weight_set *set, const struct phase *w)
{
    const gqa_config *const c = &set->config;
    const int64_t hq = c->num_attention_heads, hkv = c->num_key_value_heads;
    const int64_t hidden = c->hidden_size;
    const int64_t dk = c->head_dim, dv = c->v_head_dim != 0 ? c->v_head_dim : dk;
    const int64_t q = hq * (c->gate == GQA_GATE_Q_TAIL ? dk + dv : dk);
    const int64_t k = hkv * dk, v = c->k_eq_v ? 0 : hkv * dv;
    if (c->qkv_layout == GQA_QKV_SEPARATE) {
        *w->wq = draw_matrix(set, q, hidden, w->seed + 1);
        *w->wk = draw_matrix(set, k, hidden, w->seed + 2);
        if (v > 0) {
            *w->wv = draw_matrix(set, v, hidden, w->seed + 3);
        }
        if (c->qkv_bias) {
            *w->bq = draw_vector(set, q, w->seed + 4);
            *w->bk = draw_vector(set, k, w->seed + 5);
        }
        if (c->qkv_bias && v > 0) {
            *w->bv = draw_vector(set, v, w->seed + 6);
        }
    } else {
        *w->wqkv = draw_matrix(set, q + k + v, hidden, w->seed + 7);
        if (c->qkv_bias) {
            *w->bqkv = draw_vector(set, q + k + v, w->seed + 8);
        }
    }
}

static void fill_output(const struct weight_set *set, const struct phase *w)
{
    const gqa_config *const c = &set->config;
    const int64_t dv = c->v_head_dim != 0 ? c->v_head_dim : c->head_dim;
    *w->wo = draw_matrix(set, c->hidden_size, c->num_attention_heads * dv, w->seed + 10);
    if (c->o_bias) {
        *w->bo = draw_vector(set, c->hidden_size, w->seed + 11);
    }
}

static void fill_matrices(struct weight_set *set)
{
    const gqa_config *const c = &set->config;
    gqa_weights *const w = &set->weights;
    const int64_t hq = c->num_attention_heads;
    const int64_t dv = c->v_head_dim != 0 ? c->v_head_dim : c->head_dim;
    const struct phase cte = {&w->wq,   &w->bq,   &w->wk, &w->bk, &w->wv, &w->bv,
                              &w->wqkv, &w->bqkv, &w->wo, &w->bo, 0};
    const struct phase tkg = {&w->tkg_wq, &w->tkg_bq, &w->tkg_wk,   &w->tkg_bk,
                              &w->tkg_wv, &w->tkg_bv, &w->tkg_wqkv, &w->tkg_bqkv,
                              &w->tkg_wo, &w->tkg_bo, 100};
    fill_qkv(set, &cte);
    if (c->gate == GQA_GATE_ELEMENT || c->gate == GQA_GATE_HEAD) {
        w->wgate = draw_matrix(set, c->gate == GQA_GATE_HEAD ? hq : hq * dv, c->hidden_size, 9);
    }
    fill_output(set, &cte);
    if (set->tkg_qkv) {
        fill_qkv(set, &tkg);
    }
    if (set->tkg_output) {
        fill_output(set, &tkg);
    }
}

/* The values, multiples of 2^-7 up to 1, as integers and a scale. */
static void give_integers(gqa_tensor *matrix, gqa_tensor *scale)
{
    const int64_t n = matrix->rank == 2 ? matrix->shape[0] * matrix->shape[1] : 0;
    const float *const values = matrix->data;
    int8_t *integers;
    if (matrix->data == NULL) {
        return;
    }
    integers = malloc((size_t)n);
    assert_non_null(integers);
    for (int64_t i = 0; i < n; i++) {
        integers[i] = (int8_t)(values[i] * 127.0f);
    }
    *scale = weight_ones(1, matrix->shape[0], 0);
    free(matrix->data);
    *matrix = gqa_tensor_2d(integers, GQA_I8, matrix->shape[0], matrix->shape[1]);
}

static gqa_tensor draw_norm(const struct weight_set *set, int64_t heads, uint64_t seed)
{
    const int64_t dk = set->config.head_dim;
    if (set->config.qk_norm_scope == GQA_QK_NORM_WHOLE) {
        return draw_vector(set, heads * dk, seed);
    }
    return set->norm_per_head ? draw_matrix(set, heads, dk, seed) : draw_vector(set, dk, seed);
}

void weight_set_fill(struct weight_set *set)
{
    const gqa_config *const c = &set->config;
    gqa_weights *const w = &set->weights;
    const int64_t hq = c->num_attention_heads, hkv = c->num_key_value_heads;
    if (c->hidden_size > 0) {
        fill_matrices(set);
    }
    if (set->integers) {
        give_integers(&w->wq, &w->wq_scale);
        give_integers(&w->wk, &w->wk_scale);
        give_integers(&w->wv, &w->wv_scale);
        give_integers(&w->wqkv, &w->wqkv_scale);
        give_integers(&w->wgate, &w->wgate_scale);
        give_integers(&w->wo, &w->wo_scale);
        give_integers(&w->tkg_wq, &w->tkg_wq_scale);
        give_integers(&w->tkg_wk, &w->tkg_wk_scale);
        give_integers(&w->tkg_wv, &w->tkg_wv_scale);
        give_integers(&w->tkg_wqkv, &w->tkg_wqkv_scale);
        give_integers(&w->tkg_wo, &w->tkg_wo_scale);
    }
    if (c->input_norm != GQA_NORM_NONE) {
        w->input_norm = draw_vector(set, c->hidden_size, 12);
    }
    if (c->input_norm == GQA_NORM_LAYER) {
        w->input_norm_bias = draw_vector(set, c->hidden_size, 13);
    }
    if (c->post_norm != GQA_NORM_NONE) {
        w->post_norm = draw_vector(set, c->hidden_size, 14);
    }
    if (c->post_norm == GQA_NORM_LAYER) {
        w->post_norm_bias = draw_vector(set, c->hidden_size, 15);
    }
    if (c->qk_norm_scope != GQA_QK_NORM_OFF) {
        w->q_norm = draw_norm(set, hq, 16);
        w->k_norm = draw_norm(set, hkv, 17);
    }
    if (c->qk_norm_scope != GQA_QK_NORM_OFF && c->qk_norm == GQA_NORM_LAYER) {
        w->q_norm_bias = draw_norm(set, hq, 18);
        w->k_norm_bias = draw_norm(set, hkv, 19);
    }
    if (c->learned_sinks_size == 1) {
        w->sinks = draw_vector(set, hq, 20);
        w->tkg_sinks = draw_vector(set, hq, 21);
    }
}

void weight_remove(gqa_tensor *tensor)
{
    free(tensor->data);
    tensor->data = NULL;
}

void weight_set_free(struct weight_set *set)
{
    for (int i = 0; i < WEIGHT_FIELDS; i++) {
        weight_remove(weight_field(&set->weights, i));
    }
}

void weight_recast(gqa_tensor *tensor, gqa_dtype dtype, int64_t gap)
{
    const int64_t rows = tensor->rank == 2 ? tensor->shape[0] : 1;
    const int64_t n = tensor->shape[tensor->rank - 1];
    gqa_tensor other = *tensor;
    other.dtype = dtype;
    if (tensor->rank == 2) {
        other.stride[0] = n + gap;
    }
    other.data = calloc((size_t)(rows * (n + gap)), sizeof(float));
    assert_non_null(other.data);
    if (tensor->dtype == GQA_I8) {
        other.dtype = GQA_I8;
        for (int64_t r = 0; r < rows; r++) {
            memcpy((int8_t *)other.data + r * other.stride[0],
                   (int8_t *)tensor->data + r * tensor->stride[0], (size_t)n);
        }
    } else {
        assert_int_equal(gqa_convert(tensor, &other, NULL), GQA_OK);
    }
    free(tensor->data);
    *tensor = other;
}

gqa_layer *weight_set_layer(const struct weight_set *set, const gqa_runtime *runtime)
{
    gqa_layer *layer = NULL;
    gqa_error err = {0};
    if (gqa_create(&layer, &set->config, &set->weights, runtime, &err) != GQA_OK) {
        fail_msg("gqa_create: %s", err.message);
    }
    return layer;
}

/* --- cases ----------------------------------------------------------------------------------- */

static void none(struct weight_set *set)
{
    (void)set;
}

static void norms(struct weight_set *set)
{
    set->config.input_norm = GQA_NORM_LAYER;
    set->config.post_norm = GQA_NORM_LAYER;
}

static void rms_norms(struct weight_set *set)
{
    set->config.input_norm = GQA_NORM_RMS;
    set->config.post_norm = GQA_NORM_RMS;
}

static void biases(struct weight_set *set)
{
    set->config.qkv_bias = 1;
    set->config.o_bias = 1;
}

static void fused(struct weight_set *set)
{
    set->config.qkv_layout = GQA_QKV_FUSED;
}

static void fused_biases(struct weight_set *set)
{
    fused(set);
    biases(set);
}

static void grouped_biases(struct weight_set *set)
{
    biases(set);
    set->config.qkv_layout = GQA_QKV_GROUPED;
}

static void v_is_k(struct weight_set *set)
{
    set->config.k_eq_v = 1;
    set->config.v_head_dim = set->config.head_dim;
    set->config.qkv_bias = 1;
}

static void element_gate(struct weight_set *set)
{
    set->config.gate = GQA_GATE_ELEMENT;
}

static void head_gate(struct weight_set *set)
{
    set->config.gate = GQA_GATE_HEAD;
}

static void tail_gate(struct weight_set *set)
{
    set->config.gate = GQA_GATE_Q_TAIL;
    set->config.qkv_bias = 1;
}

static void head_norm(struct weight_set *set)
{
    set->config.qk_norm_scope = GQA_QK_NORM_HEAD;
    set->config.qk_norm = GQA_NORM_LAYER;
}

static void head_norm_per_head(struct weight_set *set)
{
    head_norm(set);
    set->norm_per_head = true;
}

static void whole_norm(struct weight_set *set)
{
    set->config.qk_norm_scope = GQA_QK_NORM_WHOLE;
    set->config.qk_norm = GQA_NORM_LAYER;
}

static void rms_qk(struct weight_set *set)
{
    set->config.qk_norm_scope = GQA_QK_NORM_WHOLE;
    set->config.qk_norm = GQA_NORM_RMS;
}

static void sinks(struct weight_set *set)
{
    set->config.learned_sinks_size = 1;
}

static void attention_only(struct weight_set *set)
{
    set->config.hidden_size = 0;
}

static void attention_only_gate(struct weight_set *set)
{
    set->config.hidden_size = 0;
    set->config.gate = GQA_GATE_ELEMENT;
}

static void int8(struct weight_set *set)
{
    set->config.weight_storage = GQA_WEIGHT_STORAGE_INT8;
    set->config.o_bias = 1;
}

static void int8_fused_gate(struct weight_set *set)
{
    set->config.weight_storage = GQA_WEIGHT_STORAGE_INT8;
    set->config.qkv_layout = GQA_QKV_FUSED;
    set->config.gate = GQA_GATE_HEAD;
}

static void integers(struct weight_set *set)
{
    int8(set);
    set->integers = true;
}

static void integers_fused_gate(struct weight_set *set)
{
    int8_fused_gate(set);
    set->integers = true;
}

static void tkg(struct weight_set *set)
{
    set->config.qkv_bias = 1;
    set->tkg_qkv = true;
    set->tkg_output = true;
}

static void tkg_fused(struct weight_set *set)
{
    fused(set);
    set->tkg_qkv = true;
}

static void tkg_integers(struct weight_set *set)
{
    integers(set);
    set->tkg_qkv = true;
}

const struct weight_set_case weight_set_cases[WEIGHT_SET_CASES] = {
    {none, "none", "wq wk wv wo"},
    {norms, "norms", "wq wk wv wo"},
    {rms_norms, "rms norms", "wq wk wv wo"},
    {biases, "biases", "wq bq wk bk wv bv wo bo"},
    {fused, "fused", "wqkv wo"},
    {fused_biases, "fused biases", "wqkv bqkv wo bo"},
    {grouped_biases, "grouped biases", "wqkv bqkv wo bo"},
    {v_is_k, "v is k", "wq bq wk bk wo"},
    {element_gate, "element gate", "wq wk wv wgate wo"},
    {head_gate, "head gate", "wq wk wv wgate wo"},
    {tail_gate, "tail gate", "wq bq wk bk wv bv wo"},
    {head_norm, "head norm", "wq wk wv q_norm k_norm q_norm_bias k_norm_bias wo"},
    {head_norm_per_head, "head norm per head", "wq wk wv q_norm k_norm q_norm_bias k_norm_bias wo"},
    {whole_norm, "whole norm", "wq wk wv q_norm k_norm q_norm_bias k_norm_bias wo"},
    {rms_qk, "rms qk", "wq wk wv q_norm k_norm wo"},
    {sinks, "sinks", "wq wk wv sinks wo"},
    {int8, "int8", "wq wk wv wo bo"},
    {int8_fused_gate, "int8 fused gate", "wqkv wgate wo"},
    {integers, "integers", "wq wq_scale wk wk_scale wv wv_scale wo wo_scale bo"},
    {integers_fused_gate, "integers fused gate", "wqkv wqkv_scale wgate wgate_scale wo wo_scale"},
    {tkg, "tkg", "wq bq wk bk wv bv wo tkg_wq tkg_bq tkg_wk tkg_bk tkg_wv tkg_bv"},
    {tkg_fused, "tkg fused", "wqkv wo"},
    {tkg_integers, "tkg integers",
     "wq wq_scale wk wk_scale wv wv_scale wo wo_scale bo tkg_wq tkg_wq_scale tkg_wk tkg_wk_scale "
     "tkg_wv tkg_wv_scale"},
    {attention_only, "attention only", ""},
    {attention_only_gate, "attention only gate", ""},
};

void weight_set_open(struct weight_set *set, const char *name)
{
    int i = 0;
    while (i < WEIGHT_SET_CASES && strcmp(weight_set_cases[i].name, name) != 0) {
        i++;
    }
    if (i == WEIGHT_SET_CASES) {
        fail_msg("no set \"%s\"", name);
    }
    weight_set_init(set);
    weight_set_cases[i].change(set);
}
