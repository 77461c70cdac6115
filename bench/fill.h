/* SPDX-License-Identifier: Apache-2.0 */
/* fill.h - memory for a case's data, and numbers to put there. */
#ifndef GQA_BENCH_FILL_H
#define GQA_BENCH_FILL_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed, aligned to 2 MiB, in large pages where the system has them. NULL = no memory. */
void *bench_alloc(size_t bytes);
void bench_free(void *memory); /* NULL-safe */

/* Uniform in [-scale, scale), the same for a seed. */
void bench_fill(float *dst, size_t n, float scale, uint64_t seed);
void bench_fill_bf16(uint16_t *dst, size_t n, float scale, uint64_t seed);

#endif
