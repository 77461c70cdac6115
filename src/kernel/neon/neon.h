/* neon.h - the kernel set neon/f32: vectors of 8 as pairs of NEON registers. */
#ifndef GQA__KERNEL_NEON_NEON_H
#define GQA__KERNEL_NEON_NEON_H

#include "kernel/contract/kernel.h"

/* The table for f32, NULL for bf16 (and where the compiler cannot build it). The files of
 * kernel/neon are part of AArch64 builds only. */
#if defined(__aarch64__)
const struct gqa__kernels *gqa__neon(gqa_numerics numerics);
#else
static inline const struct gqa__kernels *gqa__neon(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}
#endif

#endif
