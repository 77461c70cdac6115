/* amx_attention.c - attention with AMX products and an AVX-512 softmax.
 *
 * Lanes are taken in groups of 32 (two tiles), the last one may have 16. Packed layouts:
 *   q  [ld / 16][dk / 32][16 pairs][16 lanes][2]   tiles B of the first product
 *   p  [keys / 32][ld / 16][16 pairs][16 lanes][2] tiles B of the second
 * K rows and the rows of V transposed are tiles A as they lie in the pages.
 */
#include "kernel/amx.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include <assert.h>
#include <string.h>

#include "kernel/amx_products.h"
#include "kernel/amx_vector.h"
#include "kernel/avx512_flush.h"
#include "kernel/scalar_attention.h"
#include "kernel/scalar_bf16.h"

size_t gqa__amx_q_bytes(int32_t dk, int32_t ld)
{
    return (size_t)round_to_group(dk) * (size_t)ld * sizeof(uint16_t);
}

/* 32 scaled values of one row from d on, zero beyond dk. */
INLINE __m512i load_row(const float *row, int32_t left, __m512 scale)
{
    const __mmask16 lo = left >= 16 ? 0xffffu : (__mmask16)((1u << left) - 1u);
    const int32_t rest = left - 16;
    const __mmask16 hi = rest >= 16  ? 0xffffu
                         : rest <= 0 ? (__mmask16)0
                                     : (__mmask16)((1u << rest) - 1u);
    const __m512 a = _mm512_maskz_loadu_ps(lo, row);
    const __m512 b = _mm512_maskz_loadu_ps(hi, row + (rest > 0 ? 16 : 0));

    return factor_pair(_mm512_mul_ps(a, scale), _mm512_mul_ps(b, scale));
}

/* Ask for n floats. */
INLINE void fetch_row(const float *row, int32_t n)
{
    for (int32_t i = 0; i < n; i += 16) {
        _mm_prefetch((const char *)(row + i), _MM_HINT_T0);
    }
}

void gqa__amx_pack_q(void *dst, const float *q, const struct gqa__row_map *map, int32_t ld,
                     int32_t dk, float scale)
{
    const __m512 factor = _mm512_set1_ps(scale);
    uint16_t *out = dst;

    assert(map->count <= ld && ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < ld; lane += AMX_ROWS) {
        const int32_t rows = map->count - lane < AMX_ROWS ? map->count - lane : AMX_ROWS;
        const float *row[AMX_ROWS];
        for (int32_t i = 0; i < rows; i++) {
            const int32_t next = lane + i + AMX_ROWS;
            row[i] = q + gqa__row_offset(map, lane + i);
            if (next < map->count) {
                fetch_row(q + gqa__row_offset(map, next), dk);
            }
        }
        for (int32_t d = 0; d < dk; d += AMX_DEPTH) {
            __m512i r[AMX_ROWS];
            for (int32_t i = 0; i < AMX_ROWS; i++) {
                r[i] = i < rows ? load_row(row[i] + d, dk - d, factor) : _mm512_setzero_si512();
            }
            transpose16(r);
            for (int32_t i = 0; i < AMX_ROWS; i++) {
                _mm512_storeu_si512(out, r[i]);
                out += 32;
            }
        }
    }
}

/* --- scores ---------------------------------------------------------------------------------- */

void gqa__amx_score(float *s, int32_t ld, const void *q, const void *k, int64_t k_stride,
                    int32_t keys, int32_t dk)
{
    const int32_t groups = (int32_t)(round_to_group(dk) / AMX_DEPTH);

    assert(keys % 32 == 0 && ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < ld; lane += 32) {
        const unsigned char *tiles =
            (const unsigned char *)q + (int64_t)lane / 16 * groups * AMX_TILE_BYTES;
        if (lane + 16 < ld) {
            score_piece(s + lane, ld, tiles, k, k_stride, keys, groups, true);
        } else {
            score_piece(s + lane, ld, tiles, k, k_stride, keys, groups, false);
        }
    }
}

/* --- softmax --------------------------------------------------------------------------------- */

/* The largest score of a lane over the keys, NaN left out; never -0. s [keys][s_stride]. */
INLINE __m512 max_lanes(const float *s, int64_t s_stride, int32_t keys)
{
    __m512 m0 = _mm512_set1_ps(-INFINITY), m1 = m0, m2 = m0, m3 = m0;

    for (int32_t key = 0; key < keys; key += 4) {
        m0 = _mm512_max_ps(_mm512_loadu_ps(s + key * s_stride), m0);
        m1 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 1) * s_stride), m1);
        m2 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 2) * s_stride), m2);
        m3 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 3) * s_stride), m3);
    }
    m0 = _mm512_max_ps(_mm512_max_ps(m0, m1), _mm512_max_ps(m2, m3));
    return _mm512_add_ps(m0, _mm512_setzero_ps());
}

