/* SPDX-License-Identifier: Apache-2.0 */
/* stored.h - rows of K and V as a cache stores them, as f32 operands; scales are left out. The type
 * is a constant wherever one of these is called. */
#ifndef GQA__KERNEL_VECTOR_STORED_H
#define GQA__KERNEL_VECTOR_STORED_H

#include <assert.h>

#include "base/storage.h"
#include "kernel/scalar/convert.h"
#include "kernel/vector/few.h"
#include "kernel/vector/words.h"

/* VEC elements from element i on; a NaN of f16 may have any bits. */
INLINE vec v_load_stored(const void *row, int64_t i, const gqa_dtype type)
{
    switch (type) {
    case GQA_F32:
        return v_load((const float *)row + i);
    case GQA_BF16:
        return v_load_bf16((const uint16_t *)row + i);
    case GQA_F16:
        return v_load_f16((const uint16_t *)row + i);
    default:
        return v_load_e4m3((const uint8_t *)row + i);
    }
}

INLINE float stored_value(const void *row, int64_t i, const gqa_dtype type)
{
    return gqa__e4m3(type) ? gqa__e4m3_value(((const uint8_t *)row)[i]) : plain_value(row, i, type);
}

INLINE const void *stored_row_at(const void *first, int64_t row, int64_t stride,
                                 const gqa_dtype type)
{
    return (const unsigned char *)first + (size_t)(row * stride) * gqa__stored_bytes(type, 1);
}

/* A row of n elements to [n]. */
INLINE void load_stored(float *to, const void *row, int32_t n, const gqa_dtype type)
{
    int32_t i = 0;

    for (; i + VEC <= n; i += VEC) {
        v_store(to + i, v_load_stored(row, i, type));
    }
    for (; i < n; i++) {
        to[i] = stored_value(row, i, type);
    }
}

/* Rows of n elements, `stride` elements apart. */
struct stored_rows {
    const void *first;
    int64_t stride;
    gqa_dtype type;
    int32_t rows, n;
};

INLINE void load_rows_of(float *to, const struct stored_rows *from, const gqa_dtype type)
{
    for (int32_t r = 0; r < from->rows; r++) {
        load_stored(to + (int64_t)r * from->n, stored_row_at(from->first, r, from->stride, type),
                    from->n, type);
    }
}

/* To [rows][n]; the type is none of integers. */
static inline void load_rows(float *to, const struct stored_rows *from)
{
    switch (from->type) {
    case GQA_F32:
        load_rows_of(to, from, GQA_F32);
        break;
    case GQA_BF16:
        load_rows_of(to, from, GQA_BF16);
        break;
    case GQA_F16:
        load_rows_of(to, from, GQA_F16);
        break;
    default:
        assert(gqa__e4m3(from->type));
        load_rows_of(to, from, GQA_E4M3);
    }
}

/* As many rows as ways, `stride` elements apart, of n elements, to [n][ways]. */
INLINE void load_in_turns(float *to, const void *row, int64_t stride, int32_t n,
                          const gqa_dtype type, const int32_t ways)
{
    const void *from[MOST_WAYS];
    int32_t i = 0;

    for (int32_t j = 0; j < ways; j++) {
        from[j] = stored_row_at(row, j, stride, type);
    }
    for (; i + VEC <= n; i += VEC) {
        vec x[MOST_WAYS];
        for (int32_t j = 0; j < ways; j++) {
            x[j] = v_load_stored(from[j], i, type);
        }
        v_store_in_turns(to + i * ways, x, ways);
    }
    for (; i < n; i++) {
        for (int32_t j = 0; j < ways; j++) {
            to[i * ways + j] = stored_value(from[j], i, type);
        }
    }
}

#endif
