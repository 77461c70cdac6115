/* SPDX-License-Identifier: Apache-2.0 */
/* avx512.h - the kernel sets avx512/f32 and avx512/bf16: vectors of 16, AVX-512 F, BW, DQ and
 * VL. */
#ifndef GQA__KERNEL_AVX512_AVX512_H
#define GQA__KERNEL_AVX512_AVX512_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

/* The table of the numerics, NULL where the compiler cannot build it. */
const struct gqa__kernels *gqa__avx512(gqa_numerics numerics);

/* The table for integer K and V, NULL where the compiler cannot build it. */
const struct gqa__integer_kernels *gqa__avx512_integer(void);

#endif
