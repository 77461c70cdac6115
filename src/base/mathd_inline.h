/* SPDX-License-Identifier: Apache-2.0 */
/* mathd_inline.h - the parts of mathd.h that kernel sets compile for their own instruction set:
 * sums of two doubles, and sin and cos.
 *
 * No branch depends on data, so a loop that calls gqa__sincos_inline vectorises.
 */
#ifndef GQA__MATHD_INLINE_H
#define GQA__MATHD_INLINE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/guard.h"

/* An unevaluated sum hi + lo, |lo| <= ulp(hi) / 2: about 106 bits. */
struct gqa__pair {
    double hi, lo;
};

static inline struct gqa__pair gqa__pair_sum_ordered(double a, double b) /* |a| >= |b| */
{
    const double s = a + b;

    return (struct gqa__pair){s, b - (s - a)};
}

static inline struct gqa__pair gqa__pair_sum(double a, double b)
{
    const double s = a + b;
    const double t = s - a;

    return (struct gqa__pair){s, (a - (s - t)) + (b - t)};
}

static inline struct gqa__pair gqa__pair_product(double a, double b)
{
    const double p = a * b;

    return (struct gqa__pair){p, fma(a, b, -p)};
}

static inline struct gqa__pair gqa__pair_add(struct gqa__pair a, struct gqa__pair b)
{
    const struct gqa__pair s = gqa__pair_sum(a.hi, b.hi);
    const struct gqa__pair t = gqa__pair_sum(a.lo, b.lo);
    const struct gqa__pair u = gqa__pair_sum_ordered(s.hi, s.lo + t.hi);

    return gqa__pair_sum_ordered(u.hi, u.lo + t.lo);
}

static inline struct gqa__pair gqa__pair_mul(struct gqa__pair a, struct gqa__pair b)
{
    const struct gqa__pair p = gqa__pair_product(a.hi, b.hi);

    return gqa__pair_sum_ordered(p.hi, p.lo + fma(a.hi, b.lo, a.lo * b.hi));
}

static inline uint64_t gqa__f64_bits(double x)
{
    uint64_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static inline double gqa__f64_from_bits(uint64_t u)
{
    double x;

    memcpy(&x, &u, sizeof x);
    return x;
}

#define GQA__F64_NAN 0x7ff8000000000000u

/* r = x - n pi/2 as a pair, n = the nearest integer to x 2/pi. pi/2 in two parts is right to
 * 2^-109, so r to 2^-66 at n = 2^41. */
static inline struct gqa__pair gqa__angle_reduce(double x, double n)
{
    const struct gqa__pair upper = gqa__pair_product(n, 0x1.921fb54442d18p+0);
    const double lower = n * 0x1.1a62633145c07p-54;
    const struct gqa__pair r =
        gqa__pair_sum(x - upper.hi, -upper.lo); /* the first difference is exact */

    return gqa__pair_add(r, (struct gqa__pair){-lower, 0.0});
}

/* sin(hi + lo) and cos(hi + lo), |hi| <= pi/4 and a little, by Taylor series whose first left-out
 * terms are below 2^-60. */
static inline double gqa__sin_kernel(struct gqa__pair r)
{
    const double z = r.hi * r.hi;
    double p = 0x1.952c77030ad4ap-49; /* 1/17! */

    p = fma(p, z, -0x1.ae7f3e733b81fp-41);
    p = fma(p, z, 0x1.6124613a86d09p-33);
    p = fma(p, z, -0x1.ae64567f544e4p-26);
    p = fma(p, z, 0x1.71de3a556c734p-19);
    p = fma(p, z, -0x1.a01a01a01a01ap-13);
    p = fma(p, z, 0x1.1111111111111p-7);
    p = fma(p, z, -0x1.5555555555555p-3);
    return r.hi + fma(z * r.hi, p, r.lo * fma(-0.5, z, 1.0));
}

static inline double gqa__cos_kernel(struct gqa__pair r)
{
    const double z = r.hi * r.hi;
    const double half = 0.5 * z;
    const double w = 1.0 - half;
    double p = 0x1.ae7f3e733b81fp-45; /* 1/16! */

    p = fma(p, z, -0x1.93974a8c07c9dp-37);
    p = fma(p, z, 0x1.1eed8eff8d898p-29);
    p = fma(p, z, -0x1.27e4fb7789f5cp-22);
    p = fma(p, z, 0x1.a01a01a01a01ap-16);
    p = fma(p, z, -0x1.6c16c16c16c17p-10);
    p = fma(p, z, 0x1.5555555555555p-5);
    return w + (((1.0 - w) - half) + fma(z * z, p, -r.hi * r.lo));
}

/* gqa__sincos. Quadrant k = n mod 4 is in the low bits of n + 3 2^51: odd quadrants swap the two,
 * sin is negative in 2 and 3, cos in 1 and 2. */
static inline void gqa__sincos_inline(double x, double *sin_x, double *cos_x)
{
    const double n = rint(x * 0x1.45f306dc9c883p-1);
    const uint64_t k = gqa__f64_bits(n + 0x1.8p52);
    const struct gqa__pair r = gqa__angle_reduce(x, n);
    const uint64_t s = gqa__f64_bits(gqa__sin_kernel(r));
    const uint64_t c = gqa__f64_bits(gqa__cos_kernel(r));
    const uint64_t swap = (0u - (k & 1)) & (s ^ c);
    const uint64_t bad = 0u - (uint64_t) !(fabs(x) <= 0x1p42);
    const uint64_t sin_bits = (s ^ swap) ^ (k & 2) << 62;
    const uint64_t cos_bits = (c ^ swap) ^ ((k + 1) & 2) << 62;

    *sin_x = gqa__f64_from_bits((sin_bits & ~bad) | (GQA__F64_NAN & bad));
    *cos_x = gqa__f64_from_bits((cos_bits & ~bad) | (GQA__F64_NAN & bad));
}

#endif
