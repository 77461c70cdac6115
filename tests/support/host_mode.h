/* SPDX-License-Identifier: Apache-2.0 */
/* host_mode.h - the floating-point modes that a host's thread may be in. */
#ifndef TEST_HOST_MODE_H
#define TEST_HOST_MODE_H

#include <stdbool.h>

struct host_mode {
    int rounding; /* FE_* */
    bool flush;   /* denormals to zero, going in and coming out */
    bool trap;    /* every exception raises SIGFPE */
};

/* Without SSE the rounding direction only. */
void host_mode_enter(const struct host_mode *mode);

/* Back to the default mode. False if the mode or its sticky flags were not as enter left them. */
bool host_mode_leave(const struct host_mode *mode);

#endif
