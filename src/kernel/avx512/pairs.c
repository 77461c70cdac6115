/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.c - the product of avx512/bf16.h. */
#include "kernel/avx512/bf16.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512

#include <assert.h>

#include "kernel/avx512/flush.h"
#include "kernel/vector/few.h"
#include "kernel/vector/stored.h"
#include "kernel/vector/words_avx512.h"

enum { PAIR_ROWS = GQA__PAIR_ROWS, PAIR_K32 = 32 };

/* n elements of each row as f32 into to [rows][GQA__DOT_BLOCK]. type is a constant where it is
 * called. */
INLINE void widen_rows_of(float (*to)[GQA__DOT_BLOCK], const struct gqa__pairs *p, int32_t row,
                          const int32_t rows, const gqa_dtype type)
{
    for (int32_t i = 0; i < rows; i++) {
        const void *const from = stored_row_at(p->a, row + i, p->a_row, type); /* [n] */
        for (int32_t k = 0; k < p->n; k += VEC) {
            v_store(to[i] + k, v_load_stored(from, k, type));
        }
    }
}

INLINE void widen_rows(float (*to)[GQA__DOT_BLOCK], const struct gqa__pairs *p, int32_t row,
                       const int32_t rows)
{
    if (p->a_type == GQA_BF16) {
        widen_rows_of(to, p, row, rows, GQA_BF16);
    } else {
        widen_rows_of(to, p, row, rows, GQA_E4M3);
    }
}

/* One k32: c and d, the first and the second vector of each row, with a [rows][..] and
 * b [32][b_step]. */
INLINE void add_pairs_k32(vec c[PAIR_ROWS], vec d[PAIR_ROWS], const float (*a)[GQA__DOT_BLOCK],
                          int32_t at, const float *b, int64_t b_step, const int32_t rows,
                          const bool two)
{
    vec even[PAIR_ROWS], odd[PAIR_ROWS], even2[PAIR_ROWS], odd2[PAIR_ROWS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        even[i] = odd[i] = even2[i] = odd2[i] = v_zero();
    }
    for (int32_t k = 0; k < PAIR_K32; k += 2, b += 2 * b_step) {
        const vec b0 = v_load(b), b1 = v_load(b + b_step);
        const vec b2 = two ? v_load(b + VEC) : b0, b3 = two ? v_load(b + b_step + VEC) : b1;
#pragma GCC unroll 4
        for (int32_t i = 0; i < rows; i++) {
            const vec a0 = v_set(a[i][at + k]), a1 = v_set(a[i][at + k + 1]);
            even[i] = v_fma(a0, b0, even[i]);
            odd[i] = v_fma(a1, b1, odd[i]);
            even2[i] = two ? v_fma(a0, b2, even2[i]) : even2[i];
            odd2[i] = two ? v_fma(a1, b3, odd2[i]) : odd2[i];
        }
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        c[i] = v_add(c[i], v_add(even[i], odd[i]));
        d[i] = two ? v_add(d[i], v_add(even2[i], odd2[i])) : d[i];
    }
}

/* Rows of a, widened, with one lane pair: to [rows][c_row]. */
INLINE void pairs_group(const struct gqa__pairs *p, const float *b, float *to, const int32_t rows,
                        const bool two)
{
    vec c[PAIR_ROWS], d[PAIR_ROWS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        c[i] = p->first ? v_zero() : v_load(to + i * p->c_row);
        d[i] = two && !p->first ? v_load(to + i * p->c_row + VEC) : v_zero();
    }
    for (int32_t k = 0; k < p->n; k += PAIR_K32) {
        add_pairs_k32(c, d, (const float(*)[GQA__DOT_BLOCK])p->wide, k, b + k * p->b_step,
                      p->b_step, rows, two);
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        v_store(to + i * p->c_row, c[i]);
        if (two) {
            v_store(to + i * p->c_row + VEC, d[i]);
        }
    }
}

INLINE void pairs_groups(const struct gqa__pairs *p, int32_t row, const int32_t rows,
                         const bool two)
{
    widen_rows(p->wide, p, row, rows);
    for (int32_t j = 0; j < p->count; j++) {
        pairs_group(p, p->b + j * p->b_pair, p->c + j * p->c_pair + row * p->c_row, rows, two);
    }
}

INLINE void pairs_rows(const struct gqa__pairs *p, const bool two)
{
    int32_t row = 0;

    for (; row + PAIR_ROWS <= p->rows; row += PAIR_ROWS) {
        pairs_groups(p, row, PAIR_ROWS, two);
    }
    for (; row < p->rows; row++) {
        pairs_groups(p, row, 1, two);
    }
}

/* Both chains of a row in two lanes, 2 r and 2 r + 1, of one vector. */
INLINE void few_group(const struct gqa__pairs *p, int32_t row, const int32_t rows)
{
    float *to = p->c + row * p->c_row;
    const float *b = p->b;
    vec c[GQA__PAIR_SUMS];

    widen_rows(p->wide, p, row, rows);
#pragma GCC unroll 8
    for (int32_t i = 0; i < rows; i++) {
        c[i] = p->first ? v_zero() : v_twice(v_load(to + i * p->c_row));
    }
    for (int32_t k = 0; k < p->n; k += PAIR_K32) {
        vec chains[GQA__PAIR_SUMS];
#pragma GCC unroll 8
        for (int32_t i = 0; i < rows; i++) {
            chains[i] = v_zero();
        }
#pragma GCC unroll 4
        for (int32_t j = 0; j < PAIR_K32; j += 2, b += VEC) {
            const vec two = v_load(b);
#pragma GCC unroll 8
            for (int32_t i = 0; i < rows; i++) {
                chains[i] = v_fma(v_set_two(p->wide[i] + k + j), two, chains[i]);
            }
        }
#pragma GCC unroll 8
        for (int32_t i = 0; i < rows; i++) {
            c[i] = v_add(c[i], v_add(chains[i], v_swap(chains[i])));
        }
    }
#pragma GCC unroll 8
    for (int32_t i = 0; i < rows; i++) {
        v_store(to + i * p->c_row, v_halve(c[i]));
    }
}

static __attribute__((noinline)) void pairs_few(const struct gqa__pairs *p)
{
    int32_t row = 0;

    for (; row + GQA__PAIR_SUMS <= p->rows; row += GQA__PAIR_SUMS) {
        few_group(p, row, GQA__PAIR_SUMS);
    }
    for (; row < p->rows; row++) {
        few_group(p, row, 1);
    }
}

static __attribute__((noinline)) void pairs_one(const struct gqa__pairs *p)
{
    pairs_rows(p, false);
}

static __attribute__((noinline)) void pairs_two(const struct gqa__pairs *p)
{
    pairs_rows(p, true);
}

void gqa__avx512_pairs(const struct gqa__pairs *pairs)
{
    const unsigned saved = flush_enter();

    assert(pairs->n % PAIR_K32 == 0 && pairs->n <= GQA__DOT_BLOCK);
    if (pairs->few) {
        pairs_few(pairs);
    } else if (pairs->width == VEC) {
        pairs_one(pairs);
    } else {
        pairs_two(pairs);
    }
    flush_leave(saved);
}

#else

typedef int gqa__avx512_pairs_not_built; /* a translation unit is not empty */

#endif
