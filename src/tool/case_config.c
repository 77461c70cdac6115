/* case_config.c - metadata of a golden file -> gqa_config, tolerances. A key that is absent is
 * answered by a tensor, or by a default that is put down in `assumed`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tool/case.h"
#include "tool/meta.h"

#define SIZE_LIMIT (1 << 24) /* of a dimension */

static const char *const off_on[] = {"0", "1", NULL};

/* --- keys that may be absent --------------------------------------------------------------------
 */

/* Put down "key value": the report tells what was taken for granted. */
static void assume(struct tool_case *c, const char *key, const char *value)
{
    const size_t used = strlen(c->assumed);

    snprintf(c->assumed + used, sizeof c->assumed - used, "%s%s %s", used > 0 ? ", " : "", key,
             value);
}

static double number_or(struct tool_case *c, const char *key, double absent,
                        struct tool_fault *fault)
{
    char text[32];

    if (tool_case_says(c, key)) {
        return tool_meta_number(c->file, key, fault);
    }
    snprintf(text, sizeof text, "%.9g", absent);
    assume(c, key, text);
    return absent;
}

static int32_t int_or(struct tool_case *c, const char *key, int32_t high, int32_t absent,
                      struct tool_fault *fault)
{
    char text[32];

    if (tool_case_says(c, key)) {
        return tool_meta_int(c->file, key, 0, high, fault);
    }
    snprintf(text, sizeof text, "%d", absent);
    assume(c, key, text);
    return absent;
}

static int choice_or(struct tool_case *c, const char *key, const char *const *names, int absent,
                     struct tool_fault *fault)
{
    if (tool_case_says(c, key)) {
        return tool_meta_choice(c->file, key, names, fault);
    }
    assume(c, key, names[absent]);
    return absent;
}

/* A choice that a tensor of the file makes where the key is absent. */
static int choice_by(const struct tool_case *c, const char *key, const char *const *names,
                     int found, struct tool_fault *fault)
{
    return tool_case_says(c, key) ? tool_meta_choice(c->file, key, names, fault) : found;
}

/* --- the config ---------------------------------------------------------------------------------
 */

/* Switches of stage block, which stage attn must not have on. */
static void read_block(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const norms[] = {"none", "rms", NULL};
    const bool biases = tool_case_has(c, "bq") || tool_case_has(c, "bk") || tool_case_has(c, "bv");
    gqa_config *config = &c->config;

    config->input_norm =
        choice_by(c, "pre_norm", norms, tool_case_has(c, "norm.weight"), fault) == 1
            ? GQA_NORM_RMS
            : GQA_NORM_NONE;
    if (config->input_norm != GQA_NORM_NONE) {
        config->input_norm_eps =
            (float)number_or(c, "pre_norm_eps", (double)config->input_norm_eps, fault);
    }
    config->qkv_bias = choice_by(c, "qkv_bias", off_on, biases, fault);
    config->o_bias = choice_by(c, "out_bias", off_on, tool_case_has(c, "bo"), fault);
    if (c->block || tool_case_says(c, "residual")) {
        config->add_residual = choice_or(c, "residual", off_on, 0, fault);
    }
    if (!c->block && (config->input_norm != GQA_NORM_NONE || config->qkv_bias != 0 ||
                      config->o_bias != 0 || config->add_residual != 0)) {
        tool_fault_set(fault, c->path,
                       "stage attn starts after the projections: pre_norm, "
                       "qkv_bias, out_bias and residual must be off");
    }
}

/* The norm whose weights have the shape of q_norm.weight; one without weights is not guessed. */
static int qk_norm_found(const struct tool_case *c)
{
    const struct tool_tensor *weight = tool_file_find(c->file, "q_norm.weight");

    return weight == NULL ? 0 : weight->rank != 1 ? 3 : (weight->shape[0] == c->dk ? 1 : 2);
}

