/* SPDX-License-Identifier: Apache-2.0 */
/* check_attention.c - scores, who sees whom, what follows attention, and how it is computed. */
#include "base/error.h"
#include "config/check.h"
#include "config/config.h"

static const char attention_only[] = "in an attention-only layer (hidden_size 0)";

static void check_temperature(struct gqa__check *check)
{
    gqa__check_int(check, GQA__INT_FIELD(check, query_temperature), GQA_QUERY_TEMPERATURE_NONE,
                   GQA_QUERY_TEMPERATURE_MINISTRAL);
    if (check->config->query_temperature == GQA_QUERY_TEMPERATURE_NONE) {
        const char *const why = "without query_temperature";
        gqa__check_unused(check, GQA__REAL_FIELD(check, query_temperature_scale), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, query_temperature_floor), 0.0, why);
        return;
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, query_temperature_scale), 1e-9, GQA__FACTOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, query_temperature_floor), 1.0, 0x1p31);
}

static void check_slopes(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    if (config->alibi_slopes == NULL) {
        return;
    }
    for (int32_t h = 0; check->status == GQA_OK && h < config->num_attention_heads; h++) {
        gqa__check_real(check, "config.alibi_slopes", (double)config->alibi_slopes[h],
                        -GQA__FACTOR_MAX, GQA__FACTOR_MAX);
    }
}

void gqa__check_scores(struct gqa__check *check)
{
    gqa__check_real(check, GQA__REAL_FIELD(check, score_scale), -GQA__FACTOR_MAX, GQA__FACTOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, softcap), 0.0, GQA__FACTOR_MAX);
    check_temperature(check);
    check_slopes(check);
}

void gqa__check_span(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, bidirectional), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, sliding_window), 0, INT32_MAX);
    gqa__check_int(check, GQA__INT_FIELD(check, right_window), 0, INT32_MAX);
    if (!config->bidirectional) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, right_window), 0.0,
                          "without bidirectional");
    }
    gqa__check_int(check, GQA__INT_FIELD(check, attention_chunk_size), 0, INT32_MAX);
    gqa__check_int(check, GQA__INT_FIELD(check, learned_sinks_size), 0, 1);
}

static void check_gate(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, gate), GQA_GATE_NONE, GQA_GATE_Q_TAIL);
    gqa__check_int(check, GQA__INT_FIELD(check, gate_activation), GQA_GATE_SIGMOID,
                   GQA_GATE_SOFTPLUS);
    if (config->gate == GQA_GATE_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, gate_activation), 0.0, "without gate");
    }
    if (check->status != GQA_OK || config->gate != GQA_GATE_Q_TAIL) {
        return;
    }
    if (config->hidden_size == 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.gate",
                                  "is %d, GQA_GATE_Q_TAIL, whose logits come from wq; an "
                                  "attention-only layer takes GQA_GATE_ELEMENT (%d)",
                                  (int)GQA_GATE_Q_TAIL, (int)GQA_GATE_ELEMENT);
    } else if (config->qkv_layout == GQA_QKV_GROUPED) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "config.gate",
                                  "is %d, GQA_GATE_Q_TAIL; with qkv_layout GQA_QKV_GROUPED (%d) "
                                  "it is not served",
                                  (int)GQA_GATE_Q_TAIL, (int)GQA_QKV_GROUPED);
    }
}

static void check_post_norm(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, post_norm), GQA_NORM_NONE, GQA_NORM_LAYER);
    gqa__check_real(check, GQA__REAL_FIELD(check, post_norm_eps), 0.0, 1.0);
    gqa__check_int(check, GQA__INT_FIELD(check, post_norm_offset), 0, 1);
    if (config->post_norm == GQA_NORM_NONE) {
        const char *const why = "without post_norm";
        gqa__check_unused(check, GQA__REAL_FIELD(check, post_norm_eps), (double)1e-6f, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, post_norm_offset), 0.0, why);
    }
}

void gqa__check_output(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    check_gate(check);
    gqa__check_real(check, GQA__REAL_FIELD(check, attn_out_multiplier), -GQA__FACTOR_MAX,
                    GQA__FACTOR_MAX);
    check_post_norm(check);
    gqa__check_int(check, GQA__INT_FIELD(check, add_residual), 0, 1);
    if (config->hidden_size == 0) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, attn_out_multiplier), 0.0, attention_only);
        gqa__check_unused(check, GQA__REAL_FIELD(check, post_norm), 0.0, attention_only);
        gqa__check_unused(check, GQA__REAL_FIELD(check, add_residual), 0.0, attention_only);
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, residual_multiplier), -GQA__FACTOR_MAX,
                    GQA__FACTOR_MAX);
    if (!config->add_residual) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, residual_multiplier), 0.0,
                          "without add_residual");
    }
}

void gqa__check_backend(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, backend), GQA_BACKEND_AUTO, GQA_BACKEND_NEURON);
    gqa__check_int(check, GQA__INT_FIELD(check, numerics), GQA_NUMERICS_F32, GQA_NUMERICS_BF16);
    if (check->status == GQA_OK && config->backend == GQA_BACKEND_REFERENCE &&
        config->numerics == GQA_NUMERICS_BF16) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "config.numerics",
                                  "is %d, GQA_NUMERICS_BF16; backend GQA_BACKEND_REFERENCE serves "
                                  "GQA_NUMERICS_F32 (%d) only",
                                  (int)GQA_NUMERICS_BF16, (int)GQA_NUMERICS_F32);
    }
    gqa__check_int(check, GQA__INT_FIELD(check, isa), GQA_ISA_AUTO, GQA_ISA_NEON);
    gqa__check_int(check, GQA__INT_FIELD(check, reference_f64), 0, 1);
    if (config->backend != GQA_BACKEND_REFERENCE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, reference_f64), 0.0,
                          "without backend GQA_BACKEND_REFERENCE");
    }
    gqa__check_int(check, GQA__INT_FIELD(check, weight_storage), GQA_WEIGHT_STORAGE_NATIVE,
                   GQA_WEIGHT_STORAGE_INT8);
    if (config->hidden_size == 0) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, weight_storage), 0.0, attention_only);
    }
    gqa__check_int(check, GQA__INT_FIELD(check, denormals), GQA_DENORMALS_KEEP,
                   GQA_DENORMALS_FLUSH);
    if (config->backend == GQA_BACKEND_REFERENCE || config->backend == GQA_BACKEND_NEURON) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, denormals), 0.0,
                          "without backend GQA_BACKEND_CPU");
    }
    gqa__check_int(check, GQA__INT_FIELD(check, max_isa), GQA_ISA_AUTO, GQA_ISA_NEON);
    if (check->status == GQA_OK && config->isa != GQA_ISA_AUTO &&
        !gqa__isa_within(config->isa, config->max_isa)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.max_isa",
                                  "is %d; config.isa is %d, a kernel set above it",
                                  (int)config->max_isa, (int)config->isa);
    }
}
