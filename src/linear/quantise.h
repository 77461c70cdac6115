/* SPDX-License-Identifier: Apache-2.0 */
/* quantise.h - one row of weights to int8 and a scale. */
#ifndef GQA__QUANTISE_H
#define GQA__QUANTISE_H

#include <stdbool.h>
#include <stdint.h>

/* scale = (largest size in w) / 127; q[i] = w[i] / scale to the nearest integer (even in a tie), at
 * most 127 in size; all 0 where scale is 0 (also by underflow). All in f32. w, q: [n]. false if a
 * value is not finite; q and *scale are then not set. */
bool gqa__quantise(int8_t *q, float *scale, const float *w, int64_t n);

#endif
