/* SPDX-License-Identifier: Apache-2.0 */
/* bf16.h - the product with bf16 operands on AVX-512 without AMX: f32 fma in the order of
 * scalar/bf16.h.
 *
 * The CPU itself does the flushing that this order asks for: with FTZ and DAZ set, denormal
 * operands count as zero, and results that are tiny after rounding become zero. The mode is set
 * around functions that are not inlined, so that the compiler cannot move other operations into
 * it.
 */
#ifndef GQA__KERNEL_AVX512_BF16_H
#define GQA__KERNEL_AVX512_BF16_H

#include "base/fold.h"
#include "kernel/contract/kernel.h"

enum {
    GQA__PAIR_ROWS = 4, /* rows at a time: even, odd and sum of two vectors each are 24 registers */
    GQA__PAIR_SUMS = 8, /* the same of few rows: both chains and sum of one vector are 16 */
    GQA__PAIR_KEYS = 64,
    GQA__PAIR_LANES = 128 /* most lanes of a tile */
};

/* c[rows][width] += a[rows][n] b[n][width], width 16 or 32; of several lane pairs, each with its
 * own b and c, in turn for a few rows of a, which are widened once for all of them. With few, count
 * is 1, width is 16 and only the first 8 columns count: b is [n / 2][16], column j of rows 2 i and
 * 2 i + 1 at 2 j and 2 j + 1, so that one vector has both chains. */
struct gqa__pairs {
    const void *a;    /* row i begins i * a_row elements on */
    gqa_dtype a_type; /* BF16, or E4M3 or E4M3_240: codes, without scales */
    int64_t a_row;
    const float *b; /* bf16 values as f32, row k is b + k * b_step */
    int64_t b_step;
    int32_t n; /* a multiple of 32, at most GQA__DOT_BLOCK */
    float *c;  /* row i is c + i * c_row */
    int64_t c_row;
    int32_t rows, width;
    int32_t count;          /* lane pairs, */
    int64_t b_pair, c_pair; /* and from one to the next */
    bool few;
    bool first;                    /* as GQA__ACC_FIRST */
    float (*wide)[GQA__DOT_BLOCK]; /* [GQA__PAIR_SUMS] scratch: rows of a as f32 */
};

/* What the entries keep in args->scratch: attention, then linear. */
struct gqa__avx512_scratch {
    float wide[GQA__PAIR_SUMS][GQA__DOT_BLOCK];
    float p[GQA__PAIR_KEYS * GQA__PAIR_LANES]; /* probabilities as f32, [keys][ld] */
};
struct gqa__avx512_linear_scratch {
    float c[32 * 32];    /* sums, [tokens][outputs] */
    float wide[64 * 32]; /* int8 weights as f32, [inputs][outputs] */
};

void gqa__avx512_pairs(const struct gqa__pairs *pairs);

/* avx512/bf16_linear.c */
size_t gqa__avx512_weight_bytes(int64_t out, int64_t in);
void gqa__avx512_pack_weight(void *dst, int64_t row, const float *src, int64_t out, int64_t in);
size_t gqa__avx512_int8_bytes(int64_t out, int64_t in);
void gqa__avx512_pack_int8(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in);
size_t gqa__avx512_x_bytes(int32_t tokens, int64_t in);
void gqa__avx512_pack_x(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in);
void gqa__avx512_linear(const struct gqa__linear_args *args);
/* avx512/bf16_weights_in_place.c */
void gqa__avx512_pack_rows(void *dst, const struct gqa__rows *rows);

/* avx512/bf16.c: the table. */
const struct gqa__kernels *gqa__avx512_bf16(void);

#endif
