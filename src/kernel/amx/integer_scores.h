/* SPDX-License-Identifier: Apache-2.0 */
/* integer_scores.h - Q as tiles of bytes, and scores of int8 K: A 16 keys as they lie in memory, 64
 * dims; B 16 lanes of Q; C [key][lane].
 *
 * Packed q: behind that of the vectors tiles B [ld / 16][chunks of 64 dims][high, low], of few rows
 * [chunks], with high in lanes 0..7 and low in lanes 8..15.
 */
#ifndef GQA__KERNEL_AMX_INTEGER_SCORES_H
#define GQA__KERNEL_AMX_INTEGER_SCORES_H

#include "kernel/amx/bytes.h"

/* --- queries ---------------------------------------------------------------------------------- */

static inline size_t tiles_q_bytes(int32_t dk, int32_t ld)
{
    return q_bytes_lanes(dk, ld) + (size_t)chunks_of(dk) * (size_t)ld / 16 * 2 * AMX_TILE_BYTES;
}

/* Sixteen lanes of quad i, words of two dims pair [pairs][ld]: high and low bytes. */
static inline void query_quad(const int32_t *pair, int32_t ld, int32_t pairs, int32_t i,
                              __m512i *high, __m512i *low)
{
    const __m512i none = _mm512_setzero_si512();
    const __m512i x = 2 * i < pairs ? _mm512_loadu_si512(pair + (int64_t)2 * i * ld) : none;
    const __m512i y =
        2 * i + 1 < pairs ? _mm512_loadu_si512(pair + (int64_t)(2 * i + 1) * ld) : none;

    *high = quad_of(high_of(x), high_of(y));
    *low = quad_of(x, y);
}

static inline void pack_q_tiles(const struct gqa__pack_q_args *args)
{
    const int32_t ld = args->ld, pairs = integer_pairs(args->dk);
    const int32_t quads = chunks_of(args->dk) * QUADS;
    const bool few = ld == VEC && args->map->count <= VEC / 2;
    unsigned char *to = (unsigned char *)args->dst + q_bytes_lanes(args->dk, ld);

    pack_q_lanes(args);
    for (int32_t lane = 0; lane < ld; lane += AMX_ROWS) {
        const int32_t *const pair = (const int32_t *)args->dst + ld + lane;
        for (int32_t i = 0; i < quads; i++) {
            const int32_t tile = few ? i / QUADS : i / QUADS * 2;
            unsigned char *const row = to + tile * AMX_TILE_BYTES + i % QUADS * 64;
            __m512i high, low;
            query_quad(pair, ld, pairs, i, &high, &low);
            if (few) {
                high = _mm512_inserti64x4(high, _mm512_castsi512_si256(low), 1);
            } else {
                _mm512_storeu_si512(row + AMX_TILE_BYTES, low);
            }
            _mm512_storeu_si512(row, high);
        }
        to += quads / QUADS * 2 * AMX_TILE_BYTES;
    }
}

/* The tiles B of the lanes from `lane` on. */
static inline const unsigned char *tiles_of_query(const struct gqa__integer_block *block,
                                                  int32_t lane)
{
    const size_t tiles = (size_t)chunks_of(block->dk) * (size_t)(lane / AMX_ROWS) * 2;
    return (const unsigned char *)block->q + q_bytes_lanes(block->dk, block->ld) +
           tiles * AMX_TILE_BYTES;
}

/* --- scores ----------------------------------------------------------------------------------- */

/* A tile A: 16 rows, `step` bytes apart. */
struct tile_rows {
    const unsigned char *at;
    int64_t step;
};

/* A chunk of the rows of 16 keys: where they are, or, where a row ends within it, in copy. */
INLINE struct tile_rows key_rows(const unsigned char *row, int64_t step, int64_t bytes,
                                 unsigned char *copy)
{
    if (bytes >= CHUNK) {
        return (struct tile_rows){row, step};
    }
    for (int32_t i = 0; i < AMX_ROWS; i++) {
        _mm512_storeu_si512(copy + i * CHUNK,
                            _mm512_maskz_loadu_epi8(first_bytes(bytes), row + i * step));
    }
    return (struct tile_rows){copy, CHUNK};
}

/* Keys of a run, 16 or 64 of them, against tiles B. */
struct key_tiles {
    const unsigned char *row; /* of the first key */
    int64_t step, bytes;      /* from a row to the next; of a row */
    const unsigned char *q;   /* tiles B of a chunk, one after the other */
    struct tile_scratch *scratch;
};

/* Few rows: the sums of 64 keys to sum[0..3], one tile B in each chunk. */
static inline void score_four(const struct key_tiles *by)
{
    const unsigned char *q = by->q;

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t at = 0; at < by->bytes; at += CHUNK, q += AMX_TILE_BYTES) {
        struct tile_rows a[SUM_TILES];
        for (int32_t i = 0; i < SUM_TILES; i++) {
            a[i] = key_rows(by->row + i * AMX_ROWS * by->step + at, by->step, by->bytes - at,
                            by->scratch->rows[i]);
        }
        _tile_loadd(4, q, 64);
        _tile_loadd(5, a[0].at, a[0].step);
        _tile_dpbssd(0, 5, 4);
        _tile_loadd(6, a[1].at, a[1].step);
        _tile_dpbssd(1, 6, 4);
        _tile_loadd(7, a[2].at, a[2].step);
        _tile_dpbssd(2, 7, 4);
        _tile_loadd(5, a[3].at, a[3].step);
        _tile_dpbssd(3, 5, 4);
    }
    _tile_stored(0, by->scratch->sum[0], 64);
    _tile_stored(1, by->scratch->sum[1], 64);
    _tile_stored(2, by->scratch->sum[2], 64);
    _tile_stored(3, by->scratch->sum[3], 64);
}

