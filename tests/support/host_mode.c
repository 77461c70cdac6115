/* SPDX-License-Identifier: Apache-2.0 */
/* host_mode.c - see host_mode.h. */
#include "support/host_mode.h"

#include <fenv.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

void host_mode_enter(const struct host_mode *mode)
{
    fesetround(mode->rounding);
#if defined(__SSE2__)
    /* Two sticky flags are up, which must neither be lost nor joined by others. */
    _mm_setcsr((_mm_getcsr() & 0x6000u) | (mode->flush ? 0x8040u : 0u) |
               (mode->trap ? 0u : 0x1f80u) | 0x21u);
#endif
}

/* Is the host's mode as enter left it? Then the default is back in any case. */
bool host_mode_leave(const struct host_mode *mode)
{
    bool same = fegetround() == mode->rounding;
#if defined(__SSE2__)
    const unsigned found = _mm_getcsr();
    host_mode_enter(mode);
    same = same && found == _mm_getcsr();
    _mm_setcsr(0x1f80);
#endif
    fesetround(FE_TONEAREST);
    return same;
}
