/* SPDX-License-Identifier: Apache-2.0 */
/* mathd.c - see mathd.h. Where the last bit matters, values are pairs of doubles. */
#include "base/mathd.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/guard.h"
#include "base/mathd_inline.h"

static struct gqa__pair divide_pairs(struct gqa__pair a, struct gqa__pair b)
{
    const double q = a.hi / b.hi;
    const struct gqa__pair p = gqa__pair_mul((struct gqa__pair){q, 0.0}, b);
    const struct gqa__pair r = gqa__pair_add(a, (struct gqa__pair){-p.hi, -p.lo});

    return gqa__pair_sum_ordered(q, r.hi / b.hi);
}

static double nan_value(void)
{
    return gqa__f64_from_bits(GQA__F64_NAN);
}

static const struct gqa__pair LN2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

/* ln x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = 2^e m, sqrt(1/2) <= m < sqrt(2). The
 * series in s^2 <= 0.0295 ends after 18 terms, below 2^-90. */
static struct gqa__pair log_pair(double x)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdu; /* bits of sqrt(1/2) */
    const double lifted = x < 0x1p-1022 ? 54.0 : 0.0;
    const uint64_t u = gqa__f64_bits(lifted > 0.0 ? x * 0x1p54 : x) - root_half;
    const double e = (double)((int64_t)((u + (UINT64_C(1024) << 52)) >> 52) - 1024) - lifted;
    const double m = gqa__f64_from_bits((u & 0xfffffffffffffu) + root_half);
    const struct gqa__pair s =
        divide_pairs((struct gqa__pair){m - 1.0, 0.0}, gqa__pair_sum(m, 1.0));
    const struct gqa__pair s2 = gqa__pair_mul(s, s);
    struct gqa__pair p = {0.0, 0.0};

    for (int k = 17; k >= 0; k--) {
        const struct gqa__pair odd = {2.0 * k + 1.0, 0.0};
        p = gqa__pair_add(gqa__pair_mul(p, s2), divide_pairs((struct gqa__pair){2.0, 0.0}, odd));
    }
    return gqa__pair_add(gqa__pair_mul((struct gqa__pair){e, 0.0}, LN2), gqa__pair_mul(s, p));
}

/* e^a = 2^n e^r, |r| <= ln(2) / 2, by the Taylor series to r^25. */
static double exp_pair(struct gqa__pair a)
{
    const double n = rint(a.hi * 0x1.71547652b82fep+0);
    const struct gqa__pair r = gqa__pair_add(a, gqa__pair_mul((struct gqa__pair){-n, 0.0}, LN2));
    const struct gqa__pair one = {1.0, 0.0};
    struct gqa__pair p = one;

    for (int k = 25; k >= 1; k--) {
        p = gqa__pair_add(one,
                          gqa__pair_mul(divide_pairs(r, (struct gqa__pair){(double)k, 0.0}), p));
    }
    return (p.hi + p.lo) * gqa__f64_from_bits((uint64_t)((int64_t)n + 1023) << 52);
}

double gqa__log(double x)
{
    struct gqa__pair y;

    if (!(x > 0.0) || x > 0x1.fffffffffffffp1023) {
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : nan_value();
    }
    y = log_pair(x);
    return y.hi + y.lo;
}

double gqa__exp(double x)
{
    if (!(fabs(x) <= 700.0)) {
        return nan_value();
    }
    return exp_pair((struct gqa__pair){x, 0.0});
}

double gqa__pow(double x, double y)
{
    struct gqa__pair a;

    if (!(x > 0.0) || x > 0x1.fffffffffffffp1023 || !(fabs(y) < 0x1p100)) {
        return nan_value();
    }
    a = gqa__pair_mul(log_pair(x), (struct gqa__pair){y, 0.0});
    if (!(fabs(a.hi) <= 700.0)) {
        return nan_value();
    }
    return exp_pair(a);
}

double gqa__log1p_int(double n)
{
    return gqa__log(1.0 + n);
}

void gqa__sincos(double x, double *sin_x, double *cos_x)
{
    gqa__sincos_inline(x, sin_x, cos_x);
}
