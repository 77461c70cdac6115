/* SPDX-License-Identifier: Apache-2.0 */
/* integer_gather.h - the entry gather of the integer kernels: a caller's int8 as rows, one at a
 * time. */
#ifndef GQA__KERNEL_SCALAR_INTEGER_GATHER_H
#define GQA__KERNEL_SCALAR_INTEGER_GATHER_H

#include <string.h>

#include "kernel/contract/integer.h"

/* Zeros behind the integers of the first `rows` rows. */
static inline void pad_rows(const struct gqa__integer_gather *args, int32_t rows)
{
    for (int32_t r = 0; r < rows && args->columns < args->stride; r++) {
        memset(args->dst + r * args->stride + args->columns, 0,
               (size_t)(args->stride - args->columns));
    }
}

/* Rows that the caller has as rows. */
static inline void copy_integer_rows(const struct gqa__integer_gather *args)
{
    for (int32_t r = 0; r < args->rows; r++) {
        memcpy(args->dst + r * args->stride, args->src + r * args->row, (size_t)args->columns);
    }
}

/* Any steps: inner ones are the shorter ones of the caller's. */
static inline void copy_integers(const struct gqa__integer_gather *args)
{
    const bool by_row = args->column <= args->row;
    const int32_t outer = by_row ? args->rows : args->columns;
    const int32_t inner = by_row ? args->columns : args->rows;
    const int64_t from_outer = by_row ? args->row : args->column;
    const int64_t from_inner = by_row ? args->column : args->row;
    const int64_t to_outer = by_row ? args->stride : 1, to_inner = by_row ? 1 : args->stride;

    for (int32_t i = 0; i < outer; i++) {
        const int8_t *const from = args->src + i * from_outer;
        int8_t *const to = args->dst + i * to_outer;
        for (int32_t j = 0; j < inner; j++) {
            to[j * to_inner] = from[j * from_inner];
        }
    }
}

static inline void gather_integers(const struct gqa__integer_gather *args)
{
    if (args->column == 1) {
        copy_integer_rows(args);
    } else {
        copy_integers(args);
    }
    pad_rows(args, args->rows);
}

#endif
