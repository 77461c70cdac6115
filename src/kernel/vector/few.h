/* SPDX-License-Identifier: Apache-2.0 */
/* few.h - a block of few rows: two or four lanes for each row (ways), so that few lanes are empty.
 * What the lanes of a row are differs: keys in scores, dims in values. ways is a constant wherever
 * one of these is called.
 */
#ifndef GQA__KERNEL_VECTOR_FEW_H
#define GQA__KERNEL_VECTOR_FEW_H

#include "kernel/vector/words.h"

enum { MOST_WAYS = 4 };

/* The first half of x, each lane twice. */
INLINE vec v_twice(vec x)
{
    vec lo, hi;
    v_join(x, x, &lo, &hi);
    return lo;
}

/* The even lanes of x in the first half, zeros behind them. */
INLINE vec v_halve(vec x)
{
    vec even, odd;
    v_split(x, v_zero(), &even, &odd);
    return even;
}

/* The first VEC / ways lanes of x, each in all lanes of its row. */
INLINE vec v_spread(vec x, const int32_t ways)
{
    return ways == 4 ? v_twice(v_twice(x)) : v_twice(x);
}

/* Values that lie one after the other, as many as ways, in every row. */
INLINE vec v_set_ways(const float *x, const int32_t ways)
{
    return ways == 4 ? v_set_four(x) : v_set_two(x);
}

/* x [ways] vectors of rows, in the first lanes, to one with all lanes of a row. */
INLINE vec v_rows_to_ways(const vec *x, const int32_t ways)
{
    vec even, odd, all, none;

    if (ways == 2) {
        v_join(x[0], x[1], &all, &none);
        return all;
    }
    v_join(x[0], x[2], &even, &none);
    v_join(x[1], x[3], &odd, &none);
    v_join(even, odd, &all, &none);
    return all;
}

/* And back; zeros behind the rows. */
INLINE void v_ways_to_rows(vec all, vec *x, const int32_t ways)
{
    vec even, odd;

    if (ways == 2) {
        v_split(all, v_zero(), &x[0], &x[1]);
        return;
    }
    v_split(all, v_zero(), &even, &odd);
    v_split(even, v_zero(), &x[0], &x[2]);
    v_split(odd, v_zero(), &x[1], &x[3]);
}

/* x [ways] vectors to to [VEC][ways]. */
INLINE void v_store_in_turns(float *to, const vec *x, const int32_t ways)
{
    vec even[2], odd[2], lo, hi;

    if (ways == 2) {
        v_join(x[0], x[1], &lo, &hi);
        v_store(to, lo);
        v_store(to + VEC, hi);
        return;
    }
    v_join(x[0], x[2], &even[0], &even[1]);
    v_join(x[1], x[3], &odd[0], &odd[1]);
    for (int32_t i = 0; i < 2; i++) {
        v_join(even[i], odd[i], &lo, &hi);
        v_store(to + 2 * i * VEC, lo);
        v_store(to + (2 * i + 1) * VEC, hi);
    }
}

/* Rows [rows][VEC], an even number of them, of which the first half of the lanes counts, two in
 * turns in each vector: to [rows / 2][VEC]; may be done in place. */
static inline void join_rows(float *to, const float *from, int32_t rows)
{
    for (int32_t i = 0; i < rows; i += 2) {
        vec lo, hi;
        v_join(v_load(from + i * VEC), v_load(from + (i + 1) * VEC), &lo, &hi);
        v_store(to + i / 2 * VEC, lo);
    }
}

/* And back, not in place; zeros behind the rows. */
static inline void split_rows(float *to, const float *from, int32_t rows)
{
    for (int32_t i = 0; i < rows; i += 2) {
        vec even, odd;
        v_split(v_load(from + i / 2 * VEC), v_zero(), &even, &odd);
        v_store(to + i * VEC, even);
        v_store(to + (i + 1) * VEC, odd);
    }
}

#endif
