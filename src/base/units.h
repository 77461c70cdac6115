/* units.h - scores in base-2 units, natural units times log2 e, so that no finite logit becomes
 * infinite.
 *
 * The largest finite numbers do not fit when they are multiplied by log2 e. So the end of the range
 * is bent: what lies beyond GQA__BEND is 16 times as steep. A number s of base-2 units beyond it
 * stands for GQA__BEND + 16 (s - GQA__BEND), which reaches beyond FLT_MAX in natural units, and
 * GQA__UNITS_MAX, the largest that is formed, stands for FLT_MAX there. The map rises, and two
 * numbers beyond the bend are far apart or equal: their weights are 1 and 0, or 1 and 1, on either
 * side of it.
 */
#ifndef GQA__UNITS_H
#define GQA__UNITS_H

#include <float.h>
#include <math.h>

#include "base/fold.h"
#include "base/mathf.h"
#include "base/number.h"

#define GQA__BEND      0x1.fp127f      /* 31/32 of 2^128; 2.285e38 in natural units */
#define GQA__BEND_LIFT 0x1.d1p127f     /* 15/16 of it: s = t / 16 + lift */
#define GQA__UNITS_MAX 0x1.ff2a8ep127f /* of a bias of FLT_MAX */

/* fma(bias, log2 e, s): a score s in base-2 units and a bias in natural ones. Finite where both
 * are. */
static inline float gqa__add_bias(float s, float bias)
{
    const float log2e = (float)GQA__LOG2E;
    const float sum = fmaf(bias, log2e, s);
    const float part = fmaf(0.0625f * bias, log2e, 0.0625f * s);
    const float size = fabsf(part);
    const float lifted = size + GQA__BEND_LIFT;
    const float most = gqa__pick(lifted > GQA__UNITS_MAX, GQA__UNITS_MAX, lifted);
    const bool bent = (fabsf(sum) > GQA__BEND) & (size <= FLT_MAX);

    return gqa__pick(bent, copysignf(most, part), sum);
}

/* A finite logit, or -inf, in natural units to base-2 units. */
static inline float gqa__to_units(double logit)
{
    const double units = logit * GQA__LOG2E, size = fabs(units);
    const double most = (double)GQA__UNITS_MAX, lifted = size / 16.0 + (double)GQA__BEND_LIFT;

    if (!(size > (double)GQA__BEND && size <= DBL_MAX)) {
        return (float)units;
    }
    return (float)copysign(lifted < most ? lifted : most, units);
}

/* Base-2 units to natural ones. */
static inline double gqa__from_units(float s)
{
    const float size = fabsf(s);
    const double beyond = ((double)size - (double)GQA__BEND_LIFT) * (16.0 * GQA__LN2);

    if (!(size > GQA__BEND && size <= FLT_MAX)) {
        return (double)s * GQA__LN2;
    }
    return copysign(size < GQA__UNITS_MAX ? beyond : (double)FLT_MAX, (double)s);
}

/* fma(m, ln 2, log l), the logarithm of l 2^m with m in base-2 units. Beyond the bend log l does
 * not count, but for a NaN. */
static inline float gqa__log_sum(float m, float l)
{
    const float ln2 = (float)GQA__LN2;
    const float sum = fmaf(m, ln2, gqa__logf(l));
    const float size = fabsf(m);
    const float beyond = (size - GQA__BEND_LIFT) * (16.0f * ln2);
    const float most = gqa__pick(size < GQA__UNITS_MAX, beyond, FLT_MAX);
    const bool bent = (size > GQA__BEND) & (size <= FLT_MAX) & (sum == sum);

    return gqa__pick(bent, copysignf(most, m), sum);
}

#endif
