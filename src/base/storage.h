/* SPDX-License-Identifier: Apache-2.0 */
/* storage.h - the types that a cache stores K and V as: how large rows are, and their scales.
 *
 * A row, K or V of one token and head, is its elements, or, of the scaled types, codes with scales.
 * An element is its code's value times the scale.
 *
 *   I8              int8_t                                      one scale
 *   I4              two's complement in 4 bits, in groups of    one scale for each group
 *                   32 elements: byte j of a group's 16 has
 *                   element j below and element j + 16 above
 *   E4M3, E4M3_240  sign, 4 bits of exponent, 3 of fraction     one scale
 *
 * I8 and I4 are integer types: their products are those of kernel/contract/integer.h. A scale is 0
 * or normal, or NaN: then so is all that it scales.
 */
#ifndef GQA__STORAGE_H
#define GQA__STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/number.h"
#include "gqa/types.h"

#define GQA__I4_GROUP       32 /* elements of one scale */
#define GQA__I4_GROUP_BYTES 16
#define GQA__ROW_SCALES     16       /* most scales of a row: 512 elements of I4 */
#define GQA__LARGE_SCALE    0x1p+55f /* of E4M3: from here on an element may be 2^64 or more */

static inline bool gqa__integer(gqa_dtype type)
{
    return type == GQA_I8 || type == GQA_I4;
}

static inline bool gqa__e4m3(gqa_dtype type)
{
    return type == GQA_E4M3 || type == GQA_E4M3_240;
}

static inline bool gqa__scaled(gqa_dtype type)
{
    return gqa__integer(type) || gqa__e4m3(type);
}

static inline bool gqa__stores(gqa_dtype type)
{
    return type == GQA_F32 || type == GQA_BF16 || type == GQA_F16 || gqa__scaled(type);
}

/* Groups of a row of dim elements that have a scale each. */
static inline int32_t gqa__row_scales(gqa_dtype type, int32_t dim)
{
    if (type == GQA_I4) {
        return dim / GQA__I4_GROUP + (dim % GQA__I4_GROUP != 0 ? 1 : 0);
    }
    return gqa__scaled(type) ? 1 : 0;
}

/* Elements of such a group. */
static inline int32_t gqa__scale_group(gqa_dtype type, int32_t dim)
{
    return type == GQA_I4 ? GQA__I4_GROUP : dim;
}

/* Bytes of n elements that follow one another, from the first of a group on. */
static inline size_t gqa__stored_bytes(gqa_dtype type, int64_t n)
{
    switch (type) {
    case GQA_F32:
        return (size_t)n * 4;
    case GQA_I8:
    case GQA_E4M3:
    case GQA_E4M3_240:
        return (size_t)n;
    case GQA_I4:
        return (size_t)((n + GQA__I4_GROUP - 1) / GQA__I4_GROUP) * GQA__I4_GROUP_BYTES;
    default:
        return (size_t)n * 2;
    }
}

/* --- codes ----------------------------------------------------------------------------------- */

/* All bits, or none: for a choice that loops make without a branch. */
static inline uint32_t gqa__all_bits(int yes)
{
    return 0u - (uint32_t)yes;
}

/* Magnitudes up to 0x7e, 448; 0x7f is the canonical NaN, whatever its sign. Without arithmetic on
 * denormals. */
static inline float gqa__e4m3_value(uint8_t code)
{
    const uint32_t size = code & 0x7fu, sign = (uint32_t)(code & 0x80u) << 24;
    const uint32_t fine = gqa__f32_bits((float)(int32_t)size * 0x1p-9f); /* below 2^-6 */
    const uint32_t normal = (size << 20) + (120u << 23), low = gqa__all_bits(size < 8u);
    const uint32_t nan = gqa__all_bits(size == 0x7fu);
    const uint32_t value = sign | (fine & low) | (normal & ~low);

    return gqa__f32_from_bits((value & ~nan) | (GQA__NAN_BITS & nan));
}

/* To nearest even; sizes beyond that of the code `most` become it. x is a number. */
static inline uint8_t gqa__e4m3_code(float x, uint32_t most)
{
    const uint32_t u = gqa__f32_bits(x), magnitude = u & 0x7fffffffu;
    /* Below 2^-6 codes are multiples of 2^-9, the last place of a sum with 2^14. */
    const uint32_t fine =
        gqa__f32_bits(gqa__f32_from_bits(magnitude) + 0x1p14f) - gqa__f32_bits(0x1p14f);
    const uint32_t normal = ((magnitude + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20) - (120u << 3);
    const uint32_t low = gqa__all_bits(magnitude < (121u << 23));
    const uint32_t size = (fine & low) | (normal & ~low), large = gqa__all_bits(size > most);

    return (uint8_t)((u >> 24 & 0x80u) | (size & ~large) | (most & large));
}

/* Where element i of int4 lies: its byte, and how far up in it. */
static inline int64_t gqa__i4_byte(int64_t i)
{
    return i / GQA__I4_GROUP * GQA__I4_GROUP_BYTES + i % GQA__I4_GROUP_BYTES;
}

static inline int gqa__i4_shift(int64_t i)
{
    return (int)(i % GQA__I4_GROUP / GQA__I4_GROUP_BYTES) * 4;
}

/* Element i of a row of codes. */
static inline float gqa__code_value(gqa_dtype type, const uint8_t *code, int64_t i)
{
    if (type == GQA_I8) {
        return (float)(int8_t)code[i];
    }
    if (type == GQA_I4) {
        const uint32_t nibble = (uint32_t)code[gqa__i4_byte(i)] >> gqa__i4_shift(i) & 15u;
        return (float)((int32_t)(nibble ^ 8u) - 8);
    }
    return gqa__e4m3_value(code[i]);
}

/* --- scales ---------------------------------------------------------------------------------- */

/* The largest code's value. */
static inline float gqa__code_limit(gqa_dtype type)
{
    return type == GQA_I8 ? 127.0f : type == GQA_I4 ? 7.0f : type == GQA_E4M3 ? 448.0f : 240.0f;
}

/* Of values of which `largest` is the largest size: NaN if it is not finite. */
static inline float gqa__scale_of(gqa_dtype type, float largest)
{
    const float scale = largest / gqa__code_limit(type);

    if (!(largest <= 0x1.fffffep+127f)) {
        return gqa__f32_from_bits(GQA__NAN_BITS);
    }
    return scale < 0x1p-126f ? 0.0f : scale;
}

/* Is it one that rows may have? */
static inline bool gqa__scale_sound(float scale)
{
    const uint32_t u = gqa__f32_bits(scale);

    return u == GQA__NAN_BITS || u == 0 || (u >= 0x00800000u && u < 0x7f800000u);
}

/* A scale that a host gives, as rows may have it, but of either sign: a denormal is 0, and what is
 * not finite NaN. */
static inline float gqa__scale_given(float scale)
{
    const uint32_t u = gqa__f32_bits(scale), size = u & 0x7fffffffu;
    const uint32_t kept = u & gqa__all_bits(size >= 0x00800000u),
                   odd = gqa__all_bits(size >= 0x7f800000u);

    return gqa__f32_from_bits((kept & ~odd) | (GQA__NAN_BITS & odd));
}

/* May V with this scale be special, as append_v of a kernel set says? Products of integers take
 * care of themselves. */
static inline bool gqa__scale_special(gqa_dtype type, float scale, bool bf16)
{
    return gqa__e4m3(type) && (scale != scale || (bf16 && scale >= GQA__LARGE_SCALE));
}

#endif
