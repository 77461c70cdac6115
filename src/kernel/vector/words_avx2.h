/* SPDX-License-Identifier: Apache-2.0 */
/* words_avx2.h - vectors of 8 f32 in the words of kernel/vector. Needs AVX2, FMA and F16C. */
#ifndef GQA__KERNEL_VECTOR_WORDS_AVX2_H
#define GQA__KERNEL_VECTOR_WORDS_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/number.h"
#include "gqa/config.h"
#include "kernel/contract/inline.h"
#include "kernel/vector/words_x86.h"

/* The kernel set that is made of these vectors. */
#define VECTOR_NAME "avx2/f32"
#define VECTOR_ISA  GQA_ISA_AVX2

typedef __m256 vec;
typedef __m256i ivec;
typedef __m256 vmask; /* all bits of a value, or none */

enum {
    VECTOR_TOKENS = 96, /* tokens of a block of a projection */
    VEC = 8,            /* values of a vector */
    GROUP_ROWS = 6,     /* rows of a product in registers, two vectors wide: 12 of 16 registers */
    MOST_ROWS = GROUP_ROWS /* rows of a product that has many */
};

INLINE vec v_zero(void)
{
    return _mm256_setzero_ps();
}

INLINE vec v_set(float x)
{
    return _mm256_set1_ps(x);
}

INLINE vec v_load(const float *x)
{
    return _mm256_loadu_ps(x);
}

/* VEC integers as f32. */
INLINE vec v_load_i8(const int8_t *x)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)x)));
}

INLINE void v_store(float *to, vec x)
{
    _mm256_storeu_ps(to, x);
}

/* Past the caches; to is aligned to a vector. v_fence orders such stores before later ones. */
INLINE void v_stream(float *to, vec x)
{
    _mm256_stream_ps(to, x);
}

INLINE __m256i v_first(int32_t n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
}

/* The first n values, 0 <= n <= VEC; no other is touched, and loaded as zero. */
INLINE vec v_load_part(const float *x, int32_t n)
{
    return _mm256_maskload_ps(x, v_first(n));
}

INLINE void v_store_part(float *to, vec x, int32_t n)
{
    _mm256_maskstore_ps(to, v_first(n), x);
}

INLINE vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

INLINE vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

INLINE vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

INLINE vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* a b + c */
INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* a b - c */
INLINE vec v_fms(vec a, vec b, vec c)
{
    return _mm256_fmsub_ps(a, b, c);
}

/* a > b ? a : b */
INLINE vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vmask v_less(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

INLINE vmask v_equal(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}

/* Is it true in some lane? */
INLINE bool v_any(vmask c)
{
    return _mm256_movemask_ps(c) != 0;
}

/* c ? a : b */
INLINE vec v_select(vmask c, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, c);
}

/* c ? 0 : x */
INLINE vec v_drop(vmask c, vec x)
{
    return _mm256_andnot_ps(c, x);
}

/* gqa__flush */
INLINE vec v_flush(vec x)
{
    const ivec exponent = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7f800000));
    const ivec denormal = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
    const ivec value = _mm256_and_si256(denormal, _mm256_set1_epi32(INT32_MAX)); /* bits to clear */

    return _mm256_andnot_ps(_mm256_castsi256_ps(value), x);
}

INLINE vec v_canonical(vec x)
{
    const vmask nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return v_select(nan, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), x);
}

/* Rounded to bf16 and back; NaN canonical. */
INLINE vec v_round_bf16(vec x)
{
    const ivec u = _mm256_castps_si256(x);
    const ivec odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const ivec sum = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const ivec kept = _mm256_and_si256(sum, _mm256_set1_epi32((int)0xffff0000u));
    const vmask nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);

    return v_select(nan, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                    _mm256_castsi256_ps(kept));
}

/* The upper halves of x [VEC]. */
INLINE void v_store_bf16(uint16_t *to, vec x)
{
    const ivec upper = _mm256_srli_epi32(_mm256_castps_si256(x), 16);
    const ivec packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 0x08);
    _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(packed));
}

/* x [VEC] of another format. */
INLINE vec v_load_bf16(const uint16_t *x)
{
    const ivec wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

INLINE vec v_load_f16(const uint16_t *x)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}

/* VEC codes of e4m3: gqa__e4m3_value. A code with its bits moved is an f16 that is 256 times
 * smaller, which no floating-point mode flushes as it is converted. */
INLINE vec v_load_e4m3(const uint8_t *x)
{
    const __m128i code = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)x));
    const __m128i most = _mm_set1_epi16(0x7f);
    const __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(code, most), most);
    const __m128i moved = _mm_and_si128(_mm_slli_epi16(code, 7), _mm_set1_epi16(-0x4001));
    const __m128i half = _mm_blendv_epi8(moved, _mm_set1_epi16(0x7e00), nan);

    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
}

/* x [VEC] rounded to f16. */
INLINE void v_store_f16(uint16_t *to, vec x)
{
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

/* Pairs of bf16, even in the lower halves; both are rounded already. */
INLINE vec v_pair_bf16(vec even, vec odd)
{
    const ivec below = _mm256_srli_epi32(_mm256_castps_si256(even), 16);

    return _mm256_castsi256_ps(_mm256_or_si256(below, _mm256_castps_si256(odd)));
}

/* Pairs of f16, even in the lower halves. */
INLINE vec v_pair_f16(vec even, vec odd)
{
    const __m128i low = _mm256_cvtps_ph(even, _MM_FROUND_TO_NEAREST_INT);
    const __m128i high = _mm256_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT);
    const ivec below = _mm256_cvtepu16_epi32(low), above = _mm256_cvtepu16_epi32(high);

    return _mm256_castsi256_ps(_mm256_or_si256(below, _mm256_slli_epi32(above, 16)));
}

