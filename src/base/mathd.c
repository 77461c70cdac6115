#include "base/mathd.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/guard.h"

/* An unevaluated sum hi + lo, |lo| <= ulp(hi) / 2: about 106 bits. */
struct pair {
    double hi, lo;
};

static struct pair sum_ordered(double a, double b) /* |a| >= |b| */
{
    const double s = a + b;

    return (struct pair){s, b - (s - a)};
}

static struct pair sum(double a, double b)
{
    const double s = a + b;
    const double t = s - a;

    return (struct pair){s, (a - (s - t)) + (b - t)};
}

static struct pair product(double a, double b)
{
    const double p = a * b;

    return (struct pair){p, fma(a, b, -p)};
}

static struct pair add(struct pair a, struct pair b)
{
    const struct pair s = sum(a.hi, b.hi);
    const struct pair t = sum(a.lo, b.lo);
    const struct pair u = sum_ordered(s.hi, s.lo + t.hi);

    return sum_ordered(u.hi, u.lo + t.lo);
}

static struct pair mul(struct pair a, struct pair b)
{
    const struct pair p = product(a.hi, b.hi);

    return sum_ordered(p.hi, p.lo + fma(a.hi, b.lo, a.lo * b.hi));
}

static struct pair divide(struct pair a, struct pair b)
{
    const double q = a.hi / b.hi;
    const struct pair p = mul((struct pair){q, 0.0}, b);
    const struct pair r = add(a, (struct pair){-p.hi, -p.lo});

    return sum_ordered(q, r.hi / b.hi);
}

static uint64_t bits(double x)
{
    uint64_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static double from_bits(uint64_t u)
{
    double x;

    memcpy(&x, &u, sizeof x);
    return x;
}

static double nan_value(void)
{
    return from_bits(0x7ff8000000000000u);
}

static const struct pair LN2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

/* ln x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = 2^e m, sqrt(1/2) <= m < sqrt(2). The
 * series in s^2 <= 0.0295 ends after 18 terms, below 2^-90. */
static struct pair log_pair(double x)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdu; /* bits of sqrt(1/2) */
    const double lifted = x < 0x1p-1022 ? 54.0 : 0.0;
    const uint64_t u = bits(lifted > 0.0 ? x * 0x1p54 : x) - root_half;
    const double e = (double)((int64_t)((u + (UINT64_C(1024) << 52)) >> 52) - 1024) - lifted;
    const double m = from_bits((u & 0xfffffffffffffu) + root_half);
    const struct pair s = divide((struct pair){m - 1.0, 0.0}, sum(m, 1.0));
    const struct pair s2 = mul(s, s);
    struct pair p = {0.0, 0.0};

    for (int k = 17; k >= 0; k--) {
        const struct pair odd = {2.0 * k + 1.0, 0.0};
        p = add(mul(p, s2), divide((struct pair){2.0, 0.0}, odd));
    }
    return add(mul((struct pair){e, 0.0}, LN2), mul(s, p));
}

/* e^a = 2^n e^r, |r| <= ln(2) / 2, by the Taylor series to r^25. */
static double exp_pair(struct pair a)
{
    const double n = rint(a.hi * 0x1.71547652b82fep+0);
    const struct pair r = add(a, mul((struct pair){-n, 0.0}, LN2));
    const struct pair one = {1.0, 0.0};
    struct pair p = one;

    for (int k = 25; k >= 1; k--) {
        p = add(one, mul(divide(r, (struct pair){(double)k, 0.0}), p));
    }
    return (p.hi + p.lo) * from_bits((uint64_t)((int64_t)n + 1023) << 52);
}

double gqa__log(double x)
{
    struct pair y;

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
    return exp_pair((struct pair){x, 0.0});
}

double gqa__pow(double x, double y)
{
    struct pair a;

    if (!(x > 0.0) || x > 0x1.fffffffffffffp1023 || !(fabs(y) < 0x1p100)) {
        return nan_value();
    }
    a = mul(log_pair(x), (struct pair){y, 0.0});
    if (!(fabs(a.hi) <= 700.0)) {
        return nan_value();
    }
    return exp_pair(a);
}

double gqa__log1p_int(double n)
{
    return gqa__log(1.0 + n);
}

/* r = x - n pi/2 as a pair, n = the nearest integer to x 2/pi. pi/2 in two parts is right to
 * 2^-109, so r to 2^-66 at n = 2^41. */
static struct pair reduce(double x, double n)
{
    const struct pair upper = product(n, 0x1.921fb54442d18p+0);
    const double lower = n * 0x1.1a62633145c07p-54;
    const struct pair r = sum(x - upper.hi, -upper.lo); /* the first difference is exact */

    return add(r, (struct pair){-lower, 0.0});
}

/* sin(hi + lo) and cos(hi + lo), |hi| <= pi/4 and a little, by Taylor series whose first left-out
 * terms are below 2^-60. */
static double sin_kernel(struct pair r)
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

static double cos_kernel(struct pair r)
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

void gqa__sincos(double x, double *sin_x, double *cos_x)
{
    double n;
    double s;
    double c;
    struct pair r;

    if (!(fabs(x) <= 0x1p42)) {
        *sin_x = nan_value();
        *cos_x = nan_value();
        return;
    }
    n = rint(x * 0x1.45f306dc9c883p-1);
    r = reduce(x, n);
    s = sin_kernel(r);
    c = cos_kernel(r);
    switch ((int64_t)n & 3) {
    case 0:
        *sin_x = s;
        *cos_x = c;
        break;
    case 1:
        *sin_x = c;
        *cos_x = -s;
        break;
    case 2:
        *sin_x = -s;
        *cos_x = -c;
        break;
    default:
        *sin_x = -c;
        *cos_x = s;
        break;
    }
}
