/* avx512.h - the kernel sets avx512/f32 and avx512/bf16: vectors of 16, AVX-512 F, BW, DQ and
 * VL. */
#ifndef GQA__KERNEL_AVX512_AVX512_H
#define GQA__KERNEL_AVX512_AVX512_H

#include "kernel/contract/kernel.h"

/* The table for the numerics, NULL where the compiler cannot build it. The files of kernel/avx512
 * are part of x86-64 builds only. */
#if defined(__x86_64__)
const struct gqa__kernels *gqa__avx512(gqa_numerics numerics);
#else
static inline const struct gqa__kernels *gqa__avx512(gqa_numerics numerics)
{
    (void)numerics;
    return NULL;
}
#endif

#endif
