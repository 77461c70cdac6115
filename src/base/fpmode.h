/* SPDX-License-Identifier: Apache-2.0 */
/* fpmode.h - the floating-point mode in which every result is computed: round to nearest, nothing
 * flushed, no trap. A host thread may run in another; each task saves and restores it. */
#ifndef GQA__FPMODE_H
#define GQA__FPMODE_H

#include <stdint.h>

typedef uint64_t gqa__fpmode;

gqa__fpmode gqa__fpmode_enter(void); /* returns the thread's own mode */
void gqa__fpmode_leave(gqa__fpmode saved);

#endif
