/* SPDX-License-Identifier: Apache-2.0 */
/* words_neon.h - vectors of 8 f32 in the words of kernel/vector. AArch64, where NEON is baseline.
 *
 * A vector is a pair of registers, so that a product keeps 6 rows of 16 values in 24 of the 32.
 */
#ifndef GQA__KERNEL_VECTOR_WORDS_NEON_H
#define GQA__KERNEL_VECTOR_WORDS_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/number.h"
#include "gqa/config.h"
#include "kernel/contract/inline.h"

/* The kernel set that is made of these vectors. */
#define VECTOR_NAME "neon/f32"
#define VECTOR_ISA  GQA_ISA_NEON

typedef struct vec {
    float32x4_t lo, hi;
} vec;

typedef struct ivec {
    int32x4_t lo, hi;
} ivec;

/* All bits of a value, or none. */
typedef struct vmask {
    uint32x4_t lo, hi;
} vmask;

enum {
    VECTOR_TOKENS = 96, /* tokens of a block of a projection */
    VEC = 8,            /* values of a vector */
    GROUP_ROWS = 6,     /* rows of a product in registers, two vectors wide: 24 of 32 registers */
    MOST_ROWS = GROUP_ROWS /* rows of a product that has many */
};

INLINE vec v_set(float x)
{
    const float32x4_t all = vdupq_n_f32(x);
    return (vec){all, all};
}

INLINE vec v_zero(void)
{
    return v_set(0.0f);
}

INLINE vec v_load(const float *x)
{
    return (vec){vld1q_f32(x), vld1q_f32(x + 4)};
}

/* VEC integers as f32. */
INLINE vec v_load_i8(const int8_t *x)
{
    const int16x8_t wide = vmovl_s8(vld1_s8(x));
    return (vec){vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                 vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide)))};
}

INLINE void v_store(float *to, vec x)
{
    vst1q_f32(to, x.lo);
    vst1q_f32(to + 4, x.hi);
}

/* Elsewhere past the caches and ordered by v_fence; NEON has plain stores only. */
INLINE void v_stream(float *to, vec x)
{
    v_store(to, x);
}

INLINE void v_fence(void)
{
}

/* The first n values, 0 <= n <= VEC; no other is touched, and loaded as zero. */
INLINE vec v_load_part(const float *x, int32_t n)
{
    float part[VEC] = {0.0f};

    if (n == VEC) {
        return v_load(x);
    }
    for (int32_t i = 0; i < n; i++) {
        part[i] = x[i];
    }
    return v_load(part);
}

INLINE void v_store_part(float *to, vec x, int32_t n)
{
    float part[VEC];

    if (n == VEC) {
        v_store(to, x);
        return;
    }
    v_store(part, x);
    for (int32_t i = 0; i < n; i++) {
        to[i] = part[i];
    }
}

INLINE vec v_add(vec a, vec b)
{
    return (vec){vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}

INLINE vec v_sub(vec a, vec b)
{
    return (vec){vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)};
}

INLINE vec v_mul(vec a, vec b)
{
    return (vec){vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)};
}

INLINE vec v_div(vec a, vec b)
{
    return (vec){vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)};
}

/* a b + c */
INLINE vec v_fma(vec a, vec b, vec c)
{
    return (vec){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}

/* a b - c */
INLINE vec v_fms(vec a, vec b, vec c)
{
    return v_fma(a, b, (vec){vnegq_f32(c.lo), vnegq_f32(c.hi)});
}

/* c ? a : b */
INLINE vec v_select(vmask c, vec a, vec b)
{
    return (vec){vbslq_f32(c.lo, a.lo, b.lo), vbslq_f32(c.hi, a.hi, b.hi)};
}

/* a > b ? a : b; fmax would choose otherwise between zeros and at NaN. */
INLINE vec v_max(vec a, vec b)
{
    return v_select((vmask){vcgtq_f32(a.lo, b.lo), vcgtq_f32(a.hi, b.hi)}, a, b);
}

INLINE vmask v_less(vec a, vec b)
{
    return (vmask){vcltq_f32(a.lo, b.lo), vcltq_f32(a.hi, b.hi)};
}

INLINE vmask v_equal(vec a, vec b)
{
    return (vmask){vceqq_f32(a.lo, b.lo), vceqq_f32(a.hi, b.hi)};
}

/* Is it true in some lane? */
INLINE bool v_any(vmask c)
{
    return vmaxvq_u32(vorrq_u32(c.lo, c.hi)) != 0;
}

INLINE float32x4_t drop4(uint32x4_t c, float32x4_t x)
{
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), c));
}

