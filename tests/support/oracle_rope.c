/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_rope.c - frequencies, tables and rotation. */
#include <math.h>
#include <stdlib.h>

#include "oracle.h"

static const double two_pi = 6.283185307179586476925286766559;

static int frequency_dim(const gqa_config *c, int pairs)
{
    return c->rope_freq_dim > 0 ? c->rope_freq_dim : 2 * pairs;
}

/* The base after NTK-like scalings. */
static double base_of(const gqa_config *c, int dim, int length)
{
    double stretch = (double)dim / (dim - 2.0);
    if (c->rope_scaling == GQA_ROPE_SCALING_NTK_ALPHA) {
        return c->rope_theta * pow(c->rope_factor, stretch);
    }
    if (c->rope_scaling == GQA_ROPE_SCALING_DYNAMIC && length > c->rope_original_context) {
        double ratio = (double)length / c->rope_original_context;
        return c->rope_theta * pow(c->rope_factor * ratio - (c->rope_factor - 1.0), stretch);
    }
    return c->rope_theta;
}

static double llama3(const gqa_config *c, double f)
{
    double wavelength = two_pi / f;
    double context = c->rope_original_context;
    double low = c->rope_low_freq_factor;
    double high = c->rope_high_freq_factor;
    if (wavelength < context / high) {
        return f;
    }
    if (wavelength > context / low || low == high) {
        return f / c->rope_factor;
    }
    double s = (context / wavelength - low) / (high - low);
    return f * ((1.0 - s) / c->rope_factor + s);
}

/* Frequency index that turns n times over the original context. */
static double yarn_index(const gqa_config *c, int dim, double n)
{
    return dim * log(c->rope_original_context / (n * two_pi)) / (2.0 * log(c->rope_theta));
}

static double yarn(const gqa_config *c, int dim, int j, double f)
{
    double low = yarn_index(c, dim, c->rope_beta_fast);
    double high = yarn_index(c, dim, c->rope_beta_slow);
    if (c->rope_truncate != 0) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, dim - 1.0);
    if (low == high) {
        high += 0.001;
    }
    double ramp = fmin(fmax((j - low) / (high - low), 0.0), 1.0);
    return f * (1.0 - ramp) + f / c->rope_factor * ramp;
}

static double yarn_mscale(double factor, double m)
{
    return factor <= 1.0 ? 1.0 : 0.1 * m * log(factor) + 1.0;
}

static double attention_factor(const gqa_config *c)
{
    if (c->rope_attention_factor != 0.0) {
        return c->rope_attention_factor;
    }
    if (c->rope_scaling == GQA_ROPE_SCALING_YARN) {
        double over = c->rope_mscale_all_dim != 0.0
                          ? yarn_mscale(c->rope_factor, c->rope_mscale_all_dim)
                          : 1.0;
        double m = c->rope_mscale != 0.0 ? c->rope_mscale : 1.0;
        return yarn_mscale(c->rope_factor, m) / over;
    }
    if (c->rope_scaling == GQA_ROPE_SCALING_LONGROPE && c->rope_factor > 1.0) {
        return sqrt(1.0 + log(c->rope_factor) / log((double)c->rope_original_context));
    }
    return 1.0;
}

static double frequency(const gqa_config *c, int dim, int j, int length)
{
    double f = pow(base_of(c, dim, length), -2.0 * j / dim);
    switch (c->rope_scaling) {
    case GQA_ROPE_SCALING_LINEAR:
        return f / c->rope_factor;
    case GQA_ROPE_SCALING_LLAMA3:
        return llama3(c, f);
    case GQA_ROPE_SCALING_YARN:
        return yarn(c, dim, j, f);
    case GQA_ROPE_SCALING_LONGROPE:
        return f / (length > c->rope_original_context ? c->rope_long_factors[j]
                                                      : c->rope_short_factors[j]);
    case GQA_ROPE_SCALING_TABLE:
        return c->rope_inv_freq[j];
    default:
        return f;
    }
}

