/* SPDX-License-Identifier: Apache-2.0 */
/* few_values.h - values of few rows, at most half a vector, with f32 operands: two lanes for each
 * row, 2 r and 2 r + 1, which are two dims of V that lie one after the other, so that no lane is
 * empty. Each output is the chain of fma in rising key that value_lane_pair makes of it.
 */
#ifndef GQA__KERNEL_VECTOR_FEW_VALUES_H
#define GQA__KERNEL_VECTOR_FEW_VALUES_H

#include "kernel/vector/words.h"

enum { FEW_PAIRS = VEC }; /* pairs of dims in registers */

/* Values of one vector of lanes: o [dv][o_stride], p [keys][VEC], v [keys][v_stride]; rows in the
 * first half of the lanes. */
struct few_values {
    float *o;
    int64_t o_stride;
    float *p; /* overwritten: each row's p in both of its lanes */
    const float *v;
    int64_t v_stride;
    int32_t keys, dv; /* dv even */
};

/* The first half of x, each lane twice. */
INLINE vec v_twice(vec x)
{
    vec lo, hi;
    v_join(x, x, &lo, &hi);
    return lo;
}

/* dims [d, d + 2 pairs) over keys [key, key + n) of doubled p; pairs is a constant where it is
 * called. */
INLINE void few_pairs(const struct few_values *by, int32_t d, int32_t key, int32_t n,
                      const int32_t pairs, bool first)
{
    const float *p = by->p + key * VEC, *v = by->v + key * by->v_stride + d;
    vec c[FEW_PAIRS], none;

#pragma GCC unroll 16
    for (int32_t i = 0; i < pairs; i++) {
        float *const o = by->o + (d + 2 * i) * by->o_stride;
        c[i] = v_zero();
        if (!first) {
            v_join(v_load(o), v_load(o + by->o_stride), &c[i], &none);
        }
    }
#pragma GCC unroll 2
    for (int32_t k = 0; k < n; k++, p += VEC, v += by->v_stride) {
        const vec pk = v_load(p);
#pragma GCC unroll 16
        for (int32_t i = 0; i < pairs; i++) {
            c[i] = v_fma(v_set_two(v + 2 * i), pk, c[i]);
        }
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < pairs; i++) {
        float *const o = by->o + (d + 2 * i) * by->o_stride;
        vec even, odd;
        v_split(c[i], v_zero(), &even, &odd);
        v_store(o, even);
        v_store(o + by->o_stride, odd);
    }
}

/* All dims over some keys, so few that their rows of V stay in L1. */
static inline void few_values_keys(const struct few_values *by, int32_t key, int32_t n, bool first)
{
    int32_t d = 0;

    for (; d + 2 * FEW_PAIRS <= by->dv; d += 2 * FEW_PAIRS) {
        few_pairs(by, d, key, n, FEW_PAIRS, first);
    }
    for (; d + 8 <= by->dv; d += 8) {
        few_pairs(by, d, key, n, 4, first);
    }
    for (; d < by->dv; d += 2) {
        few_pairs(by, d, key, n, 1, first);
    }
}

#endif
