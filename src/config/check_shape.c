/* SPDX-License-Identifier: Apache-2.0 */
/* check_shape.c - the shape, and what comes before and with the projections. */
#include <float.h>

#include "base/error.h"
#include "config/check.h"

#define HIDDEN_MAX 1048576
#define HEADS_MAX  4096
#define DIM_MIN    8
#define DIM_MAX    512

static const char attention_only[] = "in an attention-only layer (hidden_size 0)";

static void check_attention_kind(struct gqa__check *check)
{
    const gqa_attention_kind kind = check->config->attention_kind;

    gqa__check_int(check, GQA__INT_FIELD(check, attention_kind), GQA_ATTENTION_DENSE,
                   GQA_ATTENTION_MLA);
    if (check->status == GQA_OK && kind != GQA_ATTENTION_DENSE) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "config.attention_kind",
                                  "is %d, %s; only GQA_ATTENTION_DENSE (0) is served", (int)kind,
                                  kind == GQA_ATTENTION_MLA
                                      ? "multi-head latent attention (MLA, GQA_ATTENTION_MLA)"
                                      : "block-sparse attention (GQA_ATTENTION_BLOCK_SPARSE)");
    }
}

static void check_heads(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const int32_t hq = config->num_attention_heads;
    const int32_t hkv = config->num_key_value_heads;

    gqa__check_int(check, GQA__INT_FIELD(check, num_attention_heads), 1, HEADS_MAX);
    gqa__check_int(check, GQA__INT_FIELD(check, num_key_value_heads), 1, hq);
    if (check->status == GQA_OK && hq % hkv != 0) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, "config.num_key_value_heads",
                      "is %d; it must divide num_attention_heads = %d", (int)hkv, (int)hq);
    }
}

static void check_head_dims(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const int32_t dk = gqa__check_head_dim(config);

    if (check->status == GQA_OK && config->head_dim == 0 &&
        (config->hidden_size == 0 || config->hidden_size % config->num_attention_heads != 0)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, "config.head_dim",
                      "is 0 = hidden_size / num_attention_heads, which is %d / %d; "
                      "give it as %d..%d",
                      (int)config->hidden_size, (int)config->num_attention_heads, DIM_MIN, DIM_MAX);
    }
    gqa__check_int(check, "config.head_dim", dk, DIM_MIN, DIM_MAX);
    if (config->v_head_dim != 0) {
        gqa__check_int(check, GQA__INT_FIELD(check, v_head_dim), DIM_MIN, DIM_MAX);
    }
}

void gqa__check_shape(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    check_attention_kind(check);
    gqa__check_int(check, GQA__INT_FIELD(check, hidden_size), 0, HIDDEN_MAX);
    check_heads(check);
    check_head_dims(check);
    gqa__check_int(check, GQA__INT_FIELD(check, hidden_size_unpadded), 0, config->hidden_size);
    if (config->input_norm == GQA_NORM_NONE && config->post_norm == GQA_NORM_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, hidden_size_unpadded), 0.0,
                          "without input_norm and post_norm");
    }
}

static void check_input_norm(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, input_norm), GQA_NORM_NONE, GQA_NORM_LAYER);
    gqa__check_real(check, GQA__REAL_FIELD(check, input_norm_eps), 0.0, 1.0);
    gqa__check_int(check, GQA__INT_FIELD(check, input_norm_offset), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, norm_cast), GQA_F32, GQA_F16);
    if (config->hidden_size == 0) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, input_norm), 0.0, attention_only);
    }
    if (config->input_norm == GQA_NORM_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, input_norm_eps), (double)1e-6f,
                          "without input_norm");
        gqa__check_unused(check, GQA__REAL_FIELD(check, input_norm_offset), 0.0,
                          "without input_norm");
    }
    if (config->input_norm == GQA_NORM_NONE && config->post_norm == GQA_NORM_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, norm_cast), 0.0,
                          "without input_norm and post_norm");
    }
}

static void check_key_is_value(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const int32_t dk = gqa__check_head_dim(config);

    gqa__check_int(check, GQA__INT_FIELD(check, k_eq_v), 0, 1);
    if (check->status == GQA_OK && config->k_eq_v && config->v_head_dim != 0 &&
        config->v_head_dim != dk) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.k_eq_v",
                                  "is 1; v_head_dim = %d must then be head_dim = %d",
                                  (int)config->v_head_dim, (int)dk);
    }
}

void gqa__check_projection(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    check_input_norm(check);
    gqa__check_real(check, GQA__REAL_FIELD(check, attn_in_multiplier), -GQA__FACTOR_MAX,
                    GQA__FACTOR_MAX);
    gqa__check_int(check, GQA__INT_FIELD(check, qkv_layout), GQA_QKV_SEPARATE, GQA_QKV_GROUPED);
    gqa__check_int(check, GQA__INT_FIELD(check, qkv_bias), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, o_bias), 0, 1);
    if (config->hidden_size == 0) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, attn_in_multiplier), 0.0, attention_only);
        gqa__check_unused(check, GQA__REAL_FIELD(check, qkv_layout), 0.0, attention_only);
        gqa__check_unused(check, GQA__REAL_FIELD(check, qkv_bias), 0.0, attention_only);
        gqa__check_unused(check, GQA__REAL_FIELD(check, o_bias), 0.0, attention_only);
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, clip_qkv), 0.0, (double)FLT_MAX);
    check_key_is_value(check);
    gqa__check_real(check, GQA__REAL_FIELD(check, key_multiplier), -GQA__FACTOR_MAX,
                    GQA__FACTOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, v_scale), -GQA__FACTOR_MAX, GQA__FACTOR_MAX);
}

void gqa__check_qk_norm(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const bool on = config->qk_norm_scope != GQA_QK_NORM_OFF;

    gqa__check_int(check, GQA__INT_FIELD(check, qk_norm_scope), GQA_QK_NORM_OFF, GQA_QK_NORM_WHOLE);
    if (on) {
        gqa__check_int(check, GQA__INT_FIELD(check, qk_norm), GQA_NORM_RMS, GQA_NORM_L2);
    }
    gqa__check_int(check, GQA__INT_FIELD(check, qk_norm_placement), GQA_QK_NORM_PRE_ROPE,
                   GQA_QK_NORM_POST_ROPE);
    gqa__check_real(check, GQA__REAL_FIELD(check, qk_norm_eps), 0.0, 1.0);
    gqa__check_int(check, GQA__INT_FIELD(check, qk_norm_offset), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, v_norm), GQA_NORM_NONE, GQA_NORM_RMS);
    if (!on) {
        const char *const why = "with qk_norm_scope GQA_QK_NORM_OFF";
        gqa__check_unused(check, GQA__REAL_FIELD(check, qk_norm), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, qk_norm_placement), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, qk_norm_offset), 0.0, why);
    }
    if (!on && config->v_norm == GQA_NORM_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, qk_norm_eps), (double)1e-6f,
                          "without a q, k or v norm");
    }
}