/* p of two keys as one row of a tile B; their sums. */
INLINE __m512i weigh_pair(const float *s, int64_t s_stride, __m512 safe, __m512 *sum0, __m512 *sum1,
                          bool mark)
{
    const __m512i half = _mm512_set1_epi32(0x8000); /* weight_to_bf16: ties go up */
    const __m512 x0 = _mm512_loadu_ps(s), x1 = _mm512_loadu_ps(s + s_stride);
    const __m512 e0 = exp2_flushed(_mm512_sub_ps(x0, safe));
    const __m512 e1 = exp2_flushed(_mm512_sub_ps(x1, safe));
    const __m512i r0 = _mm512_add_epi32(_mm512_castps_si512(e0), half);
    const __m512i r1 = _mm512_add_epi32(_mm512_castps_si512(e1), half);
    const __m512i pair = _mm512_mask_mov_epi16(_mm512_srli_epi32(r0, 16), 0xaaaaaaaau, r1);

    *sum0 = _mm512_add_ps(*sum0, e0);
    *sum1 = _mm512_add_ps(*sum1, e1);
    if (mark) {
        const __m512 none = _mm512_set1_ps(-INFINITY);
        const __mmask16 first = _mm512_cmp_ps_mask(x0, none, _CMP_EQ_OQ);
        const __mmask16 second = _mm512_cmp_ps_mask(x1, none, _CMP_EQ_OQ);
        const __m512i low = _mm512_mask_or_epi32(pair, first, pair, _mm512_set1_epi32(0x8000));
        return _mm512_mask_or_epi32(low, second, low, _mm512_set1_epi32((int)0x80000000u));
    }
    return pair;
}

/* What a softmax of 16 lanes reads and writes. */
struct softmax {
    unsigned char *p; /* tiles, p_step bytes apart (one per 32 keys) */
    int64_t p_step;
    float *m, *l;   /* [16] */
    const float *s; /* [keys][s_stride] */
    int64_t s_stride;
    int32_t keys;
};

INLINE void weigh_keys(const struct softmax *args, __m512 top, const bool mark)
{
    const __mmask16 empty = _mm512_cmp_ps_mask(top, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ);
    const __m512 safe = _mm512_mask_mov_ps(top, empty, _mm512_setzero_ps());
    const int64_t step = args->s_stride;
    __m512 l0 = _mm512_setzero_ps(), l1 = l0, l2 = l0, l3 = l0;

    for (int32_t key = 0; key < args->keys; key += 32) {
        unsigned char *tile = args->p + key / 32 * args->p_step;
        for (int32_t i = 0; i < 32; i += 4) {
            const float *at = args->s + (key + i) * step;
            _mm512_storeu_si512(tile + i * 32, weigh_pair(at, step, safe, &l0, &l1, mark));
            _mm512_storeu_si512(tile + i * 32 + 64,
                                weigh_pair(at + 2 * step, step, safe, &l2, &l3, mark));
        }
    }
    _mm512_storeu_ps(args->m, top);
    _mm512_storeu_ps(args->l,
                     canonical(_mm512_add_ps(_mm512_add_ps(l0, l1), _mm512_add_ps(l2, l3))));
}

/* Under flush_enter. */
__attribute__((noinline)) static void weigh_plain(const struct softmax *args, __m512 top)
{
    weigh_keys(args, top, false);
}

__attribute__((noinline)) static void weigh_marked(const struct softmax *args, __m512 top)
{
    weigh_keys(args, top, true);
}

/* top: the maxima of the lanes. */
static inline void softmax_lanes(const struct softmax *args, __m512 top, bool mark)
{
    const unsigned saved = flush_enter();

    (mark ? weigh_marked : weigh_plain)(args, top);
    flush_leave(saved);
}

void gqa__amx_softmax(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld, bool mark)
{
    const int64_t step = (int64_t)ld / 16 * AMX_TILE_BYTES;

    assert(keys % 32 == 0 && ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < ld; lane += 16) {
        const struct softmax args = {(unsigned char *)p + lane / 16 * AMX_TILE_BYTES,
                                     step,
                                     m + lane,
                                     l + lane,
                                     s + lane,
                                     ld,
                                     keys};
        softmax_lanes(&args, max_lanes(s + lane, ld, keys), mark);
    }
}

/* --- values ---------------------------------------------------------------------------------- */

