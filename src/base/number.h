/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - f32, bf16 and f16, bit by bit. */
#ifndef GQA__NUMBER_H
#define GQA__NUMBER_H

#include <stdint.h>
#include <string.h>

#include "base/guard.h"

#define GQA__NAN_BITS 0x7fc00000u /* the only NaN that is ever stored */

static inline uint32_t gqa__f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float gqa__f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* x, or zero of its sign where it is denormal; without arithmetic, which could be slow with one. */
static inline float gqa__flush(float x)
{
    const uint32_t u = gqa__f32_bits(x);
    const uint32_t keep = 0u - (uint32_t)((u & 0x7f800000u) != 0u); /* all bits, or none */

    return gqa__f32_from_bits(u & (keep | 0x80000000u));
}

static inline float gqa__canonical(float x)
{
    return x == x ? x : gqa__f32_from_bits(GQA__NAN_BITS);
}

static inline float gqa__bf16_to_f32(uint16_t h)
{
    return gqa__f32_from_bits((uint32_t)h << 16);
}

/* Round to nearest even; NaN becomes 0x7fc0; overflow becomes infinity. */
static inline uint16_t gqa__f32_to_bf16(float x)
{
    uint32_t u = gqa__f32_bits(x);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (u & 0x7fffffffu) > 0x7f800000u ? (uint16_t)0x7fc0u : (uint16_t)rounded;
}

static inline float gqa__round_bf16(float x)
{
    return gqa__bf16_to_f32(gqa__f32_to_bf16(x));
}

float gqa__f16_to_f32(uint16_t h);
uint16_t gqa__f32_to_f16(float x); /* round to nearest even; NaN becomes 0x7e00 */

#endif
