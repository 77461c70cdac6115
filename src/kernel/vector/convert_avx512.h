/* convert_avx512.h - rounding to bf16, and transposes, with AVX-512. */
#ifndef GQA__KERNEL_VECTOR_CONVERT_AVX512_H
#define GQA__KERNEL_VECTOR_CONVERT_AVX512_H

#include <immintrin.h>

#include "kernel/contract/built.h"

/* gcc does not know that a tile load reads memory: this tells it that what was written before must
 * be in memory now. */
static inline void settle_memory(void)
{
    __asm__ volatile("" : : : "memory");
}

/* 16 f32 to bf16, nearest even; denormals are kept, NaN becomes 0x7fc0. The conversion instruction
 * of the CPU flushes denormal inputs, which stored values must not be. */
static inline __m256i bf16_of(__m512 x)
{
    const __m512i u = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i rounded =
        _mm512_mask_mov_epi32(_mm512_srli_epi32(sum, 16), nan, _mm512_set1_epi32(0x7fc0));

    return _mm512_cvtepi32_epi16(rounded);
}

/* 32 f32 to 32 bf16 in order. */
static inline __m512i bf16_pair(__m512 lo, __m512 hi)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(bf16_of(lo)), bf16_of(hi), 1);
}

/* 32 f32 to 32 bf16 in order, as factors of a tile product count them (factor_value of
 * scalar/bf16.h): the conversion instruction takes a denormal for zero. */
#if GQA__BUILT_AVX512_BF16
static inline __m512i factor_pair(__m512 lo, __m512 hi)
{
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}
#endif

/* NaN becomes the canonical one. */
static inline __m512 canonical(__m512 x)
{
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_mov_ps(x, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

/* Transpose a 16 x 16 matrix of 32-bit values held in r[16]. */
static inline void transpose16(__m512i r[16])
{
    __m512i t[16];

    for (int i = 0; i < 16; i += 2) { /* pairs of rows */
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* fours */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) { /* eights: 128-bit lanes of rows i, i + 4 */
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

#endif
