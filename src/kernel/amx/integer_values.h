/* SPDX-License-Identifier: Apache-2.0 */
/* integer_values.h - weights as tiles of bytes, and values of int8 V: A 16 lanes of the weights of
 * 64 keys; B V of 16 dims; C [lane][dim].
 *
 *   p  behind the weights of the vectors: tiles A [ld / 16][chunks of 64 keys][high, low], of few
 *      rows [chunks], with high in row 2 r and low in row 2 r + 1
 *   v  tiles B [4][chunks of 64 keys] of 64 dims. Bytes are interleaved within 16: column c of the
 *      t-th is dim 16 (c / 4) + 4 t + c % 4.
 */
#ifndef GQA__KERNEL_AMX_INTEGER_VALUES_H
#define GQA__KERNEL_AMX_INTEGER_VALUES_H

#include "kernel/amx/bytes.h"
#include "kernel/vector/convert_avx512.h"

/* --- weights ---------------------------------------------------------------------------------- */

/* Tiles A of the weights, behind them. */
static inline unsigned char *weight_tiles(const struct gqa__integer_block *block)
{
    return (unsigned char *)block->p +
           (size_t)block->keys / 2 * (size_t)block->ld * sizeof(int32_t);
}

/* Half a row of a tile: 32 weights as their high or low bytes. */
INLINE void store_bytes(unsigned char *to, __m512i weights, bool high)
{
    const __m256i bytes = _mm512_cvtepi16_epi8(high ? high_of(weights) : weights);
    _mm256_storeu_si256((__m256i *)(void *)to, bytes);
}

/* The weights of 16 lanes, words of two keys [keys / 2][ld], to tiles A. With few each row has two
 * lanes, which hold the same. */
static inline void pack_weights(unsigned char *to, const int32_t *pair, int32_t keys, int64_t ld,
                                bool few)
{
    const int32_t tile = few ? AMX_TILE_BYTES : 2 * AMX_TILE_BYTES;

    for (int32_t key = 0; key < chunks_of(keys) * CHUNK; key += CHUNK / 2) {
        unsigned char *const half = to + key / CHUNK * tile + key % CHUNK;
        __m512i r[16];
        for (int32_t i = 0; i < 16; i++) {
            r[i] = key + 2 * i < keys ? _mm512_loadu_si512(pair + (int64_t)(key / 2 + i) * ld)
                                      : _mm512_setzero_si512();
        }
        transpose16(r);
        for (int32_t i = 0; i < 16; i++) {
            if (few) {
                store_bytes(half + i * CHUNK, r[i], i % 2 == 0);
            } else {
                store_bytes(half + i * CHUNK, r[i], true);
                store_bytes(half + AMX_TILE_BYTES + i * CHUNK, r[i], false);
            }
        }
    }
}

/* --- values ----------------------------------------------------------------------------------- */

/* Four rows of 64 bytes as quads: row `quad` of the four tiles. */
INLINE void store_quads(struct tile_scratch *scratch, int32_t quad, const __m512i row[4])
{
    const __m512i a = _mm512_unpacklo_epi8(row[0], row[1]),
                  b = _mm512_unpacklo_epi8(row[2], row[3]);
    const __m512i c = _mm512_unpackhi_epi8(row[0], row[1]),
                  d = _mm512_unpackhi_epi8(row[2], row[3]);
    const int32_t chunk = quad / QUADS, at = quad % QUADS * CHUNK;

    _mm512_storeu_si512(scratch->v[0][chunk] + at, _mm512_unpacklo_epi16(a, b));
    _mm512_storeu_si512(scratch->v[1][chunk] + at, _mm512_unpackhi_epi16(a, b));
    _mm512_storeu_si512(scratch->v[2][chunk] + at, _mm512_unpacklo_epi16(c, d));
    _mm512_storeu_si512(scratch->v[3][chunk] + at, _mm512_unpackhi_epi16(c, d));
}

/* V of all keys, 64 dims from `first` on, to scratch->v; zeros behind the keys. */
static inline void pack_values(const struct gqa__integer_block *block, int32_t first,
                               struct ahead *ahead)
{
    struct tile_scratch *const scratch = block->scratch;
    const int64_t bytes = gqa__integer_row_bytes(GQA_I8, block->dv) - first;
    const __mmask64 some = first_bytes(bytes);
    int32_t quad = 0;
    __m512i row[4];

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_rows *const rows = &block->run[i].v;
        const unsigned char *at = rows->row + first;
        for (int32_t key = 0; key < block->run[i].keys; key += 4) {
            prefetch_share(ahead);
            for (int32_t j = 0; j < 4; j++, at += rows->row_step) {
                row[j] = _mm512_maskz_loadu_epi8(some, at);
            }
            store_quads(scratch, quad++, row);
        }
    }
    row[0] = row[1] = row[2] = row[3] = _mm512_setzero_si512();
    while (quad % QUADS != 0) {
        store_quads(scratch, quad++, row);
    }
}

