/* SPDX-License-Identifier: Apache-2.0 */
/* check_neuron.c - what backend neuron is told, and what its layer does not have. */
#include <math.h>

#include "base/error.h"
#include "config/check.h"

static const char without[] = "without backend GQA_BACKEND_NEURON";
static const char named[] = "with config.neuron_profile, which leaves nothing to choose";

#define UNUSED(name, why) gqa__check_unused(check, GQA__REAL_FIELD(check, name), 0.0, why)

static void check_choice_unused(struct gqa__check *check, const char *why)
{
    UNUSED(neuron_attn_kernel, why);
    UNUSED(neuron_logical_nc_config, why);
    UNUSED(neuron_trn1, why);
    UNUSED(neuron_prefix_caching, why);
}

static void check_options_unused(struct gqa__check *check)
{
    UNUSED(neuron_profile, without);
    UNUSED(neuron_release, without);
    UNUSED(neuron_io, without);
    UNUSED(neuron_accumulation, without);
    UNUSED(neuron_divisor, without);
    UNUSED(neuron_lift_limits, without);
    check_choice_unused(check, without);
    UNUSED(neuron_cp_degree, without);
    UNUSED(neuron_cp_strided, without);
    UNUSED(neuron_kv_ranks, without);
}

static void check_release(struct gqa__check *check)
{
    const gqa_neuron_release release = check->config->neuron_release;

    if (check->status == GQA_OK && release != GQA_NEURON_NEWEST && release != GQA_NEURON_2_26 &&
        release != GQA_NEURON_2_27 && release != GQA_NEURON_2_29) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.neuron_release",
                                  "is %d; it must be 0, 226, 227 or 229", (int)release);
    }
}

static void check_profile(struct gqa__check *check)
{
    const gqa_neuron_profile profile = check->config->neuron_profile;

    gqa__check_int(check, GQA__INT_FIELD(check, neuron_profile), GQA_NEURON_NO_PROFILE,
                   GQA_NEURON_PAGED_SCHEDULE);
    if (profile != GQA_NEURON_NO_PROFILE) {
        check_choice_unused(check, named);
    }
}

/* Ranks: of a prefill by attention_cte, and of token generation by flash decoding. */
static void check_rank_counts(struct gqa__check *check)
{
    const gqa_config *const c = check->config;
    const gqa_neuron_profile profile = c->neuron_profile;
    const bool decoding = profile == GQA_NEURON_FLASH_DECODING;

    gqa__check_int(check, GQA__INT_FIELD(check, neuron_cp_degree), 0, GQA_NEURON_RANKS_MAX);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_cp_strided), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_kv_ranks), decoding ? 1 : 0,
                   GQA_NEURON_RANKS_MAX);
    if (c->neuron_cp_degree < 2) {
        UNUSED(neuron_cp_strided, "with config.neuron_cp_degree below 2");
    }
    if (profile != GQA_NEURON_NO_PROFILE && profile != GQA_NEURON_CTE) {
        UNUSED(neuron_cp_degree, "with another config.neuron_profile than GQA_NEURON_CTE");
    }
    if (profile != GQA_NEURON_NO_PROFILE && !decoding) {
        UNUSED(neuron_kv_ranks, "with another config.neuron_profile than "
                                "GQA_NEURON_FLASH_DECODING");
    }
}

static void check_options(struct gqa__check *check)
{
    check_profile(check);
    check_rank_counts(check);
    check_release(check);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_io), GQA_NEURON_IO_BF16, GQA_NEURON_IO_F32);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_accumulation), GQA_NEURON_EXACT,
                   GQA_NEURON_FLOAT32);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_divisor), GQA_NEURON_SQRT_D_ROUNDED,
                   GQA_NEURON_SQRT_D_F32);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_lift_limits), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_attn_kernel), GQA_NEURON_ATTN_KERNEL_AUTO,
                   GQA_NEURON_ATTN_KERNEL_TRUE);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_logical_nc_config), 0, 8);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_trn1), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, neuron_prefix_caching), 0, 1);
}

/* A field that must be as it is for NeuronAttentionBase and the decoder layers around it. */
struct foreign {
    bool set;
    const char *field, *why;
};

static void check_foreign(struct gqa__check *check, const struct foreign *fields, int count)
{
    for (int i = 0; i < count && check->status == GQA_OK; i++) {
        if (fields[i].set) {
            check->status =
                gqa__fail(check->err, GQA_ERR_UNSUPPORTED, fields[i].field,
                          "is set; backend GQA_BACKEND_NEURON serves it not: %s", fields[i].why);
        }
    }
}

static void check_layer(struct gqa__check *check)
{
    static const char none[] = "Neuron's attention has no such step";
    const gqa_config *const c = check->config;
    const float usual = (float)(1.0 / sqrt((double)gqa__check_head_dim(c)));
    const bool scaled = c->score_scale != 0.0f && c->score_scale != usual;
    const struct foreign fields[] = {
        {c->numerics != GQA_NUMERICS_F32, "config.numerics", "config.neuron_io is the format"},
        {c->weight_storage != GQA_WEIGHT_STORAGE_NATIVE, "config.weight_storage",
         "weights have the I/O type"},
        {c->v_head_dim != 0 && c->v_head_dim != gqa__check_head_dim(c), "config.v_head_dim",
         "K and V of Neuron have one head_dim"},
        {c->norm_cast == GQA_F16, "config.norm_cast", "the I/O type is bf16 or f32"},
        {c->attn_in_multiplier != 0.0f, "config.attn_in_multiplier", none},
        {c->k_eq_v != 0, "config.k_eq_v", none},
        {c->key_multiplier != 0.0f, "config.key_multiplier", none},
        {c->v_scale != 0.0f, "config.v_scale", none},
        {c->qk_norm_scope != GQA_QK_NORM_OFF && c->qk_norm == GQA_NORM_L2, "config.qk_norm",
         "its L2Norm is a mean, GQA_NORM_RMS"},
        {c->v_norm != GQA_NORM_NONE, "config.v_norm", none},
        {scaled && c->neuron_release != GQA_NEURON_NEWEST && c->neuron_release != GQA_NEURON_2_29,
         "config.score_scale", "softmax_scale came with release 2.29"},
        {scaled && c->neuron_profile == GQA_NEURON_FLASH_FWD, "config.score_scale",
         "softmax_scale came with release 2.29, which has no flash_fwd"},
        {scaled && c->neuron_profile == GQA_NEURON_PAGED_SCHEDULE, "config.score_scale",
         "softmax_scale came with release 2.29, which has no chunked prefill"},
        {c->softcap != 0.0f, "config.softcap", none},
        {c->query_temperature != GQA_QUERY_TEMPERATURE_NONE, "config.query_temperature", none},
        {c->alibi_slopes != NULL, "config.alibi_slopes", none},
        {c->gate != GQA_GATE_NONE, "config.gate", none},
        {c->attn_out_multiplier != 0.0f, "config.attn_out_multiplier", none},
        {c->residual_multiplier != 0.0f, "config.residual_multiplier", none},
    };

    check_foreign(check, fields, (int)(sizeof fields / sizeof fields[0]));
}

void gqa__check_neuron(struct gqa__check *check)
{
    if (check->config->backend != GQA_BACKEND_NEURON) {
        check_options_unused(check);
        return;
    }
    check_options(check);
    check_layer(check);
}
