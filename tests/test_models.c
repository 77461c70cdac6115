/* Configs of published models, one row each: the checker accepts them, and the derived shape is
 * what their weights have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/shape.h"

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

/* The config is the default one where a row has zero. */
struct model {
    const char *name;
    gqa_config config;
};

static const struct model models[] = {
    {"Llama 2 7B", {HEADS(4096, 32, 32, 0), RMS(1e-5f), HALF(1e4), .norm_cast = GQA_BF16}},
    {"Llama 3 70B", {HEADS(8192, 64, 8, 128), RMS(1e-5f), HALF(5e5)}},
    {"Llama 3.1 405B", {HEADS(16384, 128, 8, 128), RMS(1e-5f), HALF(5e5), LLAMA3(8, 1, 4)}},
    {"Llama 3.2 1B", {HEADS(2048, 32, 8, 64), RMS(1e-5f), HALF(5e5), LLAMA3(32, 1, 4)}},
    {"Llama 4 Scout, rope layer",
     {HEADS(5120, 40, 8, 128), RMS(1e-5f), PAIRS(5e5), LLAMA3(16, 1, 1), QK_RMS(HEAD),
      .qk_norm_placement = GQA_QK_NORM_POST_ROPE, .attention_chunk_size = 8192}},
    {"Llama 4 Scout, NoPE layer",
     {HEADS(5120, 40, 8, 128), RMS(1e-5f), .query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4,
      .query_temperature_scale = 0.1f, .query_temperature_floor = 8192}},
    {"Qwen2.5 0.5B", {HEADS(896, 14, 2, 64), RMS(1e-6f), HALF(1e6), .qkv_bias = 1}},
    {"Qwen2.5 7B 128k",
     {HEADS(3584, 28, 4, 128), RMS(1e-6f), HALF(1e6), YARN(4, 32768), .rope_truncate = 1,
      .qkv_bias = 1}},
    {"Qwen3 0.6B", {HEADS(1024, 16, 8, 128), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD)}},
    {"Qwen3 235B-A22B", {HEADS(4096, 64, 4, 128), RMS(1e-6f), HALF(5e6), QK_RMS(HEAD)}},
    {"Qwen3-Next 80B-A3B",
     {HEADS(2048, 16, 2, 256), RMS(1e-6f), HALF(1e7), QK_RMS(HEAD), .input_norm_offset = 1,
      .qk_norm_offset = 1, .rotary_dim = 64, .gate = GQA_GATE_Q_TAIL}},
    {"Mistral 7B v0.1", {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e4), .sliding_window = 4096}},
    {"Mistral Large 2407", {HEADS(12288, 96, 8, 128), RMS(1e-5f), HALF(1e6)}},
    {"Ministral 3",
     {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e6), YARN(16, 16384),
      .query_temperature = GQA_QUERY_TEMPERATURE_MINISTRAL, .query_temperature_scale = 0.1f,
      .query_temperature_floor = 16384}},
    {"Gemma 1 2B", {HEADS(2048, 8, 1, 256), RMS(1e-6f), HALF(1e4), .input_norm_offset = 1}},
    {"Gemma 2 27B, local",
     {HEADS(4608, 32, 16, 128), RMS(1e-6f), HALF(1e4), .input_norm_offset = 1,
      .score_scale = 0.08333333f, .softcap = 50, .sliding_window = 4096, .post_norm = GQA_NORM_RMS,
      .post_norm_eps = 1e-6f, .post_norm_offset = 1, .add_residual = 1}},
    {"Gemma 3 27B, global",
     {HEADS(5376, 32, 16, 128), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD), .input_norm_offset = 1,
      .qk_norm_offset = 1, .rope_scaling = GQA_ROPE_SCALING_LINEAR, .rope_factor = 8,
      .score_scale = 0.07715167f}},
    {"Gemma 3, image block",
     {HEADS(2560, 8, 4, 256), RMS(1e-6f), HALF(1e4), QK_RMS(HEAD), .input_norm_offset = 1,
      .qk_norm_offset = 1, .bidirectional = 1, .sliding_window = 1024, .right_window = 1023}},
    {"Gemma 4 E2B, global",
     {HEADS(1536, 8, 1, 512), RMS(1e-6f), HALF(1e6), QK_RMS(HEAD), .v_norm = GQA_NORM_RMS,
      .k_eq_v = 1, .rope_proportional_dim = 128, .score_scale = 1}},
    {"Phi-3 mini 128k",
     {HEADS(3072, 32, 32, 96), RMS(1e-5f), HALF(1e4), LONGROPE(32), .qkv_layout = GQA_QKV_FUSED,
      .sliding_window = 262144}},
    {"Phi-4-mini",
     {HEADS(3072, 24, 8, 128), RMS(1e-5f), HALF(1e4), LONGROPE(32), .rotary_dim = 96,
      .qkv_layout = GQA_QKV_FUSED}},
    {"Phi-3-small, dense layer",
     {HEADS(4096, 32, 8, 128), LAYER(1e-5f), HALF(1e6), .qkv_bias = 1, .o_bias = 1,
      .qkv_layout = GQA_QKV_GROUPED, .score_scale = 0.0078125f}},
    {"gpt-oss, even layer",
     {HEADS(2880, 64, 8, 64), RMS(1e-5f), HALF(150000), YARN(32, 4096), .qkv_bias = 1, .o_bias = 1,
      .sliding_window = 128, .learned_sinks_size = 1, .add_residual = 1}},
    {"gpt-oss, odd layer, padded",
     {HEADS(3072, 64, 8, 64), RMS(1e-5f), HALF(150000), YARN(32, 4096), .qkv_bias = 1, .o_bias = 1,
      .learned_sinks_size = 1, .hidden_size_unpadded = 2880, .numerics = GQA_NUMERICS_BF16}},
    {"GLM-4 9B",
     {HEADS(4096, 32, 2, 128), RMS(1.5625e-7f), PAIRS(1e4), .rotary_dim = 64, .qkv_bias = 1,
      .qkv_layout = GQA_QKV_FUSED, .post_norm = GQA_NORM_RMS, .post_norm_eps = 1.5625e-7f}},
    {"GLM-4.5 355B",
     {HEADS(5120, 96, 8, 128), RMS(1e-5f), HALF(1e6), QK_RMS(HEAD), .rotary_dim = 64,
      .qkv_bias = 1}},
    {"Command-R v01", {HEADS(8192, 64, 64, 128), LAYER(1e-5f), PAIRS(8e6)}},
    {"Command-R+",
     {HEADS(12288, 96, 8, 128), LAYER(1e-5f), PAIRS(7.5e7), .qk_norm_scope = GQA_QK_NORM_HEAD,
      .qk_norm = GQA_NORM_LAYER, .qk_norm_eps = 1e-5f}},
    {"Command-A, global layer", {HEADS(12288, 96, 8, 128), LAYER(1e-5f)}},
    {"OLMo 1 7B", {HEADS(4096, 32, 32, 128), LAYER(1e-5f), HALF(1e4), .clip_qkv = 8}},
    {"OLMo 2 32B",
     {HEADS(5120, 40, 8, 128), HALF(5e5), QK_RMS(WHOLE), .post_norm = GQA_NORM_RMS,
      .post_norm_eps = 1e-6f, .add_residual = 1}},
    {"OLMo 3 7B, full layer",
     {HEADS(4096, 32, 32, 128), HALF(5e5), YARN(8, 8192), QK_RMS(WHOLE), .post_norm = GQA_NORM_RMS,
      .post_norm_eps = 1e-6f, .rope_attention_factor = 1.2079441541679836}},
    {"DBRX",
     {HEADS(6144, 48, 8, 128), LAYER(1e-5f), HALF(5e5), .qkv_layout = GQA_QKV_FUSED,
      .clip_qkv = 8}},
    {"MPT 30B",
     {HEADS(7168, 64, 64, 112), LAYER(1e-5f), .qkv_layout = GQA_QKV_FUSED, .clip_qkv = 6,
      .alibi_slopes = slopes}},
    {"Falcon 7B", {HEADS(4544, 71, 1, 64), LAYER(1e-5f), HALF(1e4), .qkv_layout = GQA_QKV_FUSED}},
    {"Falcon 180B",
     {HEADS(14848, 232, 8, 64), LAYER(1e-5f), HALF(1e4), .qkv_layout = GQA_QKV_GROUPED}},
    {"Falcon 3 7B", {HEADS(3072, 12, 4, 256), RMS(1e-6f), HALF(1000042)}},
    {"Falcon-H1",
     {HEADS(2048, 8, 2, 128), RMS(1e-5f), HALF(1e11), .key_multiplier = 0.390625f,
      .attn_in_multiplier = 1, .attn_out_multiplier = 0.9375f}},
    {"StarCoder 1",
     {HEADS(6144, 48, 1, 128), LAYER(1e-5f), .qkv_bias = 1, .o_bias = 1,
      .qkv_layout = GQA_QKV_FUSED}},
    {"StarCoder2 7B",
     {HEADS(4608, 36, 4, 128), LAYER(1e-5f), HALF(1e6), .qkv_bias = 1, .o_bias = 1,
      .sliding_window = 4096}},
    {"Granite 4.1 8B",
     {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e7), .score_scale = 0.0078125f, .add_residual = 1,
      .residual_multiplier = 0.22f}},
    {"SmolLM2 135M", {HEADS(576, 9, 3, 64), RMS(1e-5f), HALF(1e5)}},
    {"SmolLM3 3B, NoPE layer", {HEADS(2048, 16, 4, 128), RMS(1e-6f)}},
    {"ERNIE 4.5 0.3B", {HEADS(1024, 16, 2, 128), RMS(1e-5f), PAIRS(5e5)}},
    {"Hunyuan 7B",
     {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD),
      .qk_norm_placement = GQA_QK_NORM_POST_ROPE, .rope_scaling = GQA_ROPE_SCALING_NTK_ALPHA,
      .rope_factor = 1000}},
    {"MiniMax M2",
     {HEADS(3072, 48, 8, 128), RMS(1e-6f), HALF(5e6), QK_RMS(WHOLE), .rotary_dim = 64}},
    {"Note-OSS-36B", {HEADS(5120, 80, 8, 128), RMS(1e-6f), HALF(1e7), .qkv_bias = 1}},
    {"Nemotron 4",
     {HEADS(6144, 48, 8, 128), LAYER(1e-5f), HALF(1e4), .input_norm_offset = 1, .rotary_dim = 64}},
    {"EXAONE 4 32B, local",
     {HEADS(5120, 40, 8, 128), HALF(1e6), LLAMA3(16, 1, 4), QK_RMS(HEAD), .sliding_window = 4096,
      .post_norm = GQA_NORM_RMS, .post_norm_eps = 1e-5f}},
    {"Apertus 8B",
     {HEADS(4096, 32, 8, 128), RMS(1e-5f), HALF(1.2e7), LLAMA3(8, 1, 4), QK_RMS(HEAD)}},
    {"Arcee AFM 4.5B", {HEADS(2560, 20, 4, 128), RMS(1e-5f), HALF(1e4), YARN(20, 4096)}},
    {"AFMoE Trinity Mini",
     {HEADS(2048, 32, 4, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD), .sliding_window = 2048,
      .gate = GQA_GATE_ELEMENT, .post_norm = GQA_NORM_RMS, .post_norm_eps = 1e-5f}},
    {"Laguna",
     {HEADS(4096, 64, 8, 128), RMS(1e-5f), HALF(1e4), QK_RMS(HEAD), .qk_norm_offset = 1,
      .sliding_window = 512, .gate = GQA_GATE_HEAD, .gate_activation = GQA_GATE_SOFTPLUS}},
    {"MiMo-V2-Flash, windowed",
     {HEADS(4096, 64, 8, 192), RMS(1e-5f), HALF(1e4), .v_head_dim = 128, .rotary_dim = 64,
      .sliding_window = 128, .learned_sinks_size = 1, .v_scale = 0.707f}},
    {"InternLM3 8B",
     {HEADS(4096, 32, 2, 128), RMS(1e-5f), HALF(5e7), .rope_scaling = GQA_ROPE_SCALING_DYNAMIC,
      .rope_factor = 6, .rope_original_context = 32768}},
    {"StableLM 2 12B",
     {HEADS(5120, 32, 8, 160), LAYER(1e-5f), HALF(1e4), .rotary_dim = 40,
      .qk_norm_scope = GQA_QK_NORM_HEAD, .qk_norm = GQA_NORM_LAYER, .qk_norm_eps = 1e-5f}},
    {"nanochat",
     {HEADS(1280, 10, 10, 128), RMS(1e-6f), HALF(1e4), QK_RMS(HEAD), .rope_reverse = 1,
      .qk_norm_placement = GQA_QK_NORM_POST_ROPE}},
    {"Qwen2-VL 7B",
     {HEADS(3584, 28, 4, 128), RMS(1e-6f), HALF(1e6), .qkv_bias = 1, .mrope = GQA_MROPE_SECTIONS,
      .mrope_sections = {16, 24, 24, 0}}},
    {"Qwen3-VL 8B",
     {HEADS(4096, 32, 8, 128), RMS(1e-6f), HALF(5e6), QK_RMS(HEAD), .mrope = GQA_MROPE_INTERLEAVED,
      .mrope_sections = {24, 20, 20, 0}}},
    {"attention alone, raw frequencies",
     {HEADS(0, 6, 2, 80), .rope = GQA_ROPE_HALF, .rope_scaling = GQA_ROPE_SCALING_TABLE,
      .rope_inv_freq = factors, .backend = GQA_BACKEND_REFERENCE, .reference_f64 = 1,
      .rope_float_angles = 1}},
};

