/* SPDX-License-Identifier: Apache-2.0 */
/* stored_row.h - what a cache makes of one token's K or V of a head, written out in double by the
 * words of docs/numerics.md. Shares no code with src. */
#ifndef TEST_STORED_ROW_H
#define TEST_STORED_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/types.h"

enum { STORED_ROW_MOST = 512 };

/* A row of n elements: element d is code[d] * scale[d / group] (types without scales: code[d], and
 * scales is 0). */
struct stored_row {
    double code[STORED_ROW_MOST];
    float scale[STORED_ROW_MOST];
    int scales, group;
};

void stored_row(struct stored_row *row, const float *x, int n, gqa_dtype type);

/* The Hadamard rotation of a row of n, in place, in f32: also the way back. */
void stored_rotate(float *x, int n);

/* Element d as f32, rounded once; a NaN is the canonical one. */
float stored_value(const struct stored_row *row, int d);

/* What gqa_cache_read gives of a row of n elements x that was appended, stored rotated or not. */
void stored_read(float *read, const float *x, int n, gqa_dtype type, bool rotated);

/* Code d as the bits that are stored: of the type's width. */
uint32_t stored_bits(const struct stored_row *row, int d, gqa_dtype type);

bool stored_scaled(gqa_dtype type);

/* Is it an integer type? */
static inline bool stored_integer(gqa_dtype type)
{
    return type == GQA_I8 || type == GQA_I4;
}

/* Where code d of a row lies: its byte, and how far up. */
int stored_byte(int d, gqa_dtype type);
int stored_shift(int d, gqa_dtype type);

#endif
