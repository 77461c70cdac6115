/* SPDX-License-Identifier: Apache-2.0 */
/* lifted_constraints.h - calls one after the other, shared by the triggers of the lifted
 * constraints. */
#ifndef TEST_LIFTED_CONSTRAINTS_H
#define TEST_LIFTED_CONSTRAINTS_H

#include <stdbool.h>

#include "support/small_layer.h"

enum { T = 11, WIDTH = SMALL_HIDDEN }; /* tokens of most calls */

/* A call that must succeed; returns out + its size, for the next call. */
float *lifted_run(struct small_layer *small, const gqa_inputs *in, int b, int t, const float *x,
                  float *out);

/* T tokens on a fresh small with this config. */
void lifted_whole(void (*edit)(gqa_config *), const gqa_inputs *in, float *out);

/* The same T tokens in n pieces that end at the given token counts. */
void lifted_pieces(void (*edit)(gqa_config *), const int *ends, int n, float *out);

void lifted_same(const float *a, const float *b, int tokens);
bool lifted_differs(const float *a, const float *b, int tokens);

/* Equal but for the order of sums: a few hundred products of size 1 in f32. */
void lifted_close(const float *a, const float *b, int tokens);

/* Configs: a window of 5, a chunk of 4. */
void with_window(gqa_config *config);
void with_chunk(gqa_config *config);

#endif
