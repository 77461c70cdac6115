/* SPDX-License-Identifier: Apache-2.0 */
/* check_rope.c - the rotary embedding: which parameters its kind has, and their ranges.
 *
 * The ranges keep every frequency within 1e3, for which base/mathd.h reduces any angle exactly.
 */
#include "base/error.h"
#include "config/check.h"

#define THETA_MIN     2.0
#define THETA_MAX     1e30
#define FREQUENCY_MAX 1e3
#define DIVISOR_MIN   1e-3 /* of a frequency of at most 1 */
#define DIVISOR_MAX   1e9
#define FREQ_DIM_MAX  4096

static const char no_rope[] = "with rope GQA_ROPE_NONE";

static int32_t rotary_dim(const gqa_config *config)
{
    return config->rotary_dim != 0 ? config->rotary_dim : gqa__check_head_dim(config);
}

/* An even integer from low to high, or 0. */
static void check_even(struct gqa__check *check, const char *field, int64_t value, int64_t high)
{
    if (value != 0) {
        gqa__check_int(check, field, value, 2, high);
    }
    if (check->status == GQA_OK && value % 2 != 0) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is %lld; it must be even and at most %lld",
                      (long long)value, (long long)high);
    }
}

static void check_rotary_dims(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const gqa_rope_scaling scaling = config->rope_scaling;
    const int32_t dk = gqa__check_head_dim(config);
    const int32_t freq_dim =
        config->rope_freq_dim != 0 ? config->rope_freq_dim : rotary_dim(config);

    check_even(check, GQA__INT_FIELD(check, rotary_dim), dk);
    if (check->status == GQA_OK && config->rotary_dim == 0 && dk % 2 != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.rotary_dim",
                                  "is 0 = head_dim, which is %d; give an even number", (int)dk);
    }
    check_even(check, GQA__INT_FIELD(check, rope_freq_dim), FREQ_DIM_MAX);
    check_even(check, GQA__INT_FIELD(check, rope_proportional_dim), rotary_dim(config));
    if (check->status == GQA_OK && freq_dim < 4 &&
        (scaling == GQA_ROPE_SCALING_NTK_ALPHA || scaling == GQA_ROPE_SCALING_DYNAMIC)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.rope_freq_dim",
                                  "is %d and stands for d = %d; NTK's exponent d / (d - 2) needs "
                                  "at least 4",
                                  (int)config->rope_freq_dim, (int)freq_dim);
    }
}

/* rope_theta and what else the table replaces. */
static void check_base(struct gqa__check *check)
{
    if (check->config->rope_scaling == GQA_ROPE_SCALING_TABLE) {
        const char *const why = "with a table of frequencies (GQA_ROPE_SCALING_TABLE)";
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_theta), 10000.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_freq_dim), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_proportional_dim), 0.0, why);
    } else {
        gqa__check_real(check, GQA__REAL_FIELD(check, rope_theta), THETA_MIN, THETA_MAX);
    }
}

static void check_factor(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    switch (config->rope_scaling) {
    case GQA_ROPE_SCALING_LINEAR:
        gqa__check_real(check, GQA__REAL_FIELD(check, rope_factor), DIVISOR_MIN, DIVISOR_MAX);
        break;
    case GQA_ROPE_SCALING_NTK_ALPHA:
    case GQA_ROPE_SCALING_DYNAMIC:
    case GQA_ROPE_SCALING_LLAMA3:
    case GQA_ROPE_SCALING_YARN:
        gqa__check_real(check, GQA__REAL_FIELD(check, rope_factor), 1.0, DIVISOR_MAX);
        break;
    case GQA_ROPE_SCALING_LONGROPE:
        if (config->rope_attention_factor == 0.0) {
            gqa__check_real(check, GQA__REAL_FIELD(check, rope_factor), 1.0, DIVISOR_MAX);
        } else {
            gqa__check_unused(check, GQA__REAL_FIELD(check, rope_factor), 0.0,
                              "with longrope and a rope_attention_factor");
        }
        break;
    default:
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_factor), 0.0,
                          "with this rope_scaling");
        break;
    }
}

static void check_context(struct gqa__check *check)
{
    switch (check->config->rope_scaling) {
    case GQA_ROPE_SCALING_DYNAMIC:
    case GQA_ROPE_SCALING_LLAMA3:
    case GQA_ROPE_SCALING_YARN:
    case GQA_ROPE_SCALING_LONGROPE:
        gqa__check_int(check, GQA__INT_FIELD(check, rope_original_context), 2, INT32_MAX);
        break;
    default:
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_original_context), 0.0,
                          "with this rope_scaling");
        break;
    }
}

static void check_llama3(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    if (config->rope_scaling != GQA_ROPE_SCALING_LLAMA3) {
        const char *const why = "without rope_scaling GQA_ROPE_SCALING_LLAMA3";
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_low_freq_factor), 1.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_high_freq_factor), 4.0, why);
        return;
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_low_freq_factor), DIVISOR_MIN, DIVISOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_high_freq_factor),
                    config->rope_low_freq_factor, DIVISOR_MAX);
}

static void check_mscale(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_real(check, GQA__REAL_FIELD(check, rope_mscale), 0.0, GQA__FACTOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_mscale_all_dim), 0.0, GQA__FACTOR_MAX);
    if (check->status == GQA_OK &&
        (config->rope_mscale == 0.0) != (config->rope_mscale_all_dim == 0.0)) {
        const bool first = config->rope_mscale == 0.0;
        check->status = gqa__fail(check->err, GQA_ERR_ARG,
                                  first ? "config.rope_mscale" : "config.rope_mscale_all_dim",
                                  "is 0 and %s is %g; both must be above 0, or both 0",
                                  first ? "rope_mscale_all_dim" : "rope_mscale",
                                  first ? config->rope_mscale_all_dim : config->rope_mscale);
    }
    if (config->rope_attention_factor != 0.0) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_mscale), 0.0,
                          "with a rope_attention_factor");
    }
}

