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

void kernels8_rope(const struct gqa__rope_args *args)
{
    const int32_t pairs = args->rotary_dim / 2;
    for (int32_t i = 0; i < args->heads * pairs && args->style != GQA_ROPE_NONE; i++) {
        const int32_t j = i % pairs;
        const float c = args->c[j], s = args->s[j];
        float *head = args->x + i / pairs * args->head_stride;
        float *a = head + (args->style == GQA_ROPE_HALF ? j : 2 * j);
        float *b = args->style == GQA_ROPE_HALF ? a + pairs : a + 1;
        const float a0 = *a, b0 = *b;
        *a = canonical(fmaf(a0, c, -(b0 * s)));
        *b = canonical(fmaf(b0, c, a0 * s));
    }
}

/* A 16-bit format: its fraction bits, and the exponent of its smallest normal number. */
struct half {
    int fraction, least;
};

static struct half half_of(gqa_dtype dtype)
{
    return dtype == GQA_BF16 ? (struct half){7, -126} : (struct half){10, -14};
}

void kernels8_load(float *dst, const void *src, int64_t n, gqa_dtype dtype)
{
    const struct half form = half_of(dtype);
    const int all = (1 << (15 - form.fraction)) - 1; /* of the exponent's bits */
    for (int64_t i = 0; i < n; i++) {
        const unsigned h = dtype == GQA_F32 ? 0 : ((const uint16_t *)src)[i];
        const int exponent = (int)(h >> form.fraction) & all;
        const unsigned fraction = h & ((1u << form.fraction) - 1u);
        double x = ldexp(fraction, form.least - form.fraction);
        if (dtype == GQA_F32) {
            dst[i] = ((const float *)src)[i];
            continue;
        }
        if (exponent > 0) {
            x = ldexp(1.0 + ldexp(fraction, -form.fraction), exponent - 1 + form.least);
        }
        dst[i] = exponent == all ? INFINITY : (float)x;
        dst[i] = h >> 15 != 0 ? -dst[i] : dst[i];
        if (exponent == all && fraction != 0) { /* bf16: as it is */
            dst[i] = gqa__f32_from_bits(dtype == GQA_BF16 ? h << 16 : 0x7fc00000u);
        }
    }
}

void kernels8_store(void *dst, const float *src, int64_t n, gqa_dtype dtype)
{
    const struct half form = half_of(dtype);
    const unsigned all = (1u << (15 - form.fraction)) - 1u;
    for (int64_t i = 0; i < n; i++) {
        const unsigned sign = signbit(src[i]) ? 0x8000u : 0u;
        int exponent = 0;
        double units = 0.0; /* of the last place */
        if (dtype == GQA_F32) {
            ((float *)dst)[i] = canonical(src[i]);
            continue;
        }
        if (src[i] != src[i]) {
            ((uint16_t *)dst)[i] = (uint16_t)(all << form.fraction | 1u << (form.fraction - 1));
            continue;
        }
        if (!isinf(src[i])) {
            (void)frexp((double)src[i], &exponent); /* the size is below 2^exponent */
            exponent = exponent - 1 < form.least || src[i] == 0.0f ? form.least : exponent - 1;
            units = nearbyint(ldexp(fabs((double)src[i]), form.fraction - exponent));
        }
        /* Units beyond a binade carry into the exponent, and at its end into infinity. */
        const double bits =
            isinf(src[i]) ? 65536.0 : units + ldexp(exponent - form.least, form.fraction);
        const double top = ldexp(all, form.fraction);
        ((uint16_t *)dst)[i] = (uint16_t)(sign | (unsigned)(bits < top ? bits : top));
    }
}

void kernels8_flush(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = fpclassify(x[i]) == FP_SUBNORMAL ? copysignf(0.0f, x[i]) : x[i];
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
