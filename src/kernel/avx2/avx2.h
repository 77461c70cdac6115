/* SPDX-License-Identifier: Apache-2.0 */
/* avx2.h - the kernel set avx2/f32: vectors of 8, AVX2 and FMA. */
#ifndef GQA__KERNEL_AVX2_AVX2_H
#define GQA__KERNEL_AVX2_AVX2_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

/* The table for f32, NULL for bf16, and for both where the compiler cannot build it. */
const struct gqa__kernels *gqa__avx2(gqa_numerics numerics);

/* The table for integer K and V, NULL where the compiler cannot build it. */
const struct gqa__integer_kernels *gqa__avx2_integer(void);

#endif