static void check_yarn(struct gqa__check *check)
{
    const gqa_config *const config = check->config;

    gqa__check_int(check, GQA__INT_FIELD(check, rope_truncate), 0, 1);
    if (config->rope_scaling != GQA_ROPE_SCALING_YARN) {
        const char *const why = "without rope_scaling GQA_ROPE_SCALING_YARN";
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_beta_fast), 32.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_beta_slow), 1.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_truncate), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_mscale), 0.0, why);
        gqa__check_unused(check, GQA__REAL_FIELD(check, rope_mscale_all_dim), 0.0, why);
        return;
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_beta_slow), DIVISOR_MIN, DIVISOR_MAX);
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_beta_fast), DIVISOR_MIN, DIVISOR_MAX);
    if (check->status == GQA_OK && !(config->rope_beta_fast > config->rope_beta_slow)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.rope_beta_fast",
                                  "is %g; it must be above rope_beta_slow = %g",
                                  config->rope_beta_fast, config->rope_beta_slow);
    }
    check_mscale(check);
}

static void check_frequency_arrays(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const bool longrope = config->rope_scaling == GQA_ROPE_SCALING_LONGROPE;
    const bool table = config->rope_scaling == GQA_ROPE_SCALING_TABLE;
    const int32_t pairs = rotary_dim(config) / 2;

    const struct gqa__factors factors[] = {
        {"config.rope_short_factors", config->rope_short_factors, pairs, DIVISOR_MIN, DIVISOR_MAX,
         longrope, "GQA_ROPE_SCALING_LONGROPE"},
        {"config.rope_long_factors", config->rope_long_factors, pairs, DIVISOR_MIN, DIVISOR_MAX,
         longrope, "GQA_ROPE_SCALING_LONGROPE"},
        {"config.rope_inv_freq", config->rope_inv_freq, pairs, -FREQUENCY_MAX, FREQUENCY_MAX, table,
         "GQA_ROPE_SCALING_TABLE"},
    };

    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        gqa__check_factors(check, &factors[i]);
    }
}

/* Interleaved sections take every third frequency; one that is too long would run out of them. */
static void check_interleaved(struct gqa__check *check, int32_t pairs)
{
    const int32_t *const sections = check->config->mrope_sections;

    if (check->config->mrope != GQA_MROPE_INTERLEAVED) {
        return;
    }
    for (int32_t axis = 1; axis < 3; axis++) {
        const int32_t most = (pairs - axis + 2) / 3;
        if (check->status == GQA_OK && sections[axis] > most) {
            check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.mrope_sections",
                                      "[%d] is %d; %d interleaved frequencies have at most %d",
                                      (int)axis, (int)sections[axis], (int)pairs, (int)most);
        }
    }
    if (check->status == GQA_OK && sections[3] != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "config.mrope_sections",
                                  "[3] is %d; interleaved sections have 3 axes, so it must be 0",
                                  (int)sections[3]);
    }
}

static void check_mrope(struct gqa__check *check)
{
    const gqa_config *const config = check->config;
    const int32_t pairs = rotary_dim(config) / 2;
    int64_t sum = 0;

    gqa__check_int(check, GQA__INT_FIELD(check, mrope), GQA_MROPE_NONE, GQA_MROPE_INTERLEAVED);
    if (config->rope == GQA_ROPE_NONE) {
        gqa__check_unused(check, GQA__REAL_FIELD(check, mrope), 0.0, no_rope);
    }
    for (int32_t axis = 0; axis < 4; axis++) {
        const int32_t section = config->mrope_sections[axis];
        if (config->mrope == GQA_MROPE_NONE) {
            gqa__check_unused(check, "config.mrope_sections", section, 0.0,
                              "with mrope GQA_MROPE_NONE");
        }
        gqa__check_int(check, "config.mrope_sections", section, 0, pairs);
        sum += section;
    }
    if (check->status == GQA_OK && config->mrope != GQA_MROPE_NONE && sum != pairs) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, "config.mrope_sections",
                      "sum is %lld; it must be rotary_dim / 2 = %d", (long long)sum, (int)pairs);
    }
    check_interleaved(check, pairs);
}

static void check_without_rope(struct gqa__check *check)
{
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_scaling), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_theta), 10000.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rotary_dim), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_freq_dim), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_proportional_dim), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_attention_factor), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_reverse), 0.0, no_rope);
    gqa__check_unused(check, GQA__REAL_FIELD(check, rope_float_angles), 0.0, no_rope);
}

void gqa__check_rope(struct gqa__check *check)
{
    gqa__check_int(check, GQA__INT_FIELD(check, rope), GQA_ROPE_NONE, GQA_ROPE_INTERLEAVED);
    gqa__check_int(check, GQA__INT_FIELD(check, rope_scaling), GQA_ROPE_SCALING_NONE,
                   GQA_ROPE_SCALING_TABLE);
    if (check->config->rope == GQA_ROPE_NONE) {
        check_without_rope(check);
    } else {
        check_base(check);
        check_rotary_dims(check);
    }
    gqa__check_real(check, GQA__REAL_FIELD(check, rope_attention_factor), 0.0, GQA__FACTOR_MAX);
    check_factor(check);
    check_context(check);
    check_llama3(check);
    check_yarn(check);
    check_frequency_arrays(check);
    check_mrope(check);
    gqa__check_int(check, GQA__INT_FIELD(check, rope_reverse), 0, 1);
    gqa__check_int(check, GQA__INT_FIELD(check, rope_float_angles), 0, 1);
}