/* c ? 0 : x */
INLINE vec v_drop(vmask c, vec x)
{
    return (vec){drop4(c.lo, x.lo), drop4(c.hi, x.hi)};
}

INLINE float32x4_t flush4(float32x4_t x)
{
    const uint32x4_t u = vreinterpretq_u32_f32(x);
    const uint32x4_t denormal = vceqzq_u32(vandq_u32(u, vdupq_n_u32(0x7f800000u)));
    const uint32x4_t value = vandq_u32(denormal, vdupq_n_u32(0x7fffffffu)); /* bits to clear */

    return vreinterpretq_f32_u32(vbicq_u32(u, value));
}

/* gqa__flush */
INLINE vec v_flush(vec x)
{
    return (vec){flush4(x.lo), flush4(x.hi)};
}

INLINE float32x4_t canonical4(float32x4_t x)
{
    const float32x4_t nan = vreinterpretq_f32_u32(vdupq_n_u32(GQA__NAN_BITS));
    return vbslq_f32(vceqq_f32(x, x), x, nan);
}

INLINE vec v_canonical(vec x)
{
    return (vec){canonical4(x.lo), canonical4(x.hi)};
}

INLINE float32x4_t round_bf16_4(float32x4_t x)
{
    const uint32x4_t u = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t sum = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    const uint32x4_t kept = vandq_u32(sum, vdupq_n_u32(0xffff0000u));

    return vreinterpretq_f32_u32(vbslq_u32(vceqq_f32(x, x), kept, vdupq_n_u32(GQA__NAN_BITS)));
}

/* Rounded to bf16 and back; NaN canonical. */
INLINE vec v_round_bf16(vec x)
{
    return (vec){round_bf16_4(x.lo), round_bf16_4(x.hi)};
}

/* The upper halves of x [VEC]. */
INLINE void v_store_bf16(uint16_t *to, vec x)
{
    vst1_u16(to, vshrn_n_u32(vreinterpretq_u32_f32(x.lo), 16));
    vst1_u16(to + 4, vshrn_n_u32(vreinterpretq_u32_f32(x.hi), 16));
}

/* x [VEC] of another format. */
INLINE vec v_load_bf16(const uint16_t *x)
{
    const uint16x8_t upper = vld1q_u16(x);
    return (vec){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(upper), 16)),
                 vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(upper), 16))};
}

INLINE vec v_load_f16(const uint16_t *x)
{
    return (vec){vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))),
                 vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + 4)))};
}

/* VEC codes of e4m3: gqa__e4m3_value. A code with its bits moved is an f16 that is 256 times
 * smaller, which no floating-point mode flushes as it is converted. */
INLINE vec v_load_e4m3(const uint8_t *x)
{
    const int16x8_t code = vmovl_s8(vld1_s8((const int8_t *)x));
    const int16x8_t most = vdupq_n_s16(0x7f);
    const uint16x8_t nan = vceqq_s16(vandq_s16(code, most), most);
    const uint16x8_t moved =
        vandq_u16(vreinterpretq_u16_s16(vshlq_n_s16(code, 7)), vdupq_n_u16(0xbfff));
    const float16x8_t half = vreinterpretq_f16_u16(vbslq_u16(nan, vdupq_n_u16(0x7e00), moved));

    return (vec){vmulq_n_f32(vcvt_f32_f16(vget_low_f16(half)), 256.0f),
                 vmulq_n_f32(vcvt_f32_f16(vget_high_f16(half)), 256.0f)};
}

/* x [VEC] rounded to f16. */
INLINE void v_store_f16(uint16_t *to, vec x)
{
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(x.lo)));
    vst1_u16(to + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.hi)));
}

INLINE float32x4_t pair_bf16_4(float32x4_t even, float32x4_t odd)
{
    const uint32x4_t below = vshrq_n_u32(vreinterpretq_u32_f32(even), 16);
    return vreinterpretq_f32_u32(vorrq_u32(below, vreinterpretq_u32_f32(odd)));
}

INLINE float32x4_t pair_f16_4(float32x4_t even, float32x4_t odd)
{
    const uint32x4_t below = vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32(even)));
    const uint32x4_t above = vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32(odd)));
    return vreinterpretq_f32_u32(vsliq_n_u32(below, above, 16));
}

/* Pairs of bf16, even in the lower halves; both are rounded already. */
INLINE vec v_pair_bf16(vec even, vec odd)
{
    return (vec){pair_bf16_4(even.lo, odd.lo), pair_bf16_4(even.hi, odd.hi)};
}

