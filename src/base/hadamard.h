/* SPDX-License-Identifier: Apache-2.0 */
/* hadamard.h - the Hadamard rotation of a row, K, V or Q of one token and head: what is large in
 * one element is spread over many before the row is quantised, and q.k stays what it was.
 *
 * A row is cut into blocks, each the largest power of two that what is left of the row has room
 * for: 128 is one block, 80 is 64 and 16. A block of n elements is multiplied by the symmetric
 * matrix H with H[i][j] = (-1)^(ones in i & j) / sqrt(n). H is its own inverse, so the rotation is
 * undone by rotating once more.
 */
#ifndef GQA__HADAMARD_H
#define GQA__HADAMARD_H

#include <stdint.h>

/* In place, in f32: x [dim][lanes], each lane a row. A lane's bits do not depend on the others, nor
 * on how many there are: an element is first multiplied by 1/sqrt(n), rounded to f32; then for h =
 * 1, 2, 4 .. n/2 each pair (i, i + h) of which i has no bit h becomes (sum, difference). */
void gqa__hadamard(float *x, int32_t dim, int32_t lanes);

#endif
