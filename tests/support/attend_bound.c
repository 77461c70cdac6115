/* SPDX-License-Identifier: Apache-2.0 */
/* attend_bound.c - see attend_kernels.h: an answer against attention in double. */
#include <math.h>
#include <stdio.h>

#include "base/fold.h"
#include "base/number.h"
#include "support/attend_kernels.h"

/* One row in double: scores in base-2 units and the largest error that their f32 form may have. */
struct exact {
    double s[2 * GQA__FOLD_BLOCK];
    double top, error;
};

static double rounded(float x, bool bf16)
{
    return (double)(bf16 ? gqa__round_bf16(x) : x);
}

/* A score of dk products in f32: each product and sum rounds once, (dk + 2) u of the sum of sizes,
 * u = 2^-24, and the product with a scale once more; the scaled q rounds once more in f32 (bf16
 * rounds it as an operand, here too). Below FLT_MIN an absolute error of FLT_MIN per step. */
static void exact_scores(const struct problem *p, int32_t row, bool bf16, struct exact *e)
{
    const float *q = p->q + (int64_t)(p->first + row) * p->dk;

    e->top = -INFINITY;
    e->error = 0.0;
    for (int32_t key = 0; key < p->keys; key++) {
        double sum = 0.0, size = 0.0;
        for (int32_t d = 0; d < p->dk; d++) {
            const double x = rounded(q[d] * p->scale, bf16);
            const double y = rounded(p->k[(int64_t)key * p->dk + d], bf16);
            sum += x * y;
            size += fabs(x * y);
        }
        if (p->features & FEATURE_SCALES) {
            sum *= (double)p->k_scale[key];
            size *= (double)p->k_scale[key];
        }
        e->s[key] = sum;
        if (problem_sees(p, row, key)) {
            const double error = (p->dk + 3) * (0x1p-24 * size + 0x1p-126);
            e->top = sum > e->top ? sum : e->top;
            e->error = error > e->error ? error : e->error;
        }
    }
}

/* p = 2^(s - m): s and m are off by error each, the subtraction rounds (u |s - m|, at most 126 u
 * where p counts), exp2 by 2 ulp (f32) or 1.2e-4 (fast form), p by 2^-9 when it becomes bf16. Out
 * is a quotient of two sums of n terms: twice the relative error of p, and 2 (n + 8) u for the
 * sums, the merge and the division, all times the mean of |v|. With scales p times the scale
 * rounds once more, which the slack of 2 of_p holds, and what is below 2^-126 is lost. */
int near_double(const struct problem *p, gqa_numerics numerics, const struct answer *a)
{
    const bool bf16 = numerics == GQA_NUMERICS_BF16;
    const int32_t beyond = FEATURE_BIAS | FEATURE_SLOPE | FEATURE_SOFTCAP;
    struct exact e;

    for (int32_t row = 0; row < p->rows && (p->features & beyond) == 0; row++) {
        double mass = 0.0, of_p, bound;
        exact_scores(p, row, bf16, &e);
        of_p = 0.7 * (2 * e.error + 126 * 0x1p-24) + (bf16 ? 0x1p-9 + 1.2e-4 : 4 * 0x1p-24);
        if (!(e.top > -INFINITY) || of_p > 0.1) {
            continue;
        }
        if (p->features & FEATURE_SINK) {
            const double sink = (double)p->sink[row];
            e.top = sink > e.top ? sink : e.top;
            mass = exp2(sink - e.top);
        }
        for (int32_t key = 0; key < p->keys; key++) {
            mass += problem_sees(p, row, key) ? exp2(e.s[key] - e.top) : 0.0;
        }
        for (int32_t d = 0; d < p->dv; d++) {
            double sum = 0.0, size = 0.0, lost = 0.0;
            for (int32_t key = 0; key < p->keys; key++) {
                const double scale = p->features & FEATURE_SCALES ? (double)p->v_scale[key] : 1.0;
                const double v = rounded(p->v[(int64_t)key * p->dv + d], bf16) * scale;
                const double w = problem_sees(p, row, key) ? exp2(e.s[key] - e.top) : 0.0;
                sum += w * v;
                size += w * fabs(v);
                lost += p->features & FEATURE_SCALES
                            ? 0x1p-126 * fabs((double)p->v[(int64_t)key * p->dv + d]) / mass
                            : 0.0;
            }
            bound = (2 * of_p + 2 * (p->keys + 8) * 0x1p-24) * size / mass + 0x1p-126;
            bound += lost;
            if (isfinite(bound) && isfinite(sum) &&
                !(fabs((double)a->out[row * p->dv + d] - sum / mass) <= bound)) {
                fprintf(stderr, "row %d dim %d: %.9g, in double %.9g, bound %.3g\n", row, d,
                        (double)a->out[row * p->dv + d], sum / mass, bound);
                return 0;
            }
        }
    }
    return 1;
}
