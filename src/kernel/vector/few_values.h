/* SPDX-License-Identifier: Apache-2.0 */
/* few_values.h - values of few rows with f32 operands: two or four lanes for each row, which are
 * dims of V that lie one after the other. Each output is the chain of fma in rising key that
 * value_lane_pair makes of it.
 */
#ifndef GQA__KERNEL_VECTOR_FEW_VALUES_H
#define GQA__KERNEL_VECTOR_FEW_VALUES_H

#include "kernel/vector/ahead.h"
#include "kernel/vector/few.h"

enum { FEW_SUMS = 8 }; /* sets of `ways` dims whose sums are in registers */

/* Values of one vector of lanes: o [dv][o_stride], p [keys][VEC], v [keys][v_stride]; rows in the
 * first lanes. */
struct few_values {
    float *o;
    int64_t o_stride;
    const float *p; /* each row in all of its lanes */
    const float *v;
    int64_t v_stride;
    int32_t keys, dv;    /* dv a multiple of ways */
    bool first;          /* o starts from +0 */
    struct ahead *ahead; /* a share for each set */
};

/* dims [d, d + sets * ways); sets is a constant where it is called. */
INLINE void few_value_sets(const struct few_values *by, int32_t d, const int32_t sets,
                           const int32_t ways)
{
    const float *p = by->p, *v = by->v + d;
    vec c[FEW_SUMS];

    for (int32_t i = 0; i < sets; i++) {
        prefetch_share(by->ahead);
    }

#pragma GCC unroll 16
    for (int32_t i = 0; i < sets; i++) {
        float *const o = by->o + (d + ways * i) * by->o_stride;
        vec row[MOST_WAYS];
        c[i] = v_zero();
        if (!by->first) {
            for (int32_t j = 0; j < ways; j++) {
                row[j] = v_load(o + j * by->o_stride);
            }
            c[i] = v_rows_to_ways(row, ways);
        }
    }
#pragma GCC unroll 2
    for (int32_t k = 0; k < by->keys; k++, p += VEC, v += by->v_stride) {
        const vec pk = v_load(p);
#pragma GCC unroll 16
        for (int32_t i = 0; i < sets; i++) {
            c[i] = v_fma(v_set_ways(v + ways * i, ways), pk, c[i]);
        }
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < sets; i++) {
        float *const o = by->o + (d + ways * i) * by->o_stride;
        vec row[MOST_WAYS];
        v_ways_to_rows(c[i], row, ways);
        for (int32_t j = 0; j < ways; j++) {
            v_store(o + j * by->o_stride, row[j]);
        }
    }
}

/* All dims over some keys, so few that their rows of V stay in L1. */
INLINE void few_values_of(const struct few_values *by, const int32_t ways)
{
    int32_t d = 0;

    for (; d + FEW_SUMS * ways <= by->dv; d += FEW_SUMS * ways) {
        few_value_sets(by, d, FEW_SUMS, ways);
    }
    for (; d + 4 * ways <= by->dv; d += 4 * ways) {
        few_value_sets(by, d, 4, ways);
    }
    for (; d < by->dv; d += ways) {
        few_value_sets(by, d, 1, ways);
    }
}

static inline void few_values(const struct few_values *by, int32_t ways)
{
    if (ways == 4) {
        few_values_of(by, 4);
    } else {
        few_values_of(by, 2);
    }
}

#endif
