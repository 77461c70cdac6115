/* SPDX-License-Identifier: Apache-2.0 */
/* integer.c - attention over int8 K and V by AMX tiles of bytes; int4 by the vectors of
 * vector/integer.h, whose operations and packed q these are.
 *
 * An integer of 16 bits, of Q or a weight, is 256 * high + low, two bytes with a sign: a product
 * with it is two products of bytes. A tile A is 16 rows of 64 bytes, a tile B 16 quads of k:
 * [quad][16][4], a tile C their sums, [16][16] int32. With few rows, at most 8, high and low share
 * a tile.
 *
 *   scores: A 16 keys as they lie in memory, 64 dims; B 16 lanes of Q; C [key][lane]
 *   values: A 16 lanes of the weights of 64 keys;     B V of 16 dims;  C [lane][dim]
 *
 *   q  behind that of the vectors: tiles B [ld / 16][chunks of 64 dims][high, low], of few rows
 *      [chunks], with high in lanes 0..7 and low in lanes 8..15
 *   p  behind the weights of the vectors: tiles A [ld / 16][chunks of 64 keys][high, low], of few
 *      rows [chunks], with high in row 2 r and low in row 2 r + 1
 *   v  tiles B [4][chunks of 64 keys] of 64 dims. Bytes are interleaved within 16: column c of the
 *      t-th is dim 16 (c / 4) + 4 t + c % 4.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <immintrin.h>

#include "kernel/vector/words_avx512.h"

#include "kernel/vector/convert_avx512.h"
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

static int32_t chunks_of(int32_t n)
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

/* --- queries ---------------------------------------------------------------------------------- */

static size_t tiles_q_bytes(int32_t dk, int32_t ld)
{
    return q_bytes_lanes(dk, ld) + (size_t)chunks_of(dk) * (size_t)ld / 16 * 2 * AMX_TILE_BYTES;
}

/* Sixteen lanes of quad i, words of two dims pair [pairs][ld]: high and low bytes. */
static void query_quad(const int32_t *pair, int32_t ld, int32_t pairs, int32_t i, __m512i *high,
                       __m512i *low)
{
    const __m512i none = _mm512_setzero_si512();
    const __m512i x = 2 * i < pairs ? _mm512_loadu_si512(pair + (int64_t)2 * i * ld) : none;
    const __m512i y =
        2 * i + 1 < pairs ? _mm512_loadu_si512(pair + (int64_t)(2 * i + 1) * ld) : none;

    *high = quad_of(high_of(x), high_of(y));
    *low = quad_of(x, y);
}

static void pack_q_tiles(const struct gqa__pack_q_args *args)
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
static const unsigned char *tiles_of_query(const struct gqa__integer_block *block, int32_t lane)
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
static void score_four(const struct key_tiles *by)
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
static void score_one(const struct key_tiles *by)
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
static void score_lanes(const struct key_tiles *by)
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
static void score_few_tiles(const struct gqa__integer_block *block, float *s, struct ahead *ahead)
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
                const int32_t *const sum = by.scratch->sum[0][0] + k * AMX_ROWS;
                const __m512i joined =
                    turn_sums(_mm512_loadu_si512(sum), _mm512_loadu_si512(sum + AMX_ROWS));
                const vec scale = v_mul(factor, v_set_two(rows->scale + key + k));
                v_store(s, v_fma(v_of_int(joined), scale, v_zero()));
            }
        }
    }
}

/* The scores of 16 keys for 16 lanes, s [16][ld], from sum[0] and sum[1]. */
static void scale_tiles(const struct tile_scratch *scratch, float *s, int64_t ld, vec factor,
                        const float *scale)
{
    for (int32_t key = 0; key < AMX_ROWS; key++, s += ld) {
        const __m512i joined = join_bytes(_mm512_loadu_si512(scratch->sum[0][key]),
                                          _mm512_loadu_si512(scratch->sum[1][key]));
        v_store(s, v_fma(v_of_int(joined), v_mul(factor, v_set(scale[key])), v_zero()));
    }
}

