/* SPDX-License-Identifier: Apache-2.0 */
/* words_avx512.h - vectors of 16 f32 in the words of kernel/vector. Needs AVX-512 F and DQ. */
#ifndef GQA__KERNEL_VECTOR_WORDS_AVX512_H
#define GQA__KERNEL_VECTOR_WORDS_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/number.h"
#include "gqa/config.h"
#include "kernel/contract/inline.h"
#include "kernel/vector/convert_avx512.h"
#include "kernel/vector/words_x86.h"

/* The kernel set that is made of these vectors. */
#define VECTOR_NAME "avx512/f32"
#define VECTOR_ISA  GQA_ISA_AVX512

typedef __m512 vec;
typedef __m512i ivec;
typedef __mmask16 vmask;

enum {
    VECTOR_TOKENS = 128, /* tokens of a block of a projection */
    VEC = 16,            /* values of a vector */
    GROUP_ROWS = 8,      /* rows of a product in registers, two vectors wide: 16 of 32 registers */
    MOST_ROWS = 14       /* rows of a product that has many: 28 of 32 registers */
};

INLINE vec v_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE vec v_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vec v_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

/* VEC integers as f32. */
INLINE vec v_load_i8(const int8_t *x)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)x)));
}

INLINE void v_store(float *to, vec x)
{
    _mm512_storeu_ps(to, x);
}

/* Past the caches; to is aligned to a vector. v_fence orders such stores before later ones. */
INLINE void v_stream(float *to, vec x)
{
    _mm512_stream_ps(to, x);
}

INLINE vmask v_first(int32_t n)
{
    return (vmask)((1u << n) - 1u);
}

/* The first n values, 0 <= n <= VEC; no other is touched, and loaded as zero. */
INLINE vec v_load_part(const float *x, int32_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), x);
}

INLINE void v_store_part(float *to, vec x, int32_t n)
{
    _mm512_mask_storeu_ps(to, v_first(n), x);
}

INLINE vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

INLINE vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

INLINE vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

INLINE vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* a b + c */
INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a b - c */
INLINE vec v_fms(vec a, vec b, vec c)
{
    return _mm512_fmsub_ps(a, b, c);
}

/* a > b ? a : b */
INLINE vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vmask v_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

INLINE vmask v_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* Is it true in some lane? */
INLINE bool v_any(vmask c)
{
    return c != 0;
}

/* c ? a : b */
INLINE vec v_select(vmask c, vec a, vec b)
{
    return _mm512_mask_mov_ps(b, c, a);
}

/* c ? 0 : x */
INLINE vec v_drop(vmask c, vec x)
{
    return _mm512_maskz_mov_ps((vmask)~c, x);
}

/* gqa__flush */
INLINE vec v_flush(vec x)
{
    const ivec u = _mm512_castps_si512(x);
    const vmask denormal = _mm512_testn_epi32_mask(u, _mm512_set1_epi32(0x7f800000));
    const ivec sign = _mm512_set1_epi32(INT32_MIN);

    return _mm512_castsi512_ps(_mm512_mask_and_epi32(u, denormal, u, sign));
}

INLINE vec v_canonical(vec x)
{
    return canonical(x);
}

/* Rounded to bf16 and back; NaN canonical. */
INLINE vec v_round_bf16(vec x)
{
    const ivec u = _mm512_castps_si512(x);
    const ivec odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const ivec sum = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const ivec kept = _mm512_and_si512(sum, _mm512_set1_epi32((int)0xffff0000u));
    const vmask nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);

    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(kept, nan, _mm512_set1_epi32(0x7fc00000)));
}

/* The upper halves of x [VEC]. */
INLINE void v_store_bf16(uint16_t *to, vec x)
{
    const ivec upper = _mm512_srli_epi32(_mm512_castps_si512(x), 16);
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(upper));
}

/* x [VEC] of another format. */
INLINE vec v_load_bf16(const uint16_t *x)
{
    const ivec wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE vec v_load_f16(const uint16_t *x)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}

/* VEC codes of e4m3: gqa__e4m3_value. A code with its bits moved is an f16 that is 256 times
 * smaller, which no floating-point mode flushes as it is converted. */
INLINE vec v_load_e4m3(const uint8_t *x)
{
    const __m128i code = _mm_loadu_si128((const __m128i *)x);
    const __mmask16 number = _mm_cmpneq_epi8_mask(_mm_add_epi8(code, code), _mm_set1_epi8(-2));
    const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(code), 7);
    const vec small = _mm512_cvtph_ps(_mm256_and_si256(moved, _mm256_set1_epi16(-0x4001)));
    const vec nan = _mm512_castsi512_ps(_mm512_set1_epi32(GQA__NAN_BITS));

    return _mm512_mask_mul_ps(nan, number, small, _mm512_set1_ps(256.0f));
}

INLINE __m256i f16_of(vec x)
{
    /* With a mask of all: gcc's own word for that is -1, of which it warns without optimisation. */
    return _mm512_maskz_cvtps_ph((__mmask16)0xffff, x,
                                 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x [VEC] rounded to f16. */
INLINE void v_store_f16(uint16_t *to, vec x)
{
    _mm256_storeu_si256((__m256i *)to, f16_of(x));
}

/* Pairs of bf16, even in the lower halves; both are rounded already. */
INLINE vec v_pair_bf16(vec even, vec odd)
{
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                               _mm512_castps_si512(odd)));
}