/* Rounded to f16 and back. */
INLINE vec v_round_f16(vec x)
{
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vec swap_middle(vec x)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
}

/* v_split: the values at even and at odd places of lo and hi, 2 VEC values. v_join: back. */
INLINE void v_split(vec lo, vec hi, vec *even, vec *odd)
{
    *even = swap_middle(_mm256_shuffle_ps(lo, hi, 0x88));
    *odd = swap_middle(_mm256_shuffle_ps(lo, hi, 0xdd));
}

INLINE void v_join(vec even, vec odd, vec *lo, vec *hi)
{
    const vec e = swap_middle(even), o = swap_middle(odd);

    *lo = _mm256_unpacklo_ps(e, o);
    *hi = _mm256_unpackhi_ps(e, o);
}

/* gqa__power_of_two */
INLINE vec v_power_of_two(vec shifted)
{
    const ivec n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
}

INLINE ivec v_load_int(const int32_t *x)
{
    return _mm256_loadu_si256((const __m256i *)x);
}

/* key < lo or hi <= key */
INLINE vmask v_outside(ivec lo, ivec hi, int32_t key)
{
    const ivec at = _mm256_set1_epi32(key);
    const ivec inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(lo, at), _mm256_cmpgt_epi32(hi, at));
    return _mm256_castsi256_ps(_mm256_xor_si256(inside, _mm256_set1_epi32(-1)));
}

/* --- integers, for kernel/vector/integer.h ---------------------------------------------------- */

INLINE ivec i_zero(void)
{
    return _mm256_setzero_si256();
}

INLINE ivec i_set(int32_t x)
{
    return _mm256_set1_epi32(x);
}

INLINE void i_store(int32_t *to, ivec x)
{
    _mm256_storeu_si256((__m256i *)to, x);
}

/* sum + a0 b0 + a1 b1, where each value is a pair of int16. */
INLINE ivec i_dot(ivec sum, ivec a, ivec b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

INLINE ivec i_max(ivec a, ivec b)
{
    return _mm256_max_epi32(a, b);
}

/* The pair of the lower halves of a and b. */
INLINE ivec i_pair(ivec a, ivec b)
{
    return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa);
}

/* The bits of |x|, and back. */
INLINE ivec i_size(vec x)
{
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

INLINE vec v_of_bits(ivec x)
{
    return _mm256_castsi256_ps(x);
}

INLINE vec v_of_int(ivec x)
{
    return _mm256_cvtepi32_ps(x);
}

/* To nearest even; x is in range. */
INLINE ivec i_of_vec(vec x)
{
    return _mm256_cvtps_epi32(x);
}

/* Two numbers that lie one after the other, in turns in all lanes. */
INLINE ivec i_set_two(const int32_t *x)
{
    int64_t both;
    memcpy(&both, x, sizeof both);
    return _mm256_set1_epi64x(both);
}

INLINE vec v_set_two(const float *x)
{
    double both;
    memcpy(&both, x, sizeof both);
    return _mm256_castpd_ps(_mm256_set1_pd(both));
}

/* The same of four. */
INLINE vec v_set_four(const float *x)
{
    return _mm256_broadcast_ps((const __m128 *)(const void *)x);
}

/* Lanes 2 i and 2 i + 1 change places. */
INLINE vec v_swap(vec x)
{
    return _mm256_permute_ps(x, 0xb1);
}

/* Lane 2 i in lane 2 i + 1 too. */
INLINE vec v_twice_even(vec x)
{
    return _mm256_moveldup_ps(x);
}

INLINE ivec i_of_bits(vec x)
{
    return _mm256_castps_si256(x);
}

/* VEC integers. */
INLINE ivec i_load_i8(const int8_t *x)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)x));
}

/* 2 VEC integers as pairs. */
INLINE ivec i_load_i8_pairs(const int8_t *x)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)x));
}

/* Two parts of 16 bytes, `stride` bytes from one to the next. */
INLINE ivec i8_load_parts(const int8_t *x, int64_t stride)
{
    const ivec one = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)x));

    return _mm256_inserti128_si256(one, _mm_loadu_si128((const __m128i *)(x + stride)), 1);
}

/* 4 VEC bytes. */
INLINE void i8_store(int8_t *to, ivec x)
{
    _mm256_storeu_si256((__m256i *)to, x);
}

/* In each part the bytes of a and b in turns: those of the lower halves, or of the upper ones. */
INLINE ivec i8_zip_low(ivec a, ivec b)
{
    return _mm256_unpacklo_epi8(a, b);
}

INLINE ivec i8_zip_high(ivec a, ivec b)
{
    return _mm256_unpackhi_epi8(a, b);
}

/* The transpose of r [VEC][VEC]. */
INLINE void v_transpose(vec r[VEC])
{
    vec t[8], u[8];

    for (int i = 0; i < 8; i += 2) { /* pairs of rows */
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* fours */
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) { /* eights */
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

#endif
