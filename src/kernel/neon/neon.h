/* SPDX-License-Identifier: Apache-2.0 */
/* neon.h - the kernel set neon/f32: vectors of 8 as pairs of NEON registers. */
#ifndef GQA__KERNEL_NEON_NEON_H
#define GQA__KERNEL_NEON_NEON_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

/* The table for f32, NULL for bf16, and for both where the compiler cannot build it. */
const struct gqa__kernels *gqa__neon(gqa_numerics numerics);

/* The table for integer K and V, NULL where the compiler cannot build it. */
const struct gqa__integer_kernels *gqa__neon_integer(void);

#endif
