/* SPDX-License-Identifier: Apache-2.0 */
/* random_config.c - from choices to a config. */
#include <stdlib.h>
#include <string.h>

#include "random_case.h"

static const int head_dims[] = {8, 9, 16, 20, 33, 64, 96, 129, 512};
static const int value_dims[] = {0, 8, 19, 40, 130};
static const int groups[] = {1, 2, 3, 5, 7, 9};
static const int hidden_sizes[] = {0, 13, 24, 40};
static const int windows[] = {0, 1, 2, 5, 70};
static const int rights[] = {0, 1, 3};
static const int chunks[] = {0, 1, 7, 64};
static const int rotary_dims[] = {0, 4, 8};

/* Arrays that configs point to; constant, so that a config can be copied. */
static const double factors_short[256] = {1.0, 1.05, 1.1, 1.3};
static const double table[256] = {1.0, 0.5, 0.31, 0.01};

/* Numbers for all pairs of the largest rotation, made at run time and kept by the case. */
static const double *numbers(random_case *c, const double *start, double factor)
{
    double *out = random_memory(c, 256, sizeof *out);
    for (int i = 0; i < 256; i++) {
        out[i] = start[i] != 0.0 ? start[i] * factor : out[i - 1] * 1.003 + 0.001;
    }
    return out;
}

static void set_rope(random_case *c)
{
    gqa_config *g = &c->config;
    const int *v = c->choice;
    g->rope = (gqa_rope)v[OPT_ROPE];
    g->rope_scaling = (gqa_rope_scaling)v[OPT_SCALING];
    g->rotary_dim = rotary_dims[v[OPT_ROTARY_DIM]];
    g->rope_freq_dim = v[OPT_FREQ_DIM] != 0 ? 24 : 0;
    g->rope_proportional_dim = v[OPT_PROPORTIONAL] != 0 ? 2 : 0;
    g->rope_truncate = v[OPT_TRUNCATE];
    g->rope_attention_factor = v[OPT_ATTENTION_FACTOR] == 1 ? 1.34 : 0.0;
    if (v[OPT_ATTENTION_FACTOR] == 2) {
        g->rope_mscale = 1.0;
        g->rope_mscale_all_dim = 0.7;
    }
    g->rope_reverse = v[OPT_REVERSE];
    g->rope_float_angles = v[OPT_FLOAT_ANGLES];
    if (g->rope != GQA_ROPE_NONE && g->rope_scaling != GQA_ROPE_SCALING_TABLE) {
        g->rope_theta = c->seed % 3 == 0 ? 500.0 : c->seed % 3 == 1 ? 10000.0 : 150000.0;
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_LINEAR) {
        g->rope_factor = 2.5;
    } else if (g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_factor = g->rope_attention_factor == 0.0 ? 4.0 : 0.0;
    } else if (g->rope_scaling >= GQA_ROPE_SCALING_NTK_ALPHA &&
               g->rope_scaling <= GQA_ROPE_SCALING_YARN) {
        g->rope_factor = 8.0;
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_DYNAMIC ||
        g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_original_context = 5;
    } else if (g->rope_scaling == GQA_ROPE_SCALING_YARN ||
               g->rope_scaling == GQA_ROPE_SCALING_LLAMA3) {
        g->rope_original_context = c->seed % 2 == 0 ? 64 : 4096;
    }
}

static void set_rope_arrays(random_case *c, int pairs)
{
    gqa_config *g = &c->config;
    if (g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_short_factors = numbers(c, factors_short, 1.0);
        g->rope_long_factors = numbers(c, factors_short, 1.7);
    } else if (g->rope_scaling == GQA_ROPE_SCALING_TABLE) {
        g->rope_inv_freq = numbers(c, table, 1.0);
    }
    if (c->choice[OPT_MROPE] == 1) {
        g->mrope = GQA_MROPE_SECTIONS;
        g->mrope_sections[2] = pairs / 3;
        g->mrope_sections[1] = (pairs - pairs / 3) / 2;
    } else if (c->choice[OPT_MROPE] == 2) {
        g->mrope = GQA_MROPE_SECTIONS;
        g->mrope_sections[3] = pairs >= 4 ? pairs / 4 : 1;
        g->mrope_sections[2] = pairs / 4;
        g->mrope_sections[1] = pairs / 5;
    } else if (c->choice[OPT_MROPE] == 3) {
        g->mrope = GQA_MROPE_INTERLEAVED;
        g->mrope_sections[2] = pairs / 4;
        g->mrope_sections[1] = pairs / 3;
    }
    if (g->mrope != GQA_MROPE_NONE) {
        g->mrope_sections[0] =
            pairs - g->mrope_sections[1] - g->mrope_sections[2] - g->mrope_sections[3];
    }
}

