/* SPDX-License-Identifier: Apache-2.0 */
/* convert.h - runs of f32, bf16 and f16 to f32 and back, one value at a time: base/number.h. Values
 * of Q, scaled. */
#ifndef GQA__KERNEL_SCALAR_CONVERT_H
#define GQA__KERNEL_SCALAR_CONVERT_H

#include <string.h>

#include "base/number.h"
#include "kernel/contract/kernel.h"

/* Value i as f32. */
static inline float plain_value(const void *src, int64_t i, gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        return ((const float *)src)[i];
    }
    const uint16_t half = ((const uint16_t *)src)[i];
    return dtype == GQA_BF16 ? gqa__bf16_to_f32(half) : gqa__f16_to_f32(half);
}

/* Value i of Q, scaled. */
static inline float scaled_query(const struct gqa__pack_q_args *args, int64_t i)
{
    const float q = plain_value(args->q, i, args->q_type);
    const float scaled = (args->flush ? gqa__flush(q) : q) * args->scale;

    return args->flush ? gqa__flush(scaled) : scaled;
}

static inline void load_plain(float *dst, const void *src, int64_t n, gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        if (n > 0) {
            memcpy(dst, src, (size_t)n * sizeof *dst);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        dst[i] = plain_value(src, i, dtype);
    }
}

/* Value i from f32. */
static inline void set_plain(void *dst, int64_t i, float x, gqa_dtype dtype)
{
    if (dtype == GQA_F32) {
        ((float *)dst)[i] = gqa__canonical(x);
    } else if (dtype == GQA_BF16) {
        ((uint16_t *)dst)[i] = gqa__f32_to_bf16(x);
    } else {
        ((uint16_t *)dst)[i] = gqa__f32_to_f16(x);
    }
}

static inline void store_plain(void *dst, const float *src, int64_t n, gqa_dtype dtype)
{
    for (int64_t i = 0; i < n; i++) {
        set_plain(dst, i, src[i], dtype);
    }
}

#endif
