/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h - refuses compiler modes in which the numerics cannot be kept (docs/numerics.md). */
#ifndef GQA__GUARD_H
#define GQA__GUARD_H

#include <float.h>

#ifdef __FAST_MATH__
#error "libgqa promises bits: build it without -ffast-math"
#endif
#if FLT_EVAL_METHOD != 0
#error "libgqa needs float arithmetic in float: use SSE, not x87 (FLT_EVAL_METHOD 0)"
#endif

#endif