/* Pairs of f16, even in the lower halves. */
INLINE vec v_pair_f16(vec even, vec odd)
{
    return (vec){pair_f16_4(even.lo, odd.lo), pair_f16_4(even.hi, odd.hi)};
}

/* Rounded to f16 and back. */
INLINE vec v_round_f16(vec x)
{
    return (vec){vcvt_f32_f16(vcvt_f16_f32(x.lo)), vcvt_f32_f16(vcvt_f16_f32(x.hi))};
}

/* v_split: the values at even and at odd places of lo and hi, 2 VEC values. v_join: back. */
INLINE void v_split(vec lo, vec hi, vec *even, vec *odd)
{
    *even = (vec){vuzp1q_f32(lo.lo, lo.hi), vuzp1q_f32(hi.lo, hi.hi)};
    *odd = (vec){vuzp2q_f32(lo.lo, lo.hi), vuzp2q_f32(hi.lo, hi.hi)};
}

INLINE void v_join(vec even, vec odd, vec *lo, vec *hi)
{
    *lo = (vec){vzip1q_f32(even.lo, odd.lo), vzip2q_f32(even.lo, odd.lo)};
    *hi = (vec){vzip1q_f32(even.hi, odd.hi), vzip2q_f32(even.hi, odd.hi)};
}

INLINE float32x4_t power_of_two4(float32x4_t shifted)
{
    const uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23);
    return vreinterpretq_f32_u32(vaddq_u32(n, vdupq_n_u32(0x3f800000u)));
}

/* gqa__power_of_two */
INLINE vec v_power_of_two(vec shifted)
{
    return (vec){power_of_two4(shifted.lo), power_of_two4(shifted.hi)};
}

INLINE ivec v_load_int(const int32_t *x)
{
    return (ivec){vld1q_s32(x), vld1q_s32(x + 4)};
}

/* key < lo or hi <= key */
INLINE vmask v_outside(ivec lo, ivec hi, int32_t key)
{
    const int32x4_t at = vdupq_n_s32(key);
    return (vmask){vorrq_u32(vcgtq_s32(lo.lo, at), vcleq_s32(hi.lo, at)),
                   vorrq_u32(vcgtq_s32(lo.hi, at), vcleq_s32(hi.hi, at))};
}

/* --- integers, for kernel/vector/integer.h ---------------------------------------------------- */

INLINE ivec i_set(int32_t x)
{
    const int32x4_t all = vdupq_n_s32(x);
    return (ivec){all, all};
}

INLINE ivec i_zero(void)
{
    return i_set(0);
}

INLINE void i_store(int32_t *to, ivec x)
{
    vst1q_s32(to, x.lo);
    vst1q_s32(to + 4, x.hi);
}

INLINE int32x4_t dot4(int32x4_t sum, int32x4_t a, int32x4_t b)
{
    const int16x8_t c = vreinterpretq_s16_s32(a), d = vreinterpretq_s16_s32(b);
    const int32x4_t low = vmull_s16(vget_low_s16(c), vget_low_s16(d));

    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(c, d)));
}

/* sum + a0 b0 + a1 b1, where each value is a pair of int16. */
INLINE ivec i_dot(ivec sum, ivec a, ivec b)
{
    return (ivec){dot4(sum.lo, a.lo, b.lo), dot4(sum.hi, a.hi, b.hi)};
}

INLINE ivec i_max(ivec a, ivec b)
{
    return (ivec){vmaxq_s32(a.lo, b.lo), vmaxq_s32(a.hi, b.hi)};
}

/* The pair of the lower halves of a and b. */
INLINE ivec i_pair(ivec a, ivec b)
{
    return (ivec){vsliq_n_s32(a.lo, b.lo, 16), vsliq_n_s32(a.hi, b.hi, 16)};
}

INLINE int32x4_t size4(float32x4_t x)
{
    return vandq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(0x7fffffff));
}

/* The bits of |x|, and back. */
INLINE ivec i_size(vec x)
{
    return (ivec){size4(x.lo), size4(x.hi)};
}

INLINE vec v_of_bits(ivec x)
{
    return (vec){vreinterpretq_f32_s32(x.lo), vreinterpretq_f32_s32(x.hi)};
}

INLINE vec v_of_int(ivec x)
{
    return (vec){vcvtq_f32_s32(x.lo), vcvtq_f32_s32(x.hi)};
}

/* To nearest even; x is in range. */
INLINE ivec i_of_vec(vec x)
{
    return (ivec){vcvtnq_s32_f32(x.lo), vcvtnq_s32_f32(x.hi)};
}

