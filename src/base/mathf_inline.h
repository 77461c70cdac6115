/* SPDX-License-Identifier: Apache-2.0 */
/* mathf_inline.h - the bodies of mathf.h.
 *
 * Coefficients are minimax fits for the stated interval, rounded to f32 one after the other with
 * the rest fitted again. They are part of the numerics: another digit is another result.
 */
#ifndef GQA__MATHF_INLINE_H
#define GQA__MATHF_INLINE_H

#include <math.h>
#include <stdbool.h>

#include "base/number.h"

/* c ? a : b by bits: with trapping math gcc would move the work of a plain ?: under a branch and
 * then not vectorise the loop around it. */
static inline float gqa__pick(bool c, float a, float b)
{
    const uint32_t mask = 0u - (uint32_t)c;

    return gqa__f32_from_bits((gqa__f32_bits(a) & mask) | (gqa__f32_bits(b) & ~mask));
}

/* Added to |x| < 2^22 this rounds x to an integer n (nearest even) and leaves n in the low bits. */
#define GQA__ROUNDER 0x1.8p23f

/* 2^n for the n in the low bits of shifted = x + GQA__ROUNDER, -126 <= n <= 127. */
static inline float gqa__power_of_two(float shifted)
{
    return gqa__f32_from_bits((gqa__f32_bits(shifted) << 23) + 0x3f800000u);
}

static inline float gqa__exp2f(float x)
{
    const float shifted = x + GQA__ROUNDER;
    const float f = x - (shifted - GQA__ROUNDER); /* exact, |f| <= 1/2 */
    float p = 0x1.17750ap-13f;

    p = fmaf(p, f, 0x1.5ef4fap-10f);
    p = fmaf(p, f, 0x1.3b682ep-7f);
    p = fmaf(p, f, 0x1.c6af9ep-5f);
    p = fmaf(p, f, 0x1.ebfb94p-3f);
    p = fmaf(p, f, 0x1.62e430p-1f);
    p = fmaf(p, f, 1.0f);
    return gqa__pick(x < -126.0f, 0.0f, p * gqa__power_of_two(shifted));
}

static inline float gqa__exp2f_fast(float x)
{
    const float nearest = (x + GQA__ROUNDER) - GQA__ROUNDER;
    const float n = nearest - gqa__pick(nearest > x, 1.0f, 0.0f); /* floor(x) */
    const float d = x - n;
    const bool up = x - (d + n) < 0.0f; /* the rest is exact: was d rounded up? */
    const float f = gqa__f32_from_bits(gqa__f32_bits(d) - (uint32_t)up);
    float p = 0x1.3baaa6p-4f;

    p = fmaf(p, f, 0x1.d2378ap-3f);
    p = fmaf(p, f, 0x1.63e658p-1f);
    p = fmaf(p, f, 1.0f);
    return gqa__pick(x < -126.0f, 0.0f, p * gqa__power_of_two(n + GQA__ROUNDER));
}

static inline float gqa__logf(float x)
{
    const uint32_t root_half = 0x3f3504f3u; /* bits of sqrt(1/2) */
    const bool denormal = x < 0x1p-126f;
    const float lift = gqa__pick(denormal, 0x1p23f, 1.0f);
    const float lifted = gqa__pick(denormal, 23.0f, 0.0f);
    const uint32_t u = gqa__f32_bits(x * lift) - root_half;
    const float e = (float)((int32_t)((u + 0x40000000u) >> 23) - 128) - lifted;
    const float f = gqa__f32_from_bits((u & 0x7fffffu) + root_half) - 1.0f; /* exact */
    const float f2 = f * f;
    float p = 0x1.b4d69ep-5f;
    float r;

    /* x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); ln(1 + f) = f - f^2/2 + f^3 p(f). */
    p = fmaf(p, f, -0x1.bee434p-4f);
    p = fmaf(p, f, 0x1.eff064p-4f);
    p = fmaf(p, f, -0x1.0106e4p-3f);
    p = fmaf(p, f, 0x1.2303c4p-3f);
    p = fmaf(p, f, -0x1.552f16p-3f);
    p = fmaf(p, f, 0x1.99a540p-3f);
    p = fmaf(p, f, -0x1.000070p-2f);
    p = fmaf(p, f, 0x1.555548p-2f);
    r = fmaf(e, 0x1.7f7d1cp-20f, f2 * f * p); /* ln 2 in two parts, the upper times e is exact */
    r = fmaf(-0.5f, f2, r);
    r = fmaf(e, 0x1.62e4p-1f, f + r);
    r = gqa__pick(x > 0x1.fffffep127f, x, r);
    r = gqa__pick(x == 0.0f, gqa__f32_from_bits(0xff800000u), r);
    return gqa__pick(x >= 0.0f, r, gqa__f32_from_bits(GQA__NAN_BITS));
}

static inline float gqa__exp_negf(float a)
{
    const float c = gqa__pick(a > 88.0f, 88.0f, a); /* beyond 87.34 the result is 0 already */
    const float u = c * 0x1.715476p+0f;             /* log2 e, upper part */
    const float v = fmaf(c, 0x1.4ae0cp-26f, fmaf(c, 0x1.715476p+0f, -u));
    const float t = gqa__exp2f(-u);

    return fmaf(t, -0x1.62e430p-1f * v, t); /* 2^-(u + v), v < 2^-17 */
}

static inline float gqa__tanhf(float x)
{
    const float a = fabsf(x);
    const float t = gqa__exp_negf(a + a);
    const float large = 1.0f - (t + t) / (1.0f + t);
    const float z = a * a;
    float p = -0x1.94a540p-8f;
    float r;

    p = fmaf(p, z, 0x1.58175ep-6f);
    p = fmaf(p, z, -0x1.b90576p-5f);
    p = fmaf(p, z, 0x1.110c5ap-3f);
    p = fmaf(p, z, -0x1.555548p-2f);
    r = gqa__pick(a < 0.5625f, fmaf(a * z, p, a), large);
    return gqa__f32_from_bits(gqa__f32_bits(r) | (gqa__f32_bits(x) & 0x80000000u));
}

static inline float gqa__sigmoidf(float x)
{
    const float t = gqa__exp_negf(fabsf(x));

    return gqa__pick(x < 0.0f, t, 1.0f) / (1.0f + t);
}

static inline float gqa__softplusf(float x)
{
    const float t = gqa__exp_negf(fabsf(x));
    const float w = 1.0f + t;
    const float lost = t - (w - 1.0f); /* what the sum w rounded off */

    return gqa__pick(x > 0.0f, x, 0.0f) + (gqa__logf(w) + lost / w);
}

#endif
