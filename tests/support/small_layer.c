/* SPDX-License-Identifier: Apache-2.0 */
/* small_layer.c - a small layer with weights for its config, a cache, and calls on them. */
#include "support/small_layer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/random.h"

enum { POOL = 65536 };

static float *take(struct model *model, int64_t n)
{
    float *values = model->pool + model->used;
    uint64_t seed = model->used + 17;
    assert_true((int64_t)model->used + n <= POOL);
    for (int64_t i = 0; i < n; i++) {
        values[i] = 0.3f * random_float(&seed);
    }
    model->used += (size_t)n;
    return values;
}

static void vector(struct model *model, gqa_tensor *t, bool wanted, int64_t n)
{
    if (wanted) {
        *t = gqa_tensor_1d(take(model, n), GQA_F32, n);
    }
}

static void matrix(struct model *model, gqa_tensor *t, bool wanted, int64_t out, int64_t in)
{
    if (wanted) {
        *t = gqa_tensor_2d(take(model, out * in), GQA_F32, out, in);
    }
}

void model_init(struct model *model)
{
    memset(model, 0, sizeof *model);
    model->pool = calloc(POOL, sizeof *model->pool);
    assert_non_null(model->pool);
    gqa_config_init(&model->config);
    gqa_weights_init(&model->weights);
    model->config.hidden_size = SMALL_HIDDEN;
    model->config.num_attention_heads = SMALL_HQ;
    model->config.num_key_value_heads = SMALL_HKV;
    model->config.head_dim = SMALL_DK;
    model->config.v_head_dim = SMALL_DV;
    model->config.rope = GQA_ROPE_HALF;
}

static void fill_norms(struct model *model)
{
    const gqa_config *c = &model->config;
    gqa_weights *w = &model->weights;
    int64_t dk = c->head_dim;
    bool whole = c->qk_norm_scope == GQA_QK_NORM_WHOLE;
    bool qk = c->qk_norm_scope != GQA_QK_NORM_OFF;
    vector(model, &w->input_norm, c->input_norm != GQA_NORM_NONE, c->hidden_size);
    vector(model, &w->input_norm_bias, c->input_norm == GQA_NORM_LAYER, c->hidden_size);
    vector(model, &w->post_norm, c->post_norm != GQA_NORM_NONE, c->hidden_size);
    vector(model, &w->post_norm_bias, c->post_norm == GQA_NORM_LAYER, c->hidden_size);
    vector(model, &w->q_norm, qk, whole ? c->num_attention_heads * dk : dk);
    vector(model, &w->k_norm, qk, whole ? c->num_key_value_heads * dk : dk);
}

void model_fill(struct model *model)
{
    const gqa_config *c = &model->config;
    gqa_weights *w = &model->weights;
    int64_t hidden = c->hidden_size, hq = c->num_attention_heads, hkv = c->num_key_value_heads;
    int64_t dk = c->head_dim, dv = c->v_head_dim != 0 ? c->v_head_dim : dk;
    int64_t q = hq * (c->gate == GQA_GATE_Q_TAIL ? dk + dv : dk);
    int64_t v = c->k_eq_v ? 0 : hkv * dv;
    bool separate = hidden > 0 && c->qkv_layout == GQA_QKV_SEPARATE;
    bool fused = hidden > 0 && c->qkv_layout != GQA_QKV_SEPARATE;
    matrix(model, &w->wq, separate, q, hidden);
    matrix(model, &w->wk, separate, hkv * dk, hidden);
    matrix(model, &w->wv, separate && v > 0, v, hidden);
    matrix(model, &w->wqkv, fused, q + hkv * dk + v, hidden);
    vector(model, &w->bq, separate && c->qkv_bias, q);
    vector(model, &w->bk, separate && c->qkv_bias, hkv * dk);
    vector(model, &w->bv, separate && c->qkv_bias && v > 0, v);
    vector(model, &w->bqkv, fused && c->qkv_bias, q + hkv * dk + v);
    matrix(model, &w->wo, hidden > 0, hidden, hq * dv);
    vector(model, &w->bo, c->o_bias, hidden);
    matrix(model, &w->wgate, c->gate == GQA_GATE_ELEMENT || c->gate == GQA_GATE_HEAD,
           c->gate == GQA_GATE_HEAD ? hq : hq * dv, hidden);
    vector(model, &w->sinks, c->learned_sinks_size == 1, hq);
    vector(model, &w->tkg_sinks, c->learned_sinks_size == 1, hq);
    fill_norms(model);
}