/* s [keys][ld], as score_ahead. */
static void score_many_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
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

/* --- weights ---------------------------------------------------------------------------------- */

/* Tiles A of the weights, behind them. */
static unsigned char *weight_tiles(const struct gqa__integer_block *block)
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
static void pack_weights(unsigned char *to, const int32_t *pair, int32_t keys, int64_t ld, bool few)
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
static void pack_values(const struct gqa__integer_block *block, int32_t first, struct ahead *ahead)
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
static void sum_four(struct tile_scratch *scratch, const unsigned char *a, int32_t chunks)
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
static void sum_two(struct tile_scratch *scratch, int32_t tile, const unsigned char *a,
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
static void store_dims(const struct gqa__integer_block *block, __m512i sum[16], int32_t first,
                       int32_t tile, int32_t lane, vec back)
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
static void values_few_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
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
static void lane_values(const struct gqa__integer_block *block, int32_t first, int32_t lane,
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
static void values_many_tiles(const struct gqa__integer_block *block, struct ahead *ahead)
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

/* --- entries ---------------------------------------------------------------------------------- */

static void score_turns(const struct gqa__integer_block *block, float *s, struct ahead *ahead)
{
    if (block->type_k == GQA_I8) {
        score_few_tiles(block, s, ahead);
    } else {
        score_few(block, s, ahead);
    }
}

static void values_turns(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (block->type_v == GQA_I8) {
        values_few_tiles(block, ahead);
    } else {
        values_few(block, ahead);
    }
}

/* block->s [keys][ld] */
static void score_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (few_rows(block)) {
        score_turns(block, block->p, ahead);
        split_rows(block->s, block->p, block->keys);
    } else if (block->type_k == GQA_I8) {
        score_many_tiles(block, ahead);
    } else {
        score_ahead(block, ahead);
    }
}

static void values_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    if (few_rows(block)) {
        join_rows(block->s, block->s, block->keys);
        values_turns(block, ahead);
    } else if (block->type_v == GQA_I8) {
        values_many_tiles(block, ahead);
    } else {
        values_ahead(block, ahead);
    }
}

static void score_entry(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};
    score_rows(block, &none);
}

static void values_entry(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};
    values_rows(block, &none);
}

/* At least as many shares of the prefetches as the block takes with int8, most of them with int4.
 */
static void block_entry(const struct gqa__integer_block *block)
{
    const int32_t steps = block->keys / AMX_ROWS + chunks_of(block->dv) * block->keys / 4;
    struct ahead ahead = look_ahead(block->prefetch, block->prefetches, steps);

    if (few_rows(block) && block->rules == NULL) {
        score_turns(block, block->s, &ahead);
        values_turns(block, &ahead);
        return;
    }
    score_rows(block, &ahead);
    if (block->rules != NULL) {
        apply_rules(block->s, block->rules);
    }
    values_rows(block, &ahead);
}

static size_t tiles_scratch_bytes(int32_t dk, int32_t dv)
{
    const size_t vectors = scratch_integer_lanes(dk, dv), tiles = sizeof(struct tile_scratch);
    return vectors > tiles ? vectors : tiles;
}

static const struct gqa__integer_kernels amx_integer = {
    .lanes = AMX_ROWS,
    .q_bytes = tiles_q_bytes,
    .scratch_bytes = tiles_scratch_bytes,
    .pack_q = pack_q_tiles,
    .score = score_entry,
    .values = values_entry,
    .block = block_entry,
    .gather = gather_integers_lanes,
};

const struct gqa__integer_kernels *gqa__amx_integer(void)
{
    return &amx_integer;
}

#else

const struct gqa__integer_kernels *gqa__amx_integer(void)
{
    return NULL;
}

#endif
