/* SPDX-License-Identifier: Apache-2.0 */
/* words_x86.h - words of kernel/vector that do not depend on the width of a vector, for
 * words_avx2.h and words_avx512.h. */
#ifndef GQA__KERNEL_VECTOR_WORDS_X86_H
#define GQA__KERNEL_VECTOR_WORDS_X86_H

#include <immintrin.h>
#include <stdint.h>

#include "kernel/contract/inline.h"

/* Orders stores of v_stream before later ones. */
INLINE void v_fence(void)
{
    _mm_sfence();
}

/* at may be any address. */
INLINE void v_prefetch(uintptr_t at)
{
    _mm_prefetch((const char *)at, _MM_HINT_T1);
}

/* 16 bytes of two int4 each to 32 int8: the lower halves, then the upper ones. */
INLINE void i8_of_halves(int8_t *to, const unsigned char *from)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)from), low = _mm_set1_epi8(15);
    const __m128i eight = _mm_set1_epi8(8);
    const __m128i even = _mm_and_si128(x, low), odd = _mm_and_si128(_mm_srli_epi16(x, 4), low);

    _mm_storeu_si128((__m128i *)to, _mm_sub_epi8(_mm_xor_si128(even, eight), eight));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_sub_epi8(_mm_xor_si128(odd, eight), eight));
}

#endif
