/* SPDX-License-Identifier: Apache-2.0 */
/* published.c - the layers of published models, and their miniatures. */
#include "support/published.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/config_fields.h"

#define HEADS(hidden, hq, hkv, dim)                                                                \
    .hidden_size = hidden, .num_attention_heads = hq, .num_key_value_heads = hkv, .head_dim = dim
#define RMS(eps)     .input_norm = GQA_NORM_RMS, .input_norm_eps = eps
#define LAYER(eps)   .input_norm = GQA_NORM_LAYER, .input_norm_eps = eps
#define HALF(theta)  .rope = GQA_ROPE_HALF, .rope_theta = theta
#define PAIRS(theta) .rope = GQA_ROPE_INTERLEAVED, .rope_theta = theta
#define QK_RMS(where)                                                                              \
    .qk_norm_scope = GQA_QK_NORM_##where, .qk_norm = GQA_NORM_RMS, .qk_norm_eps = 1e-6f
#define LLAMA3(factor, low, high)                                                                  \
    .rope_scaling = GQA_ROPE_SCALING_LLAMA3, .rope_factor = factor, .rope_original_context = 8192, \
    .rope_low_freq_factor = low, .rope_high_freq_factor = high
#define YARN(factor, context)                                                                      \
    .rope_scaling = GQA_ROPE_SCALING_YARN, .rope_factor = factor,                                  \
    .rope_original_context = context, .rope_beta_fast = 32, .rope_beta_slow = 1
#define LONGROPE(n)                                                                                \
    .rope_scaling = GQA_ROPE_SCALING_LONGROPE, .rope_factor = n, .rope_original_context = 4096,    \
    .rope_short_factors = factors, .rope_long_factors = factors

/* [rotary_dim/2] of the longest */
static const double factors[48] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2,
                                   2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
                                   3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 64};
static const float slopes[64] = {0.84f, 0.7f, 0.6f, 0.5f};

