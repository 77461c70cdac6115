/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c - see merge.h; docs/numerics.md has the formulas. */
#include "attention/merge.h"

#include <math.h>
#include <string.h>

#include "base/mathf.h"
#include "base/number.h"

/* 2^(m - top), 1 also where both are infinite. */
static float factor(float m, float top)
{
    return m == top ? 1.0f : gqa__exp2f(m - top);
}

void gqa__merge_row(float *m, float *l, float *o, float m2, float l2, const float *o2, int32_t dv)
{
    float top, a1, a2;

    if (l2 == 0.0f) { /* the right state is neutral */
        return;
    }
    if (*l == 0.0f) {
        *m = m2;
        *l = l2;
        memcpy(o, o2, (size_t)dv * sizeof *o);
        return;
    }
    top = *m > m2 ? *m : m2;
    a1 = factor(*m, top);
    a2 = factor(m2, top);
    *m = top;
    *l = gqa__canonical(fmaf(l2, a2, *l * a1));
    for (int32_t d = 0; d < dv; d++) {
        o[d] = gqa__canonical(fmaf(o2[d], a2, o[d] * a1));
    }
}
