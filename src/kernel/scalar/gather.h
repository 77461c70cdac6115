/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h - the entry gather: values of a caller's tensor as operands, one at a time. */
#ifndef GQA__KERNEL_SCALAR_GATHER_H
#define GQA__KERNEL_SCALAR_GATHER_H

#include "base/number.h"
#include "kernel/contract/inline.h"
#include "kernel/contract/kernel.h"

/* Element i of the caller's, which are of this type. */
INLINE float source_value(const void *src, int64_t i, const gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        return ((const float *)src)[i];
    }
    return dtype == GQA_BF16 ? gqa__bf16_to_f32(((const uint16_t *)src)[i])
                             : gqa__f16_to_f32(((const uint16_t *)src)[i]);
}

/* One value as an operand; its size, without the sign, in the bits of an operand. */
INLINE uint32_t gather_value(void *dst, float x, const bool flush, const gqa_dtype operand)
{
    if (operand == GQA_BF16) {
        const uint16_t half = gqa__f32_to_bf16(x);
        if (dst != NULL) {
            *(uint16_t *)dst = half;
        }
        return half & 0x7fffu;
    }
    x = gqa__canonical(flush ? gqa__flush(x) : x);
    if (dst != NULL) {
        *(float *)dst = x;
    }
    return gqa__f32_bits(x) & 0x7fffffffu;
}

/* dtype and operand are constants where it is called. */
INLINE bool gather_values(const struct gqa__gather_args *args, const gqa_dtype dtype,
                          const gqa_dtype operand)
{
    const int64_t size = operand == GQA_BF16 ? 2 : 4;
    const bool by_row = args->column <= args->row; /* inner steps are the shorter ones */
    const int32_t outer = by_row ? args->rows : args->columns;
    const int32_t inner = by_row ? args->columns : args->rows;
    uint32_t largest = 0;

    for (int32_t i = 0; i < outer; i++) {
        const int32_t r = by_row ? i : 0, c = by_row ? 0 : i;
        int64_t from = r * args->row + c * args->column;
        int64_t to = r * args->stride + c;
        for (int32_t j = 0; j < inner; j++) {
            void *const dst = args->dst == NULL ? NULL : (unsigned char *)args->dst + to * size;
            const float x = source_value(args->src, from, dtype);
            const uint32_t value = gather_value(dst, x, args->flush, operand);
            largest = value > largest ? value : largest;
            from += by_row ? args->column : args->row;
            to += by_row ? 1 : args->stride;
        }
    }
    return largest >= (operand == GQA_BF16 ? GQA__LARGE_BF16 : 0x7f800000u);
}

/* operand is a constant where it is called. */
INLINE bool gather_any(const struct gqa__gather_args *args, const gqa_dtype operand)
{
    if (args->dtype == GQA_F32) {
        return gather_values(args, GQA_F32, operand);
    }
    return args->dtype == GQA_BF16 ? gather_values(args, GQA_BF16, operand)
                                   : gather_values(args, GQA_F16, operand);
}

static inline bool gather_f32(const struct gqa__gather_args *args)
{
    return gather_any(args, GQA_F32);
}

static inline bool gather_bf16(const struct gqa__gather_args *args)
{
    return gather_any(args, GQA_BF16);
}

#endif
