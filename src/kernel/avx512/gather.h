/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h - the entry gather with bf16 operands and AVX-512: rows 32 values at a time, or, where
 * the caller's rows are our columns, 32 x 32 values turned. Same bits as gather_bf16 of
 * scalar/gather.h, which takes what has a step of its own in both directions. */
#ifndef GQA__KERNEL_AVX512_GATHER_H
#define GQA__KERNEL_AVX512_GATHER_H

#include "kernel/contract/inline.h"
#include "kernel/scalar/gather.h"
#include "kernel/vector/convert_avx512.h"

enum {
    GATHER_WIDE = 32,     /* values of a vector of operands */
    GATHER_BF16_AHEAD = 8 /* how many of the caller's rows in advance they are prefetched */
};

/* Which of n places there are, of those from `first` on. */
INLINE __mmask32 places(int32_t n, int32_t first)
{
    const int32_t count = n - first;

    return count >= 32 ? 0xffffffffu : count <= 0 ? 0 : (1u << count) - 1u;
}

/* Up to 32 of the caller's values from element i on as operands, zero where there are none. */
INLINE __m512i source_operands(const void *src, int64_t i, __mmask32 there, const gqa_dtype dtype)
{
    const __mmask16 low = (__mmask16)there, high = (__mmask16)(there >> 16);

    if (dtype == GQA_BF16) {
        return _mm512_maskz_loadu_epi16(there, (const uint16_t *)src + i);
    }
    if (dtype == GQA_F32) {
        const float *const from = (const float *)src + i;
        return bf16_pair(_mm512_maskz_loadu_ps(low, from), _mm512_maskz_loadu_ps(high, from + 16));
    }
    const __m512i half = _mm512_maskz_loadu_epi16(there, (const uint16_t *)src + i);
    const __m512 lo = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
    const __m512 hi = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
#if GQA__BUILT_AVX512_BF16
    return factor_pair(lo, hi); /* an f16 is no denormal f32 */
#else
    return bf16_pair(lo, hi);
#endif
}

INLINE __m512i larger_size(__m512i largest, __m512i x)
{
    return _mm512_max_epu16(largest, _mm512_and_si512(x, _mm512_set1_epi16(0x7fff)));
}

INLINE bool is_special(__m512i largest)
{
    return _mm512_cmpge_epu16_mask(largest, _mm512_set1_epi16((short)GQA__LARGE_BF16)) != 0;
}

/* The caller's vectors lie far apart, where no prefetcher of the CPU sees a stream. */
INLINE void prefetch_vector(const void *src, int64_t i, int32_t n, int64_t size)
{
    const uintptr_t at = (uintptr_t)src + (uintptr_t)(i * size);

    for (int64_t byte = 0; byte < n * size; byte += 64) {
        _mm_prefetch((const char *)(at + (uintptr_t)byte), _MM_HINT_T0);
    }
}

/* column is 1. */
INLINE bool gather_operand_rows(const struct gqa__gather_args *args, const gqa_dtype dtype)
{
    __m512i largest = _mm512_setzero_si512();

    for (int32_t r = 0; r < args->rows; r++) {
        uint16_t *const to = args->dst == NULL ? NULL : (uint16_t *)args->dst + r * args->stride;
        if (r + GATHER_BF16_AHEAD < args->rows) {
            prefetch_vector(args->src, (r + GATHER_BF16_AHEAD) * args->row, args->columns,
                            dtype == GQA_F32 ? 4 : 2);
        }
        for (int32_t c = 0; c < args->columns; c += GATHER_WIDE) {
            const __mmask32 there = places(args->columns, c);
            const __m512i x = source_operands(args->src, r * args->row + c, there, dtype);
            largest = larger_size(largest, x);
            if (to != NULL) {
                _mm512_mask_storeu_epi16(to + c, there, x);
            }
        }
    }
    return is_special(largest);
}

/* 16 of the caller's vectors, every second one from element i of the first on, turned: r[p] has
 * values 2 p and 2 p + 1 of each. */
INLINE __m512i turn_pairs(__m512i r[16], const struct gqa__gather_args *args, int64_t i, int32_t n,
                          __mmask32 there, const gqa_dtype dtype)
{
    __m512i largest = _mm512_setzero_si512();

    for (int32_t k = 0; k < 16; k++) {
        r[k] = 2 * k < n ? source_operands(args->src, i + 2 * k * args->column, there, dtype)
                         : _mm512_setzero_si512();
        largest = larger_size(largest, r[k]);
    }
    transpose16(r);
    return largest;
}

/* Rows [r, r + 32) and columns [c, c + 32), as far as there are any. */
INLINE __m512i turn_square(const struct gqa__gather_args *args, int32_t r, int32_t c,
                           const gqa_dtype dtype)
{
    const __mmask32 upper = 0xaaaaaaaau;
    const __mmask32 rows = places(args->rows, r), columns = places(args->columns, c);
    const int32_t n = args->columns - c; /* vectors of the caller's */
    const int64_t i = r + c * args->column;
    uint16_t *const to = (uint16_t *)args->dst + r * args->stride + c;
    __m512i even[16], odd[16], largest;

    largest = turn_pairs(even, args, i, n, rows, dtype);
    largest =
        _mm512_max_epu16(largest, turn_pairs(odd, args, i + args->column, n - 1, rows, dtype));
    for (int32_t p = 0; p < 16 && r + 2 * p < args->rows; p++) {
        const __m512i first = _mm512_mask_mov_epi16(even[p], upper, _mm512_slli_epi32(odd[p], 16));
        const __m512i second = _mm512_mask_mov_epi16(_mm512_srli_epi32(even[p], 16), upper, odd[p]);
        _mm512_mask_storeu_epi16(to + 2 * p * args->stride, columns, first);
        if (r + 2 * p + 1 < args->rows) {
            _mm512_mask_storeu_epi16(to + (2 * p + 1) * args->stride, columns, second);
        }
    }
    return largest;
}

/* row is 1: columns of ours are vectors of the caller's. */
INLINE bool gather_operands_turned(const struct gqa__gather_args *args, const gqa_dtype dtype)
{
    __m512i largest = _mm512_setzero_si512();

    for (int32_t c = 0; c < args->columns; c += GATHER_WIDE) {
        for (int32_t k = c + GATHER_WIDE; k < c + 2 * GATHER_WIDE && k < args->columns; k++) {
            prefetch_vector(args->src, k * args->column, args->rows, dtype == GQA_F32 ? 4 : 2);
        }
        for (int32_t r = 0; r < args->rows; r += GATHER_WIDE) {
            largest = _mm512_max_epu16(largest, turn_square(args, r, c, dtype));
        }
    }
    return is_special(largest);
}

/* dtype is a constant where it is called. */
INLINE bool gather_operands_of(const struct gqa__gather_args *args, const gqa_dtype dtype)
{
    if (args->column == 1) {
        return gather_operand_rows(args, dtype);
    }
    if (args->row == 1 && args->dst != NULL) {
        return gather_operands_turned(args, dtype);
    }
    return gather_values(args, dtype, GQA_BF16);
}

static inline bool gather_operands(const struct gqa__gather_args *args)
{
    if (args->dtype == GQA_F32) {
        return gather_operands_of(args, GQA_F32);
    }
    return args->dtype == GQA_BF16 ? gather_operands_of(args, GQA_BF16)
                                   : gather_operands_of(args, GQA_F16);
}

#endif