/* Few rows: the sums of 64 dims to sum[0..3]; a: tiles A [chunks]. */
static inline void sum_four(struct tile_scratch *scratch, const unsigned char *a, int32_t chunks)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t i = 0; i < chunks; i++, a += AMX_TILE_BYTES) {
        _tile_loadd(4, a, 64);
        _tile_loadd(5, scratch->v[0][i], 64);
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(6, scratch->v[1][i], 64);
        _tile_dpbssd(1, 4, 6);
        _tile_loadd(7, scratch->v[2][i], 64);
        _tile_dpbssd(2, 4, 7);
        _tile_loadd(5, scratch->v[3][i], 64);
        _tile_dpbssd(3, 4, 5);
    }
    _tile_stored(0, scratch->sum[0], 64);
    _tile_stored(1, scratch->sum[1], 64);
    _tile_stored(2, scratch->sum[2], 64);
    _tile_stored(3, scratch->sum[3], 64);
}

/* 16 lanes: the sums of two of the four tiles of dims, with high bytes to sum[0] and sum[1], with
 * low ones to sum[2] and sum[3]; a: tiles A [chunks][high, low]. */
static inline void sum_two(struct tile_scratch *scratch, int32_t tile, const unsigned char *a,
                           int32_t chunks)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t i = 0; i < chunks; i++, a += 2 * AMX_TILE_BYTES) {
        _tile_loadd(4, a, 64);
        _tile_loadd(5, a + AMX_TILE_BYTES, 64);
        _tile_loadd(6, scratch->v[tile][i], 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(2, 5, 6);
        _tile_loadd(7, scratch->v[tile + 1][i], 64);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, scratch->sum[0], 64);
    _tile_stored(1, scratch->sum[1], 64);
    _tile_stored(2, scratch->sum[2], 64);
    _tile_stored(3, scratch->sum[3], 64);
}

/* Sums [lane][column] of a tile of dims, to o [dv][ld] of those lanes. */
static inline void store_dims(const struct gqa__integer_block *block, __m512i sum[16],
                              int32_t first, int32_t tile, int32_t lane, vec back)
{
    transpose16(sum);
    for (int32_t c = 0; c < 16; c++) {
        const int32_t d = first + c / 4 * 16 + tile * 4 + c % 4;
        if (d < block->dv) {
            v_store(block->state.o + (int64_t)d * block->ld + lane, v_mul(v_of_int(sum[c]), back));
        }
    }
}

/* The state from block->s [keys / 2][VEC], as values_few. */
static inline void values_few_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
{
    struct tile_scratch *const scratch = block->scratch;
    unsigned char *const weights = weight_tiles(block);
    float scale[GQA__FOLD_BLOCK];
    vec back;

    softmax_few(block);
    gather_scales(scale, block, 0);
    back = v_halve(weigh_few(block->p, block->s, scale, block->keys));
    pack_weights(weights, block->p, block->keys, VEC, true);
    for (int32_t first = 0; first < block->dv; first += CHUNK) {
        pack_values(block, first, ahead);
        sum_four(scratch, weights, chunks_of(block->keys));
        for (int32_t tile = 0; tile < DIM_TILES; tile++) {
            __m512i sum[16];
            for (int32_t r = 0; r < 8; r++) {
                sum[r] = join_bytes(_mm512_loadu_si512(scratch->sum[tile][2 * r]),
                                    _mm512_loadu_si512(scratch->sum[tile][2 * r + 1]));
                sum[r + 8] = _mm512_setzero_si512();
            }
            store_dims(block, sum, first, tile, 0, back);
        }
    }
}

/* 16 lanes, 64 dims from `first` on, whose V is packed. */
static inline void lane_values(const struct gqa__integer_block *block, int32_t first, int32_t lane,
                               vec back)
{
    struct tile_scratch *const scratch = block->scratch;
    const int32_t chunks = chunks_of(block->keys);
    const unsigned char *const weights =
        weight_tiles(block) + (size_t)(lane / AMX_ROWS * chunks * 2) * AMX_TILE_BYTES;

    for (int32_t tile = 0; tile < DIM_TILES; tile += 2) {
        sum_two(scratch, tile, weights, chunks);
        for (int32_t j = 0; j < 2; j++) {
            __m512i sum[16];
            for (int32_t r = 0; r < 16; r++) {
                sum[r] = join_bytes(_mm512_loadu_si512(scratch->sum[j][r]),
                                    _mm512_loadu_si512(scratch->sum[j + 2][r]));
            }
            store_dims(block, sum, first, tile + j, lane, back);
        }
    }
}

/* The state from block->s [keys][ld], as values_ahead. */
static inline void values_many_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
{
    const int32_t ld = block->ld, chunks = chunks_of(block->keys);
    int32_t *const pair = block->p; /* [keys / 2][ld] */
    float scale[GQA__FOLD_BLOCK];
    vec back[AMX_TILE_ROWS / AMX_ROWS];

    softmax_all_lanes(block);
    gather_scales(scale, block, 0);
    for (int32_t lane = 0; lane < ld; lane += AMX_ROWS) {
        const size_t tiles = (size_t)(lane / AMX_ROWS * chunks * 2);
        weigh_lanes(pair + lane, block->s + lane, ld, scale, block->keys, &back[lane / AMX_ROWS]);
        pack_weights(weight_tiles(block) + tiles * AMX_TILE_BYTES, pair + lane, block->keys, ld,
                     false);
    }
    for (int32_t first = 0; first < block->dv; first += CHUNK) {
        pack_values(block, first, ahead);
        for (int32_t lane = 0; lane < ld; lane += AMX_ROWS) {
            lane_values(block, first, lane, back[lane / AMX_ROWS]);
        }
    }
}

#endif
