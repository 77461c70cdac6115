/* SPDX-License-Identifier: Apache-2.0 */
/* draw.h - what the tests of stages, products and weights share: numbers, and a host with an
 * allocator that counts and can refuse, and with threads. */
#ifndef TEST_DRAW_H
#define TEST_DRAW_H

#include "gqa/gqa.h"

/* In [-1, 1), a multiple of 2^-20 (so sums and bf16 rounding see all bits). */
float draw_value(uint64_t *state);
void draw_fill(uint64_t *state, float *x, int64_t n, float scale);

struct draw_host {
    int32_t live;   /* blocks not yet released */
    int32_t asked;  /* allocations asked for */
    int32_t refuse; /* the allocation, counted from 1, that gets NULL; 0 = none */
};

/* threads > 1: tasks run on that many threads, the last one first. New memory is full of 0xa5. */
void draw_runtime(struct draw_host *host, gqa_runtime *runtime, int32_t threads);

#endif