static void read_qk_norm(struct tool_case *c, struct tool_fault *fault)
{
    static const char *const kinds[] = {
        "none", "head_rms", "proj_rms", "head_layernorm", "head_rms_noweight_post_rope", NULL};
    gqa_config *config = &c->config;
    int kind = choice_by(c, "qk_norm", kinds, qk_norm_found(c), fault);

    if (!tool_case_says(c, "qk_norm")) {
        assume(c, "qk_norm", kinds[kind]);
    }

    if (kind == 0) {
        return;
    }
    config->qk_norm_scope = kind == 2 ? GQA_QK_NORM_WHOLE : GQA_QK_NORM_HEAD;
    config->qk_norm = kind == 3 ? GQA_NORM_LAYER : GQA_NORM_RMS;
    config->qk_norm_placement = kind == 4 ? GQA_QK_NORM_POST_ROPE : GQA_QK_NORM_PRE_ROPE;
    config->qk_norm_eps = (float)number_or(c, "qk_norm_eps", (double)config->qk_norm_eps, fault);
    config->qk_norm_offset = kind < 3 || tool_case_says(c, "qk_norm_offset")
                                 ? choice_or(c, "qk_norm_offset", off_on, 0, fault)
                                 : 0;
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
    int layout = choice_by(c, "mrope_layout", layouts, 0, fault);
    int n = tool_parse_ints(text != NULL ? text : "", sections, 3);

    c->config.mrope = kinds[layout];
    if (n != (c->config.mrope == GQA_MROPE_NONE ? 0 : 3)) {
        tool_fault_set(fault, c->path,
                       "mrope_sections is \"%.40s\"; with mrope_layout %s it must %s",
                       text != NULL ? text : "", layouts[layout],
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
    const double derived = config->rope_factor > 0 ? 0.1 * log(config->rope_factor) + 1.0 : 0.0;

    config->rope_beta_fast = number_or(c, "rope_beta_fast", config->rope_beta_fast, fault);
    config->rope_beta_slow = number_or(c, "rope_beta_slow", config->rope_beta_slow, fault);
    config->rope_truncate = tool_meta_choice(c->file, "rope_truncate", off_on, fault);
    c->rope_mscale = number_or(c, "rope_mscale", derived, fault);
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

    config->rope = rope_kinds[choice_or(c, "rope", ropes, 0, fault)];
    if (config->rope != GQA_ROPE_NONE || tool_case_says(c, "rope_dim")) {
        config->rotary_dim = int_or(c, "rope_dim", SIZE_LIMIT, c->dk, fault);
    }
    c->pairs = config->rotary_dim / 2;
    c->rope_mscale =
        tool_case_says(c, "rope_mscale") ? tool_meta_number(file, "rope_mscale", fault) : 1.0;
    config->rope_scaling = scaling_kinds[config->rope != GQA_ROPE_NONE
                                             ? choice_or(c, "rope_scaling", scalings, 0, fault)
                                             : choice_by(c, "rope_scaling", scalings, 0, fault)];
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
    config->rope_theta = number_or(c, "rope_theta", config->rope_theta, fault);
    if (config->rope_scaling != GQA_ROPE_SCALING_NONE) {
        config->rope_factor = tool_meta_number(file, "rope_factor", fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_LLAMA3 ||
        config->rope_scaling == GQA_ROPE_SCALING_YARN) {
        config->rope_original_context = tool_meta_int(file, "rope_orig_ctx", 1, INT32_MAX, fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_LLAMA3) {
        config->rope_low_freq_factor =
            number_or(c, "rope_low_freq_factor", config->rope_low_freq_factor, fault);
        config->rope_high_freq_factor =
            number_or(c, "rope_high_freq_factor", config->rope_high_freq_factor, fault);
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_YARN) {
        read_yarn(c, fault);
    }
}

static void read_scores(struct tool_case *c, struct tool_fault *fault)
{
    const struct tool_file *file = c->file;
    gqa_config *config = &c->config;

    config->clip_qkv = (float)number_or(c, "clip_qkv", 0, fault);
    config->score_scale = (float)number_or(c, "scale", 1 / sqrt(c->dk), fault);
    if (config->score_scale == 0) {
        tool_fault_set(fault, c->path, "metadata scale is 0");
    }
    config->softcap = (float)number_or(c, "softcap", 0, fault);
    if (choice_or(c, "q_temp", off_on, 0, fault) == 1) {
        config->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
        config->query_temperature_scale = (float)tool_meta_number(file, "q_temp_scale", fault);
        config->query_temperature_floor = (float)tool_meta_number(file, "q_temp_floor", fault);
    }
    config->bidirectional = choice_or(c, "causal", off_on, 1, fault) == 0;
    config->sliding_window = int_or(c, "window", INT32_MAX, 0, fault);
    config->attention_chunk_size = int_or(c, "chunk", INT32_MAX, 0, fault);
    config->learned_sinks_size = choice_by(c, "sinks", off_on, tool_case_has(c, "sinks"), fault);
    c->bias_batch = choice_by(c, "attn_bias", off_on, tool_case_has(c, "attn_bias"), fault);
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
    if (!tool_case_sizes(c, fault)) {
        return false;
    }
    read_block(c, fault);
    read_qk_norm(c, fault);
    read_rope(c, fault);
    read_scores(c, fault);
    read_tolerances(c, fault);
    return fault->text[0] == '\0';
}
