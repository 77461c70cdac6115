/* SPDX-License-Identifier: Apache-2.0 */
/* rope_frequency.h - inverse frequencies of a rope configuration, in double. */
#ifndef GQA__ROPE_FREQUENCY_H
#define GQA__ROPE_FREQUENCY_H

#include "stage/params.h"

/* How many inverse frequencies a rope has, and the dimension they are spaced over. */
struct gqa__frequency_spacing {
    int32_t pairs; /* rotary_dim / 2 */
    int32_t dim;   /* d in theta^(-2j/d) */
};

/* The scaled frequencies for a call of this length (>= 1) into out [pairs]. */
void gqa__frequencies(const gqa_config *config, struct gqa__frequency_spacing spacing,
                      int32_t length, double *out);

/* What multiplies cos and sin. */
double gqa__rope_attention_factor(const gqa_config *config);

/* 1 if the frequencies depend on the length: dynamic and longrope. */
bool gqa__rope_by_length(const gqa_config *config);

struct gqa__frequency_spacing gqa__frequency_spacing(const gqa_config *config,
                                                     const struct gqa__shape *shape);

#endif
