/* SPDX-License-Identifier: Apache-2.0 */
/* expand.h - the entry expand with bf16 operands and AVX-512, 32 codes at a time. Same bits as
 * expand_bf16 of scalar/scaled.h. */
#ifndef GQA__KERNEL_AVX512_EXPAND_H
#define GQA__KERNEL_AVX512_EXPAND_H

#include <immintrin.h>

#include "kernel/contract/inline.h"
#include "kernel/contract/kernel.h"

/* Codes of e4m3 in words of 16 bits, their signs extended, to bf16. Sizes below 8 are multiples of
 * 2^-9: a table has them. */
INLINE __m512i bf16_of_codes(__m512i code)
{
    const __m512i fine = _mm512_castsi128_si512(
        _mm_setr_epi16(0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
    const __m512i most = _mm512_set1_epi16(0x7f), sign = _mm512_set1_epi16((short)0x8000);
    const __m512i size = _mm512_and_si512(code, most);
    const __mmask32 low = _mm512_cmplt_epi16_mask(size, _mm512_set1_epi16(8));
    const __mmask32 nan = _mm512_cmpeq_epi16_mask(size, most);
    const __m512i normal =
        _mm512_add_epi16(_mm512_slli_epi16(size, 4), _mm512_set1_epi16(120 << 7));
    const __m512i value = _mm512_mask_permutexvar_epi16(normal, low, size, fine);

    return _mm512_mask_mov_epi16(_mm512_or_si512(value, _mm512_and_si512(code, sign)), nan,
                                 _mm512_set1_epi16(0x7fc0));
}

static inline void expand_codes(const struct gqa__expand_args *args)
{
    for (int32_t r = 0; r < args->rows; r++) {
        const uint8_t *const code = args->src + r * args->src_stride;      /* [n] */
        uint16_t *const to = (uint16_t *)args->dst + r * args->dst_stride; /* [n] */
        for (int32_t e = 0; e < args->n; e += 32) {
            const int32_t rest = args->n - e;
            const __mmask32 there = rest >= 32 ? 0xffffffffu : (1u << rest) - 1u;
            const __m256i x = _mm256_maskz_loadu_epi8(there, code + e);
            _mm512_mask_storeu_epi16(to + e, there, bf16_of_codes(_mm512_cvtepi8_epi16(x)));
        }
    }
}

#endif
