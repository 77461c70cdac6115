/* flush.h - denormals count as zero, for the time of a bf16 product or softmax. What runs between
 * flush_enter and flush_leave must be a function that is not inlined: the compiler does not know
 * that the mode matters to it. */
#ifndef GQA__KERNEL_AVX512_FLUSH_H
#define GQA__KERNEL_AVX512_FLUSH_H

#include <immintrin.h>

/* MXCSR: results that are tiny and operands that are denormal become zero of their sign. */
enum { FLUSH_BITS = 0x8040 };

/* Returns the mode for flush_leave. */
static inline unsigned flush_enter(void)
{
    const unsigned saved = _mm_getcsr();

    _mm_setcsr(saved | FLUSH_BITS);
    return saved;
}

static inline void flush_leave(unsigned saved)
{
    _mm_setcsr(saved);
}

/* gqa__exp2f_fast of 16 values: the reduce instruction gives f, the scale instruction takes
 * floor(x) itself, and what is below 2^-126 is flushed. */
static inline __m512 exp2_flushed(__m512 x)
{
    const __m512 f = _mm512_reduce_ps(x, 0x09);
    __m512 p = _mm512_set1_ps(0x1.3baaa6p-4f);

    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.d2378ap-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.63e658p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, x);
}

#endif