void model_free(struct model *model)
{
    free(model->pool);
    model->pool = NULL;
}

void small_layer_open(struct small_layer *small, void (*edit)(gqa_config *config))
{
    gqa_cache_options options;
    uint64_t seed = 5;
    memset(small, 0, sizeof *small);
    model_init(&small->model);
    if (edit != NULL) {
        edit(&small->model.config);
    }
    skip_refused(&small->model.config);
    model_fill(&small->model);
    if (gqa_create(&small->layer, &small->model.config, &small->model.weights, NULL, &small->err) !=
        GQA_OK) {
        fail_msg("gqa_create: %s", small->err.message);
    }
    gqa_cache_options_init(&options, small->layer);
    options.max_sequences = SMALL_SEQUENCES;
    options.max_tokens = SMALL_TOKENS;
    options.page_size = 16;
    if (gqa_cache_create(&small->cache, small->layer, &options, &small->err) != GQA_OK) {
        fail_msg("gqa_cache_create: %s", small->err.message);
    }
    for (size_t i = 0; i < sizeof small->x / sizeof small->x[0]; i++) {
        small->x[i] = random_float(&seed);
    }
}

void small_layer_close(struct small_layer *small)
{
    gqa_cache_destroy(&small->cache);
    gqa_destroy(&small->layer);
    model_free(&small->model);
}

gqa_status small_layer_forward(struct small_layer *small, gqa_cache *cache, const gqa_inputs *in,
                               int b, int t, const float *x, float *out)
{
    gqa_inputs inputs;
    gqa_output output;
    gqa_inputs_init(&inputs);
    if (in != NULL) {
        inputs = *in;
    }
    gqa_output_init(&output);
    inputs.hidden_states = gqa_tensor_3d(x, GQA_F32, b, t, SMALL_HIDDEN);
    output.hidden_states = gqa_tensor_3d(out, GQA_F32, b, t, SMALL_HIDDEN);
    return gqa_forward(small->layer, cache, &inputs, &output, NULL, 0, &small->err);
}

static uint64_t add(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return hash;
}

uint64_t small_layer_cache_hash(const gqa_cache *cache, int sequences)
{
    static float k[SMALL_HKV * SMALL_TOKENS * SMALL_DK], v[SMALL_HKV * SMALL_TOKENS * SMALL_DV];
    static int32_t positions[SMALL_TOKENS];
    int64_t free_pages = gqa_cache_free_pages(cache);
    uint64_t hash = add(14695981039346656037u, &free_pages, sizeof free_pages);
    for (int s = 0; s < sequences; s++) {
        int32_t n = gqa_cache_length(cache, s);
        gqa_tensor key = gqa_tensor_3d(k, GQA_F32, SMALL_HKV, n, SMALL_DK);
        gqa_tensor value = gqa_tensor_3d(v, GQA_F32, SMALL_HKV, n, SMALL_DV);
        assert_true(n >= 0 && n <= SMALL_TOKENS);
        memset(positions, 0, sizeof positions);
        if (gqa_cache_read(cache, s, 0, &key, &value, positions, NULL) != GQA_OK) {
            fail_msg("gqa_cache_read of sequence %d", s);
        }
        hash = add(hash, &n, sizeof n);
        hash = add(hash, positions, sizeof positions);
        hash = add(hash, k, (size_t)(SMALL_HKV * n * SMALL_DK) * sizeof *k);
        hash = add(hash, v, (size_t)(SMALL_HKV * n * SMALL_DV) * sizeof *v);
    }
    return hash;
}