double oracle_frequencies(const oracle_layer *layer, int length, double *out)
{
    const gqa_config *c = &layer->config;
    int dim = frequency_dim(c, layer->pairs);
    for (int j = 0; j < layer->pairs; j++) {
        bool still = c->rope_proportional_dim > 0 && 2 * j >= c->rope_proportional_dim;
        out[j] = still ? 0.0 : frequency(c, dim, j, length);
    }
    return attention_factor(c);
}

static int axis_of(const gqa_config *c, int j)
{
    if (c->mrope == GQA_MROPE_SECTIONS) {
        int end = 0;
        for (int axis = 0; axis < 4; axis++) {
            end += c->mrope_sections[axis];
            if (j < end) {
                return axis;
            }
        }
    }
    if (c->mrope == GQA_MROPE_INTERLEAVED && j < 3 * c->mrope_sections[j % 3]) {
        return j % 3;
    }
    return 0;
}

/* The angle and its uncertainty: frequencies are good to 2e-15 (pow of a good library). */
static oracle_num angle_of(const gqa_config *c, int position, double f)
{
    oracle_num angle = {(double)position * f, 0.0};
    angle.e = fabs(angle.v) * 4e-15;
    if (c->rope_float_angles != 0) {
        float p = (float)position;
        float at = p * (float)f;
        float below = p * (float)(f * (1.0 - 4e-15));
        float above = p * (float)(f * (1.0 + 4e-15));
        angle.v = (double)at;
        angle.e = fmax(fabs((double)above - angle.v), fabs((double)below - angle.v));
    }
    return angle;
}

void oracle_rope_table(const oracle_layer *layer, const int *positions, int length, oracle_num *c,
                       oracle_num *s)
{
    double *f = oracle_zeros((size_t)layer->pairs, sizeof *f);
    double factor = oracle_frequencies(layer, length, f);
    double sign = layer->config.rope_reverse != 0 ? -1.0 : 1.0;
    for (int j = 0; j < layer->pairs; j++) {
        int axis = layer->axes > 1 ? axis_of(&layer->config, j) : 0;
        oracle_num angle = angle_of(&layer->config, positions[axis], f[j]);
        c[j].v = factor * cos(angle.v);
        s[j].v = sign * factor * sin(angle.v);
        /* One rounding to f32; with float angles cos, the factor and their product are rounded. */
        c[j].e = factor * (angle.e + 1e-15) + 3 * ORACLE_U * fabs(c[j].v);
        s[j].e = factor * (angle.e + 1e-15) + 3 * ORACLE_U * fabs(s[j].v);
    }
    free(f);
}

static oracle_num turn(oracle_num a, oracle_num ca, oracle_num b, oracle_num cb, double sign)
{
    oracle_num y = {a.v * ca.v + sign * b.v * cb.v, 0.0};
    y.e = fabs(a.v) * ca.e + fabs(ca.v) * a.e + a.e * ca.e;
    y.e += fabs(b.v) * cb.e + fabs(cb.v) * b.e + b.e * cb.e;
    y.e += 3 * ORACLE_U *
           ((fabs(a.v) + a.e) * (fabs(ca.v) + ca.e) + (fabs(b.v) + b.e) * (fabs(cb.v) + cb.e));
    return y;
}

void oracle_rope(const oracle_layer *layer, const oracle_num *c, const oracle_num *s, int heads,
                 oracle_num *x)
{
    bool half = layer->config.rope == GQA_ROPE_HALF;
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < layer->pairs; j++) {
            oracle_num *u = x + h * layer->dk + (half ? j : 2 * j);
            oracle_num *w = half ? u + layer->pairs : u + 1;
            oracle_num first = turn(*u, c[j], *w, s[j], -1.0);
            oracle_num second = turn(*w, c[j], *u, s[j], 1.0);
            *u = first;
            *w = second;
        }
    }
}
