/* SPDX-License-Identifier: Apache-2.0 */
/* integer_product.h - sums of products of int16, two products in each word of 32 bits, and the
 * unpacking of stored integers to such words. */
#ifndef GQA__KERNEL_VECTOR_INTEGER_PRODUCT_H
#define GQA__KERNEL_VECTOR_INTEGER_PRODUCT_H

#include "kernel/scalar/integer.h"
#include "kernel/vector/ahead.h"
#include "kernel/vector/words.h"

enum {
    PANEL_KEYS = 64,     /* keys that are unpacked at a time */
    SUM_ROWS = VEC / 2,  /* rows of sums in registers, two vectors wide */
    SUM_LANES = 2 * VEC, /* lanes of such a product; the last may be one vector */
    FEW_ROWS = VEC       /* rows of sums in registers, of words in turns */
};

/* c[rows][lanes] = (first ? 0 : c) + a[rows][n] b[n][lanes], pairs of int16. */
struct pair_product {
    const int32_t *a; /* element (i, k) is a[i * a_row + k * a_step] */
    int64_t a_row, a_step;
    const int32_t *b; /* row k is b + k * b_step */
    int64_t b_step;
    int32_t n;
    int32_t *c; /* row i is c + i * c_row */
    int64_t c_row;
    bool first;
};

/* How wide a product is, a constant where it is called. */
enum pair_width {
    ONE_VECTOR,
    TWO_VECTORS,
    IN_TURNS /* one vector; element (i, k) of a is that word and the next one, in turns in the
                lanes */
};

INLINE void pair_rows(const struct pair_product *p, const int32_t rows, const enum pair_width width)
{
    const bool two = width == TWO_VECTORS;
    const int32_t *a = p->a, *b = p->b;
    ivec c[FEW_ROWS], d[SUM_ROWS];

#pragma GCC unroll 16
    for (int32_t i = 0; i < rows; i++) {
        c[i] = p->first ? i_zero() : v_load_int(p->c + i * p->c_row);
        if (two) {
            d[i] = p->first ? i_zero() : v_load_int(p->c + i * p->c_row + VEC);
        }
    }
#pragma GCC unroll 2
    for (int32_t k = 0; k < p->n; k++, a += p->a_step, b += p->b_step) {
        const ivec b0 = v_load_int(b), b1 = two ? v_load_int(b + VEC) : b0;
#pragma GCC unroll 16
        for (int32_t i = 0; i < rows; i++) {
            const int32_t *const at = a + i * p->a_row;
            const ivec ai = width == IN_TURNS ? i_set_two(at) : i_set(*at);
            c[i] = i_dot(c[i], ai, b0);
            if (two) {
                d[i] = i_dot(d[i], ai, b1);
            }
        }
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < rows; i++) {
        i_store(p->c + i * p->c_row, c[i]);
        if (two) {
            i_store(p->c + i * p->c_row + VEC, d[i]);
        }
    }
}

static inline void pair_rows_one(const struct pair_product *p, bool many)
{
    if (many) {
        pair_rows(p, SUM_ROWS, ONE_VECTOR);
    } else {
        pair_rows(p, 1, ONE_VECTOR);
    }
}

static inline void pair_rows_two(const struct pair_product *p, bool many)
{
    if (many) {
        pair_rows(p, SUM_ROWS, TWO_VECTORS);
    } else {
        pair_rows(p, 1, TWO_VECTORS);
    }
}

/* Any number of rows, VEC or 2 VEC lanes. */
static inline void pair_product(struct pair_product p, int32_t rows, int32_t lanes)
{
    for (int32_t n; rows > 0; rows -= n) {
        const bool many = rows >= SUM_ROWS;
        n = many ? SUM_ROWS : 1;
        if (lanes == VEC) {
            pair_rows_one(&p, many);
        } else {
            pair_rows_two(&p, many);
        }
        p.a += n * p.a_row;
        p.c += n * p.c_row;
    }
}

/* Any number of rows, of words in turns. */
static inline void pair_product_in_turns(struct pair_product p, int32_t rows)
{
    for (; rows >= FEW_ROWS; rows -= FEW_ROWS) {
        pair_rows(&p, FEW_ROWS, IN_TURNS);
        p.a += FEW_ROWS * p.a_row;
        p.c += FEW_ROWS * p.c_row;
    }
    for (; rows >= 4; rows -= 4) {
        pair_rows(&p, 4, IN_TURNS);
        p.a += 4 * p.a_row;
        p.c += 4 * p.c_row;
    }
    for (; rows > 0; rows--) {
        pair_rows(&p, 1, IN_TURNS);
        p.a += p.a_row;
        p.c += p.c_row;
    }
}

/* --- scratch -----------------------------------------------------------------------------------
 */

