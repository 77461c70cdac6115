/* SPDX-License-Identifier: Apache-2.0 */
/* peer_softmax.h - the softmax between the two products of a composed attention: a plain loop that
 * the compiler vectorises for the CPU at hand. */
#ifndef GQA_BENCH_PEER_SOFTMAX_H
#define GQA_BENCH_PEER_SOFTMAX_H

#include <stdint.h>

/* row[0 .. n): of them [begin, end) are seen, the others become 0. scale multiplies first; sink is
 * one more logit, or -inf. In place, or rounded to bf16 into out. */
void bench_softmax_row(float *row, int64_t n, int64_t begin, int64_t end, float scale, float sink);
void bench_softmax_row_bf16(uint16_t *out, float *row, int64_t n, int64_t begin, int64_t end,
                            float scale, float sink);

#endif
