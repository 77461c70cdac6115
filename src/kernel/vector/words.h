/* SPDX-License-Identifier: Apache-2.0 */
/* words.h - the words that kernel/vector is written in (vec, VEC, v_fma, ..), for the widest
 * vectors that the flags of the compilation allow. */
#ifndef GQA__KERNEL_VECTOR_WORDS_H
#define GQA__KERNEL_VECTOR_WORDS_H

#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512
#include "kernel/vector/words_avx512.h"
#elif GQA__BUILT_AVX2
#include "kernel/vector/words_avx2.h"
#elif GQA__BUILT_NEON
#include "kernel/vector/words_neon.h"
#else
#error                                                                                             \
    "kernel/vector needs the flags of AVX2 with FMA and F16C, of AVX-512 F, BW, DQ, VL, or of NEON"
#endif

#endif