enum { MODEL_COUNT = sizeof models / sizeof models[0] };

/* The row on top of gqa_config_init: fields of the row that are zero keep their default. */
static void make(const struct model *model, gqa_config *config)
{
    const gqa_config *const row = &model->config;
    gqa_config usual;

    gqa_config_init(&usual);
    *config = *row;
    config->struct_size = usual.struct_size;
    config->input_norm_eps = row->input_norm_eps != 0 ? row->input_norm_eps : 1e-6f;
    config->qk_norm_eps = row->qk_norm_eps != 0 ? row->qk_norm_eps : 1e-6f;
    config->post_norm_eps = row->post_norm_eps != 0 ? row->post_norm_eps : 1e-6f;
    config->rope_theta = row->rope_theta != 0 ? row->rope_theta : usual.rope_theta;
    if (row->rope_scaling != GQA_ROPE_SCALING_LLAMA3) {
        config->rope_low_freq_factor = usual.rope_low_freq_factor;
        config->rope_high_freq_factor = usual.rope_high_freq_factor;
    }
    if (row->rope_scaling != GQA_ROPE_SCALING_YARN) {
        config->rope_beta_fast = usual.rope_beta_fast;
        config->rope_beta_slow = usual.rope_beta_slow;
    }
}

static void derive(const char *name, struct gqa__shape *shape)
{
    for (int i = 0; i < MODEL_COUNT; i++) {
        if (strcmp(models[i].name, name) == 0) {
            gqa_config config;
            make(&models[i], &config);
            memset(shape, 0x55, sizeof *shape);
            gqa__shape_derive(shape, &config);
            return;
        }
    }
    fail_msg("no model %s", name);
}

