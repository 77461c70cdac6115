/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - the one generator of the tests' numbers. A state is 64 bits of any value, its seed;
 * the same seed gives the same numbers on every machine. (bits.c, which is compiled alone, and the
 * fuzz targets, whose saved inputs would change their meaning, have theirs.) */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>

/* splitmix64: all 64 bits are equally good. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t random_u32(uint64_t *state)
{
    return (uint32_t)(random_next(state) >> 32);
}

/* Both ends included. */
static inline int32_t random_between(uint64_t *state, int32_t low, int32_t high)
{
    return low + (int32_t)(random_u32(state) % ((uint32_t)high - (uint32_t)low + 1));
}

/* In [0, 1), a multiple of 2^-53. */
static inline double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* In [-1, 1), a multiple of 2^-23: sums and roundings see all bits. */
static inline float random_float(uint64_t *state)
{
    return (float)(random_next(state) >> 40) * 0x1p-23f - 1.0f;
}

/* x [n], in [-scale, scale). */
static inline void random_floats(uint64_t *state, float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = random_float(state) * scale;
    }
}

#endif