/* V may hold NaN: the scalar row's sums, which leave out what p = -0 marks. */
static void accumulate_marked(float *o, int32_t ld, const void *p, const void *v, int64_t v_stride,
                              int32_t keys, int32_t dv, int flags)
{
    uint16_t plain[32 * AMX_TILE_ROWS]; /* [32][ld] */

    for (int32_t key = 0; key < keys; key += 32) {
        const uint16_t *tiles = (const uint16_t *)p + (int64_t)key * ld;
        const int part = key == 0 ? flags : flags & ~GQA__ACC_FIRST;

        for (int32_t i = 0; i < 32; i++) {
            for (int32_t lane = 0; lane < ld; lane++) {
                plain[i * ld + lane] = tiles[lane / 16 * 512 + i / 2 * 32 + lane % 16 * 2 + i % 2];
            }
        }
        accumulate_bf16(o, ld, plain, (const uint16_t *)v + key, v_stride, 32, dv, part);
    }
}

void gqa__amx_accumulate(float *o, int32_t ld, const void *p, const void *v, int64_t v_stride,
                         int32_t keys, int32_t dv, int flags)
{
    const struct gqa__keys piece = {NULL, 0, v, v_stride, keys};

    assert(keys % 32 == 0 && ld % AMX_ROWS == 0 && ld <= AMX_TILE_ROWS);
    if (flags & GQA__ACC_MARKED) {
        accumulate_marked(o, ld, p, v, v_stride, keys, dv, flags);
        return;
    }
    for (int32_t lane = 0; lane < ld; lane += 32) {
        const struct value_args args = {&piece,
                                        1,
                                        (const unsigned char *)p + lane / 16 * AMX_TILE_BYTES,
                                        (int64_t)ld / 16 * AMX_TILE_BYTES,
                                        o + lane,
                                        ld,
                                        dv,
                                        (flags & GQA__ACC_FIRST) != 0};
        if (lane + 16 < ld) {
            value_lanes(&args, true);
        } else {
            value_lanes(&args, false);
        }
    }
}

/* --- a whole block --------------------------------------------------------------------------- */

/* Hide the keys that lanes [lane, lane + 16) do not see, s [keys][16]: only outside the range that
 * all of them see. */
static void hide_lanes(float *s, const struct gqa__modify *modify, int32_t lane)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    const __m512i lo = _mm512_loadu_si512(modify->lo + lane);
    const __m512i hi = _mm512_loadu_si512(modify->hi + lane);
    const int32_t begin = _mm512_reduce_max_epi32(lo);
    const int32_t end = _mm512_reduce_min_epi32(hi);

    for (int32_t key = 0; key < modify->keys; key++) {
        if (key >= begin && key < end) {
            key = end - 1;
            continue;
        }
        const __m512i at = _mm512_set1_epi32(key);
        const __mmask16 hidden = _mm512_cmpgt_epi32_mask(lo, at) | _mm512_cmple_epi32_mask(hi, at);
        _mm512_mask_storeu_ps(s + (int64_t)key * 16, hidden, none);
    }
}

/* The modify of lanes [lane, lane + 16), s [keys][16]. */
static void modify_lanes(float *s, const struct gqa__modify *modify, int32_t lane)
{
    struct gqa__modify part = *modify;
    const bool values = modify->softcap != 0.0f || modify->slope != NULL || modify->bias != NULL;

    part.ld = 16;
    part.slope = modify->slope != NULL ? modify->slope + lane : NULL;
    part.q_pos = modify->q_pos != NULL ? modify->q_pos + lane : NULL;
    part.lo = NULL;
    part.hi = NULL;
    for (int32_t key = 0; key < modify->keys && (values || modify->visible != NULL); key++) {
        const int64_t at = (int64_t)key * modify->ld + lane;
        part.k_pos = modify->k_pos != NULL ? modify->k_pos + key : NULL;
        part.bias = modify->bias != NULL ? modify->bias + at : NULL;
        part.visible = modify->visible != NULL ? modify->visible + at : NULL;
        modify_values(s + (int64_t)key * 16, 0, &part); /* key 0 of these slices */
        hide_keys(s + (int64_t)key * 16, 0, &part);
    }
    if (modify->lo != NULL) {
        hide_lanes(s, modify, lane);
    }
}

/* Raise the maxima of one or two lane tiles by the scores of keys keys, s [keys][16]. */
INLINE void raise_tops(__m512 *top, const float *s, int64_t lane_step, int32_t keys, const bool two)
{
    top[0] = _mm512_max_ps(max_lanes(s, 16, keys), top[0]);
    if (two) {
        top[1] = _mm512_max_ps(max_lanes(s + lane_step, 16, keys), top[1]);
    }
}