static void set_norms(random_case *c)
{
    gqa_config *g = &c->config;
    const int *v = c->choice;
    g->input_norm = (gqa_norm)v[OPT_INPUT_NORM];
    g->input_norm_eps = g->input_norm != GQA_NORM_NONE ? 1e-3f : 1e-6f;
    g->input_norm_offset = v[OPT_INPUT_OFFSET];
    g->norm_cast = (gqa_dtype)v[OPT_CAST];
    g->post_norm = (gqa_norm)v[OPT_POST_NORM];
    g->post_norm_eps = g->post_norm != GQA_NORM_NONE ? 2e-3f : 1e-6f;
    g->post_norm_offset = v[OPT_POST_OFFSET];
    if (v[OPT_QK_NORM] > 0) {
        g->qk_norm_scope = v[OPT_QK_NORM] <= 3 ? GQA_QK_NORM_HEAD : GQA_QK_NORM_WHOLE;
        g->qk_norm = (gqa_norm)((v[OPT_QK_NORM] - 1) % 3 + 1);
    }
    g->qk_norm_placement = (gqa_qk_norm_placement)v[OPT_QK_PLACE];
    g->qk_norm_offset = v[OPT_QK_OFFSET];
    g->v_norm = (gqa_norm)v[OPT_V_NORM];
    g->qk_norm_eps = v[OPT_QK_NORM] > 0 || v[OPT_V_NORM] > 0 ? 4e-3f : 1e-6f;
}

static void set_scores(random_case *c)
{
    gqa_config *g = &c->config;
    const int *v = c->choice;
    g->score_scale = v[OPT_SCALE] == 0 ? 0.0f : v[OPT_SCALE] == 1 ? 0.17f : -0.23f;
    g->softcap = v[OPT_SOFTCAP] != 0 ? 3.0f : 0.0f;
    g->query_temperature = (gqa_query_temperature)v[OPT_TEMPERATURE];
    if (g->query_temperature != GQA_QUERY_TEMPERATURE_NONE) {
        g->query_temperature_scale = 0.1f;
        g->query_temperature_floor = 3.0f;
    }
    if (v[OPT_ALIBI] != 0) {
        float *slopes = random_memory(c, 32, sizeof *slopes);
        for (int h = 0; h < 32; h++) {
            slopes[h] = 0.3f / (float)(1 + h);
        }
        g->alibi_slopes = slopes;
    }
    g->bidirectional = v[OPT_BIDIRECTIONAL];
    g->sliding_window = windows[v[OPT_WINDOW]];
    g->right_window = rights[v[OPT_RIGHT]];
    g->attention_chunk_size = chunks[v[OPT_CHUNK]];
    g->learned_sinks_size = v[OPT_SINKS] != 0 ? 1 : 0;
}

bool random_config(random_case *c)
{
    gqa_config *g = &c->config;
    const int *v = c->choice;
    for (int i = 0; i < c->blocks; i++) { /* arrays of a config that was refused */
        free(c->memory[i]);
    }
    c->blocks = 0;
    gqa_config_init(g);
    g->hidden_size = hidden_sizes[v[OPT_HIDDEN]];
    g->hidden_size_unpadded = v[OPT_HIDDEN] == 3 ? 37 : 0;
    g->num_key_value_heads = v[OPT_KV_HEADS] + 1;
    g->num_attention_heads = g->num_key_value_heads * groups[v[OPT_GROUP]];
    g->head_dim = head_dims[v[OPT_HEAD_DIM]];
    g->v_head_dim = value_dims[v[OPT_V_DIM]];
    g->attn_in_multiplier = v[OPT_IN_MULTIPLIER] != 0 ? 1.25f : 0.0f;
    g->qkv_layout = (gqa_qkv_layout)v[OPT_LAYOUT];
    g->qkv_bias = v[OPT_QKV_BIAS];
    g->o_bias = v[OPT_O_BIAS];
    g->clip_qkv = v[OPT_CLIP] != 0 ? 0.9f : 0.0f;
    g->k_eq_v = v[OPT_K_EQ_V];
    g->key_multiplier = v[OPT_KEY_MULTIPLIER] != 0 ? 0.39f : 0.0f;
    g->v_scale = v[OPT_V_SCALE] != 0 ? 0.707f : 0.0f;
    set_norms(c);
    set_rope(c);
    set_rope_arrays(c, (g->rotary_dim > 0 ? g->rotary_dim : g->head_dim) / 2);
    set_scores(c);
    g->gate = (gqa_gate)v[OPT_GATE];
    g->gate_activation = (gqa_gate_activation)v[OPT_ACTIVATION];
    g->attn_out_multiplier = v[OPT_OUT_MULTIPLIER] != 0 ? 0.8f : 0.0f;
    g->add_residual = v[OPT_ADD_RESIDUAL];
    g->residual_multiplier = v[OPT_RESIDUAL_MULTIPLIER] != 0 ? 0.22f : 0.0f;
    g->numerics = (gqa_numerics)v[OPT_NUMERICS];
    g->denormals = (gqa_denormals)v[OPT_DENORMALS];
    g->weight_storage =
        v[OPT_WEIGHT_STORAGE] != 0 ? GQA_WEIGHT_STORAGE_INT8 : GQA_WEIGHT_STORAGE_NATIVE;
    g->isa = GQA_ISA_SCALAR;
    return gqa_config_check(g, NULL) == GQA_OK;
}
