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

#include "kernel/amx_vector.h"
#include "kernel/scalar_attention.h"
#include "kernel/scalar_bf16.h"

#define INLINE static inline __attribute__((always_inline))

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

    return bf16_pair(_mm512_mul_ps(a, scale), _mm512_mul_ps(b, scale));
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
            row[i] = q + gqa__row_offset(map, lane + i);
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

/* Scores of 32 keys and one or two lane tiles; q: tiles of the first, the next one step apart. */
INLINE void score_keys(float *s, int64_t s_stride, const unsigned char *q, int64_t q_step,
                       const uint16_t *k, int64_t k_stride, int32_t groups, const bool two)
{
    const size_t row = (size_t)k_stride * sizeof(uint16_t);
    const size_t s_row = (size_t)s_stride * sizeof(float);

    _tile_zero(0);
    _tile_zero(1);
    if (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int32_t g = 0; g < groups; g++) {
        _tile_loadd(6, q + (int64_t)g * AMX_TILE_BYTES, 64);
        _tile_loadd(4, k + g * AMX_DEPTH, row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, k + 16 * k_stride + g * AMX_DEPTH, row);
        _tile_dpbf16ps(1, 5, 6);
        if (two) {
            _tile_loadd(7, q + q_step + (int64_t)g * AMX_TILE_BYTES, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, s, s_row);
    _tile_stored(1, s + 16 * s_stride, s_row);
    if (two) {
        _tile_stored(2, s + 16, s_row);
        _tile_stored(3, s + 16 * s_stride + 16, s_row);
    }
}

/* Scores of one piece for lanes [0, 32) or [0, 16) of q. */
INLINE void score_piece(float *s, int64_t s_stride, const unsigned char *q, const uint16_t *k,
                        int64_t k_stride, int32_t keys, int32_t groups, const bool two)
{
    for (int32_t key = 0; key < keys; key += 32) {
        score_keys(s + key * s_stride, s_stride, q, (int64_t)groups * AMX_TILE_BYTES,
                   k + key * k_stride, k_stride, groups, two);
    }
}

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

/* gqa__exp2f_fast of 16 values. */
INLINE __m512 exp2_fast(__m512 x)
{
    const __m512 rounder = _mm512_set1_ps(GQA__ROUNDER);
    const __m512 n = _mm512_sub_ps(_mm512_add_ps(x, rounder), rounder);
    const __m512 f = _mm512_sub_ps(x, n);
    const __mmask16 live = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    __m512 p = _mm512_set1_ps(0x1.c2a2bcp-5f);

    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.f00c58p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62f5fap-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(live, p, n);
}

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
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512 x0 = _mm512_loadu_ps(s), x1 = _mm512_loadu_ps(s + s_stride);
    const __m512 e0 = exp2_fast(_mm512_sub_ps(x0, safe));
    const __m512 e1 = exp2_fast(_mm512_sub_ps(x1, safe));
    __m512i pair = (__m512i)_mm512_cvtne2ps_pbh(e1, e0); /* keys one after the other */

    *sum0 = _mm512_add_ps(*sum0, e0);
    *sum1 = _mm512_add_ps(*sum1, e1);
    if (mark) {
        const __m512 none = _mm512_set1_ps(-INFINITY);
        const uint32_t hidden = (uint32_t)_mm512_cmp_ps_mask(x0, none, _CMP_EQ_OQ) |
                                (uint32_t)_mm512_cmp_ps_mask(x1, none, _CMP_EQ_OQ) << 16;
        pair = _mm512_mask_mov_epi16(pair, hidden, _mm512_set1_epi16((short)0x8000));
    }
    return _mm512_permutexvar_epi16(order, pair);
}

/* Softmax of 16 lanes with their maximum: p tiles p_step bytes apart (one per 32 keys). */
INLINE void softmax_lanes(unsigned char *p, int64_t p_step, float *m, float *l, const float *s,
                          int64_t s_stride, int32_t keys, bool mark, __m512 top)
{
    const __mmask16 empty = _mm512_cmp_ps_mask(top, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ);
    const __m512 safe = _mm512_mask_mov_ps(top, empty, _mm512_setzero_ps());
    __m512 l0 = _mm512_setzero_ps(), l1 = l0, l2 = l0, l3 = l0;

    for (int32_t key = 0; key < keys; key += 32) {
        unsigned char *tile = p + key / 32 * p_step;
        for (int32_t i = 0; i < 32; i += 4) {
            const float *at = s + (key + i) * s_stride;
            _mm512_storeu_si512(tile + i * 32, weigh_pair(at, s_stride, safe, &l0, &l1, mark));
            _mm512_storeu_si512(tile + i * 32 + 64,
                                weigh_pair(at + 2 * s_stride, s_stride, safe, &l2, &l3, mark));
        }
    }
    _mm512_storeu_ps(m, top);
    _mm512_storeu_ps(l, canonical(_mm512_add_ps(_mm512_add_ps(l0, l1), _mm512_add_ps(l2, l3))));
}

void gqa__amx_softmax(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld, bool mark)
{
    const int64_t step = (int64_t)ld / 16 * AMX_TILE_BYTES;

    assert(keys % 32 == 0 && ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < ld; lane += 16) {
        softmax_lanes((unsigned char *)p + lane / 16 * AMX_TILE_BYTES, step, m + lane, l + lane,
                      s + lane, ld, keys, mark, max_lanes(s + lane, ld, keys));
    }
}

/* --- values ---------------------------------------------------------------------------------- */

/* Where the tiles of a second product lie. */
struct value_args {
    const struct gqa__keys *piece;
    int32_t pieces;
    const unsigned char *p; /* tiles of the first lane tile */
    int64_t p_step;         /* bytes between tiles of 32 keys */
    float *o;               /* [dv][ld] from the first lane on */
    int32_t ld, dv;
    bool first, last;
};

/* One C tile to or from o; rows beyond dv go through a spare tile. */
INLINE void load_o(const int tile, const float *o, int32_t ld, int32_t rows)
{
    float spare[16 * 16];
    const float *from = o;
    size_t stride = (size_t)ld * sizeof(float);

    if (rows < 16) {
        memset(spare, 0, sizeof spare);
        for (int32_t i = 0; i < rows; i++) {
            memcpy(spare + i * 16, o + (int64_t)i * ld, 64);
        }
        from = spare;
        stride = 64;
        settle_memory();
    }
    switch (tile) {
    case 0:
        _tile_loadd(0, from, stride);
        break;
    case 1:
        _tile_loadd(1, from, stride);
        break;
    case 2:
        _tile_loadd(2, from, stride);
        break;
    default:
        _tile_loadd(3, from, stride);
        break;
    }
}

/* After the block's last part: no -0, canonical NaN. */
INLINE void store_o(const int tile, float *o, int32_t ld, int32_t rows, bool last)
{
    float spare[16 * 16];
    const bool direct = rows == 16 && !last;
    float *to = direct ? o : spare;
    const size_t stride = direct ? (size_t)ld * sizeof(float) : 64;

    switch (tile) {
    case 0:
        _tile_stored(0, to, stride);
        break;
    case 1:
        _tile_stored(1, to, stride);
        break;
    case 2:
        _tile_stored(2, to, stride);
        break;
    default:
        _tile_stored(3, to, stride);
        break;
    }
    for (int32_t i = 0; i < rows && !direct; i++) {
        const __m512 x = _mm512_loadu_ps(spare + i * 16);
        const __m512 ended = canonical(_mm512_add_ps(x, _mm512_setzero_ps()));
        _mm512_storeu_ps(o + (int64_t)i * ld, last ? ended : x);
    }
}

/* Value dimensions [d, d + 32) or, with one, [d, d + 16), for one or two lane tiles. */
INLINE void value_tiles(const struct value_args *args, int32_t d, const bool two_dims,
                        const bool two_lanes)
{
    const int32_t rows0 = args->dv - d < 16 ? args->dv - d : 16;
    const int32_t rows1 = args->dv - d - 16 < 16 ? args->dv - d - 16 : 16;
    float *o = args->o + (int64_t)d * args->ld;
    const unsigned char *p = args->p;

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (!args->first) {
        load_o(0, o, args->ld, rows0);
        if (two_lanes) {
            load_o(1, o + 16, args->ld, rows0);
        }
        if (two_dims) {
            load_o(2, o + (int64_t)16 * args->ld, args->ld, rows1);
        }
        if (two_dims && two_lanes) {
            load_o(3, o + (int64_t)16 * args->ld + 16, args->ld, rows1);
        }
    }
    for (int32_t i = 0; i < args->pieces; i++) {
        const struct gqa__keys *piece = &args->piece[i];
        const uint16_t *v = (const uint16_t *)piece->v + d * piece->v_stride;
        const size_t row = (size_t)piece->v_stride * sizeof(uint16_t);
        for (int32_t key = 0; key < piece->keys; key += 32, p += args->p_step) {
            _tile_loadd(4, v + key, row);
            _tile_loadd(6, p, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (two_lanes) {
                _tile_loadd(7, p + AMX_TILE_BYTES, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (two_dims) {
                _tile_loadd(5, v + 16 * piece->v_stride + key, row);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (two_dims && two_lanes) {
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    store_o(0, o, args->ld, rows0, args->last);
    if (two_lanes) {
        store_o(1, o + 16, args->ld, rows0, args->last);
    }
    if (two_dims) {
        store_o(2, o + (int64_t)16 * args->ld, args->ld, rows1, args->last);
    }
    if (two_dims && two_lanes) {
        store_o(3, o + (int64_t)16 * args->ld + 16, args->ld, rows1, args->last);
    }
}

INLINE void value_lanes(const struct value_args *args, const bool two_lanes)
{
    settle_memory(); /* the tiles of p */
    for (int32_t d = 0; d < args->dv; d += 32) {
        if (d + 16 < args->dv) {
            value_tiles(args, d, true, two_lanes);
        } else {
            value_tiles(args, d, false, two_lanes);
        }
    }
}

/* V may hold NaN: the scalar row's sums, which leave out what p = -0 marks. */
static void accumulate_marked(float *o, int32_t ld, const void *p, const void *v, int64_t v_stride,
                              int32_t keys, int32_t dv, int flags)
{
    uint16_t plain[32 * AMX_TILE_ROWS]; /* [32][ld] */

    for (int32_t key = 0; key < keys; key += 32) {
        const uint16_t *tiles = (const uint16_t *)p + (int64_t)key * ld;
        int part = flags & ~(GQA__ACC_FIRST | GQA__ACC_LAST);

        part |= key == 0 ? flags & GQA__ACC_FIRST : 0;
        part |= key + 32 == keys ? flags & GQA__ACC_LAST : 0;
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
                                        (flags & GQA__ACC_FIRST) != 0,
                                        (flags & GQA__ACC_LAST) != 0};
        if (lane + 16 < ld) {
            value_lanes(&args, true);
        } else {
            value_lanes(&args, false);
        }
    }
}

/* --- a whole block --------------------------------------------------------------------------- */

/* Hide the keys that lanes [lane, lane + width) do not see, on compact scores [keys][width]: only
 * outside the range that all of them see. */
static void hide_lanes(float *s, const struct gqa__modify *modify, int32_t lane, int32_t width)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);

    for (int32_t half = 0; half < width; half += 16) {
        const __m512i lo = _mm512_loadu_si512(modify->lo + lane + half);
        const __m512i hi = _mm512_loadu_si512(modify->hi + lane + half);
        const int32_t begin = _mm512_reduce_max_epi32(lo);
        const int32_t end = _mm512_reduce_min_epi32(hi);
        for (int32_t key = 0; key < modify->keys; key++) {
            if (key >= begin && key < end) {
                key = end - 1;
                continue;
            }
            const __m512i at = _mm512_set1_epi32(key);
            const __mmask16 hidden =
                _mm512_cmpgt_epi32_mask(lo, at) | _mm512_cmple_epi32_mask(hi, at);
            _mm512_mask_storeu_ps(s + (int64_t)key * width + half, hidden, none);
        }
    }
}

/* The modify of lanes [lane, lane + width) on compact scores [keys][width]. */
static void modify_lanes(float *s, const struct gqa__modify *modify, int32_t lane, int32_t width)
{
    struct gqa__modify part = *modify;
    float bias[32];
    uint8_t visible[32];
    const bool values = modify->softcap != 0.0f || modify->slope != NULL || modify->bias != NULL;

    part.ld = width;
    part.slope = modify->slope != NULL ? modify->slope + lane : NULL;
    part.q_pos = modify->q_pos != NULL ? modify->q_pos + lane : NULL;
    part.lo = NULL;
    part.hi = NULL;
    for (int32_t key = 0; key < modify->keys && (values || modify->visible != NULL); key++) {
        float *row = s + (int64_t)key * width;
        if (modify->bias != NULL) {
            memcpy(bias, modify->bias + (int64_t)key * modify->ld + lane,
                   (size_t)width * sizeof *bias);
        }
        if (modify->visible != NULL) {
            memcpy(visible, modify->visible + (int64_t)key * modify->ld + lane, (size_t)width);
        }
        part.k_pos = modify->k_pos != NULL ? modify->k_pos + key : NULL;
        part.bias = modify->bias != NULL ? bias : NULL;
        part.visible = modify->visible != NULL ? visible : NULL;
        modify_values(row, 0, &part); /* key 0 of these slices */
        hide_keys(row, 0, &part);
    }
    if (modify->lo != NULL) {
        hide_lanes(s, modify, lane, width);
    }
}

/* Raise the maxima of one or two lane tiles by the scores of keys keys. */
INLINE void raise_tops(__m512 *top, const float *s, int64_t s_stride, int32_t keys, const bool two)
{
    top[0] = _mm512_max_ps(max_lanes(s, s_stride, keys), top[0]);
    if (two) {
        top[1] = _mm512_max_ps(max_lanes(s + 16, s_stride, keys), top[1]);
    }
}

/* Scores of lanes from q on, compact [keys][width], and their maxima. A maximum is taken while the
 * tile unit works on the next 32 keys, unless modify changes the scores first. */
INLINE void score_lanes(const struct gqa__block *block, const unsigned char *q, int32_t lane,
                        const bool two, __m512 *top)
{
    const int32_t groups = (int32_t)(round_to_group(block->dk) / AMX_DEPTH);
    const int32_t width = two ? 32 : 16;
    float *s = block->s;

    top[0] = _mm512_set1_ps(-INFINITY);
    top[1] = top[0];
    for (int32_t i = 0; i < block->pieces; i++) {
        const struct gqa__keys *piece = &block->piece[i];
        for (int32_t key = 0; key < piece->keys; key += 32, s += 32 * width) {
            score_keys(s, width, q, (int64_t)groups * AMX_TILE_BYTES,
                       (const uint16_t *)piece->k + key * piece->k_stride, piece->k_stride, groups,
                       two);
            if (block->modify == NULL && s > block->s) {
                raise_tops(top, s - 32 * width, width, 32, two);
            }
        }
    }
    if (block->modify == NULL) {
        raise_tops(top, s - 32 * width, width, 32, two);
    } else {
        modify_lanes(block->s, block->modify, lane, width);
        raise_tops(top, block->s, width, block->keys, two);
    }
}

/* Lanes [lane, lane + 32) or [lane, lane + 16). */
INLINE void block_lanes(const struct gqa__block *block, int32_t lane, const bool two)
{
    const int32_t groups = (int32_t)(round_to_group(block->dk) / AMX_DEPTH);
    const int32_t width = two ? 32 : 16;
    const unsigned char *q =
        (const unsigned char *)block->q + (int64_t)lane / 16 * groups * AMX_TILE_BYTES;
    const int64_t p_step = two ? 2 * AMX_TILE_BYTES : AMX_TILE_BYTES;
    struct value_args values;
    __m512 top[2];

    score_lanes(block, q, lane, two, top);
    for (int32_t half = 0; half < width; half += 16) {
        softmax_lanes((unsigned char *)block->p + half / 16 * AMX_TILE_BYTES, p_step,
                      block->m + lane + half, block->l + lane + half, block->s + half, width,
                      block->keys, false, top[half / 16]);
    }
    values = (struct value_args){block->piece, block->pieces, block->p, p_step, block->o + lane,
                                 block->ld,    block->dv,     true,     true};
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
        const int flags = GQA__ACC_MARKED | (i == 0 ? GQA__ACC_FIRST : 0) |
                          (i == block->pieces - 1 ? GQA__ACC_LAST : 0);
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
