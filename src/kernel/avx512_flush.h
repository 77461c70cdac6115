/* avx512_flush.h - denormals as zero for the time of a bf16 product. */
#ifndef GQA__AVX512_FLUSH_H
#define GQA__AVX512_FLUSH_H

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

#endif
