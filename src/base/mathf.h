/* mathf.h - the f32 functions that reach a result, as fixed sequences of fma (docs/numerics.md).
 *
 * No libm here: glibc chooses variants by CPU. Each has a stated bound, tested against MPFR. The
 * inline form lets a kernel row be compiled for its own instruction set; vector rows repeat the
 * same operations in the same order.
 */
#ifndef GQA__MATHF_H
#define GQA__MATHF_H

/* 2^x for x <= 0 (softmax arguments). exp2(0) = 1 exactly; x < -126 (and -inf) gives 0 exactly;
 * NaN gives NaN. f32 form: at most 2 ulp. */
static inline float gqa__exp2f(float x);
/* The bf16 numerics' form: degree 3, relative error below 1.2e-4... stated in mathf.c's test. */
static inline float gqa__exp2f_fast(float x);
/* Natural logarithm of x > 0 (normal or denormal); log(1) = 0; log(0) = -inf; NaN and x < 0: NaN;
 * +inf: +inf. */
static inline float gqa__logf(float x);
static inline float gqa__tanhf(float x);
static inline float gqa__sigmoidf(float x);
static inline float gqa__softplusf(float x); /* ln(1 + e^x) without overflow */

#include "base/mathf_inline.h"

#endif
