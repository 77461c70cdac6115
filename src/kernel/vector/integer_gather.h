/* SPDX-License-Identifier: Apache-2.0 */
/* integer_gather.h - the entry gather of the integer kernels: where the caller's rows are our
 * columns, 16 rows of 4 VEC integers are turned at once. Same bytes as scalar/integer_gather.h,
 * which takes what is left over.
 */
#ifndef GQA__KERNEL_VECTOR_INTEGER_GATHER_H
#define GQA__KERNEL_VECTOR_INTEGER_GATHER_H

#include "kernel/scalar/integer_gather.h"
#include "kernel/vector/words.h"

enum {
    TURN_ROWS = 16,        /* rows that are turned at once */
    TURN_COLUMNS = 4 * VEC /* and their integers */
};

/* Bytes [16][16] of each part: a round of four, after which rows are columns. Of the eight bits of
 * a byte's place, row and column, the first one becomes the last. */
INLINE void turn_round(ivec to[TURN_ROWS], const ivec from[TURN_ROWS])
{
#pragma GCC unroll 8
    for (int32_t i = 0; i < TURN_ROWS / 2; i++) {
        to[2 * i] = i8_zip_low(from[i], from[i + TURN_ROWS / 2]);
        to[2 * i + 1] = i8_zip_high(from[i], from[i + TURN_ROWS / 2]);
    }
}

/* to [TURN_ROWS][to_stride] of TURN_COLUMNS, from [TURN_COLUMNS][from_stride] of TURN_ROWS. */
INLINE void turn_integers(int8_t *to, int64_t to_stride, const int8_t *from, int64_t from_stride)
{
    ivec a[TURN_ROWS], b[TURN_ROWS];

#pragma GCC unroll 16
    for (int32_t i = 0; i < TURN_ROWS; i++) { /* part p of a vector is row 16 p + i */
        a[i] = i8_load_parts(from + i * from_stride, 16 * from_stride);
    }
    turn_round(b, a);
    turn_round(a, b);
    turn_round(b, a);
    turn_round(a, b);
#pragma GCC unroll 16
    for (int32_t i = 0; i < TURN_ROWS; i++) {
        i8_store(to + i * to_stride, a[i]);
    }
}

static inline void gather_integers_lanes(const struct gqa__integer_gather *args)
{
    const int32_t rows = args->rows / TURN_ROWS * TURN_ROWS;
    struct gqa__integer_gather rest = *args;

    if (args->row != 1 || args->columns < TURN_COLUMNS || rows == 0) {
        gather_integers(args);
        return;
    }
    for (int32_t r = 0; r < rows; r += TURN_ROWS) {
        for (int32_t c = 0; c < args->columns; c += TURN_COLUMNS) { /* the last ones once more */
            const int32_t most = args->columns - TURN_COLUMNS, from = c < most ? c : most;
            turn_integers(args->dst + r * args->stride + from, args->stride,
                          args->src + r + from * args->column, args->column);
        }
    }
    pad_rows(args, rows);
    rest.dst += rows * args->stride;
    rest.src += rows;
    rest.rows -= rows;
    gather_integers(&rest);
}

#endif