const struct published published_models[] = {
    {.name = "Llama 2 7B",
     .config = {HEADS(4096, 32, 32, 0), RMS(1e-5f), HALF(1e4), .norm_cast = GQA_BF16}},
    {.name = "Llama 3 70B", .config = {HEADS(8192, 64, 8, 128), RMS(1e-5f), HALF(5e5)}},
    {.name = "Llama 3.1 405B",
     .config = {HEADS(16384, 128, 8, 128), RMS(1e-5f), HALF(5e5), LLAMA3(8, 1, 4)}},
    {.name = "Llama 3.2 1B",
     .config = {HEADS(2048, 32, 8, 64), RMS(1e-5f), HALF(5e5), LLAMA3(32, 1, 4)}},
    {.name = "Llama 4 Scout, rope layer",
     .config = {HEADS(5120, 40, 8, 128), RMS(1e-5f), PAIRS(5e5), LLAMA3(16, 1, 1), QK_RMS(HEAD),
                .qk_norm_placement = GQA_QK_NORM_POST_ROPE, .attention_chunk_size = 8192},
     .head_gamma = NO_GAMMA},
    {.name = "Llama 4 Scout, NoPE layer",
     .config = {HEADS(5120, 40, 8, 128), RMS(1e-5f),
                .query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4, .query_temperature_scale = 0.1f,
                .query_temperature_floor = 8192}},
    {.name = "Llama 4 Maverick, rope layer",
     .config = {HEADS(5120, 40, 8, 128), RMS(1e-5f), PAIRS(5e5), .attention_chunk_size = 8192}},
    {.name = "Qwen2.5 0.5B",
     .config = {HEADS(896, 14, 2, 64), RMS(1e-6f), HALF(1e6), .qkv_bias = 1}},
    {.name = "Qwen2.5 7B 128k",
     .config = {HEADS(3584, 28, 4, 128), RMS(1e-6f), HALF(1e6), YARN(4, 32768), .rope_truncate = 1,
                .qkv_bias = 1}},
    {.name = "Qwen3 0.6B",
     .config = {HEADS(1024, 16, 8, 128), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD)}},
    {.name = "Qwen3 235B-A22B",
     .config = {HEADS(4096, 64, 4, 128), RMS(1e-6f), HALF(5e6), QK_RMS(HEAD)}},
    {.name = "Qwen3-Next 80B-A3B",
     .config = {HEADS(2048, 16, 2, 256), RMS(1e-6f), HALF(1e7), QK_RMS(HEAD),
                .input_norm_offset = 1, .qk_norm_offset = 1, .rotary_dim = 64,
                .gate = GQA_GATE_Q_TAIL}},
    {.name = "Mistral 7B v0.1",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e4), .sliding_window = 4096}},
    {.name = "Mistral-Nemo 12B", .config = {HEADS(5120, 32, 8, 128), RMS(1e-5f), HALF(1e6)}},
    {.name = "Mixtral 8x22B", .config = {HEADS(6144, 48, 8, 128), RMS(1e-5f), HALF(1e6)}},
    {.name = "Mistral Large 2407", .config = {HEADS(12288, 96, 8, 128), RMS(1e-5f), HALF(1e6)}},
    {.name = "Ministral 3",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e6), YARN(16, 16384),
                .query_temperature = GQA_QUERY_TEMPERATURE_MINISTRAL,
                .query_temperature_scale = 0.1f, .query_temperature_floor = 16384}},
    {.name = "Gemma 1 2B",
     .config = {HEADS(2048, 8, 1, 256), RMS(1e-6f), HALF(1e4), .input_norm_offset = 1}},
    {.name = "Gemma 2 27B, local",
     .config = {HEADS(4608, 32, 16, 128), RMS(1e-6f), HALF(1e4), .input_norm_offset = 1,
                .score_scale = 0.08333333f, .softcap = 50, .sliding_window = 4096,
                .post_norm = GQA_NORM_RMS, .post_norm_eps = 1e-6f, .post_norm_offset = 1,
                .add_residual = 1}},
    {.name = "Gemma 3 27B, global",
     .config = {HEADS(5376, 32, 16, 128), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD),
                .input_norm_offset = 1, .qk_norm_offset = 1,
                .rope_scaling = GQA_ROPE_SCALING_LINEAR, .rope_factor = 8,
                .score_scale = 0.07715167f}},
    {.name = "Gemma 3, image block",
     .config = {HEADS(2560, 8, 4, 256), RMS(1e-6f), HALF(1e4), QK_RMS(HEAD), .input_norm_offset = 1,
                .qk_norm_offset = 1, .bidirectional = 1, .sliding_window = 1024,
                .right_window = 1023}},
    {.name = "Gemma 4 E2B, local",
     .config = {HEADS(1536, 8, 1, 256), RMS(1e-6f), HALF(1e4), QK_RMS(HEAD), .v_norm = GQA_NORM_RMS,
                .sliding_window = 512, .score_scale = 1},
     .borrows = true},
    {.name = "Gemma 4 E2B, global",
     .config = {HEADS(1536, 8, 1, 512), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD), .v_norm = GQA_NORM_RMS,
                .rope_proportional_dim = 128, .score_scale = 1},
     .borrows = true},
    {.name = "Gemma 4 31B, global", /* K = V in the 26B and the 31B only */
     .config = {HEADS(5376, 32, 4, 512), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD),
                .v_norm = GQA_NORM_RMS, .k_eq_v = 1, .rope_proportional_dim = 128,
                .score_scale = 1}},
    {.name = "Phi-3 mini 128k",
     .config = {HEADS(3072, 32, 32, 96), RMS(1e-5f), HALF(1e4), LONGROPE(32),
                .qkv_layout = GQA_QKV_FUSED, .sliding_window = 262144}},
    {.name = "Phi-4",
     .config = {HEADS(5120, 40, 10, 128), RMS(1e-5f), HALF(2.5e5), .qkv_layout = GQA_QKV_FUSED}},
    {.name = "Phi-4-mini",
     .config = {HEADS(3072, 24, 8, 128), RMS(1e-5f), HALF(1e4), LONGROPE(32), .rotary_dim = 96,
                .qkv_layout = GQA_QKV_FUSED}},
    {.name = "Phi-3-small, dense layer",
     .config = {HEADS(4096, 32, 8, 128), LAYER(1e-5f), HALF(1e6), .qkv_bias = 1, .o_bias = 1,
                .qkv_layout = GQA_QKV_GROUPED, .score_scale = 0.0078125f}},
    {.name = "gpt-oss, even layer",
     .config = {HEADS(2880, 64, 8, 64), RMS(1e-5f), HALF(150000), YARN(32, 4096), .qkv_bias = 1,
                .o_bias = 1, .sliding_window = 128, .learned_sinks_size = 1, .add_residual = 1}},
    {.name = "gpt-oss, odd layer, padded",
     .config = {HEADS(3072, 64, 8, 64), RMS(1e-5f), HALF(150000), YARN(32, 4096), .qkv_bias = 1,
                .o_bias = 1, .learned_sinks_size = 1, .hidden_size_unpadded = 2880,
                .numerics = GQA_NUMERICS_BF16}},
    {.name = "GLM-4 9B",
     .config = {HEADS(4096, 32, 2, 128), RMS(1.5625e-7f), PAIRS(1e4), .rotary_dim = 64,
                .qkv_bias = 1, .qkv_layout = GQA_QKV_FUSED, .post_norm = GQA_NORM_RMS,
                .post_norm_eps = 1.5625e-7f}},
    {.name = "GLM-4.5 355B",
     .config = {HEADS(5120, 96, 8, 128), RMS(1e-5f), HALF(1e6), QK_RMS(HEAD), .rotary_dim = 64,
                .qkv_bias = 1}},
    {.name = "Command-R v01",
     .config = {HEADS(8192, 64, 64, 128), LAYER(1e-5f), PAIRS(8e6)},
     .hidden_gamma = GAMMA_ALONE},
    {.name = "Command-R+",
     .config = {HEADS(12288, 96, 8, 128), LAYER(1e-5f), PAIRS(7.5e7),
                .qk_norm_scope = GQA_QK_NORM_HEAD, .qk_norm = GQA_NORM_LAYER, .qk_norm_eps = 1e-5f},
     .hidden_gamma = GAMMA_ALONE,
     .head_gamma = GAMMA_PER_HEAD},
    {.name = "Command-R7B, local layer",
     .config = {HEADS(4096, 32, 8, 128), LAYER(1e-5f), PAIRS(5e4), .sliding_window = 4096},
     .hidden_gamma = GAMMA_ALONE},
    {.name = "Command-A, global layer",
     .config = {HEADS(12288, 96, 8, 128), LAYER(1e-5f)},
     .hidden_gamma = GAMMA_ALONE},
    {.name = "OLMo 1 7B",
     .config = {HEADS(4096, 32, 32, 128), LAYER(1e-5f), HALF(1e4), .clip_qkv = 8},
     .hidden_gamma = NO_GAMMA},
    {.name = "OLMo 2 32B",
     .config = {HEADS(5120, 40, 8, 128), HALF(5e5), QK_RMS(WHOLE), .post_norm = GQA_NORM_RMS,
                .post_norm_eps = 1e-6f, .add_residual = 1}},
    {.name = "OLMo 3 7B, full layer",
     .config = {HEADS(4096, 32, 32, 128), HALF(5e5), YARN(8, 8192), QK_RMS(WHOLE),
                .post_norm = GQA_NORM_RMS, .post_norm_eps = 1e-6f,
                .rope_attention_factor = 1.2079441541679836}},
    {.name = "OLMoE",
     .config = {HEADS(2048, 16, 16, 128), RMS(1e-5f), HALF(1e4), QK_RMS(WHOLE), .clip_qkv = 8}},
    {.name = "DBRX",
     .config = {HEADS(6144, 48, 8, 128), LAYER(1e-5f), HALF(5e5), .qkv_layout = GQA_QKV_FUSED,
                .clip_qkv = 8}},
    {.name = "MPT 30B",
     .config = {HEADS(7168, 64, 64, 112), LAYER(1e-5f), .qkv_layout = GQA_QKV_FUSED, .clip_qkv = 6,
                .alibi_slopes = slopes}},
    {.name = "Falcon 7B",
     .config = {HEADS(4544, 71, 1, 64), LAYER(1e-5f), HALF(1e4), .qkv_layout = GQA_QKV_FUSED}},
    {.name = "Falcon 180B",
     .config = {HEADS(14848, 232, 8, 64), LAYER(1e-5f), HALF(1e4), .qkv_layout = GQA_QKV_GROUPED}},
    {.name = "Falcon 3 7B", .config = {HEADS(3072, 12, 4, 256), RMS(1e-6f), HALF(1000042)}},
    {.name = "Falcon-H1",
     .config = {HEADS(2048, 8, 2, 128), RMS(1e-5f), HALF(1e11), .key_multiplier = 0.390625f,
                .attn_in_multiplier = 1, .attn_out_multiplier = 0.9375f}},
    {.name = "StarCoder 1",
     .config = {HEADS(6144, 48, 1, 128), LAYER(1e-5f), .qkv_bias = 1, .o_bias = 1,
                .qkv_layout = GQA_QKV_FUSED}},
    {.name = "StarCoder2 7B",
     .config = {HEADS(4608, 36, 4, 128), LAYER(1e-5f), HALF(1e6), .qkv_bias = 1, .o_bias = 1,
                .sliding_window = 4096}},
    {.name = "Granite 4.1 8B",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e7), .score_scale = 0.0078125f,
                .add_residual = 1, .residual_multiplier = 0.22f}},
    {.name = "Granite SWA, local layer",
     .config = {HEADS(2560, 20, 4, 128), RMS(1e-5f), HALF(1e4), .score_scale = 0.0078125f,
                .sliding_window = 128, .add_residual = 1, .residual_multiplier = 0.28f}},
    {.name = "SmolLM2 135M", .config = {HEADS(576, 9, 3, 64), RMS(1e-5f), HALF(1e5)}},
    {.name = "SmolLM3 3B, NoPE layer", .config = {HEADS(2048, 16, 4, 128), RMS(1e-6f)}},
    {.name = "ERNIE 4.5 0.3B", .config = {HEADS(1024, 16, 2, 128), RMS(1e-5f), PAIRS(5e5)}},
    {.name = "Hunyuan 7B",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD),
                .qk_norm_placement = GQA_QK_NORM_POST_ROPE,
                .rope_scaling = GQA_ROPE_SCALING_NTK_ALPHA, .rope_factor = 1000}},
    {.name = "MiniMax M2",
     .config = {HEADS(3072, 48, 8, 128), RMS(1e-6f), HALF(5e6), QK_RMS(WHOLE), .rotary_dim = 64}},
    {.name = "Seed-OSS 36B",
     .config = {HEADS(5120, 80, 8, 128), RMS(1e-6f), HALF(1e7), .qkv_bias = 1}},
    {.name = "Nemotron 4",
     .config = {HEADS(6144, 48, 8, 128), LAYER(1e-5f), HALF(1e4), .input_norm_offset = 1,
                .rotary_dim = 64}},
    {.name = "Nemotron-H", .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f)}},
    {.name = "EXAONE 4 32B, local",
     .config = {HEADS(5120, 40, 8, 128), HALF(1e6), LLAMA3(16, 1, 4), QK_RMS(HEAD),
                .sliding_window = 4096, .post_norm = GQA_NORM_RMS, .post_norm_eps = 1e-5f}},
    {.name = "Apertus 8B",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1.2e7), LLAMA3(8, 1, 4), QK_RMS(HEAD)}},
    {.name = "Arcee AFM 4.5B",
     .config = {HEADS(2560, 20, 4, 128), RMS(1e-5f), HALF(1e4), YARN(20, 4096)}},
    {.name = "AFMoE Trinity Mini",
     .config = {HEADS(2048, 32, 4, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD),
                .sliding_window = 2048, .gate = GQA_GATE_ELEMENT, .post_norm = GQA_NORM_RMS,
                .post_norm_eps = 1e-5f}},
    {.name = "Step-3.5",
     .config = {HEADS(4096, 64, 8, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD), .qk_norm_offset = 1,
                .rotary_dim = 64, .sliding_window = 512, .gate = GQA_GATE_HEAD}},
    {.name = "Laguna",
     .config = {HEADS(4096, 64, 8, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD), .qk_norm_offset = 1,
                .sliding_window = 512, .gate = GQA_GATE_HEAD,
                .gate_activation = GQA_GATE_SOFTPLUS}},
    {.name = "MiMo-V2-Flash, full",
     .config = {HEADS(4096, 64, 4, 192), RMS(1e-5f), HALF(5e6), .v_head_dim = 128, .rotary_dim = 64,
                .v_scale = 0.707f}},
    {.name = "MiMo-V2-Flash, windowed",
     .config = {HEADS(4096, 64, 8, 192), RMS(1e-5f), HALF(1e4), .v_head_dim = 128, .rotary_dim = 64,
                .sliding_window = 128, .learned_sinks_size = 1, .v_scale = 0.707f}},
    {.name = "InternLM3 8B",
     .config = {HEADS(4096, 32, 2, 128), RMS(1e-5f), HALF(5e7),
                .rope_scaling = GQA_ROPE_SCALING_DYNAMIC, .rope_factor = 6,
                .rope_original_context = 32768}},
    {.name = "StableLM 2 12B",
     .config = {HEADS(5120, 32, 8, 160), LAYER(1e-5f), HALF(1e4), .rotary_dim = 40,
                .qk_norm_scope = GQA_QK_NORM_HEAD, .qk_norm = GQA_NORM_LAYER, .qk_norm_eps = 1e-5f},
     .head_gamma = GAMMA_PER_HEAD},
    {.name = "nanochat",
     .config = {HEADS(1280, 10, 10, 128), RMS(1e-6f), HALF(1e4), QK_RMS(HEAD), .rope_reverse = 1,
                .qk_norm_placement = GQA_QK_NORM_POST_ROPE},
     .hidden_gamma = NO_GAMMA,
     .head_gamma = NO_GAMMA},
    {.name = "Apple AFM 7, late layer",
     .config = {HEADS(2048, 16, 2, 128), RMS(1e-5f), HALF(5e5), QK_RMS(HEAD),
                .qk_norm_placement = GQA_QK_NORM_POST_ROPE},
     .borrows = true},
    {.name = "Qwen2-VL 7B",
     .config = {HEADS(3584, 28, 4, 128), RMS(1e-6f), HALF(1e6), .qkv_bias = 1,
                .mrope = GQA_MROPE_SECTIONS, .mrope_sections = {16, 24, 24, 0}}},
    {.name = "Qwen3-VL 8B",
     .config = {HEADS(4096, 32, 8, 128), RMS(1e-6f), HALF(5e6), QK_RMS(HEAD),
                .mrope = GQA_MROPE_INTERLEAVED, .mrope_sections = {24, 20, 20, 0}}},
    {.name = "attention alone, raw frequencies",
     .config = {HEADS(0, 6, 2, 80), .rope = GQA_ROPE_HALF, .rope_scaling = GQA_ROPE_SCALING_TABLE,
                .rope_inv_freq = factors, .backend = GQA_BACKEND_REFERENCE, .reference_f64 = 1,
                .rope_float_angles = 1}},
};

