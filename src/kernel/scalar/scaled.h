/* SPDX-License-Identifier: Apache-2.0 */
/* scaled.h - rows of the scaled types (base/storage.h): quantised when they are appended, and as
 * operands of the products. Every kernel set quantises by this source; loops run over elements with
 * nothing carried, so that the compiler turns them into vector code.
 */
#ifndef GQA__KERNEL_SCALAR_SCALED_H
#define GQA__KERNEL_SCALAR_SCALED_H

#include <assert.h>
#include <string.h>

#include "base/storage.h"
#include "kernel/contract/kernel.h"

/* The bits of the largest size of n values; a denormal counts as zero with flush. x is src, or its
 * values flushed. */
static inline uint32_t largest_bits(float *restrict x, const float *restrict src, int32_t n,
                                    bool flush)
{
    uint32_t largest = 0;

    for (int32_t i = 0; i < n; i++) {
        x[i] = flush ? gqa__flush(src[i]) : src[i];
    }
    for (int32_t i = 0; i < n; i++) {
        const uint32_t size = gqa__f32_bits(x[i]) & 0x7fffffffu;
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Numbers of at most 2^22 in size to the nearest integer, ties to even. */
static inline int32_t nearest_integer(float x)
{
    return (int32_t)gqa__f32_bits(x + 0x1.8p23f) - (int32_t)gqa__f32_bits(0x1.8p23f);
}

/* n codes, one in a byte each (int4 too); by a scale that is a number. */
static inline void quantise_codes(uint8_t *restrict code, const float *restrict x, int32_t n,
                                  gqa_dtype type, float scale)
{
    if (!(scale > 0.0f)) { /* no size, or no number */
        memset(code, 0, (size_t)n);
    } else if (type == GQA_I8 || type == GQA_I4) {
        for (int32_t i = 0; i < n; i++) {
            code[i] = (uint8_t)nearest_integer(x[i] / scale);
        }
    } else {
        const uint32_t most = type == GQA_E4M3 ? 0x7eu : 0x77u;
        for (int32_t i = 0; i < n; i++) {
            code[i] = gqa__e4m3_code(x[i] / scale, most);
        }
    }
}

/* Element i of a row. */
static inline void put_code(uint8_t *row, int64_t i, uint8_t code, gqa_dtype type)
{
    if (type == GQA_I4) {
        uint8_t *const byte = &row[gqa__i4_byte(i)];
        const int shift = gqa__i4_shift(i);
        *byte = (uint8_t)((*byte & (0xf0 >> shift)) | (code & 15) << shift);
    } else {
        row[i] = code;
    }
}

/* Elements [d, d + n) of the token in a slot of a page. */
static inline void put_codes(const struct gqa__append_args *args, int64_t slot, bool transposed,
                             int32_t d, const uint8_t *code, int32_t n)
{
    uint8_t *const page = args->page;

    for (int32_t i = 0; i < n; i++) {
        if (transposed) {
            page[(d + i) * args->stride + slot] = code[i];
        } else {
            put_code(page + slot * args->stride, d + i, code[i], args->storage);
        }
    }
}

/* One token. transposed: its elements are a column. Returns whether it is special. */
static inline bool append_scaled_row(const struct gqa__append_args *args, int32_t i,
                                     bool transposed, bool bf16)
{
    const gqa_dtype type = args->storage;
    const int32_t dim = args->dim, group = gqa__scale_group(type, dim);
    const float *src = args->src + i * args->src_stride; /* [dim] */
    const int64_t slot = args->slot + i;
    bool special = false;

    for (int32_t d = 0; d < dim; d += group) {
        const int32_t n = dim - d < group ? dim - d : group;
        float x[512];
        uint8_t code[512];
        const uint32_t largest = largest_bits(x, src + d, n, args->flush);
        const float scale = gqa__scale_of(type, gqa__f32_from_bits(largest));
        quantise_codes(code, x, n, type, scale);
        put_codes(args, slot, transposed, d, code, n);
        args->scale[d / group * args->scale_stride + slot] = scale;
        special |= gqa__scale_special(type, scale, bf16);
    }
    return special;
}

/* transposed: where V of the page is; rows of the integer types never are. */
static inline bool append_scaled(const struct gqa__append_args *args, bool transposed, bool bf16)
{
    const bool column = transposed && !gqa__integer(args->storage);
    bool special = false;

    assert(gqa__scaled(args->storage) && args->dim <= 512);
    for (int32_t i = 0; i < args->n; i++) {
        special |= append_scaled_row(args, i, column, bf16);
    }
    return special;
}

/* --- operands -------------------------------------------------------------------------------- */

static inline void expand_f32(const struct gqa__expand_args *args)
{
    for (int32_t r = 0; r < args->rows; r++) {
        const uint8_t *restrict code = args->src + r * args->src_stride; /* [n] */
        float *restrict to = (float *)args->dst + r * args->dst_stride;  /* [n] */
        for (int32_t e = 0; e < args->n; e++) {
            to[e] = gqa__e4m3_value(code[e]);
        }
    }
}

static inline void expand_bf16(const struct gqa__expand_args *args)
{
    for (int32_t r = 0; r < args->rows; r++) {
        const uint8_t *restrict code = args->src + r * args->src_stride;      /* [n] */
        uint16_t *restrict to = (uint16_t *)args->dst + r * args->dst_stride; /* [n] */
        for (int32_t e = 0; e < args->n; e++) {
            to[e] = (uint16_t)(gqa__f32_bits(gqa__e4m3_value(code[e])) >> 16);
        }
    }
}

#endif
