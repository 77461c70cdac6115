/* SPDX-License-Identifier: Apache-2.0 */
/* rope_frequency.c - inverse frequencies of every rope scaling, in double. */
#include "stage/rope_frequency.h"

#include "base/mathd.h"

#include <math.h>
#include <string.h>

#define TWO_PI 6.283185307179586476925

/* out[j] = theta^(-2j/d); theta^0 is exactly 1. */
static void unscaled(const struct gqa__frequency_spacing *spacing, double theta, double *out)
{
    out[0] = 1.0;
    for (int32_t j = 1; j < spacing->pairs; j++) {
        out[j] = gqa__pow(theta, -2.0 * (double)j / (double)spacing->dim);
    }
}

/* NTK: the base grows so that the slowest frequency is stretched by about grow. d = 2 has only the
 * frequency 1, whatever the base. */
static double ntk_base(const gqa_config *config, const struct gqa__frequency_spacing *spacing,
                       double grow)
{
    const double d = (double)spacing->dim;
    return spacing->dim <= 2 ? config->rope_theta
                             : config->rope_theta * gqa__pow(grow, d / (d - 2.0));
}

/* At a length beyond the trained context. */
static double dynamic_growth(const gqa_config *config, int32_t length)
{
    const double ratio = (double)length / (double)config->rope_original_context;
    return config->rope_factor * ratio - (config->rope_factor - 1.0);
}

/* Long wavelengths are stretched by the factor, short ones kept, with a ramp between. Where low and
 * high are equal there is no band between. */
static void scale_llama3(const gqa_config *config, const struct gqa__frequency_spacing *spacing,
                         double *out)
{
    const double context = (double)config->rope_original_context;
    const double low = config->rope_low_freq_factor;
    const double high = config->rope_high_freq_factor;
    for (int32_t j = 0; j < spacing->pairs; j++) {
        const double turns = context * out[j] / TWO_PI; /* in the trained context */
        if (turns < low) {
            out[j] /= config->rope_factor;
        } else if (turns < high) {
            const double smooth = (turns - low) / (high - low);
            out[j] *= (1.0 - smooth) / config->rope_factor + smooth;
        }
    }
}

/* The (fractional) frequency index that makes turns turns in the trained context. */
static double yarn_index(const gqa_config *config, const struct gqa__frequency_spacing *spacing,
                         double turns)
{
    const double context = (double)config->rope_original_context;
    return (double)spacing->dim * gqa__log(context / (turns * TWO_PI)) /
           (2.0 * gqa__log(config->rope_theta));
}

/* Frequencies below the correction range are kept, those above it stretched by the factor. */
static void scale_yarn(const gqa_config *config, const struct gqa__frequency_spacing *spacing,
                       double *out)
{
    const double last = (double)spacing->dim - 1.0;
    double low = yarn_index(config, spacing, config->rope_beta_fast);
    double high = yarn_index(config, spacing, config->rope_beta_slow);
    if (config->rope_truncate) {
        low = floor(low);
        high = -floor(-high);
    }
    low = low < 0.0 ? 0.0 : low;
    high = high > last ? last : high;
    if (high == low) {
        high += 0.001; /* a step, as Hugging Face does it */
    }
    for (int32_t j = 0; j < spacing->pairs; j++) {
        double ramp = ((double)j - low) / (high - low);
        ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
        out[j] = out[j] * (1.0 - ramp) + out[j] / config->rope_factor * ramp;
    }
}

static void divide_by_factors(double *out, const double *factors, int32_t pairs)
{
    for (int32_t j = 0; j < pairs; j++) {
        out[j] /= factors[j];
    }
}

static void apply_scaling(const gqa_config *config, const struct gqa__frequency_spacing *spacing,
                          bool beyond, double *out)
{
    switch (config->rope_scaling) {
    case GQA_ROPE_SCALING_LINEAR:
        for (int32_t j = 0; j < spacing->pairs; j++) {
            out[j] /= config->rope_factor;
        }
        break;
    case GQA_ROPE_SCALING_LLAMA3:
        scale_llama3(config, spacing, out);
        break;
    case GQA_ROPE_SCALING_YARN:
        scale_yarn(config, spacing, out);
        break;
    case GQA_ROPE_SCALING_LONGROPE:
        divide_by_factors(out, beyond ? config->rope_long_factors : config->rope_short_factors,
                          spacing->pairs);
        break;
    default: /* none; the NTK kinds changed the base */
        break;
    }
}

void gqa__frequencies(const gqa_config *config, struct gqa__frequency_spacing spacing,
                      int32_t length, double *out)
{
    const bool beyond = length > config->rope_original_context;
    double theta = config->rope_theta;
    if (config->rope_scaling == GQA_ROPE_SCALING_TABLE) {
        memcpy(out, config->rope_inv_freq, (size_t)spacing.pairs * sizeof *out);
        return;
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_NTK_ALPHA) {
        theta = ntk_base(config, &spacing, config->rope_factor);
    } else if (config->rope_scaling == GQA_ROPE_SCALING_DYNAMIC && beyond) {
        theta = ntk_base(config, &spacing, dynamic_growth(config, length));
    }
    unscaled(&spacing, theta, out);
    apply_scaling(config, &spacing, beyond, out);
    for (int32_t j = config->rope_proportional_dim / 2;
         j < spacing.pairs && config->rope_proportional_dim > 0; j++) {
        out[j] = 0.0;
    }
}

bool gqa__rope_by_length(const gqa_config *config)
{
    return config->rope_scaling == GQA_ROPE_SCALING_DYNAMIC ||
           config->rope_scaling == GQA_ROPE_SCALING_LONGROPE;
}

struct gqa__frequency_spacing gqa__frequency_spacing(const gqa_config *config,
                                                     const struct gqa__shape *shape)
{
    struct gqa__frequency_spacing spacing;
    spacing.pairs = shape->rotary_dim / 2;
    spacing.dim = config->rope_freq_dim != 0 ? config->rope_freq_dim : shape->rotary_dim;
    return spacing;
}

/* 0.1 m ln(factor) + 1; 1 for a factor that does not stretch. */
static double yarn_mscale(double factor, double m)
{
    return factor <= 1.0 ? 1.0 : 0.1 * m * gqa__log(factor) + 1.0;
}

static double longrope_factor(const gqa_config *config)
{
    const double context = (double)config->rope_original_context;
    if (config->rope_factor <= 1.0 || config->rope_original_context <= 1) {
        return 1.0;
    }
    return sqrt(1.0 + gqa__log(config->rope_factor) / gqa__log(context));
}

double gqa__rope_attention_factor(const gqa_config *config)
{
    if (config->rope_attention_factor != 0.0) {
        return config->rope_attention_factor;
    }
    if (config->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        return longrope_factor(config);
    }
    if (config->rope_scaling != GQA_ROPE_SCALING_YARN) {
        return 1.0;
    }
    if (config->rope_mscale != 0.0 && config->rope_mscale_all_dim != 0.0) {
        return yarn_mscale(config->rope_factor, config->rope_mscale) /
               yarn_mscale(config->rope_factor, config->rope_mscale_all_dim);
    }
    return yarn_mscale(config->rope_factor, 1.0);
}
