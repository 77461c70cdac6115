/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h - the entry gather with f32 operands: rows VEC values at a time, or, where the caller's
 * rows are our columns, VEC x VEC values turned. Same bits as scalar/gather.h, which takes what is
 * left over. */
#ifndef GQA__KERNEL_VECTOR_GATHER_H
#define GQA__KERNEL_VECTOR_GATHER_H

#include "kernel/scalar/gather.h"
#include "kernel/vector/words.h"

enum { GATHER_AHEAD = 8 /* how many of the caller's rows in advance they are prefetched */ };

/* How many bytes an element of the caller's has. */
INLINE int64_t source_size(const gqa_dtype dtype)
{
    return dtype == GQA_F32 ? 4 : 2;
}

/* VEC values as operands. *odd becomes NaN where one is not finite. */
INLINE vec source_lanes(const void *src, int64_t i, const gqa_dtype dtype, const bool flush,
                        vec *odd)
{
    vec x = dtype == GQA_F32    ? v_load((const float *)src + i)
            : dtype == GQA_BF16 ? v_load_bf16((const uint16_t *)src + i)
                                : v_load_f16((const uint16_t *)src + i);

    x = v_canonical(flush ? v_flush(x) : x);
    *odd = v_add(*odd, v_sub(x, x));
    return x;
}

INLINE bool any_nan(vec x)
{
    float lane[VEC];
    bool nan = false;

    v_store(lane, x);
    for (int32_t j = 0; j < VEC; j++) {
        nan |= lane[j] != lane[j];
    }
    return nan;
}

/* The part of args from row r and column c on. */
INLINE struct gqa__gather_args gather_rest(const struct gqa__gather_args *args, int32_t r,
                                           int32_t c, int32_t rows, int32_t columns)
{
    const int64_t size = source_size(args->dtype);
    struct gqa__gather_args rest = *args;

    rest.src = (const unsigned char *)args->src + (r * args->row + c * args->column) * size;
    rest.dst = args->dst == NULL ? NULL : (float *)args->dst + r * args->stride + c;
    rest.rows = rows;
    rest.columns = columns;
    return rest;
}

/* The caller's vectors lie far apart, where no prefetcher of the CPU sees a stream. */
INLINE void prefetch_source(const void *src, int64_t i, int32_t n, int64_t size)
{
    const uintptr_t at = (uintptr_t)src + (uintptr_t)(i * size);

    for (int64_t byte = 0; byte < n * size; byte += 64) {
        v_prefetch(at + (uintptr_t)byte);
    }
}

/* column is 1. */
INLINE bool gather_row_lanes(const struct gqa__gather_args *args, const gqa_dtype dtype,
                             const bool flush)
{
    const int32_t whole = args->columns / VEC * VEC;
    const struct gqa__gather_args rest =
        gather_rest(args, 0, whole, args->rows, args->columns - whole);
    vec odd = v_zero();

    for (int32_t r = 0; r < args->rows; r++) {
        float *const to = args->dst == NULL ? NULL : (float *)args->dst + r * args->stride;
        if (r + GATHER_AHEAD < args->rows) {
            prefetch_source(args->src, (r + GATHER_AHEAD) * args->row, args->columns,
                            source_size(dtype));
        }
        for (int32_t c = 0; c < whole; c += VEC) {
            const vec x = source_lanes(args->src, r * args->row + c, dtype, flush, &odd);
            if (to != NULL) {
                v_store(to + c, x);
            }
        }
    }
    return (whole < args->columns && gather_values(&rest, dtype, GQA_F32)) || any_nan(odd);
}

/* row is 1: columns of ours are rows of the caller's. */
INLINE bool gather_turned(const struct gqa__gather_args *args, const gqa_dtype dtype,
                          const bool flush)
{
    const int32_t rows = args->rows / VEC * VEC, columns = args->columns / VEC * VEC;
    const struct gqa__gather_args below =
        gather_rest(args, rows, 0, args->rows - rows, args->columns);
    const struct gqa__gather_args right =
        gather_rest(args, 0, columns, rows, args->columns - columns);
    vec odd = v_zero();

    for (int32_t c = 0; c < columns; c += VEC) {
        for (int32_t r = 0; r < rows; r += VEC) {
            vec x[VEC];
            for (int32_t i = 0; i < VEC; i++) {
                x[i] = source_lanes(args->src, r + (c + i) * args->column, dtype, flush, &odd);
            }
            v_transpose(x);
            for (int32_t i = 0; i < VEC; i++) {
                v_store((float *)args->dst + (r + i) * args->stride + c, x[i]);
            }
        }
    }
    const bool more = gather_values(&below, dtype, GQA_F32);
    return gather_values(&right, dtype, GQA_F32) || more || any_nan(odd);
}

/* dtype is a constant where it is called. */
INLINE bool gather_of(const struct gqa__gather_args *args, const gqa_dtype dtype)
{
    if (args->column == 1) {
        return args->flush ? gather_row_lanes(args, dtype, true)
                           : gather_row_lanes(args, dtype, false);
    }
    if (args->row == 1 && args->dst != NULL) {
        return args->flush ? gather_turned(args, dtype, true) : gather_turned(args, dtype, false);
    }
    return gather_values(args, dtype, GQA_F32);
}

static inline bool gather_lanes(const struct gqa__gather_args *args)
{
    if (args->dtype == GQA_F32) {
        return gather_of(args, GQA_F32);
    }
    return args->dtype == GQA_BF16 ? gather_of(args, GQA_BF16) : gather_of(args, GQA_F16);
}

#endif
