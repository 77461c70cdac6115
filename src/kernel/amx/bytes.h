/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - products of integers by AMX tiles of bytes.
 *
 * An integer of 16 bits, of Q or a weight, is 256 * high + low, two bytes with a sign: a product
 * with it is two products of bytes. A tile A is 16 rows of 64 bytes, a tile B 16 quads of k:
 * [quad][16][4], a tile C their sums, [16][16] int32. With few rows, at most 8, high and low share
 * a tile.
 */
#ifndef GQA__KERNEL_AMX_BYTES_H
#define GQA__KERNEL_AMX_BYTES_H

#include <immintrin.h>

#include "kernel/amx/amx.h"
#include "kernel/vector/words_avx512.h"

#include "kernel/vector/integer.h"

enum {
    CHUNK = 64, /* bytes of a row of a tile: dims of K, keys of V */
    QUADS = 16, /* of a chunk */
    MOST_CHUNKS = GQA__FOLD_BLOCK / CHUNK,
    DIM_TILES = 4, /* tiles B of 64 dims */
    SUM_TILES = 4  /* tiles C at a time */
};

/* Scratch of a block, where it is not that of the vectors. */
struct tile_scratch {
    int32_t sum[SUM_TILES][AMX_ROWS][AMX_ROWS];
    unsigned char rows[SUM_TILES][AMX_TILE_BYTES]; /* K that ends within a chunk */
    unsigned char v[DIM_TILES][MOST_CHUNKS][AMX_TILE_BYTES];
};

static inline int32_t chunks_of(int32_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* The high bytes of int16, as int16. */
INLINE __m512i high_of(__m512i x)
{
    return _mm512_srai_epi16(_mm512_add_epi16(x, _mm512_set1_epi16(128)), 8);
}

/* The low bytes of four int16, two in a word of each, as one word. */
INLINE __m512i quad_of(__m512i first, __m512i second)
{
    const __m512i bytes = _mm512_set1_epi32(0x00ff00ff), half = _mm512_set1_epi32(0xffff);
    const __m512i a = _mm512_and_si512(first, bytes), b = _mm512_and_si512(second, bytes);
    const __m512i low = _mm512_and_si512(_mm512_or_si512(a, _mm512_srli_epi32(a, 8)), half);
    const __m512i high = _mm512_or_si512(b, _mm512_srli_epi32(b, 8));

    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* Those of the n bytes of a row, at most CHUNK, that exist. */
INLINE __mmask64 first_bytes(int64_t n)
{
    return n >= CHUNK ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
}

/* 256 high + low of sums */
INLINE __m512i join_bytes(__m512i high, __m512i low)
{
    return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

#endif
