/* SPDX-License-Identifier: Apache-2.0 */
/* fill.h - memory for a case's data, and numbers to put there. */
#ifndef GQA_BENCH_FILL_H
#define GQA_BENCH_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gqa/types.h"

/* Zeroed, aligned to 2 MiB, in large pages where the system has them. NULL = no memory. */
void *bench_alloc(size_t bytes);
void bench_free(void *memory); /* NULL-safe */

/* Uniform in [-scale, scale), the same for a seed. */
void bench_fill(float *dst, size_t n, float scale, uint64_t seed);
void bench_fill_bf16(uint16_t *dst, size_t n, float scale, uint64_t seed);

/* The same numbers rounded to f32, bf16 or f16; false if the format is none of these. */
bool bench_fill_as(void *dst, gqa_dtype dtype, size_t n, float scale, uint64_t seed);

#endif
