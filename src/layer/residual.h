/* SPDX-License-Identifier: Apache-2.0 */
/* residual.h - hidden_states + residual: the sum, the norm that reads it first and the addition
 * that reads it last.
 *
 * The sum is not copied where it lies in f32 already: without a residual in input.hidden_states,
 * else in output.residual. A tap sees copies.
 */
#ifndef GQA__RESIDUAL_H
#define GQA__RESIDUAL_H

#include "layer/steps.h"

/* Where the call's sum and result are to lie: sets spine->sum_at and direct_out. */
void gqa__residual_place(struct gqa__spine *spine);

/* Steps of a range: the sum, also to output.residual; x = norm of the sum; output.hidden_states =
 * x + the sum, or x. */
void gqa__residual_sum(const struct gqa__token_range *range);
void gqa__residual_norm(const struct gqa__token_range *range);
void gqa__residual_add(const struct gqa__token_range *range);

/* Rows of f32 that nothing lies between: the output projection of the block adds the sum itself. */
bool gqa__residual_in_product(const struct gqa__token_range *block);

#endif
