/* SPDX-License-Identifier: Apache-2.0 */
/* int8.h - tiles of int8 weights and their way to bf16.
 *
 * A tile is [16 outputs][16 even inputs, 16 odd ones]. An integer of int8 has at most 8 significant
 * bits, so as f32 its lower half is zero and the upper half is its bf16: the odd inputs stay where
 * they are, the even ones move down.
 */
#ifndef GQA__KERNEL_AMX_INT8_H
#define GQA__KERNEL_AMX_INT8_H

#include "kernel/amx/amx.h"
#include "kernel/vector/words_avx512.h"

enum {
    AMX_INT8_BYTES = AMX_TILE_BYTES / 2,
    AMX_INT8_PREFETCH = 8 * AMX_INT8_BYTES /* how far in advance weights are prefetched */
};

/* Where input k of a k32 lies in its row. */
static inline int64_t amx_int8_place(int64_t k)
{
    return k % 2 * 16 + k / 2;
}

/* to [16][32] bf16 from a tile; the bytes `prefetch` behind it are prefetched. */
INLINE void expand_tile(unsigned char *to, const unsigned char *from, int64_t prefetch)
{
#pragma GCC unroll 16
    for (int32_t i = 0; i < 16; i++) {
        const int8_t *row = (const int8_t *)from + i * AMX_DEPTH;
        const __m512i even = _mm512_castps_si512(v_load_i8(row));
        const __m512i odd = _mm512_castps_si512(v_load_i8(row + 16));
        _mm512_store_si512(to + i * 64, _mm512_or_si512(_mm512_srli_epi32(even, 16), odd));
        if (i % 2 == 0) {
            v_prefetch((uintptr_t)row + (uintptr_t)prefetch);
        }
    }
}

INLINE void expand_tiles(unsigned char *to, const unsigned char *from, int32_t tiles)
{
    for (int32_t i = 0; i < tiles; i++) {
        expand_tile(to + i * AMX_TILE_BYTES, from + i * AMX_INT8_BYTES, AMX_INT8_PREFETCH);
    }
}

#endif
