/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - decisions taken from a fuzzer's input, one or a few bytes each. At the end of the input
 * every decision is 0, which is always the plain choice. */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What must hold, whatever the input is. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct bytes {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct bytes *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static inline uint32_t take_word(struct bytes *in)
{
    uint32_t word = 0;

    for (int i = 0; i < 4; i++) {
        word |= (uint32_t)take_byte(in) << 8 * i;
    }
    return word;
}

/* 0 .. n-1, n at most 65536 */
static inline int32_t take_below(struct bytes *in, int32_t n)
{
    uint32_t value = take_byte(in);

    if (n > 256) {
        value |= (uint32_t)take_byte(in) << 8;
    }
    return (int32_t)(value % (uint32_t)n);
}

/* True once in n. */
static inline bool take_rarely(struct bytes *in, int32_t n)
{
    return take_below(in, n) == n - 1;
}

#define TAKE_OF(in, list) ((list)[take_below(in, (int32_t)(sizeof(list) / sizeof(list)[0]))])

/* Numbers at which arithmetic goes wrong, and any other. */
static inline int32_t take_odd_int(struct bytes *in)
{
    static const int32_t odd[] = {0,
                                  1,
                                  -1,
                                  2,
                                  3,
                                  7,
                                  8,
                                  15,
                                  16,
                                  17,
                                  31,
                                  32,
                                  33,
                                  64,
                                  128,
                                  255,
                                  256,
                                  257,
                                  511,
                                  512,
                                  513,
                                  1024,
                                  4096,
                                  65536,
                                  1 << 20,
                                  1 << 24,
                                  1 << 30,
                                  -2,
                                  -5,
                                  -255,
                                  -256,
                                  -257,
                                  -256 * 35,
                                  INT32_MAX,
                                  INT32_MAX - 1,
                                  INT32_MIN,
                                  INT32_MIN + 1,
                                  INT32_MAX - 255,
                                  INT32_MIN + 256};

    return take_rarely(in, 8) ? (int32_t)take_word(in) : TAKE_OF(in, odd);
}

static inline int64_t take_odd_long(struct bytes *in)
{
    static const int64_t odd[] = {
        INT64_MAX,        INT64_MIN,        INT64_MAX - 1,          INT64_MAX / 2,
        INT64_MAX / 4,    INT64_MAX / 8,    INT64_MAX / 8 + 1,      INT64_MIN / 2,
        (int64_t)1 << 32, (int64_t)1 << 33, ((int64_t)1 << 32) + 1, -((int64_t)1 << 32),
        (int64_t)1 << 60};

    return take_rarely(in, 4) ? TAKE_OF(in, odd) : take_odd_int(in);
}

static inline double take_odd_number(struct bytes *in)
{
    static const double odd[] = {
        0.0,   -0.0,         1.0,          -1.0,         0.5,       2.0,   1e-3, 3.0,
        1e-45, 5e-39,        FLT_MIN,      FLT_MAX,      -FLT_MAX,  1e6,   1e9,  -1e6,
        1e30,  DBL_MAX,      5e-324,       INFINITY,     -INFINITY, NAN,   1e-9, 1e38,
        65504, 2147483647.0, 2147483648.0, 4294967296.0, 1e18,      1e-30, -3e38};
    union {
        uint32_t bits;
        float value;
    } any;

    if (!take_rarely(in, 8)) {
        return TAKE_OF(in, odd);
    }
    any.bits = take_word(in);
    return (double)any.value;
}

/* The next of the values that tensors are filled with. Not the generator of the other tests: the
 * reproducers in the corpus mean the values that this one gives. */
static inline uint32_t next_value(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed;
}

#endif
