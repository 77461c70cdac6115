/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. */
#include "config.h"

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