const int published_count = sizeof published_models / sizeof published_models[0];

/* The entry on top of gqa_config_init: fields of it that are zero keep their default. */
void published_config(const gqa_config *entry, gqa_config *config)
{
    gqa_config usual;

    gqa_config_init(&usual);
    *config = *entry;
    config->struct_size = usual.struct_size;
    config->input_norm_eps = entry->input_norm_eps != 0 ? entry->input_norm_eps : 1e-6f;
    config->qk_norm_eps = entry->qk_norm_eps != 0 ? entry->qk_norm_eps : 1e-6f;
    config->post_norm_eps = entry->post_norm_eps != 0 ? entry->post_norm_eps : 1e-6f;
    config->rope_theta = entry->rope_theta != 0 ? entry->rope_theta : usual.rope_theta;
    if (entry->rope_scaling != GQA_ROPE_SCALING_LLAMA3) {
        config->rope_low_freq_factor = usual.rope_low_freq_factor;
        config->rope_high_freq_factor = usual.rope_high_freq_factor;
    }
    if (entry->rope_scaling != GQA_ROPE_SCALING_YARN) {
        config->rope_beta_fast = usual.rope_beta_fast;
        config->rope_beta_slow = usual.rope_beta_slow;
    }
}

gqa_config published_named(const char *name)
{
    gqa_config config;
    int i = 0;

    while (i < published_count && strcmp(published_models[i].name, name) != 0) {
        i++;
    }
    assert_true(i < published_count);
    published_config(&published_models[i].config, &config);
    return config;
}

