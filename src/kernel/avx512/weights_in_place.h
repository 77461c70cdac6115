/* SPDX-License-Identifier: Apache-2.0 */
/* weights_in_place.h - weights in place for the kernel sets with bf16 operands: 32 values of one of
 * the caller's rows as bf16, rounded as pack_weight rounds them. */
#ifndef GQA__KERNEL_AVX512_WEIGHTS_IN_PLACE_H
#define GQA__KERNEL_AVX512_WEIGHTS_IN_PLACE_H

#include "kernel/contract/kernel.h"
#include "kernel/vector/convert_avx512.h"

/* Bytes of an element; dtype is a constant. */
static inline int64_t row_element(const gqa_dtype dtype)
{
    return dtype == GQA_F32 ? 4 : dtype == GQA_I8 ? 1 : 2;
}

enum {
    ROW_VALUES = 32,
    ROW_PREFETCH = 512 /* bytes of a row are prefetched in advance */
};

/* What to prefetch while the values of a row from k on are read, in bytes from the row's start:
 * ROW_PREFETCH bytes further on, and beyond the row's end the start of the row that follows in the
 * next unit. */
static inline int64_t prefetch_offset(const struct gqa__rows *rows, int64_t k,
                                      const gqa_dtype dtype)
{
    const int64_t size = row_element(dtype), bytes = rows->in * size;
    const int64_t at = k * size + ROW_PREFETCH;

    return at < bytes ? at : rows->next + at - bytes;
}

/* Values k .. k + 32 of a row, zero from `rest` on; rest > 0. */
static inline __attribute__((always_inline)) __m512i
load_operands_of(const void *row, int64_t k, int64_t rest, int64_t prefetch, const gqa_dtype dtype)
{
    const __mmask32 some = rest >= 32 ? 0xffffffffu : (__mmask32)((1u << rest) - 1u);

    _mm_prefetch((const char *)((uintptr_t)row + (uintptr_t)prefetch), _MM_HINT_T1);
    if (dtype == GQA_F32) {
        const float *from = (const float *)row + k;
        const __m512 lo = _mm512_maskz_loadu_ps((__mmask16)some, from);
        const __m512 hi = _mm512_maskz_loadu_ps((__mmask16)(some >> 16), from + 16);
        _mm_prefetch((const char *)((uintptr_t)row + (uintptr_t)prefetch + 64), _MM_HINT_T1);
        return bf16_pair(lo, hi);
    }
    if (dtype == GQA_I8) { /* exact, and the lower half of each f32 is 0 */
        const __m256i bytes = _mm256_maskz_loadu_epi8(some, (const int8_t *)row + k);
        return bf16_pair(
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes))),
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1))));
    }
    const __m512i halves = _mm512_maskz_loadu_epi16(some, (const uint16_t *)row + k);
    if (dtype == GQA_BF16) {
        return halves;
    }
    return bf16_pair(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                     _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)));
}

#endif
