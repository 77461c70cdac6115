/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h - the machine: its sizes, and the operations that its units do to tiles, each with the
 * rounding that it makes (the arithmetic model NK-1).
 *
 *   product unit   a PSUM group, all that is added up in one place before anybody reads it, is one
 *                  sum: EXACT in double, rounded once to f32; FLOAT32 in f32, in rising order
 *   other units    element by element in f32, one rounding each, multiply-then-add two; exp and log
 *                  are the double function of the f32 argument, rounded once; division and
 *                  reciprocal are correctly rounded; what one instruction reduces is summed like a
 *                  PSUM group
 *   stores         round f32 to the format of the destination, nearest even. Nothing is flushed
 *
 * Values are f32 throughout; one that has been stored as bf16 is an f32 with 16 zero bits. */
#ifndef GQA__NEURON_ENGINE_H
#define GQA__NEURON_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/number.h"
#include "gqa/neuron.h"

enum {
    GQA__PARTITIONS = 128, /* rows that are computed at once: nl.tile_size.pmax */
    GQA__PSUM_FREE = 512   /* f32 per partition of a PSUM bank, so columns of a product:
                              nl.tile_size.gemm_moving_fmax */
};

/* out[r][c] = sum over i of a[r][i] b[i][c]: for each element one PSUM group. */
struct gqa__psum {
    gqa_neuron_accumulation accumulation;
    const float *a; /* [rows][inner], rows a_step apart */
    const float *b; /* [inner][columns], rows b_step apart */
    float *out;     /* [rows][columns], rows out_step apart */
    int64_t a_step, b_step, out_step;
    int32_t rows, inner, columns;
};
void gqa__psum_group(const struct gqa__psum *psum);

/* The sum that one instruction makes of n values. */
float gqa__engine_sum(gqa_neuron_accumulation accumulation, const float *x, int64_t n);
float gqa__engine_max(const float *x, int64_t n); /* n >= 1 */

/* The double function of x, rounded once to f32. exp: below the range 0 or subnormal, above it
 * infinite. log: 0 gives -inf, below NaN. */
float gqa__engine_exp(float x);
float gqa__engine_log(float x);

/* x as it is after a store to the format, f32 or bf16. */
static inline float gqa__engine_round(gqa_dtype format, float x)
{
    return format == GQA_BF16 ? gqa__round_bf16(x) : gqa__canonical(x);
}

void gqa__engine_round_all(gqa_dtype format, float *x, int64_t n);

#endif
