/* fpmode.c - see fpmode.h: for x86-64, for AArch64, and by fenv.h for other CPUs. */
#include "base/fpmode.h"

#if defined(__SSE2__) || defined(_M_X64)

#include <xmmintrin.h>

enum { MXCSR_PLAIN = 0x1f80 }; /* all exceptions masked, nearest, no FTZ, no DAZ */

gqa__fpmode gqa__fpmode_enter(void)
{
    unsigned saved = _mm_getcsr();

    _mm_setcsr(MXCSR_PLAIN);
    return saved;
}

void gqa__fpmode_leave(gqa__fpmode saved)
{
    _mm_setcsr((unsigned)saved);
}

#elif defined(__aarch64__)

gqa__fpmode gqa__fpmode_enter(void)
{
    uint64_t saved;

    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0)); /* nearest, no FZ, no DN, no trap */
    return saved;
}

void gqa__fpmode_leave(gqa__fpmode saved)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}

#else

#include <fenv.h>

gqa__fpmode gqa__fpmode_enter(void)
{
    int saved = fegetround();

    (void)fesetround(FE_TONEAREST);
    return (gqa__fpmode)saved;
}

void gqa__fpmode_leave(gqa__fpmode saved)
{
    (void)fesetround((int)saved);
}

#endif
