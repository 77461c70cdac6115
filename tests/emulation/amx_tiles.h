/* SPDX-License-Identifier: Apache-2.0 */
/* amx_tiles.h - the AMX tile unit in software, so that the kernel set amx can be tested on a CPU
 * that has AVX-512 bf16 but no AMX. For tests only: a build with GQA_EMULATE_AMX includes it ahead
 * of each file; those of the kernel set take it.
 *
 * It replaces the intrinsics by functions of the same names, over eight tiles of 16 rows of 64
 * bytes (the only shape that the kernel set configures). A thread has its tiles per source file: no
 * function of the kernel set leaves anything in a tile for another file. What the products compute
 * is said in Intel's manual under TDPBF16PS: round to nearest even, denormals are zero, tiny
 * results are flushed, whatever the mode of the thread; the order of the additions is that of
 * docs/numerics.md, section 2. (AVX-512 multiply-adds in that mode flush alike: tininess is found
 * after rounding.) TDPBSSD adds products of bytes with signs, modulo 2^32.
 */
#ifndef GQA__TEST_AMX_TILES_H
#define GQA__TEST_AMX_TILES_H

#ifdef __AVX512BF16__ /* the flags of the kernel set amx */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum {
    EMULATED_TILES = 8,
    EMULATED_ROWS = 16,
    EMULATED_ROW_BYTES = 64,
    EMULATED_MXCSR = 0x9fc0 /* nearest, every exception masked, FTZ and DAZ */
};

struct emulated_tile {
    unsigned char row[EMULATED_ROWS][EMULATED_ROW_BYTES];
};

static _Thread_local struct emulated_tile emulated_tiles[EMULATED_TILES];

static inline void emulated_zero(int tile)
{
    memset(&emulated_tiles[tile], 0, sizeof emulated_tiles[tile]);
}

static inline void emulated_load(int tile, const void *base, int64_t stride)
{
    const unsigned char *from = base;

    for (int i = 0; i < EMULATED_ROWS; i++) {
        memcpy(emulated_tiles[tile].row[i], from + i * stride, EMULATED_ROW_BYTES);
    }
}

static inline void emulated_store(int tile, void *base, int64_t stride)
{
    unsigned char *to = base;

    for (int i = 0; i < EMULATED_ROWS; i++) {
        memcpy(to + i * stride, emulated_tiles[tile].row[i], EMULATED_ROW_BYTES);
    }
}

/* c [16][16] f32 += a [16][32] bf16 times b [16 pairs of k][16 lanes][2] bf16, in the mode of the
 * thread. Not inlined: no addition may leave the mode that its caller has set. */
__attribute__((noinline, unused)) static void
emulated_sums(struct emulated_tile *c, const struct emulated_tile *a, const struct emulated_tile *b)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);

    for (int i = 0; i < EMULATED_ROWS; i++) {
        __m512 even = _mm512_setzero_ps(), odd = even;
        for (int k = 0; k < EMULATED_ROWS; k++) {
            uint32_t pair;
            memcpy(&pair, a->row[i] + 4 * k, sizeof pair);
            const __m512i left = _mm512_set1_epi32((int)pair);
            const __m512i right = _mm512_loadu_si512(b->row[k]);
            even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(left, 16)),
                                   _mm512_castsi512_ps(_mm512_slli_epi32(right, 16)), even);
            odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(left, upper)),
                                  _mm512_castsi512_ps(_mm512_and_si512(right, upper)), odd);
        }
        _mm512_storeu_ps(c->row[i],
                         _mm512_add_ps(_mm512_loadu_ps(c->row[i]), _mm512_add_ps(even, odd)));
    }
}

/* c [16][16] int32 += a [16][64] int8 times b [16 quads of k][16 lanes][4] int8 */
__attribute__((unused)) static void emulated_bytes(int c, int a, int b)
{
    for (int i = 0; i < EMULATED_ROWS; i++) {
        for (int j = 0; j < EMULATED_ROWS; j++) {
            int32_t sum;
            memcpy(&sum, emulated_tiles[c].row[i] + 4 * j, sizeof sum);
            for (int k = 0; k < EMULATED_ROW_BYTES; k++) {
                const int left = emulated_tiles[a].row[i][k];
                const int right = emulated_tiles[b].row[k / 4][4 * j + k % 4];
                sum = (int32_t)((uint32_t)sum +
                                (uint32_t)((left ^ 128) - 128) * (uint32_t)((right ^ 128) - 128));
            }
            memcpy(emulated_tiles[c].row[i] + 4 * j, &sum, sizeof sum);
        }
    }
}

static inline void emulated_product(int c, int a, int b)
{
    const unsigned mode = _mm_getcsr();

    _mm_setcsr(EMULATED_MXCSR);
    emulated_sums(&emulated_tiles[c], &emulated_tiles[a], &emulated_tiles[b]);
    _mm_setcsr(mode);
}

/* Every tile starts as zeros, as after the instruction. */
static inline void emulated_config(void)
{
    memset(emulated_tiles, 0, sizeof emulated_tiles);
}

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_release
#define _tile_zero(tile)                 emulated_zero(tile)
#define _tile_loadd(tile, base, stride)  emulated_load(tile, base, (int64_t)(stride))
#define _tile_stored(tile, base, stride) emulated_store(tile, base, (int64_t)(stride))
#define _tile_dpbf16ps(c, a, b)          emulated_product(c, a, b)
#define _tile_dpbssd(c, a, b)            emulated_bytes(c, a, b)
#define _tile_release()                  emulated_config()
#define GQA__LOAD_TILE_CONFIG(config)    ((void)(config), emulated_config())

#endif
#endif
