/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_softmax.h - the softmax of kernels8, and how its p lies. */
#ifndef TEST_KERNELS8_SOFTMAX_H
#define TEST_KERNELS8_SOFTMAX_H

#include "kernel/contract/kernel.h"

enum { KERNELS8_PANEL_F32 = 32, KERNELS8_PANEL_BF16 = 64 };

/* a b, zero where it is tiny: rounded to 24 digits with any exponent, below 2^-126. */
float kernels8_tiny_product(float a, float b);

/* p lies [panel][ld][panel keys]. */
int64_t kernels8_p_index(int32_t key, int32_t r, int32_t ld, int32_t panel);

void kernels8_softmax_f32(const struct gqa__softmax_args *args);
void kernels8_softmax_bf16(const struct gqa__softmax_args *args);

#endif
