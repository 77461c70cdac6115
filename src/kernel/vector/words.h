/* words.h - the words that kernel/vector is written in (vec, VEC, v_fma, ..), for the widest
 * vectors that the flags of the compilation allow. */
#ifndef GQA__KERNEL_VECTOR_WORDS_H
#define GQA__KERNEL_VECTOR_WORDS_H

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "kernel/vector/words_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernel/vector/words_avx2.h"
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include "kernel/vector/words_neon.h"
#else
#error                                                                                             \
    "kernel/vector needs the flags of AVX2 with FMA and F16C, of AVX-512 F, BW, DQ, VL, or of NEON"
#endif

#endif
