/* SPDX-License-Identifier: Apache-2.0 */
/* mathf.h - the f32 functions that reach a result, as fixed sequences of fma (docs/numerics.md).
 *
 * No libm here: glibc chooses variants by CPU. Each has a stated bound, tested against MPFR; an ulp
 * is one unit in the last place of the exact result. The inline form lets a kernel set be compiled
 * for its own instruction set: no branch depends on data, so a loop that calls them vectorises.
 * Vector rows that are written by hand repeat the same operations in the same order. The bounds
 * and the bits need round to nearest without flushing (base/fpmode.h). NaN gives NaN everywhere.
 */
#ifndef GQA__MATHF_H
#define GQA__MATHF_H

/* 2^x for softmax arguments: x <= 0 (right up to 127). exp2(0) = 1 exactly; x < -126 and -inf give
 * 0 exactly. f32 form, degree 6: at most 1 ulp. */
static inline float gqa__exp2f(float x);

/* The bf16 numerics' form for x <= 8 (right below 127): p(f) 2^n with n = floor(x), f = x - n
 * rounded down (as the reduce instruction of AVX-512 gives it), p of degree 3: relative error below
 * 8.6e-5. */
static inline float gqa__exp2f_fast(float x);

/* Natural logarithm, normal and denormal x > 0: at most 1 ulp. log(1) = 0; log(0) = -inf; x < 0:
 * NaN; +inf: +inf. */
static inline float gqa__logf(float x);

/* e^-a for a >= 0: at most 2 ulp up to a = 87.33; 0 beyond (where it is denormal). */
static inline float gqa__exp_negf(float a);

/* At most 2 ulp; odd; -0 stays -0; exactly 1 in size from 9.02 on. */
static inline float gqa__tanhf(float x);

/* 1 / (1 + e^-x): at most 4 ulp for x >= -87.33; 0 below. */
static inline float gqa__sigmoidf(float x);

/* ln(1 + e^x) without overflow: at most 3 ulp for x >= -87.33; 0 below. */
static inline float gqa__softplusf(float x);

#include "base/mathf_inline.h"

#endif