static void accepted(void **state)
{
    (void)state;
    for (int i = 0; i < MODEL_COUNT; i++) {
        gqa_config config;
        gqa_error err;
        make(&models[i], &config);
        if (gqa_config_check(&config, &err) != GQA_OK) {
            fail_msg("%s: %s", models[i].name, err.message);
        }
    }
    print_message("%d configs accepted\n", MODEL_COUNT);
}

/* What the model matrix has and this library does not: by name. */
static void refused(void **state)
{
    static const struct {
        const char *name, *says;
        gqa_config config;
    } rows[] = {
        {"Phi-3-small, sparse layer",
         "block-sparse",
         {HEADS(4096, 32, 8, 128), .attention_kind = GQA_ATTENTION_BLOCK_SPARSE}},
        {"MiniMax-M3",
         "block-sparse",
         {HEADS(4096, 64, 4, 128), .attention_kind = GQA_ATTENTION_BLOCK_SPARSE}},
        {"DeepSeek-V3", "MLA", {HEADS(7168, 128, 128, 192), .attention_kind = GQA_ATTENTION_MLA}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model model = {rows[i].name, rows[i].config};
        gqa_config config;
        gqa_error err;
        make(&model, &config);
        assert_int_equal(gqa_config_check(&config, &err), GQA_ERR_UNSUPPORTED);
        assert_string_equal(err.field, "config.attention_kind");
        assert_non_null(strstr(err.message, rows[i].says));
    }
}

static void shape_gptoss_padded(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("gpt-oss, odd layer, padded", &s);
    assert_int_equal(s.hidden, 3072);
    assert_int_equal(s.hidden_true, 2880);
    assert_int_equal(s.group, 8);
    assert_int_equal(s.q_rows, 4096);
    assert_int_equal(s.k_rows, 512);
    assert_int_equal(s.v_rows, 512);
    assert_int_equal(s.o_in, 4096);
    assert_int_equal(s.gate_rows, 0);
    assert_int_equal(s.gate_dim, 0);
    assert_int_equal(s.rotary_dim, 64);
    assert_int_equal(s.rope_axes, 1);
    assert_int_equal(s.window, 0);
    assert_int_equal(s.right, 0);
    assert_int_equal(s.chunk, 0);
    assert_true(s.score_scale == 0.125f);
}

static void shape_gates(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Qwen3-Next 80B-A3B", &s);
    assert_int_equal(s.q_head_rows, 512);
    assert_int_equal(s.q_rows, 16 * 512);
    assert_int_equal(s.gate_rows, 0);
    assert_int_equal(s.gate_dim, 256);
    derive("AFMoE Trinity Mini", &s);
    assert_int_equal(s.q_head_rows, 128);
    assert_int_equal(s.gate_rows, 4096);
    assert_int_equal(s.gate_dim, 128);
    derive("Laguna", &s);
    assert_int_equal(s.gate_rows, 64);
    assert_int_equal(s.gate_dim, 1);
}

static void shape_dims(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Llama 2 7B", &s);
    assert_int_equal(s.dk, 128);
    assert_int_equal(s.hidden_true, 4096);
    derive("MiMo-V2-Flash, windowed", &s);
    assert_int_equal(s.dk, 192);
    assert_int_equal(s.dv, 128);
    assert_int_equal(s.k_rows, 8 * 192);
    assert_int_equal(s.v_rows, 8 * 128);
    assert_int_equal(s.o_in, 64 * 128);
    assert_int_equal(s.window, 128);
    derive("Gemma 4 E2B, global", &s);
    assert_int_equal(s.v_rows, 0);
    assert_int_equal(s.rotary_dim, 512);
    assert_true(s.score_scale == 1.0f);
    derive("Falcon 7B", &s);
    assert_int_equal(s.group, 71);
}

static void shape_spans_and_axes(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Gemma 3, image block", &s);
    assert_int_equal(s.window, 1024);
    assert_int_equal(s.right, 1023);
    derive("Llama 4 Scout, rope layer", &s);
    assert_int_equal(s.chunk, 8192);
    assert_int_equal(s.right, 0);
    derive("Llama 4 Scout, NoPE layer", &s);
    assert_int_equal(s.rotary_dim, 0);
    assert_int_equal(s.rope_axes, 0);
    derive("Qwen2-VL 7B", &s);
    assert_int_equal(s.rope_axes, 3);
}

/* Four axes, and every later key visible. */
static void shape_rare(void **state)
{
    struct gqa__shape s;
    gqa_config config;

    (void)state;
    make(&models[0], &config);
    config.mrope = GQA_MROPE_SECTIONS;
    config.mrope_sections[0] = 32;
    config.mrope_sections[3] = 32;
    config.bidirectional = 1;
    assert_int_equal(gqa_config_check(&config, NULL), GQA_OK);
    gqa__shape_derive(&s, &config);
    assert_int_equal(s.rope_axes, 4);
    assert_int_equal(s.right, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(shape_gptoss_padded),
        cmocka_unit_test(shape_gates),
        cmocka_unit_test(shape_dims),
        cmocka_unit_test(shape_spans_and_axes),
        cmocka_unit_test(shape_rare),
    };

    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
