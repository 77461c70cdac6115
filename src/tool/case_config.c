/* SPDX-License-Identifier: Apache-2.0 */
/* case_config.c - metadata of a golden file -> sizes, gqa_config, tolerances. */
#include <math.h>

#include "tool/case.h"
#include "tool/meta.h"

#define SIZE_LIMIT                                                                                 \
    (1 << 24) /* of each single dimension; the tensors in the file bound the rest                  \
               */

static const char *const off_on[] = {"0", "1", NULL};

static void read_sizes(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const stages[] = {"attn", "block", NULL};
    const struct tool_file *file = c->file;

    c->block = tool_meta_choice(file, "stage", stages, fault) == 1;
    c->batch = tool_meta_int(file, "batch", 1, SIZE_LIMIT, fault);
    c->tokens = tool_meta_int(file, "tokens", 1, SIZE_LIMIT, fault);
    c->past = tool_meta_int(file, "past", 0, SIZE_LIMIT, fault);
    c->keys = c->past + c->tokens;
    c->hidden = tool_meta_int(file, "hidden", c->block ? 1 : 0, c->block ? SIZE_LIMIT : 0, fault);
    c->hq = tool_meta_int(file, "n_q_heads", 1, SIZE_LIMIT, fault);
    c->hkv = tool_meta_int(file, "n_kv_heads", 1, SIZE_LIMIT, fault);
    c->dk = tool_meta_int(file, "head_dim", 1, SIZE_LIMIT, fault);
    c->dv = tool_meta_int(file, "v_head_dim", 1, SIZE_LIMIT, fault);
    c->config.hidden_size = c->hidden;
    c->config.num_attention_heads = c->hq;
    c->config.num_key_value_heads = c->hkv;
    c->config.head_dim = c->dk;
    c->config.v_head_dim = c->dv;
}

/* Switches of stage block, which stage attn must not have on. */
static void read_block(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const norms[] = {"none", "rms", NULL};
    const struct tool_file *file = c->file;
    gqa_config *config = &c->config;

    config->input_norm =
        tool_meta_choice(file, "pre_norm", norms, fault) == 1 ? GQA_NORM_RMS : GQA_NORM_NONE;
    if (config->input_norm != GQA_NORM_NONE) {
        config->input_norm_eps = (float)tool_meta_number(file, "pre_norm_eps", fault);
    }
    config->qkv_bias = tool_meta_choice(file, "qkv_bias", off_on, fault);
    config->o_bias = tool_meta_choice(file, "out_bias", off_on, fault);
    config->add_residual = tool_meta_choice(file, "residual", off_on, fault);
    if (!c->block && (config->input_norm != GQA_NORM_NONE || config->qkv_bias != 0 ||
                      config->o_bias != 0 || config->add_residual != 0)) {
        tool_fault_set(fault, c->path,
                       "stage attn starts after the projections: pre_norm, "
                       "qkv_bias, out_bias and residual must be off");
    }
}

static void read_qk_norm(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const kinds[] = {
        "none", "head_rms", "proj_rms", "head_layernorm", "head_rms_noweight_post_rope", NULL};
    gqa_config *config = &c->config;
    int kind = tool_meta_choice(c->file, "qk_norm", kinds, fault);

    if (kind == 0) {
        return;
    }
    config->qk_norm_scope = kind == 2 ? GQA_QK_NORM_WHOLE : GQA_QK_NORM_HEAD;
    config->qk_norm = kind == 3 ? GQA_NORM_LAYER : GQA_NORM_RMS;
    config->qk_norm_placement = kind == 4 ? GQA_QK_NORM_POST_ROPE : GQA_QK_NORM_PRE_ROPE;
    config->qk_norm_eps = (float)tool_meta_number(c->file, "qk_norm_eps", fault);
    config->qk_norm_offset = tool_meta_choice(c->file, "qk_norm_offset", off_on, fault);
    if (kind >= 3 && config->qk_norm_offset != 0) {
        tool_fault_set(fault, c->path,
                       "qk_norm_offset is 1, which only head_rms and proj_rms have");
    }
}

static void read_mrope(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const layouts[] = {"none", "sections", "interleaved", NULL};
    static const gqa_mrope kinds[] = {GQA_MROPE_NONE, GQA_MROPE_SECTIONS, GQA_MROPE_INTERLEAVED};
    const char *text = tool_file_text(c->file, "mrope_sections");
    int32_t sections[3];
    int n = tool_parse_ints(text, sections, 3);

    c->config.mrope = kinds[tool_meta_choice(c->file, "mrope_layout", layouts, fault)];
    if (n != (c->config.mrope == GQA_MROPE_NONE ? 0 : 3)) {
        tool_fault_set(fault, c->path,
                       "mrope_sections is \"%.40s\"; with mrope_layout %s it must %s", text,
                       tool_file_text(c->file, "mrope_layout"),
                       c->config.mrope == GQA_MROPE_NONE ? "be empty" : "hold three integers");
        return;
    }
    for (int i = 0; i < n; i++) {
        c->config.mrope_sections[i] = sections[i];
    }
}

/* The attention factor is left to the library where its own rule gives the file's value. */
static void read_yarn(struct tool_case *c, struct tool_fault *fault)
{
    gqa_config *config = &c->config;
    double derived;

    config->rope_beta_fast = tool_meta_number(c->file, "rope_beta_fast", fault);
    config->rope_beta_slow = tool_meta_number(c->file, "rope_beta_slow", fault);
    config->rope_truncate = tool_meta_choice(c->file, "rope_truncate", off_on, fault);
    derived = config->rope_factor > 0 ? 0.1 * log(config->rope_factor) + 1.0 : 0.0;
    if (!(fabs(c->rope_mscale - derived) <= 1e-12 * derived)) {
        config->rope_attention_factor = c->rope_mscale;
    }
}