/* A block's scratch: a panel of K or V as words, the same as bytes where it is stored in less, and
 * sums: of scores [PANEL_KEYS][SUM_LANES], of values [dims][ld]. */
struct integer_scratch {
    int32_t *words; /* [PANEL_KEYS * values / 2], values as integer_scratch_values says */
    int8_t *bytes;  /* [PANEL_KEYS * values] */
    int32_t *sums;
};

/* Values of an unpacked row of K or V, padding included. */
static inline int32_t integer_scratch_values(int32_t dk, int32_t dv)
{
    return gqa__integer_row_values(GQA_I4, dk > dv ? dk : dv);
}

static inline struct integer_scratch integer_scratch_of(const struct gqa__integer_block *block)
{
    const int64_t values = integer_scratch_values(block->dk, block->dv);
    struct integer_scratch scratch = {.words = block->scratch};

    scratch.bytes = (int8_t *)(scratch.words + PANEL_KEYS / 2 * values);
    scratch.sums = (int32_t *)(void *)(scratch.bytes + PANEL_KEYS * values);
    return scratch;
}

static inline size_t scratch_integer_lanes(int32_t dk, int32_t dv)
{
    const size_t values = (size_t)integer_scratch_values(dk, dv);
    const size_t score = (size_t)PANEL_KEYS * SUM_LANES, value = (size_t)dv * SCALAR_TILE_ROWS;

    return PANEL_KEYS * values * 3 + (score > value ? score : value) * sizeof(int32_t);
}

/* --- stored integers -------------------------------------------------------------------------- */

/* Some values of each row: of int4 whole groups. */
struct stored_slice {
    gqa_dtype type;
    int32_t first, values; /* values a multiple of 16, padding included */
};

static inline struct stored_slice whole_rows(gqa_dtype type, int32_t dim)
{
    return (struct stored_slice){type, 0, gqa__integer_row_values(type, dim)};
}

/* The dims of one scale from `first` on. */
static inline struct stored_slice group_rows(gqa_dtype type, int32_t dim, int32_t first)
{
    return type == GQA_I8 ? whole_rows(type, dim)
                          : (struct stored_slice){type, first, GQA__I4_GROUP};
}

/* Integers as bytes, [keys][step]. */
struct bytes {
    const int8_t *row;
    int64_t step;
};

/* A slice of keys [from, from + keys): where they are, or, of int4, in `to` [keys][values]. */
static inline struct bytes bytes_of(int8_t *to, const struct gqa__integer_rows *rows, int32_t from,
                                    int32_t keys, struct stored_slice slice)
{
    const unsigned char *row = rows->row + from * rows->row_step;
    const struct bytes unpacked = {to, slice.values};

    if (slice.type == GQA_I8) {
        return (struct bytes){(const int8_t *)row + slice.first, rows->row_step};
    }
    row += slice.first / 2;
    for (int32_t key = 0; key < keys; key++, row += rows->row_step) {
        for (int32_t g = 0; g < slice.values / 2; g += GQA__I4_GROUP_BYTES) {
            i8_of_halves(to, row + g);
            to += GQA__I4_GROUP;
        }
    }
    return unpacked;
}

/* A row of n integers, a multiple of 16, as n / 2 pairs. */
INLINE void pairs_of_row(int32_t *to, const int8_t *row, int32_t n)
{
    int32_t i = 0;

    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        i_store(to + i / 2, i_load_i8_pairs(row + i));
    }
    for (; i < n; i += 2) {
        to[i / 2] = word_of(row[i], row[i + 1]);
    }
}

/* Two rows of n integers, a multiple of 16: pairs of the even one and of the odd one, in turns. */
INLINE void pairs_in_turns(int32_t *to, const int8_t *even, const int8_t *odd, int32_t n)
{
    int32_t i = 0;

    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        const ivec a = i_load_i8_pairs(even + i), b = i_load_i8_pairs(odd + i);
        vec lo, hi;
        v_join(v_of_bits(a), v_of_bits(b), &lo, &hi);
        i_store(to + i, i_of_bits(lo));
        i_store(to + i + VEC, i_of_bits(hi));
    }
    for (; i < n; i += 2) {
        to[i] = word_of(even[i], even[i + 1]);
        to[i + 1] = word_of(odd[i], odd[i + 1]);
    }
}

/* Keys, an even number of them, as n pairs of the values of two keys: to [keys / 2][n]. */
INLINE void pairs_of_keys(int32_t *to, struct bytes from, int32_t keys, int32_t n,
                          struct ahead *ahead)
{
    for (int32_t key = 0; key < keys; key += 2, to += n) {
        const int8_t *const even = from.row + key * from.step, *const odd = even + from.step;
        prefetch_share(ahead);
        for (int32_t i = 0; i < n; i += VEC) {
            i_store(to + i, i_pair(i_load_i8(even + i), i_load_i8(odd + i)));
        }
    }
}

#endif