/* Scores of one or two lane tiles from q on, [lane tile][keys][16], and their maxima. A maximum is
 * taken while the tile unit works on the next 32 keys, unless modify changes the scores first. */
INLINE void score_lanes(const struct gqa__block *block, const unsigned char *q, int32_t lane,
                        const bool two, __m512 *top)
{
    const int32_t groups = (int32_t)(round_to_group(block->dk) / AMX_DEPTH);
    const int64_t lane_step = (int64_t)block->keys * 16;
    struct score_place to = {block->s, 16, lane_step};
    const float *ready = NULL; /* 32 keys that await their maximum */

    top[0] = _mm512_set1_ps(-INFINITY);
    top[1] = top[0];
    for (int32_t i = 0; i < block->pieces; i++) {
        const struct gqa__keys *piece = &block->piece[i];
        for (int32_t key = 0; key < piece->keys; key += 32, to.s += 32 * 16) {
            score_keys(to, q, (int64_t)groups * AMX_TILE_BYTES,
                       (const uint16_t *)piece->k + key * piece->k_stride, piece->k_stride, groups,
                       two);
            if (block->modify == NULL && ready != NULL) {
                raise_tops(top, ready, lane_step, 32, two);
            }
            ready = to.s;
        }
    }
    if (block->modify == NULL) {
        raise_tops(top, ready, lane_step, 32, two);
        return;
    }
    modify_lanes(block->s, block->modify, lane);
    if (two) {
        modify_lanes(block->s + lane_step, block->modify, lane + 16);
    }
    raise_tops(top, block->s, lane_step, block->keys, two);
}

/* Lanes [lane, lane + 32) or [lane, lane + 16). */
INLINE void block_lanes(const struct gqa__block *block, int32_t lane, const bool two)
{
    const int32_t groups = (int32_t)(round_to_group(block->dk) / AMX_DEPTH);
    const unsigned char *q =
        (const unsigned char *)block->q + (int64_t)lane / 16 * groups * AMX_TILE_BYTES;
    const int64_t p_step = two ? 2 * AMX_TILE_BYTES : AMX_TILE_BYTES;
    const struct value_args values = {.piece = block->piece,
                                      .pieces = block->pieces,
                                      .p = block->p,
                                      .p_step = p_step,
                                      .o = block->o + lane,
                                      .ld = block->ld,
                                      .dv = block->dv,
                                      .first = true};
    __m512 top[2];

    score_lanes(block, q, lane, two, top);
    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        float *s = block->s + (int64_t)half * block->keys * 16;
        const struct softmax args = {.p = (unsigned char *)block->p + half * AMX_TILE_BYTES,
                                     .p_step = p_step,
                                     .m = block->m + lane + half * 16,
                                     .l = block->l + lane + half * 16,
                                     .s = s,
                                     .s_stride = 16,
                                     .keys = block->keys};
        softmax_lanes(&args, top[half], false);
    }
    value_lanes(&values, two);
}

/* NaN in V: the entries one after the other. */
static void block_marked(const struct gqa__block *block)
{
    int32_t done = 0;

    for (int32_t i = 0; i < block->pieces; i++) {
        const struct gqa__keys *piece = &block->piece[i];
        gqa__amx_score(block->s + (int64_t)done * block->ld, block->ld, block->q, piece->k,
                       piece->k_stride, piece->keys, block->dk);
        done += piece->keys;
    }
    if (block->modify != NULL) {
        modify_scores(block->s, block->modify);
    }
    gqa__amx_softmax(block->p, block->m, block->l, block->s, block->keys, block->ld, true);
    done = 0;
    for (int32_t i = 0; i < block->pieces; i++) {
        const struct gqa__keys *piece = &block->piece[i];
        const int flags = GQA__ACC_MARKED | (i == 0 ? GQA__ACC_FIRST : 0);
        gqa__amx_accumulate(block->o, block->ld,
                            (const uint16_t *)block->p + (int64_t)done * block->ld, piece->v,
                            piece->v_stride, piece->keys, block->dv, flags);
        done += piece->keys;
    }
}

void gqa__amx_block(const struct gqa__block *block)
{
    if (block->mark) {
        block_marked(block);
        return;
    }
    for (int32_t lane = 0; lane < block->ld; lane += 32) {
        if (lane + 16 < block->ld) {
            block_lanes(block, lane, true);
        } else {
            block_lanes(block, lane, false);
        }
    }
}

#else

typedef int gqa__amx_attention_not_built; /* a translation unit is not empty */

#endif
