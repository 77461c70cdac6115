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

void gqa__merge_row(const struct gqa__row_state *left, const struct gqa__row_state *right,
                    int32_t dv)
{
    float top, a1, a2;

    if (*right->l == 0.0f) { /* the right state is neutral */
        return;
    }
    if (*left->l == 0.0f) {
        *left->m = *right->m;
        *left->l = *right->l;
        memcpy(left->o, right->o, (size_t)dv * sizeof *left->o);
        return;
    }
    top = *left->m > *right->m ? *left->m : *right->m;
    a1 = factor(*left->m, top);
    a2 = factor(*right->m, top);
    *left->m = top;
    *left->l = gqa__canonical(fmaf(*right->l, a2, *left->l * a1));
    for (int32_t d = 0; d < dv; d++) {
        left->o[d] = gqa__canonical(fmaf(right->o[d], a2, left->o[d] * a1));
    }
}
