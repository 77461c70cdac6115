/* SPDX-License-Identifier: Apache-2.0 */
/* few_keys.h - scores of few rows with f32 operands: two or four lanes for each row, which are
 * keys that follow one another. Keys are put in turns first, so that one load has them. Each score
 * is the chain of fma in rising dims that score_product makes of it.
 */
#ifndef GQA__KERNEL_VECTOR_FEW_KEYS_H
#define GQA__KERNEL_VECTOR_FEW_KEYS_H

#include <assert.h>

#include "kernel/vector/ahead.h"
#include "kernel/vector/few.h"
#include "kernel/vector/stored.h"

enum { FEW_KEY_SETS = 8 }; /* sets of `ways` keys whose sums are in registers */

/* Scores of one vector of lanes: s [keys][VEC], rows in the first lanes. */
struct few_keys {
    float *s;
    const float *q; /* [dk][VEC], each row in all of its lanes */
    const void *k;  /* [keys][k_stride] of k_type */
    int64_t k_stride;
    gqa_dtype k_type;
    int32_t keys, dk;    /* keys a multiple of 16 */
    float *turns;        /* [FEW_KEY_SETS][dk][ways] scratch */
    struct ahead *ahead; /* a share for each set */
};

/* The chains of so many sets; turns [sets][dk][ways] */
INLINE void few_key_sets(const struct few_keys *by, float *s, const int32_t sets,
                         const int32_t ways)
{
    const int32_t step = by->dk * ways;
    const float *k = by->turns, *q = by->q;
    vec c[FEW_KEY_SETS];

#pragma GCC unroll 16
    for (int32_t i = 0; i < sets; i++) {
        c[i] = v_zero();
    }
#pragma GCC unroll 2
    for (int32_t d = 0; d < by->dk; d++, k += ways, q += VEC) {
        const vec qd = v_load(q);
#pragma GCC unroll 16
        for (int32_t i = 0; i < sets; i++) {
            c[i] = v_fma(v_set_ways(k + i * step, ways), qd, c[i]);
        }
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < sets; i++) {
        vec row[MOST_WAYS];
        v_ways_to_rows(c[i], row, ways);
        for (int32_t j = 0; j < ways; j++) {
            v_store(s + (i * ways + j) * VEC, row[j]);
        }
    }
}

/* type, sets and ways are constants where it is called. Returns how many keys. */
INLINE int32_t few_keys_some(const struct few_keys *by, int32_t key, const gqa_dtype type,
                             const int32_t sets, const int32_t ways)
{
    for (int32_t i = 0; i < sets; i++) {
        const void *const row = stored_row_at(by->k, key + i * ways, by->k_stride, type);
        prefetch_share(by->ahead);
        load_in_turns(by->turns + i * ways * by->dk, row, by->k_stride, by->dk, type, ways);
    }
    few_key_sets(by, by->s + key * VEC, sets, ways);
    return sets * ways;
}

INLINE void few_keys_of(const struct few_keys *by, const gqa_dtype type, const int32_t ways)
{
    for (int32_t key = 0; key < by->keys;) {
        key += by->keys - key < FEW_KEY_SETS * ways
                   ? few_keys_some(by, key, type, FEW_KEY_SETS / 2, ways) /* 16 keys, 4 ways */
                   : few_keys_some(by, key, type, FEW_KEY_SETS, ways);
    }
}

static inline void score_few_keys(const struct few_keys *by, int32_t ways)
{
    switch (by->k_type) {
    case GQA_F32:
        ways == 4 ? few_keys_of(by, GQA_F32, 4) : few_keys_of(by, GQA_F32, 2);
        break;
    case GQA_BF16:
        ways == 4 ? few_keys_of(by, GQA_BF16, 4) : few_keys_of(by, GQA_BF16, 2);
        break;
    case GQA_F16:
        ways == 4 ? few_keys_of(by, GQA_F16, 4) : few_keys_of(by, GQA_F16, 2);
        break;
    default:
        assert(gqa__e4m3(by->k_type));
        ways == 4 ? few_keys_of(by, GQA_E4M3, 4) : few_keys_of(by, GQA_E4M3, 2);
    }
}

#endif