static void read_rope(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const ropes[] = {"none", "half", "interleaved", NULL};
    static const gqa_rope rope_kinds[] = {GQA_ROPE_NONE, GQA_ROPE_HALF, GQA_ROPE_INTERLEAVED};
    static const char *const scalings[] = {"none", "linear", "llama3", "yarn", NULL};
    static const gqa_rope_scaling scaling_kinds[] = {GQA_ROPE_SCALING_NONE, GQA_ROPE_SCALING_LINEAR,
                                                     GQA_ROPE_SCALING_LLAMA3,
                                                     GQA_ROPE_SCALING_YARN};
    const struct tool_file *file = c->file;
    gqa_config *config = &c->config;

    config->rope = rope_kinds[tool_meta_choice(file, "rope", ropes, fault)];
    config->rotary_dim = tool_meta_int(file, "rope_dim", 0, SIZE_LIMIT, fault);
    c->pairs = config->rotary_dim / 2;
    c->rope_mscale = tool_meta_number(file, "rope_mscale", fault);
    config->rope_scaling = scaling_kinds[tool_meta_choice(file, "rope_scaling", scalings, fault)];
    read_mrope(c, fault);
    if ((config->rope == GQA_ROPE_NONE) != (config->rotary_dim == 0) ||
        config->rotary_dim % 2 != 0) {
        tool_fault_set(fault, c->path,
                       "rope_dim is %d; it must be even, and 0 exactly when rope is "
                       "none",
                       config->rotary_dim);
    }
    if (config->rope_scaling != GQA_ROPE_SCALING_YARN && c->rope_mscale != 1.0) {
        tool_fault_set(fault, c->path, "rope_mscale is %g; without yarn it must be 1",
                       c->rope_mscale);
    }
    if (config->rope == GQA_ROPE_NONE) {
        if (config->rope_scaling != GQA_ROPE_SCALING_NONE || config->mrope != GQA_MROPE_NONE) {
            tool_fault_set(fault, c->path, "rope is none, but rope_scaling or mrope_layout is not");
        }
        return;
    }
    config->rope_theta = tool_meta_number(file, "rope_theta", fault);
    if (config->rope_scaling != GQA_ROPE_SCALING_NONE) {
        config->rope_factor = tool_meta_number(file, "rope_factor", fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_LLAMA3 ||
        config->rope_scaling == GQA_ROPE_SCALING_YARN) {
        config->rope_original_context = tool_meta_int(file, "rope_orig_ctx", 1, INT32_MAX, fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_LLAMA3) {
        config->rope_low_freq_factor = tool_meta_number(file, "rope_low_freq_factor", fault);
        config->rope_high_freq_factor = tool_meta_number(file, "rope_high_freq_factor", fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_YARN) {
        read_yarn(c, fault);
    }
}

static void read_scores(struct tool_case *c, struct tool_fault *fault)
{
    const struct tool_file *file = c->file;
    gqa_config *config = &c->config;

    config->clip_qkv = (float)tool_meta_number(file, "clip_qkv", fault);
    config->score_scale = (float)tool_meta_number(file, "scale", fault);
    if (config->score_scale == 0) {
        tool_fault_set(fault, c->path, "metadata scale is 0");
    }
    config->softcap = (float)tool_meta_number(file, "softcap", fault);
    if (tool_meta_choice(file, "q_temp", off_on, fault) == 1) {
        config->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
        config->query_temperature_scale = (float)tool_meta_number(file, "q_temp_scale", fault);
        config->query_temperature_floor = (float)tool_meta_number(file, "q_temp_floor", fault);
    }
    config->bidirectional = tool_meta_choice(file, "causal", off_on, fault) == 0;
    config->sliding_window = tool_meta_int(file, "window", 0, INT32_MAX, fault);
    config->attention_chunk_size = tool_meta_int(file, "chunk", 0, INT32_MAX, fault);
    config->learned_sinks_size = tool_meta_choice(file, "sinks", off_on, fault);
    c->bias_batch = tool_meta_choice(file, "attn_bias", off_on, fault);
}

static void read_tolerances(struct tool_case *c, struct tool_fault *fault)
{
    struct tool_tolerances *t = &c->tolerance;

    t->q = tool_meta_tolerance(c->file, "tol_q", fault);
    t->k = tool_meta_tolerance(c->file, "tol_k", fault);
    t->attn = tool_meta_tolerance(c->file, "tol_attn", fault);
    t->out = tool_meta_tolerance(c->file, "tol_out", fault);
    t->q_f32angle = tool_meta_tolerance(c->file, "tol_q_f32angle", fault);
    t->k_f32angle = tool_meta_tolerance(c->file, "tol_k_f32angle", fault);
    t->attn_f32angle = tool_meta_tolerance(c->file, "tol_attn_f32angle", fault);
    t->out_f32angle = tool_meta_tolerance(c->file, "tol_out_f32angle", fault);
    t->attn_ref = tool_meta_tolerance(c->file, "tol_attn_ref", fault);
    t->out_ref = tool_meta_tolerance(c->file, "tol_out_ref", fault);
    t->attn_bf16 = tool_meta_tolerance(c->file, "tol_attn_bf16", fault);
    t->out_bf16 = tool_meta_tolerance(c->file, "tol_out_bf16", fault);
}

bool tool_case_config(struct tool_case *c, struct tool_fault *fault)
{
    gqa_config_init(&c->config);
    read_sizes(c, fault);
    read_block(c, fault);
    read_qk_norm(c, fault);
    read_rope(c, fault);
    read_scores(c, fault);
    read_tolerances(c, fault);
    return fault->text[0] == '\0';
}