/* --- in miniature ------------------------------------------------------------------------------
 */

static const double small_short[32] = {1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4,
                                       4, 4,   5,   5,   5,   5,   5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
static const double small_long[32] = {1,  1.5, 2,  3,  4,  6,  8,  12, 16, 20, 24,
                                      32, 40,  48, 56, 64, 64, 64, 64, 64, 64, 64,
                                      64, 64,  64, 64, 64, 64, 64, 64, 64, 64};

static int32_t at_most(int32_t value, int32_t limit)
{
    return value < limit ? value : limit;
}

static void shrink_shape(gqa_config *g)
{
    const int32_t group = g->num_attention_heads / g->num_key_value_heads;
    const bool padded = g->hidden_size_unpadded != 0;

    g->num_key_value_heads = at_most(g->num_key_value_heads, group > 8 ? 1 : 2);
    g->num_attention_heads = group * g->num_key_value_heads;
    g->head_dim = (g->head_dim != 0 ? g->head_dim : 128) / 4;
    g->v_head_dim /= 4;
    g->hidden_size = g->hidden_size == 0 ? 0 : padded ? 40 : 36;
    g->hidden_size_unpadded = padded ? 37 : 0;
}

static void shrink_rope(gqa_config *g)
{
    g->rotary_dim /= 4;
    g->rope_proportional_dim /= 4;
    for (int i = 0; i < 4; i++) {
        g->mrope_sections[i] /= 4;
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_DYNAMIC ||
        g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_original_context = 5; /* passed during the calls */
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_short_factors = small_short;
        g->rope_long_factors = small_long;
    }
}

static void shrink_spans(gqa_config *g)
{
    g->sliding_window = at_most(g->sliding_window, 3);
    g->right_window = at_most(g->right_window, 2);
    g->attention_chunk_size = at_most(g->attention_chunk_size, 4);
    if (g->query_temperature != GQA_QUERY_TEMPERATURE_NONE) {
        g->query_temperature_floor = 2;
    }
}

/* The weights that random_weights asks the choices for, and the calls. */
static void choose(random_case *c, const struct published *model)
{
    const gqa_config *g = &c->config;
    const bool hidden = g->hidden_size > 0;
    int *v = c->choice;

    v[OPT_INPUT_WEIGHT] = g->input_norm == GQA_NORM_NONE       ? 0
                          : model->hidden_gamma == NO_GAMMA    ? 0
                          : model->hidden_gamma == GAMMA_ALONE ? 1
                          : g->input_norm == GQA_NORM_LAYER    ? 2
                                                               : 1;
    v[OPT_POST_WEIGHT] = g->post_norm != GQA_NORM_NONE;
    v[OPT_QK_WEIGHT] = g->qk_norm_scope == GQA_QK_NORM_OFF || model->head_gamma == NO_GAMMA ? 0
                       : model->head_gamma == GAMMA_PER_HEAD                                ? 2
                                                                                            : 1;
    v[OPT_SINKS] = g->learned_sinks_size;
    v[OPT_WEIGHT_TYPE] = GQA_BF16;
    v[OPT_START] = !hidden;
    v[OPT_STOP] = hidden ? 0 : 2;
    v[OPT_RESIDUAL] = g->add_residual;
    v[OPT_ROTARY_POSITIONS] = g->mrope != GQA_MROPE_NONE;
    v[OPT_BATCH] = 1;   /* two sequences */
    v[OPT_PADDING] = 1; /* on the right */
    v[OPT_CACHE] = 1;
    v[OPT_CALLS] = 4; /* prefill, 2 to 4 tokens, 1 token */
    v[OPT_BORROW] = model->borrows;
}

/* A feature is on in one exactly if it is on in the other. */
#define KEPT_i(field) ((full->field != 0) == (small->field != 0))
#define KEPT_e(field) (full->field == small->field)
#define KEPT_f(field) ((full->field != 0) == (small->field != 0))
#define KEPT_d(field) ((full->field != 0) == (small->field != 0))
#define KEPT_a(field) ((full->field[0] != 0) == (small->field[0] != 0))
#define KEPT_p(field) ((full->field != NULL) == (small->field != NULL))

static const char *lost_field(const gqa_config *full, const gqa_config *small)
{
#define LOST(kind, field, previous)                                                                \
    if (strcmp(#field, "head_dim") != 0 && !KEPT_##kind(field)) {                                  \
        return #field;                                                                             \
    }
    FIELDS(LOST)
#undef LOST
    return NULL;
}

bool published_case(int model, random_case *c, const char **field)
{
    const struct published *entry = &published_models[model];
    gqa_config full;

    memset(c, 0, sizeof *c);
    c->seed = c->state = (uint64_t)(model + 1);
    published_config(&entry->config, &full);
    c->config = full;
    shrink_shape(&c->config);
    shrink_rope(&c->config);
    shrink_spans(&c->config);
    choose(c, entry);
    *field = lost_field(&full, &c->config);
    return *field == NULL;
}
