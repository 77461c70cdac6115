/* SPDX-License-Identifier: Apache-2.0 */
/* rope_cases.c - see rope_cases.h. */
#include "support/rope_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/published.h"
#include "support/small_layer.h"

static const long double pi = 3.14159265358979323846264338327950288L;

/* --- layers ---------------------------------------------------------------------------------- */

gqa_config rope_base_config(int32_t head_dim)
{
    gqa_config config = attention_config(4, 2, head_dim, 0);
    config.rope = GQA_ROPE_HALF;
    return config;
}

int32_t rope_pairs_of(const gqa_config *config)
{
    return (config->rotary_dim != 0 ? config->rotary_dim : config->head_dim) / 2;
}

/* --- frequencies ----------------------------------------------------------------------------- */

static long double power_of(long double theta, int32_t j, int32_t d)
{
    return powl(theta, -2.0L * j / d);
}

static int32_t dim_of(const gqa_config *c)
{
    return c->rope_freq_dim != 0 ? c->rope_freq_dim : 2 * rope_pairs_of(c);
}

static long double plain(const gqa_config *c, int32_t j, int32_t length)
{
    (void)length;
    return power_of(c->rope_theta, j, dim_of(c));
}

static long double linear(const gqa_config *c, int32_t j, int32_t length)
{
    return plain(c, j, length) / c->rope_factor;
}

static long double proportional(const gqa_config *c, int32_t j, int32_t length)
{
    return 2 * j >= c->rope_proportional_dim ? 0.0L : plain(c, j, length);
}

static long double ntk_alpha(const gqa_config *c, int32_t j, int32_t length)
{
    const int32_t d = dim_of(c);
    (void)length;
    return power_of(c->rope_theta * powl(c->rope_factor, (long double)d / (d - 2)), j, d);
}

static long double dynamic(const gqa_config *c, int32_t j, int32_t length)
{
    const int32_t d = dim_of(c);
    const long double f = c->rope_factor;
    if (length <= c->rope_original_context) {
        return plain(c, j, length);
    }
    const long double grow = f * length / c->rope_original_context - (f - 1);
    return power_of(c->rope_theta * powl(grow, (long double)d / (d - 2)), j, d);
}

static long double llama3(const gqa_config *c, int32_t j, int32_t length)
{
    const long double f = plain(c, j, length);
    const long double wave = 2 * pi / f;
    const long double context = c->rope_original_context;
    const long double low = c->rope_low_freq_factor, high = c->rope_high_freq_factor;
    if (wave < context / high) {
        return f;
    }
    if (wave > context / low) {
        return f / c->rope_factor;
    }
    const long double s = (context / wave - low) / (high - low);
    return (1 - s) * f / c->rope_factor + s * f;
}

static long double yarn(const gqa_config *c, int32_t j, int32_t length)
{
    const long double f = plain(c, j, length);
    const long double half = dim_of(c) / 2.0L;
    const long double context = c->rope_original_context;
    long double lo = half * logl(context / (c->rope_beta_fast * 2 * pi)) / logl(c->rope_theta);
    long double hi = half * logl(context / (c->rope_beta_slow * 2 * pi)) / logl(c->rope_theta);
    if (c->rope_truncate) {
        lo = floorl(lo);
        hi = ceill(hi);
    }
    lo = fmaxl(lo, 0);
    hi = fminl(hi, dim_of(c) - 1);
    if (lo == hi) {
        hi += 0.001L;
    }
    const long double keep = 1 - fminl(fmaxl((j - lo) / (hi - lo), 0), 1);
    return (1 - keep) * f / c->rope_factor + keep * f;
}

static double short_factors[ROPE_MOST], long_factors[ROPE_MOST], table[ROPE_MOST];

static long double longrope(const gqa_config *c, int32_t j, int32_t length)
{
    const double *const factors = length > c->rope_original_context ? long_factors : short_factors;
    return plain(c, j, length) / factors[j];
}

static long double given(const gqa_config *c, int32_t j, int32_t length)
{
    (void)c;
    (void)length;
    return table[j];
}

/* A scaled case on head_dim d. */
static struct rope_case scaled(const char *name, int32_t d, gqa_rope_scaling scaling, double factor,
                               int32_t context, rope_formula formula)
{
    struct rope_case c = {name, rope_base_config(d), formula, 1.0, false};
    c.config.rope_scaling = scaling;
    c.config.rope_factor = factor;
    c.config.rope_original_context = context;
    c.ramp = scaling == GQA_ROPE_SCALING_LLAMA3 || scaling == GQA_ROPE_SCALING_YARN;
    return c;
}

