/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. */
#include "config.h"

#include "fill.h"

void bench_config(const struct bench_spec *spec, gqa_config *config)
{
    gqa_config_init(config);
    config->num_attention_heads = spec->hq;
    config->num_key_value_heads = spec->hkv;
    config->head_dim = spec->d;
    config->bidirectional = spec->mask == MASK_BOOL || spec->mask == MASK_BITS;
    config->sliding_window = spec->window;
    config->attention_chunk_size = spec->chunk;
    config->learned_sinks_size = spec->sinks;
    config->numerics = spec->numerics;
    config->isa = spec->isa;
    config->max_isa = spec->max_isa;
    config->backend = spec->backend;
    config->weight_storage = spec->int8 ? GQA_WEIGHT_STORAGE_INT8 : GQA_WEIGHT_STORAGE_NATIVE;
    if (spec->kind == BENCH_LAYER || spec->kind == BENCH_MIX) {
        config->hidden_size = spec->hidden;
        config->input_norm = GQA_NORM_RMS;
        config->input_norm_eps = 1e-5f;
        config->qkv_layout = GQA_QKV_FUSED;
        config->qkv_bias = 1;
        config->o_bias = 1;
        config->rope = GQA_ROPE_HALF;
        config->rope_theta = 150000;
        config->rope_scaling = GQA_ROPE_SCALING_YARN;
        config->rope_factor = 32;
        config->rope_original_context = 4096;
        config->add_residual = 1;
    }
}

static int64_t qkv_rows(const struct bench_spec *spec)
{
    return (int64_t)(spec->hq + 2 * spec->hkv) * spec->d;
}

size_t bench_matrix_size(const struct bench_spec *spec)
{
    return spec->hidden == 0 ? 1 : (size_t)qkv_rows(spec) * (size_t)spec->hidden;
}

size_t bench_vector_size(const struct bench_spec *spec)
{
    const int64_t rows = qkv_rows(spec);

    return (size_t)(rows > spec->hidden ? rows : spec->hidden);
}

gqa_status bench_layer(gqa_layer **layer, const struct bench_spec *spec, const gqa_runtime *runtime,
                       const float *small, const uint16_t *wqkv, const uint16_t *wo, gqa_error *err)
{
    const int64_t rows = qkv_rows(spec);
    gqa_config config;
    gqa_weights weights;

    bench_config(spec, &config);
    gqa_weights_init(&weights);
    if (spec->sinks) {
        weights.sinks = gqa_tensor_1d(small, GQA_F32, spec->hq);
    }
    if (config.hidden_size > 0) {
        weights.input_norm = gqa_tensor_1d(small, GQA_F32, spec->hidden);
        weights.wqkv = gqa_tensor_2d(wqkv, GQA_BF16, rows, spec->hidden);
        weights.bqkv = gqa_tensor_1d(small, GQA_F32, rows);
        weights.wo = gqa_tensor_2d(wo, GQA_BF16, spec->hidden, (int64_t)spec->hq * spec->d);
        weights.bo = gqa_tensor_1d(small, GQA_F32, spec->hidden);
        weights.in_place = spec->in_place;
    }
    return gqa_create(layer, &config, &weights, runtime, err);
}

static size_t kv_size(const struct bench_spec *spec)
{
    return (size_t)BENCH_FILL_TOKENS * (size_t)spec->hkv * (size_t)spec->d;
}

float *bench_kv(const struct bench_spec *spec)
{
    float *kv = bench_alloc(2 * kv_size(spec) * sizeof *kv);

    if (kv != NULL) {
        bench_fill(kv, 2 * kv_size(spec), 1.0f, 3);
    }
    return kv;
}

gqa_status bench_append(gqa_cache *cache, int32_t sequence, const struct bench_spec *spec,
                        float *kv, int32_t from, int32_t to, gqa_error *err)
{
    gqa_status status = GQA_OK;

    for (int32_t at = from; at < to && status == GQA_OK; at += BENCH_FILL_TOKENS) {
        const int32_t tokens = to - at < BENCH_FILL_TOKENS ? to - at : BENCH_FILL_TOKENS;
        const gqa_tensor k = gqa_tensor_3d(kv, GQA_F32, tokens, spec->hkv, spec->d);
        const gqa_tensor v = gqa_tensor_3d(kv + kv_size(spec), GQA_F32, tokens, spec->hkv, spec->d);

        status = gqa_cache_append(cache, sequence, &k, &v, NULL, err);
    }
    return status;
}