/* The same of 16 keys, to sum[0]. */
static inline void score_one(const struct key_tiles *by)
{
    const unsigned char *q = by->q;

    _tile_zero(0);
    for (int64_t at = 0; at < by->bytes; at += CHUNK, q += AMX_TILE_BYTES) {
        const struct tile_rows a =
            key_rows(by->row + at, by->step, by->bytes - at, by->scratch->rows[0]);
        _tile_loadd(4, q, 64);
        _tile_loadd(5, a.at, a.step);
        _tile_dpbssd(0, 5, 4);
    }
    _tile_stored(0, by->scratch->sum[0], 64);
}

/* 16 lanes: the sums of 16 keys with high bytes to sum[0], with low ones to sum[1]. */
static inline void score_lanes(const struct key_tiles *by)
{
    const unsigned char *q = by->q;

    _tile_zero(0);
    _tile_zero(1);
    for (int64_t at = 0; at < by->bytes; at += CHUNK, q += 2 * AMX_TILE_BYTES) {
        const struct tile_rows a =
            key_rows(by->row + at, by->step, by->bytes - at, by->scratch->rows[0]);
        _tile_loadd(4, a.at, a.step);
        _tile_loadd(5, q, 64);
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(6, q + AMX_TILE_BYTES, 64);
        _tile_dpbssd(1, 4, 6);
    }
    _tile_stored(0, by->scratch->sum[0], 64);
    _tile_stored(1, by->scratch->sum[1], 64);
}

/* Sums of two keys, [high of 8 rows, low of 8 rows], as sums of keys in turns. */
INLINE __m512i turn_sums(__m512i even, __m512i odd)
{
    const __m512i high = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i low = _mm512_add_epi32(high, _mm512_set1_epi32(8));

    return join_bytes(_mm512_permutex2var_epi32(even, high, odd),
                      _mm512_permutex2var_epi32(even, low, odd));
}

/* s [keys / 2][VEC], as score_few. */
static inline void score_few_tiles(const struct gqa__integer_block *block, float *s,
                                   struct ahead *ahead)
{
    struct key_tiles by = {.bytes = gqa__integer_row_bytes(GQA_I8, block->dk),
                           .q = tiles_of_query(block, 0),
                           .scratch = block->scratch};
    const vec factor = v_twice(v_load((const float *)block->q));

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_rows *const rows = &block->run[i].k;
        by.step = rows->row_step;
        for (int32_t key = 0, n; key < block->run[i].keys; key += n) {
            n = block->run[i].keys - key < SUM_TILES * AMX_ROWS ? AMX_ROWS : SUM_TILES * AMX_ROWS;
            by.row = rows->row + key * by.step;
            for (int32_t share = 0; share < n; share += AMX_ROWS) {
                prefetch_share(ahead);
            }
            (n == AMX_ROWS ? score_one : score_four)(&by);
            for (int32_t k = 0; k < n; k += 2, s += VEC) {
                const int32_t *const sum = (const int32_t *)by.scratch->sum + k * AMX_ROWS;
                const __m512i joined =
                    turn_sums(_mm512_loadu_si512(sum), _mm512_loadu_si512(sum + AMX_ROWS));
                const vec scale = v_mul(factor, v_set_two(rows->scale + key + k));
                v_store(s, v_fma(v_of_int(joined), scale, v_zero()));
            }
        }
    }
}

/* The scores of 16 keys for 16 lanes, s [16][ld], from sum[0] and sum[1]. */
static inline void scale_tiles(const struct tile_scratch *scratch, float *s, int64_t ld, vec factor,
                               const float *scale)
{
    for (int32_t key = 0; key < AMX_ROWS; key++, s += ld) {
        const __m512i joined = join_bytes(_mm512_loadu_si512(scratch->sum[0][key]),
                                          _mm512_loadu_si512(scratch->sum[1][key]));
        v_store(s, v_fma(v_of_int(joined), v_mul(factor, v_set(scale[key])), v_zero()));
    }
}

/* s [keys][ld], as score_ahead. */
static inline void score_many_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
{
    struct key_tiles by = {.bytes = gqa__integer_row_bytes(GQA_I8, block->dk),
                           .scratch = block->scratch};
    float *s = block->s;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_rows *const rows = &block->run[i].k;
        by.step = rows->row_step;
        for (int32_t key = 0; key < block->run[i].keys;
             key += AMX_ROWS, s += AMX_ROWS * block->ld) {
            prefetch_share(ahead);
            by.row = rows->row + key * by.step;
            for (int32_t lane = 0; lane < block->ld; lane += AMX_ROWS) {
                by.q = tiles_of_query(block, lane);
                score_lanes(&by);
                scale_tiles(by.scratch, s + lane, block->ld, v_load((const float *)block->q + lane),
                            rows->scale + key);
            }
        }
    }
}

#endif
