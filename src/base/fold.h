/* SPDX-License-Identifier: Apache-2.0 */
/* fold.h - the canonical fold: the one constant on which the order of additions over keys rests.
 *
 * The keys of a sequence are cut at multiples of GQA__FOLD_BLOCK of their index. Each block gives a
 * partial state; states are merged over the binary tree of block indices (docs/numerics.md).
 */
#ifndef GQA__FOLD_H
#define GQA__FOLD_H

#define GQA__FOLD_BLOCK 256 /* keys; a power of two from 128 to 512 */

/* Most states that wait to be merged: levels over 2^31 blocks, and the state being built. */
#define GQA__FOLD_DEPTH 34

/* A dot product restarts its chain of additions every this many values. */
#define GQA__DOT_BLOCK 512

#define GQA__LOG2E 1.44269504088896340736  /* log2(e) */
#define GQA__LN2   0.693147180559945309417 /* ln(2) */

#endif
