/* SPDX-License-Identifier: Apache-2.0 */
/* convert.h - runs of f32, bf16 and f16 to f32 and back, VEC values at a time. Same bits as
 * scalar/convert.h, which takes what is left over. */
#ifndef GQA__KERNEL_VECTOR_CONVERT_H
#define GQA__KERNEL_VECTOR_CONVERT_H

#include "kernel/scalar/convert.h"
#include "kernel/vector/words.h"

/* n values from value i on, 0 <= n <= VEC, and zeros behind them; dtype is a constant where it is
 * called. */
INLINE vec v_load_as(const void *src, int64_t i, int32_t n, const gqa_dtype dtype)
{
    const uint16_t *const half = (const uint16_t *)src + i;
    uint16_t part[VEC] = {0};

    if (dtype == GQA_F32) {
        return n == VEC ? v_load((const float *)src + i) : v_load_part((const float *)src + i, n);
    }
    if (n < VEC) {
        memcpy(part, half, (size_t)n * sizeof *part);
    }
    if (dtype == GQA_BF16) {
        return v_load_bf16(n == VEC ? half : part);
    }
    return v_canonical(v_load_f16(n == VEC ? half : part));
}

/* n values of a canonical x to value i on. */
INLINE void v_store_as(void *dst, int64_t i, vec x, int32_t n, const gqa_dtype dtype)
{
    uint16_t *const half = (uint16_t *)dst + i;
    uint16_t part[VEC];
    uint16_t *const to = n == VEC ? half : part;

    if (dtype == GQA_F32) {
        if (n == VEC) {
            v_store((float *)dst + i, x);
        } else {
            v_store_part((float *)dst + i, x, n);
        }
        return;
    }
    if (dtype == GQA_BF16) {
        v_store_bf16(to, v_round_bf16(x));
    } else {
        v_store_f16(to, x);
    }
    if (n < VEC) {
        memcpy(half, part, (size_t)n * sizeof *part);
    }
}

static inline void load_run(float *dst, const void *src, int64_t n, gqa_dtype dtype)
{
    const uint16_t *const from = src;
    int64_t i = 0;

    if (dtype == GQA_F32) {
        load_plain(dst, src, n, dtype);
        return;
    }
    if (dtype == GQA_BF16) {
        for (; i + VEC <= n; i += VEC) {
            v_store(dst + i, v_load_bf16(from + i));
        }
    } else {
        for (; i + VEC <= n; i += VEC) {
            v_store(dst + i, v_canonical(v_load_f16(from + i)));
        }
    }
    load_plain(dst + i, from + i, n - i, dtype);
}

static inline void store_run(void *dst, const float *src, int64_t n, gqa_dtype dtype)
{
    uint16_t *const to = dst;
    int64_t i = 0;

    if (dtype == GQA_F32) {
        for (; i + VEC <= n; i += VEC) {
            v_store((float *)dst + i, v_canonical(v_load(src + i)));
        }
        store_plain((float *)dst + i, src + i, n - i, dtype);
        return;
    }
    if (dtype == GQA_BF16) {
        for (; i + VEC <= n; i += VEC) {
            v_store_bf16(to + i, v_round_bf16(v_load(src + i)));
        }
    } else {
        for (; i + VEC <= n; i += VEC) {
            v_store_f16(to + i, v_canonical(v_load(src + i)));
        }
    }
    store_plain(to + i, src + i, n - i, dtype);
}

#endif
