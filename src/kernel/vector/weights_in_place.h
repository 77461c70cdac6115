/* SPDX-License-Identifier: Apache-2.0 */
/* weights_in_place.h - weights in place for the f32 kernels: units of the caller's rows, transposed
 * into the packed form of vector/linear.h. */
#ifndef GQA__KERNEL_VECTOR_WEIGHTS_IN_PLACE_H
#define GQA__KERNEL_VECTOR_WEIGHTS_IN_PLACE_H

#include "kernel/vector/linear.h"
#include "kernel/vector/words.h"

enum {
    ROWS_PREFETCH = 256,  /* bytes of each row are prefetched in advance */
    ROWS_PIECE = EXPANDED /* inputs that are transposed at a time for few tokens */
};

/* VEC values of a row from k on. */
INLINE vec load_row(const void *row, int64_t k, const gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        return v_load((const float *)row + k);
    }
    if (dtype == GQA_I8) {
        return v_load_i8((const int8_t *)row + k);
    }
    return dtype == GQA_BF16 ? v_load_bf16((const uint16_t *)row + k)
                             : v_load_f16((const uint16_t *)row + k);
}

INLINE float load_one(const void *row, int64_t k, const gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        return ((const float *)row)[k];
    }
    if (dtype == GQA_I8) {
        return (float)((const int8_t *)row)[k];
    }
    return dtype == GQA_BF16 ? gqa__bf16_to_f32(((const uint16_t *)row)[k])
                             : gqa__f16_to_f32(((const uint16_t *)row)[k]);
}

/* While the rows are read at k: once for each cache line, prefetches what lies ROWS_PREFETCH bytes
 * further on in every row, and beyond their ends the start of the next unit's rows. */
INLINE void prefetch_row_lines(const struct gqa__rows *rows, int32_t row, int64_t k,
                               const gqa_dtype dtype)
{
    const int64_t size = dtype == GQA_F32 ? 4 : dtype == GQA_I8 ? 1 : 2;
    const int64_t bytes = rows->in * size;
    int64_t at = k * size + ROWS_PREFETCH;

    if (k % (64 / size) == 0) {
        at = at < bytes ? at : rows->next + at - bytes;
        for (int32_t i = 0; i < OUTS; i++) {
            v_prefetch((uintptr_t)rows->row[row + i] + (uintptr_t)at);
        }
    }
}

/* to [n][OUTS]: inputs k .. k + n of the rows of a block; k a multiple of VEC. */
INLINE void transpose_rows(float *to, const struct gqa__rows *rows, int32_t row, int64_t k,
                           int64_t n, const gqa_dtype dtype)
{
    const int64_t whole = n / VEC * VEC;

    for (int64_t at = 0; at < whole; at += VEC) {
        prefetch_row_lines(rows, row, k + at, dtype);
        for (int32_t j = 0; j < OUTS; j += VEC) {
            vec r[VEC];
#pragma GCC unroll 16
            for (int32_t i = 0; i < VEC; i++) {
                r[i] = load_row(rows->row[row + j + i], k + at, dtype);
            }
            v_transpose(r);
#pragma GCC unroll 16
            for (int32_t i = 0; i < VEC; i++) {
                v_store(to + (at + i) * OUTS + j, r[i]);
            }
        }
    }
    for (int64_t at = whole; at < n; at++) {
        for (int32_t i = 0; i < OUTS; i++) {
            to[at * OUTS + i] = load_one(rows->row[row + i], k + at, dtype);
        }
    }
}

static inline void transpose_format(float *to, const struct gqa__rows *rows, int32_t row, int64_t k,
                                    int64_t n)
{
    if (rows->dtype == GQA_F32) {
        transpose_rows(to, rows, row, k, n, GQA_F32);
    } else if (rows->dtype == GQA_BF16) {
        transpose_rows(to, rows, row, k, n, GQA_BF16);
    } else if (rows->dtype == GQA_I8) {
        transpose_rows(to, rows, row, k, n, GQA_I8);
    } else {
        transpose_rows(to, rows, row, k, n, GQA_F16);
    }
}

static inline void pack_rows_vector(void *dst, const struct gqa__rows *rows)
{
    assert(rows->count % OUTS == 0);
    for (int32_t i = 0; i < rows->count; i += OUTS) {
        transpose_format((float *)dst + i * rows->in, rows, i, 0, rows->in);
    }
}

/* --- few tokens ------------------------------------------------------------------------------ */

/* Inputs k .. k + n of OUTS outputs, one chain: the rows are transposed piece by piece in L1, and
 * used from there. */
static inline void stream_rows(const struct gqa__linear_args *args, const struct gqa__rows *rows,
                               int32_t out, int64_t k, int64_t n)
{
    float *w = ((struct vector_scratch *)args->scratch)->w; /* [ROWS_PIECE][OUTS] */
    float c[STREAM_TOKENS * OUTS];

    memset(c, 0, sizeof c);
    for (int64_t at = 0; at < n; at += ROWS_PIECE) {
        const int64_t some = n - at < ROWS_PIECE ? n - at : ROWS_PIECE;
        const struct streams streams = {.w = w,
                                        .x = (const float *)args->x + (k + at) * args->tokens,
                                        .begin = 0,
                                        .end = some,
                                        .c = c};
        transpose_format(w, rows, out, k + at, some);
        stream_tokens(&streams, 1, args->tokens);
    }
    add_chains(args, out, 0, args->tokens, c, k);
}

static inline bool linear_rows_vector(const struct gqa__linear_args *args,
                                      const struct gqa__rows *rows)
{
    if (args->tokens > STREAM_TOKENS) {
        return false;
    }
    for (int32_t out = 0; out < rows->count; out += OUTS) {
        for (int64_t k = 0; k < args->in; k += GQA__DOT_BLOCK) {
            const int64_t rest = args->in - k;
            stream_rows(args, rows, out, k, rest < GQA__DOT_BLOCK ? rest : GQA__DOT_BLOCK);
        }
    }
    return true;
}

#endif