/* Two numbers that lie one after the other, in turns in all lanes. */
INLINE ivec i_set_two(const int32_t *x)
{
    const int32x2_t two = vld1_s32(x);
    const int32x4_t all = vcombine_s32(two, two);
    return (ivec){all, all};
}

INLINE vec v_set_two(const float *x)
{
    const float32x2_t two = vld1_f32(x);
    const float32x4_t all = vcombine_f32(two, two);
    return (vec){all, all};
}

/* The same of four. */
INLINE vec v_set_four(const float *x)
{
    const float32x4_t all = vld1q_f32(x);
    return (vec){all, all};
}

/* Lanes 2 i and 2 i + 1 change places. */
INLINE vec v_swap(vec x)
{
    return (vec){vrev64q_f32(x.lo), vrev64q_f32(x.hi)};
}

/* Lane 2 i in lane 2 i + 1 too. */
INLINE vec v_twice_even(vec x)
{
    return (vec){vtrn1q_f32(x.lo, x.lo), vtrn1q_f32(x.hi, x.hi)};
}

INLINE ivec i_of_bits(vec x)
{
    return (ivec){vreinterpretq_s32_f32(x.lo), vreinterpretq_s32_f32(x.hi)};
}

/* VEC integers. */
INLINE ivec i_load_i8(const int8_t *x)
{
    const int16x8_t wide = vmovl_s8(vld1_s8(x));
    return (ivec){vmovl_s16(vget_low_s16(wide)), vmovl_s16(vget_high_s16(wide))};
}

/* 2 VEC integers as pairs. */
INLINE ivec i_load_i8_pairs(const int8_t *x)
{
    const int8x16_t all = vld1q_s8(x);
    return (ivec){vreinterpretq_s32_s16(vmovl_s8(vget_low_s8(all))),
                  vreinterpretq_s32_s16(vmovl_high_s8(all))};
}

/* 16 bytes of two int4 each to 32 int8: the lower halves, then the upper ones. */
INLINE void i8_of_halves(int8_t *to, const unsigned char *from)
{
    const uint8x16_t x = vld1q_u8(from);

    vst1q_s8(to, vshrq_n_s8(vreinterpretq_s8_u8(vshlq_n_u8(x, 4)), 4));
    vst1q_s8(to + 16, vshrq_n_s8(vreinterpretq_s8_u8(x), 4));
}

/* Two parts of 16 bytes, `stride` bytes from one to the next. */
INLINE ivec i8_load_parts(const int8_t *x, int64_t stride)
{
    return (ivec){vreinterpretq_s32_s8(vld1q_s8(x)), vreinterpretq_s32_s8(vld1q_s8(x + stride))};
}

/* 4 VEC bytes. */
INLINE void i8_store(int8_t *to, ivec x)
{
    vst1q_s8(to, vreinterpretq_s8_s32(x.lo));
    vst1q_s8(to + 16, vreinterpretq_s8_s32(x.hi));
}

INLINE int32x4_t zip_low4(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s8(vzip1q_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}

INLINE int32x4_t zip_high4(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_s8(vzip2q_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}

/* In each part the bytes of a and b in turns: those of the lower halves, or of the upper ones. */
INLINE ivec i8_zip_low(ivec a, ivec b)
{
    return (ivec){zip_low4(a.lo, b.lo), zip_low4(a.hi, b.hi)};
}

INLINE ivec i8_zip_high(ivec a, ivec b)
{
    return (ivec){zip_high4(a.lo, b.lo), zip_high4(a.hi, b.hi)};
}

/* at may be any address. */
INLINE void v_prefetch(uintptr_t at)
{
    __builtin_prefetch((const void *)at, 0, 2);
}

/* The transpose of r [4][4]. */
INLINE void transpose4(float32x4_t r[4])
{
    const float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]); /* pairs of rows */
    const float32x4_t c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);

    r[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    r[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    r[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    r[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
}

/* The transpose of r [VEC][VEC]: of each quarter, and the upper right one changes places with the
 * lower left one. */
INLINE void v_transpose(vec r[VEC])
{
    float32x4_t quarter[4][4];

    for (int i = 0; i < 4; i++) {
        quarter[0][i] = r[i].lo;
        quarter[1][i] = r[i + 4].lo;
        quarter[2][i] = r[i].hi;
        quarter[3][i] = r[i + 4].hi;
    }
    for (int i = 0; i < 4; i++) {
        transpose4(quarter[i]);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = (vec){quarter[0][i], quarter[1][i]};
        r[i + 4] = (vec){quarter[2][i], quarter[3][i]};
    }
}

#endif