/* Pairs of f16, even in the lower halves. */
INLINE vec v_pair_f16(vec even, vec odd)
{
    const ivec below = _mm512_cvtepu16_epi32(f16_of(even));
    const ivec above = _mm512_cvtepu16_epi32(f16_of(odd));

    return _mm512_castsi512_ps(_mm512_or_si512(below, _mm512_slli_epi32(above, 16)));
}

/* Rounded to f16 and back. */
INLINE vec v_round_f16(vec x)
{
    return _mm512_cvtph_ps(f16_of(x));
}

/* v_split: the values at even and at odd places of lo and hi, 2 VEC values. v_join: back. */
INLINE void v_split(vec lo, vec hi, vec *even, vec *odd)
{
    const ivec at = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);

    *even = _mm512_permutex2var_ps(lo, at, hi);
    *odd = _mm512_permutex2var_ps(lo, _mm512_add_epi32(at, _mm512_set1_epi32(1)), hi);
}

INLINE void v_join(vec even, vec odd, vec *lo, vec *hi)
{
    const ivec at = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);

    *lo = _mm512_permutex2var_ps(even, at, odd);
    *hi = _mm512_permutex2var_ps(even, _mm512_add_epi32(at, _mm512_set1_epi32(8)), odd);
}

/* gqa__power_of_two */
INLINE vec v_power_of_two(vec shifted)
{
    const ivec n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(0x3f800000)));
}

INLINE ivec v_load_int(const int32_t *x)
{
    return _mm512_loadu_si512(x);
}

/* key < lo or hi <= key */
INLINE vmask v_outside(ivec lo, ivec hi, int32_t key)
{
    const ivec at = _mm512_set1_epi32(key);
    return _mm512_cmpgt_epi32_mask(lo, at) | _mm512_cmple_epi32_mask(hi, at);
}

/* --- integers, for kernel/vector/integer.h ---------------------------------------------------- */

INLINE ivec i_zero(void)
{
    return _mm512_setzero_si512();
}

INLINE ivec i_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE void i_store(int32_t *to, ivec x)
{
    _mm512_storeu_si512(to, x);
}

/* sum + a0 b0 + a1 b1, where each value is a pair of int16. */
INLINE ivec i_dot(ivec sum, ivec a, ivec b)
{
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(sum, a, b);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

INLINE ivec i_max(ivec a, ivec b)
{
    return _mm512_max_epi32(a, b);
}

/* The pair of the lower halves of a and b. */
INLINE ivec i_pair(ivec a, ivec b)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaau, a, _mm512_slli_epi32(b, 16));
}

/* The bits of |x|, and back. */
INLINE ivec i_size(vec x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

INLINE vec v_of_bits(ivec x)
{
    return _mm512_castsi512_ps(x);
}

INLINE vec v_of_int(ivec x)
{
    return _mm512_cvtepi32_ps(x);
}

/* To nearest even; x is in range. */
INLINE ivec i_of_vec(vec x)
{
    return _mm512_cvtps_epi32(x);
}

/* Two numbers that lie one after the other, in turns in all lanes. */
INLINE ivec i_set_two(const int32_t *x)
{
    int64_t both;
    memcpy(&both, x, sizeof both);
    return _mm512_set1_epi64(both);
}

INLINE vec v_set_two(const float *x)
{
    double both;
    memcpy(&both, x, sizeof both);
    return _mm512_castpd_ps(_mm512_set1_pd(both));
}

/* The same of four. */
INLINE vec v_set_four(const float *x)
{
    return _mm512_broadcast_f32x4(_mm_loadu_ps(x));
}

/* Lanes 2 i and 2 i + 1 change places. */
INLINE vec v_swap(vec x)
{
    return _mm512_permute_ps(x, 0xb1);
}

/* Lane 2 i in lane 2 i + 1 too. */
INLINE vec v_twice_even(vec x)
{
    return _mm512_moveldup_ps(x);
}

INLINE ivec i_of_bits(vec x)
{
    return _mm512_castps_si512(x);
}

/* VEC integers. */
INLINE ivec i_load_i8(const int8_t *x)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)x));
}

/* 2 VEC integers as pairs. */
INLINE ivec i_load_i8_pairs(const int8_t *x)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)x));
}

/* Four parts of 16 bytes, `stride` bytes from one to the next. */
INLINE ivec i8_load_parts(const int8_t *x, int64_t stride)
{
    const ivec one = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)x));
    const ivec two = _mm512_inserti32x4(one, _mm_loadu_si128((const __m128i *)(x + stride)), 1);
    const ivec three =
        _mm512_inserti32x4(two, _mm_loadu_si128((const __m128i *)(x + 2 * stride)), 2);

    return _mm512_inserti32x4(three, _mm_loadu_si128((const __m128i *)(x + 3 * stride)), 3);
}

/* 4 VEC bytes. */
INLINE void i8_store(int8_t *to, ivec x)
{
    _mm512_storeu_si512(to, x);
}

/* In each part the bytes of a and b in turns: those of the lower halves, or of the upper ones. */
INLINE ivec i8_zip_low(ivec a, ivec b)
{
    return _mm512_unpacklo_epi8(a, b);
}

INLINE ivec i8_zip_high(ivec a, ivec b)
{
    return _mm512_unpackhi_epi8(a, b);
}

/* The transpose of r [VEC][VEC]. */
INLINE void v_transpose(vec r[VEC])
{
    __m512i bits[16];

    for (int i = 0; i < 16; i++) {
        bits[i] = _mm512_castps_si512(r[i]);
    }
    transpose16(bits);
    for (int i = 0; i < 16; i++) {
        r[i] = _mm512_castsi512_ps(bits[i]);
    }
}

#endif
