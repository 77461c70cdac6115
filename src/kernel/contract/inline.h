/* SPDX-License-Identifier: Apache-2.0 */
/* inline.h - a function that must become part of its caller: its arguments of known value choose
 * the caller's code. */
#ifndef GQA__KERNEL_CONTRACT_INLINE_H
#define GQA__KERNEL_CONTRACT_INLINE_H

#define INLINE static inline __attribute__((always_inline))

#endif
