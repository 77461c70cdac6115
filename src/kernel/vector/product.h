/* SPDX-License-Identifier: Apache-2.0 */
/* product.h - the f32 product: every result is one chain of fma in rising k (scalar/f32.h). */
#ifndef GQA__KERNEL_VECTOR_PRODUCT_H
#define GQA__KERNEL_VECTOR_PRODUCT_H

#include <stdbool.h>

#include "kernel/vector/words.h"

/* What a product prefetches because it is needed soon. Addresses, not pointers: nothing is read
 * there, so they may lie beyond the end of an object. */
struct operand_prefetch {
    uintptr_t at;  /* for k = 0 */
    int64_t step;  /* bytes to the next k's */
    int64_t group; /* bytes to the next GROUP_ROWS rows' */
};

/* c[rows][one or two vectors] = (first ? 0 : c) + a[rows][n] b[n][..] */
struct product {
    const float *a; /* element (i, k) is a[i * a_row + k * a_step] */
    int64_t a_row, a_step;
    const float *b; /* row k is b + k * b_step */
    int64_t b_step;
    int64_t n;
    float *c; /* row i is c + i * c_row */
    int64_t c_row;
    bool first; /* c starts from +0 */
    struct operand_prefetch prefetch[2];
};

/* The shape of a product in registers, constants where it is called. */
struct product_kind {
    bool two;           /* two vectors of b; else one */
    int32_t prefetches; /* how many of prefetch it uses */
};

INLINE void product_group(const struct product *p, const int32_t rows, const struct product_kind is)
{
    const float *a = p->a, *b = p->b;
    uintptr_t prefetch = p->prefetch[0].at, prefetch2 = p->prefetch[1].at;
    vec c[MOST_ROWS], d[MOST_ROWS]; /* the first and the second vector of each row */

#pragma GCC unroll 16
    for (int32_t i = 0; i < rows; i++) {
        c[i] = p->first ? v_zero() : v_load(p->c + i * p->c_row);
        d[i] = is.two && !p->first ? v_load(p->c + i * p->c_row + VEC) : v_zero();
    }
#pragma GCC unroll 4
    for (int64_t k = 0; k < p->n; k++, a += p->a_step, b += p->b_step) {
        const vec b0 = v_load(b), b1 = is.two ? v_load(b + VEC) : b0;
        if (is.prefetches > 0) {
            v_prefetch(prefetch);
            prefetch += (uintptr_t)p->prefetch[0].step;
        }
        if (is.prefetches > 1) {
            v_prefetch(prefetch2);
            prefetch2 += (uintptr_t)p->prefetch[1].step;
        }
#pragma GCC unroll 16
        for (int32_t i = 0; i < rows; i++) {
            const vec ai = v_set(a[i * p->a_row]);
            c[i] = v_fma(ai, b0, c[i]);
            d[i] = is.two ? v_fma(ai, b1, d[i]) : d[i];
        }
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < rows; i++) {
        v_store(p->c + i * p->c_row, c[i]);
        if (is.two) {
            v_store(p->c + i * p->c_row + VEC, d[i]);
        }
    }
}

/* rows <= GROUP_ROWS */
INLINE void product_rows(const struct product *p, int32_t rows, const struct product_kind is)
{
    if (8 <= GROUP_ROWS && rows == 8) {
        product_group(p, 8, is);
    } else if (7 <= GROUP_ROWS && rows == 7) {
        product_group(p, 7, is);
    } else if (rows == 6) {
        product_group(p, 6, is);
    } else if (rows == 5) {
        product_group(p, 5, is);
    } else if (rows == 4) {
        product_group(p, 4, is);
    } else if (rows == 3) {
        product_group(p, 3, is);
    } else if (rows == 2) {
        product_group(p, 2, is);
    } else {
        product_group(p, 1, is);
    }
}

static inline void product_one(const struct product *p, int32_t rows)
{
    product_rows(p, rows, (struct product_kind){false, 0});
}

/* _far: with both prefetches, and here always GROUP_ROWS rows. */
static inline void product_one_far(const struct product *p)
{
    product_group(p, GROUP_ROWS, (struct product_kind){false, 2});
}

static inline void product_two(const struct product *p, int32_t rows)
{
    product_rows(p, rows, (struct product_kind){true, 0});
}

static inline void product_two_far(const struct product *p, int32_t rows)
{
    product_rows(p, rows, (struct product_kind){true, 2});
}

/* rows <= MOST_ROWS; prefetches prefetch[0]. */
static inline void product_many(const struct product *p, int32_t rows)
{
    const struct product_kind is = {true, 1};

    if (14 <= MOST_ROWS && rows == 14) {
        product_group(p, 14, is);
    } else if (13 <= MOST_ROWS && rows == 13) {
        product_group(p, 13, is);
    } else if (12 <= MOST_ROWS && rows == 12) {
        product_group(p, 12, is);
    } else if (11 <= MOST_ROWS && rows == 11) {
        product_group(p, 11, is);
    } else if (10 <= MOST_ROWS && rows == 10) {
        product_group(p, 10, is);
    } else if (9 <= MOST_ROWS && rows == 9) {
        product_group(p, 9, is);
    } else {
        product_rows(p, rows, is);
    }
}

/* Any number of rows, width VEC or 2 VEC. */
INLINE void product_all(struct product p, int32_t rows, int32_t width, const bool far)
{
    for (; rows > 0; rows -= GROUP_ROWS) {
        const int32_t n = rows < GROUP_ROWS ? rows : GROUP_ROWS;
        if (far && width == VEC && n == GROUP_ROWS) {
            product_one_far(&p);
        } else if (width == VEC) {
            product_one(&p, n);
        } else if (far) {
            product_two_far(&p, n);
        } else {
            product_two(&p, n);
        }
        p.a += GROUP_ROWS * p.a_row;
        p.c += GROUP_ROWS * p.c_row;
        p.prefetch[0].at += (uintptr_t)p.prefetch[0].group;
        p.prefetch[1].at += (uintptr_t)p.prefetch[1].group;
    }
}

#endif
