/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_flat.h - the element-wise entries of kernels8, as kernel.h describes them. */
#ifndef TEST_KERNELS8_FLAT_H
#define TEST_KERNELS8_FLAT_H

#include "kernel/contract/kernel.h"

void kernels8_norm(const struct gqa__norm_args *a);
void kernels8_rope(float *x, int64_t head_stride, int32_t heads, const float *c, const float *s,
                   int32_t rotary_dim, gqa_rope style);
void kernels8_add(float *dst, const float *a, const float *b, int64_t n);
void kernels8_scale(float *dst, const float *a, float factor, int64_t n);
void kernels8_scale_add(float *dst, const float *a, const float *b, float f, int64_t n);
void kernels8_clip(float *dst, const float *a, float limit, int64_t n);
void kernels8_sincos(double *sin_x, double *cos_x, const double *x, int64_t n);
void kernels8_gate(float *dst, const float *a, const float *g, int32_t g_step,
                   gqa_gate_activation activation, int64_t n);

#endif
