/* residual.h - hidden_states + residual: the sum, the norm that reads it first and the addition
 * that reads it last. place.h says where they lie. */
#ifndef GQA__RESIDUAL_H
#define GQA__RESIDUAL_H

#include "layer/steps.h"

/* Steps of a range: the sum, also to output.residual; x = norm of the sum; output.hidden_states =
 * x + the sum, or x. */
void gqa__residual_sum(const struct gqa__token_range *range);
void gqa__residual_norm(const struct gqa__token_range *range);
void gqa__residual_add(const struct gqa__token_range *range);

#endif
