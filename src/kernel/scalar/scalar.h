/* SPDX-License-Identifier: Apache-2.0 */
/* scalar.h - the scalar kernels: plain C, and the specification of all others.
 *
 * The same source (kernel/scalar) is compiled twice: for the baseline, and with AVX2 and FMA
 * switched on in the compiler, because fmaf as a library call is about 30 times slower. Both give
 * the same bits and carry the same name; gqa__select takes the second where the CPU has it.
 */
#ifndef GQA__KERNEL_SCALAR_SCALAR_H
#define GQA__KERNEL_SCALAR_SCALAR_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

const struct gqa__kernels *gqa__scalar_baseline(gqa_numerics numerics);

/* NULL if the compiler did not switch AVX2 and FMA on. */
const struct gqa__kernels *gqa__scalar_fma(gqa_numerics numerics);

/* The same for integer K and V. */
const struct gqa__integer_kernels *gqa__scalar_integer_baseline(void);
const struct gqa__integer_kernels *gqa__scalar_integer_fma(void);

#endif
