/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_flat.h - the element-wise entries of kernels8, as kernel.h describes them. */
#ifndef TEST_KERNELS8_FLAT_H
#define TEST_KERNELS8_FLAT_H

#include "kernel/contract/kernel.h"

void kernels8_norm(const struct gqa__norm_args *a);
void kernels8_load(float *dst, const void *src, int64_t n, gqa_dtype dtype);
void kernels8_store(void *dst, const float *src, int64_t n, gqa_dtype dtype);
void kernels8_flush(float *x, int64_t n);
void kernels8_rope(const struct gqa__rope_args *args);
void kernels8_add(float *dst, const float *a, const float *b, int64_t n);
void kernels8_scale(float *dst, const float *a, float factor, int64_t n);
void kernels8_scale_add(float *dst, const float *a, const float *b, float f, int64_t n);
void kernels8_clip(float *dst, const float *a, float limit, int64_t n);
void kernels8_sincos(double *sin_x, double *cos_x, const double *x, int64_t n);
void kernels8_gate(float *dst, const float *a, const float *g, int32_t g_step,
                   gqa_gate_activation activation, int64_t n);

#endif
