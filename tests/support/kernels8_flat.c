/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_flat.c - see kernels8_flat.h. */
#include "support/kernels8_flat.h"

#include <math.h>

#include "base/mathd.h"
#include "base/mathf.h"
#include "base/number.h"

static float canonical(float x)
{
    return x == x ? x : gqa__f32_from_bits(0x7fc00000u);
}

/* Sum of x, or of (x - mean)^2, in 16 chains by index, joined pair by pair from afar. */
static float sum16(const float *x, int64_t n, bool squared, float mean)
{
    float c[16] = {0.0f};
    for (int64_t i = 0; i < n; i++) {
        const float d = x[i] - mean;
        c[i % 16] = squared ? fmaf(d, d, c[i % 16]) : c[i % 16] + x[i];
    }
    for (int64_t i = 0; i < 8; i++) {
        c[i] = c[i] + c[i + 8];
    }
    return ((c[0] + c[4]) + (c[2] + c[6])) + ((c[1] + c[5]) + (c[3] + c[7]));
}

static float cast(float x, gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        return x;
    }
    return dtype == GQA_BF16 ? gqa__bf16_to_f32(gqa__f32_to_bf16(x))
                             : gqa__f16_to_f32(gqa__f32_to_f16(x));
}

void kernels8_norm(const struct gqa__norm_args *a)
{
    const float n = (float)a->n_true;
    const float mean = a->kind == GQA_NORM_LAYER ? sum16(a->src, a->n_true, false, 0.0f) / n : 0.0f;
    float size = sum16(a->src, a->n_true, true, mean);
    size = a->kind == GQA_NORM_L2 ? size : size / n;
    for (int64_t i = 0; i < a->n; i++) {
        float y = cast((a->src[i] - mean) * (1.0f / sqrtf(size + a->eps)), a->cast);
        y = a->weight != NULL ? cast(y * (a->weight[i] + a->offset), a->cast) : y;
        a->dst[i] = canonical(a->bias != NULL ? y + a->bias[i] : y);
    }
}

void kernels8_rope(float *x, int64_t head_stride, int32_t heads, const float *c, const float *s,
                   int32_t rotary_dim, gqa_rope style)
{
    for (int32_t i = 0; i < heads * (rotary_dim / 2) && style != GQA_ROPE_NONE; i++) {
        const int32_t j = i % (rotary_dim / 2);
        float *head = x + i / (rotary_dim / 2) * head_stride;
        float *a = head + (style == GQA_ROPE_HALF ? j : 2 * j);
        float *b = style == GQA_ROPE_HALF ? a + rotary_dim / 2 : a + 1;
        const float a0 = *a, b0 = *b;
        *a = canonical(fmaf(a0, c[j], -(b0 * s[j])));
        *b = canonical(fmaf(b0, c[j], a0 * s[j]));
    }
}

void kernels8_add(float *dst, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = canonical(a[i] + b[i]);
    }
}

void kernels8_scale(float *dst, const float *a, float factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = canonical(a[i] * factor);
    }
}

void kernels8_scale_add(float *dst, const float *a, const float *b, float f, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = canonical(fmaf(f, b[i], a[i]));
    }
}

void kernels8_clip(float *dst, const float *a, float limit, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = a[i] > limit ? limit : a[i] < -limit ? -limit : canonical(a[i]);
    }
}

void kernels8_sincos(double *sin_x, double *cos_x, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        gqa__sincos(x[i], &sin_x[i], &cos_x[i]);
    }
}

void kernels8_gate(float *dst, const float *a, const float *g, int32_t g_step,
                   gqa_gate_activation activation, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float x = g[i * g_step];
        dst[i] = canonical(a[i] *
                           (activation == GQA_GATE_SIGMOID ? gqa__sigmoidf(x) : gqa__softplusf(x)));
    }
}
