/* SPDX-License-Identifier: Apache-2.0 */
/* append.h - append_v of bf16 pages with AVX-512: 16 tokens by 16 dimensions at a time,
 * transposed. Same bits as append_v_bf16 of scalar/bf16.h, which takes what is left over. */
#ifndef GQA__KERNEL_AVX512_APPEND_H
#define GQA__KERNEL_AVX512_APPEND_H

#include "kernel/scalar/bf16.h"
#include "kernel/vector/convert_avx512.h"

/* v [16 tokens][16], rows token_stride apart, to page [16 dims][v_stride]. */
static inline bool append_16(uint16_t *page, int64_t v_stride, const float *v, int64_t token_stride)
{
    const __m512i size = _mm512_set1_epi32(0x7fff);
    const __m512i large = _mm512_set1_epi32(GQA__LARGE_BF16);
    __mmask16 special = 0;
    __m512i r[16];

    for (int32_t i = 0; i < 16; i++) {
        r[i] = _mm512_cvtepu16_epi32(bf16_of(_mm512_loadu_ps(v + i * token_stride)));
        special |= _mm512_cmpge_epi32_mask(_mm512_and_si512(r[i], size), large);
    }
    transpose16(r);
    for (int32_t d = 0; d < 16; d++) {
        _mm256_storeu_si256((__m256i *)(page + d * v_stride), _mm512_cvtepi32_epi16(r[d]));
    }
    return special != 0;
}

/* Rows of different tokens lie far apart, where no prefetcher of the CPU sees a stream. */
static inline void prefetch_row(const float *row, int32_t n)
{
    for (int32_t i = 0; i < n; i += 16) {
        _mm_prefetch((const char *)(row + i), _MM_HINT_T0);
    }
}

/* append_k_bf16 */
static inline void append_k_rows(void *page, int64_t k_stride, int32_t slot, int32_t n,
                                 const float *k, int64_t token_stride, int32_t dk,
                                 gqa_dtype storage)
{
    for (int32_t i = 0; i < n; i++) {
        if (i + 8 < n) {
            prefetch_row(k + (i + 8) * token_stride, dk);
        }
        append_k_bf16(page, k_stride, slot + i, 1, k + i * token_stride, token_stride, dk, storage);
    }
}

/* page [dv rounded up][v_stride]: transposed */
static inline bool append_v_transposed(void *page, int64_t v_stride, int32_t slot, int32_t n,
                                       const float *v, int64_t token_stride, int32_t dv,
                                       gqa_dtype storage)
{
    uint16_t *to = (uint16_t *)page + slot;
    const int32_t whole = dv / 16 * 16;
    bool special = false;
    int32_t i = 0;

    for (; i + 16 <= n; i += 16) {
        const float *row = v + i * token_stride;
        for (int32_t next = i + 16; next < i + 32 && next < n; next++) {
            prefetch_row(v + next * token_stride, dv);
        }
        for (int32_t d = 0; d < whole; d += 16) {
            special |= append_16(to + d * v_stride + i, v_stride, row + d, token_stride);
        }
        special |= append_v_bf16(to + whole * v_stride, v_stride, i, 16, row + whole, token_stride,
                                 dv - whole, storage);
    }
    return append_v_bf16(to, v_stride, i, n - i, v + i * token_stride, token_stride, dv, storage) ||
           special;
}

#endif
