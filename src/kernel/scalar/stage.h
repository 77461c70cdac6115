/* SPDX-License-Identifier: Apache-2.0 */
/* stage.h - the element-wise passes of the stages, f32. Every NaN that is stored is the
 * canonical one. */
#ifndef GQA__KERNEL_SCALAR_STAGE_H
#define GQA__KERNEL_SCALAR_STAGE_H

#include <math.h>

#include "base/mathd_inline.h"
#include "base/mathf.h"
#include "base/number.h"
#include "kernel/contract/kernel.h"

enum { NORM_CHAINS = 16 }; /* a sum over a vector runs in this many chains, by index mod 16 */

/* The chains joined in halves: 8, 4, 2, 1 pairs. */
static inline float join_chains(float *chain)
{
    for (int32_t width = NORM_CHAINS / 2; width > 0; width /= 2) {
        for (int32_t i = 0; i < width; i++) {
            chain[i] += chain[i + width];
        }
    }
    return chain[0];
}

static inline float sum_values(const float *x, int64_t n)
{
    float chain[NORM_CHAINS] = {0.0f};
    int64_t i = 0;

    for (; i + NORM_CHAINS <= n; i += NORM_CHAINS) {
        for (int32_t j = 0; j < NORM_CHAINS; j++) {
            chain[j] += x[i + j];
        }
    }
    for (; i < n; i++) {
        chain[i % NORM_CHAINS] += x[i];
    }
    return join_chains(chain);
}

/* sum of (x - mean)^2 */
static inline float sum_squares(const float *x, float mean, int64_t n)
{
    float chain[NORM_CHAINS] = {0.0f};
    int64_t i = 0;

    for (; i + NORM_CHAINS <= n; i += NORM_CHAINS) {
        for (int32_t j = 0; j < NORM_CHAINS; j++) {
            const float d = x[i + j] - mean;
            chain[j] = fmaf(d, d, chain[j]);
        }
    }
    for (; i < n; i++) {
        const float d = x[i] - mean;
        chain[i % NORM_CHAINS] = fmaf(d, d, chain[i % NORM_CHAINS]);
    }
    return join_chains(chain);
}

static inline float round_to(float x, gqa_dtype cast)
{
    if (cast == GQA_BF16) {
        return gqa__round_bf16(x);
    }
    return cast == GQA_F16 ? gqa__f16_to_f32(gqa__f32_to_f16(x)) : x;
}

/* y = cast(cast((x - mean) * rs) * (w + offset)) + bias, mean 0 but in LAYER,
 * rs = 1 / sqrt(mean square + eps), or of the sum of squares in L2. */
static inline void norm_vector(const struct gqa__norm_args *args)
{
    const float count = (float)args->n_true;
    const bool layer = args->kind == GQA_NORM_LAYER;
    const float mean = layer ? sum_values(args->src, args->n_true) / count : 0.0f;
    const float squares = sum_squares(args->src, mean, args->n_true);
    const float size = args->kind == GQA_NORM_L2 ? squares : squares / count;
    const float rs = 1.0f / sqrtf(size + args->eps);

    for (int64_t i = 0; i < args->n; i++) {
        float y = round_to((args->src[i] - mean) * rs, args->cast);
        if (args->weight != NULL) {
            y = round_to(y * (args->weight[i] + args->offset), args->cast);
        }
        if (args->bias != NULL) {
            y = y + args->bias[i];
        }
        args->dst[i] = gqa__canonical(y);
    }
}

/* (a, b) -> (a c - b s, b c + a s): one product is rounded, the other is in the fma. */
static inline void rotate(float *a, float *b, float c, float s)
{
    const float first = fmaf(*a, c, -(*b * s));
    const float second = fmaf(*b, c, *a * s);

    *a = gqa__canonical(first);
    *b = gqa__canonical(second);
}

static inline void rope_heads(const struct gqa__rope_args *args)
{
    const int32_t pairs = args->rotary_dim / 2;

    for (int32_t h = 0; h < args->heads; h++) {
        float *head = args->x + h * args->head_stride; /* [rotary_dim] */
        for (int32_t j = 0; j < pairs; j++) {
            if (args->style == GQA_ROPE_INTERLEAVED) {
                rotate(head + 2 * j, head + 2 * j + 1, args->c[j], args->s[j]);
            } else if (args->style == GQA_ROPE_HALF) {
                rotate(head + j, head + pairs + j, args->c[j], args->s[j]);
            }
        }
    }
}

static inline void flush_values(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = gqa__flush(x[i]);
    }
}

static inline void add_vectors(float *dst, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = gqa__canonical(a[i] + b[i]);
    }
}

static inline void scale_vector(float *dst, const float *a, float factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = gqa__canonical(a[i] * factor);
    }
}

static inline void scale_add_vectors(float *dst, const float *a, const float *b, float f, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = gqa__canonical(fmaf(f, b[i], a[i]));
    }
}

static inline void clip_vector(float *dst, const float *a, float limit, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float below = a[i] > limit ? limit : a[i];
        dst[i] = gqa__canonical(below < -limit ? -limit : below);
    }
}

static inline void sincos_values(double *restrict sin_x, double *restrict cos_x,
                                 const double *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        gqa__sincos_inline(x[i], &sin_x[i], &cos_x[i]);
    }
}

static inline void gate_vector(float *dst, const float *a, const float *g, int32_t g_step,
                               gqa_gate_activation activation, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float x = g[i * g_step];
        const float y = activation == GQA_GATE_SOFTPLUS ? gqa__softplusf(x) : gqa__sigmoidf(x);
        dst[i] = gqa__canonical(a[i] * y);
    }
}

#endif
