/* merge.c - see merge.h; docs/numerics.md has the formulas. */
#include "attention/merge.h"

#include <math.h>
#include <string.h>

#include "base/mathf.h"

/* 2^(m - top); a reference that is -inf counts as 0, so that NaN is not made where none was. */
static float factor(float m, float top)
{
    return gqa__exp2f(m - (top == -INFINITY ? 0.0f : top));
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
    *l = fmaf(l2, a2, *l * a1);
    for (int32_t d = 0; d < dv; d++) {
        o[d] = fmaf(o2[d], a2, o[d] * a1);
    }
}