static void plain_cases(struct rope_case *c)
{
    c[0] = scaled("plain 64", 64, GQA_ROPE_SCALING_NONE, 0, 0, plain);
    c[1] = scaled("theta 1e11, head_dim 512", 512, GQA_ROPE_SCALING_NONE, 0, 0, plain);
    c[1].config.rope_theta = 1e11;
    c[2] = scaled("rotary_dim 34 of 80", 80, GQA_ROPE_SCALING_NONE, 0, 0, plain);
    c[2].config.rotary_dim = 34;
    c[3] = scaled("rotary_dim 64 of 192, spaced over 192", 192, GQA_ROPE_SCALING_NONE, 0, 0, plain);
    c[3].config.rotary_dim = 64;
    c[3].config.rope_freq_dim = 192;
    c[4] = scaled("linear 8", 96, GQA_ROPE_SCALING_LINEAR, 8, 0, linear);
    c[5] = scaled("proportional 16 of 64", 64, GQA_ROPE_SCALING_NONE, 0, 0, proportional);
    c[5].config.rope_proportional_dim = 16;
    c[5].config.rope_theta = 1e6;
    c[6] = scaled("ntk alpha 1000", 128, GQA_ROPE_SCALING_NTK_ALPHA, 1000, 0, ntk_alpha);
    c[7] = scaled("dynamic 6", 128, GQA_ROPE_SCALING_DYNAMIC, 6, 100, dynamic);
    c[8] = scaled("longrope", 96, GQA_ROPE_SCALING_LONGROPE, 32, 4096, longrope);
    c[8].config.rope_short_factors = short_factors;
    c[8].config.rope_long_factors = long_factors;
    c[8].attention_factor = sqrt(1.0 + log(32.0) / log(4096.0));
    c[9] = c[8];
    c[9].name = "longrope, attention factor given";
    c[9].config.rope_factor = 0;
    c[9].config.rope_attention_factor = 1.25;
    c[9].attention_factor = 1.25;
    c[10] = scaled("table", 40, GQA_ROPE_SCALING_TABLE, 0, 0, given);
    c[10].config.rope_inv_freq = table;
}

static void ramp_cases(struct rope_case *c)
{
    const gqa_config gpt_oss = published_named("gpt-oss, even layer");

    c[0] = scaled("llama 3.2", 64, GQA_ROPE_SCALING_LLAMA3, 32, 8192, llama3);
    c[0].config.rope_theta = 5e5;
    c[1] = scaled("llama 4 scout: low = high", 128, GQA_ROPE_SCALING_LLAMA3, 16, 8192, llama3);
    c[1].config.rope_theta = 5e5;
    c[1].config.rope_high_freq_factor = 1;
    c[2] = scaled("gpt-oss", gpt_oss.head_dim, gpt_oss.rope_scaling, gpt_oss.rope_factor,
                  gpt_oss.rope_original_context, yarn);
    c[2].config.rope_theta = gpt_oss.rope_theta;
    c[2].attention_factor = 0.1 * log(32.0) + 1.0;
    c[3] = c[2];
    c[3].name = "gpt-oss, truncated";
    c[3].config.rope_truncate = 1;
    c[4] = c[2];
    c[4].name = "yarn, two mscales";
    c[4].config.rope_mscale = 0.707;
    c[4].config.rope_mscale_all_dim = 1.3;
    c[4].attention_factor = (0.0707 * log(32.0) + 1.0) / (0.13 * log(32.0) + 1.0);
    c[5] = c[2];
    c[5].name = "yarn, attention factor given";
    c[5].config.rope_attention_factor = 0.75;
    c[5].attention_factor = 0.75;
    c[6] = scaled("yarn, factor 1", 32, GQA_ROPE_SCALING_YARN, 1, 4096, yarn);
    c[7] = scaled("yarn, range beyond both ends", 16, GQA_ROPE_SCALING_YARN, 4, 32768, yarn);
    c[7].config.rope_theta = 10;
    c[7].config.rope_beta_fast = 20000;
    c[7].attention_factor = 0.1 * log(4.0) + 1.0;
    c[8] = scaled("yarn, empty range", 16, GQA_ROPE_SCALING_YARN, 4, 4, yarn);
    c[8].config.rope_truncate = 1;
    c[8].attention_factor = 0.1 * log(4.0) + 1.0;
    c[9] = scaled("yarn spaced over 128", 64, GQA_ROPE_SCALING_YARN, 8, 2048, yarn);
    c[9].config.rope_freq_dim = 128;
    c[9].attention_factor = 0.1 * log(8.0) + 1.0;
}

void rope_cases(struct rope_case *cases)
{
    for (int32_t j = 0; j < ROPE_MOST; j++) {
        short_factors[j] = 1.0 + 0.01 * j;
        long_factors[j] = 1.5 + 0.7 * j;
        table[j] = j % 3 == 2 ? 0.0 : 1.0 / (1.0 + 3.0 * j);
    }
    plain_cases(cases);
    ramp_cases(cases + 11);
}
