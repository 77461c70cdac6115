/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c - attention with AMX products and an AVX-512 softmax.
 *
 * Lanes are taken in groups of 32 (two tiles), the last one may have 16. Packed layouts:
 *   q  [ld / 16][dk / 32][16 pairs][16 lanes][2]   tiles B of the first product
 *   p  [keys / 32][ld / 16][16 pairs][16 lanes][2] tiles B of the second
 * K rows and the rows of V transposed are tiles A as they lie in the pages.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <assert.h>
#include <string.h>

#include "kernel/amx/products.h"
#include "kernel/amx/softmax.h"
#include "kernel/avx512/flush.h"
#include "kernel/scalar/attention.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/convert_avx512.h"

size_t gqa__amx_q_bytes(int32_t dk, int32_t ld)
{
    return (size_t)round_to_k32(dk) * (size_t)ld * sizeof(uint16_t);
}

/* The first n values that `of` allows, from value i of q on. */
INLINE __m512 load_query(const void *q, int64_t i, __mmask16 of, const gqa_dtype type)
{
    if (type == GQA_F32) {
        return _mm512_maskz_loadu_ps(of, (const float *)q + i);
    }
    const __m256i half = _mm256_maskz_loadu_epi16(of, (const uint16_t *)q + i);
    if (type == GQA_F16) {
        return canonical(_mm512_cvtph_ps(half));
    }
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The first 32 of the `rest` values that remain of a row, from value i of q on, scaled; zero beyond
 * them. */
INLINE __m512i load_query_row(const void *q, int64_t i, int32_t rest, __m512 scale,
                              const gqa_dtype type)
{
    const __mmask16 lo = rest >= 16 ? 0xffffu : (__mmask16)((1u << rest) - 1u);
    const int32_t beyond = rest - 16;
    const __mmask16 hi = beyond >= 16  ? 0xffffu
                         : beyond <= 0 ? (__mmask16)0
                                       : (__mmask16)((1u << beyond) - 1u);
    const __m512 a = load_query(q, i, lo, type);
    const __m512 b = load_query(q, i + (beyond > 0 ? 16 : 0), hi, type);

    return factor_pair(_mm512_mul_ps(a, scale), _mm512_mul_ps(b, scale));
}

/* Prefetches n values of a query row, from value i of q on. */
INLINE void prefetch_query_row(const void *q, int64_t i, int32_t n, const gqa_dtype type)
{
    const int64_t size = type == GQA_F32 ? 4 : 2;

    for (int64_t at = i * size; at < (i + n) * size; at += 64) {
        _mm_prefetch((const char *)q + at, _MM_HINT_T0);
    }
}

/* type is a constant where it is called. */
INLINE void pack_typed_q(const struct gqa__pack_q_args *args, const gqa_dtype type)
{
    const struct gqa__row_map *const map = args->map;
    const int32_t dk = args->dk;
    const __m512 factor = _mm512_set1_ps(args->scale);
    struct gqa__row_walk walk = gqa__row_begin(map, 0), later = gqa__row_begin(map, AMX_ROWS);
    uint16_t *out = args->dst;

    assert(map->count <= args->ld && args->ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < args->ld; lane += AMX_ROWS) {
        const int32_t rows = map->count - lane < AMX_ROWS ? map->count - lane : AMX_ROWS;
        int64_t row[AMX_ROWS];
        for (int32_t i = 0; i < rows; i++) {
            const int64_t next = gqa__row_next(map, &later);
            row[i] = gqa__row_next(map, &walk);
            if (lane + i + AMX_ROWS < map->count) {
                prefetch_query_row(args->q, next, dk, type);
            }
        }
        for (int32_t d = 0; d < dk; d += AMX_DEPTH) {
            __m512i r[AMX_ROWS];
            for (int32_t i = 0; i < AMX_ROWS; i++) {
                r[i] = _mm512_setzero_si512();
                if (i < rows) {
                    r[i] = load_query_row(args->q, row[i] + d, dk - d, factor, type);
                }
            }
            transpose16(r);
            for (int32_t i = 0; i < AMX_ROWS; i++) {
                _mm512_storeu_si512(out, r[i]);
                out += 32;
            }
        }
    }
}

void gqa__amx_pack_q(const struct gqa__pack_q_args *args)
{
    if (args->q_type == GQA_F32) {
        pack_typed_q(args, GQA_F32);
    } else if (args->q_type == GQA_BF16) {
        pack_typed_q(args, GQA_BF16);
    } else {
        pack_typed_q(args, GQA_F16);
    }
}

/* --- scores ---------------------------------------------------------------------------------- */

/* Under flush_enter; not inlined, so that nothing else is. */
__attribute__((noinline)) static void scale_flushed_lanes(const struct gqa__score_args *args)
{
    for (int32_t lane = 0; lane < args->ld; lane += AMX_ROWS) {
        scale_lanes(args->s + lane, args->ld, args->scale, args->keys);
    }
}

void gqa__amx_score(const struct gqa__score_args *args)
{
    const int32_t k32s = (int32_t)(round_to_k32(args->dk) / AMX_DEPTH);

    assert(args->keys % 32 == 0 && args->ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < args->ld; lane += 32) {
        const unsigned char *tiles =
            (const unsigned char *)args->q + (int64_t)lane / 16 * k32s * AMX_TILE_BYTES;
        if (lane + 16 < args->ld) {
            score_run(args, lane, tiles, k32s, true);
        } else {
            score_run(args, lane, tiles, k32s, false);
        }
    }
    if (args->scale != NULL) {
        const unsigned saved = flush_enter();
        scale_flushed_lanes(args);
        flush_leave(saved);
    }
}

/* --- softmax --------------------------------------------------------------------------------- */

/* What a softmax of 16 lanes reads and writes. */
struct softmax {
    unsigned char *p; /* tiles, p_step bytes apart (one per 32 keys) */
    int64_t p_step;
    float *m, *l;   /* [16] */
    const float *s; /* [keys][s_stride] */
    int64_t s_stride;
    int32_t keys;
    const uint8_t *mark; /* [keys] or NULL */
    const float *scale;  /* [keys] or NULL */
};

INLINE void softmax_tile(const struct softmax *args, const bool mark)
{
    const int64_t step = 32 * args->s_stride;
    struct lane_sums sums = no_sums(_mm512_set1_ps(-INFINITY));

    for (int32_t key = 0; key < args->keys; key += 32) {
        raise_reference(&sums, args->s + key / 32 * step, args->s_stride);
    }
    if (mark) {
        _mm512_storeu_ps(args->m, sums.m);
        take_maxima(args->m, args->s, (int32_t)args->s_stride, args->mark, args->keys, AMX_ROWS);
        sums.m = _mm512_loadu_ps(args->m);
    }
    for (int32_t key = 0; key < args->keys; key += 32) {
        const struct scored_32 from = {args->s + key / 32 * step, args->s_stride,
                                       args->scale != NULL ? args->scale + key : NULL, NULL};
        exponentiate_either(args->p + key / 32 * args->p_step, from, &sums, mark);
    }
    store_lane_sums(&sums, args->m, args->l);
}

/* Both run under flush_enter; not inlined, so that nothing else does. */
__attribute__((noinline)) static void softmax_plain(const struct softmax *args)
{
    softmax_tile(args, false);
}

__attribute__((noinline)) static void softmax_marked(const struct softmax *args)
{
    softmax_tile(args, true);
}

void gqa__amx_softmax(const struct gqa__softmax_args *args)
{
    const int64_t step = (int64_t)args->ld / 16 * AMX_TILE_BYTES;
    const unsigned saved = flush_enter();

    assert(args->keys % 32 == 0 && args->ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < args->ld; lane += 16) {
        const struct softmax tile = {(unsigned char *)args->p + lane / 16 * AMX_TILE_BYTES,
                                     step,
                                     args->m + lane,
                                     args->l + lane,
                                     args->s + lane,
                                     args->ld,
                                     args->keys,
                                     args->mark,
                                     args->scale};
        (args->mark != NULL ? softmax_marked : softmax_plain)(&tile);
    }
    flush_leave(saved);
}

/* --- values ---------------------------------------------------------------------------------- */

_Static_assert(32 * AMX_TILE_ROWS * sizeof(uint16_t) + SCRATCH_BF16 <= AMX_SCRATCH_BYTES,
               "scratch_bytes");

/* V may hold inf or NaN: p is taken out of its tiles, 32 keys at a time, and accumulate_bf16 of
 * scalar/bf16.h leaves out the keys that p = -0 marks. */
static void accumulate_marked(const struct gqa__accumulate_args *args)
{
    const int32_t ld = args->ld;
    struct gqa__accumulate_args part = *args;
    uint16_t *plain = args->scratch; /* [32][ld], and behind it the scratch of accumulate_bf16 */

    part.scratch = plain + 32 * AMX_TILE_ROWS;
    part.p = plain;
    part.keys = 32;
    for (int32_t key = 0; key < args->keys; key += 32) {
        const uint16_t *tiles = (const uint16_t *)args->p + (int64_t)key * ld;

        for (int32_t i = 0; i < 32; i++) {
            for (int32_t lane = 0; lane < ld; lane++) {
                plain[i * ld + lane] = tiles[lane / 16 * 512 + i / 2 * 32 + lane % 16 * 2 + i % 2];
            }
        }
        part.v = (const uint16_t *)args->v + key;
        accumulate_bf16(&part);
        part.flags &= ~GQA__ACC_FIRST;
    }
}

void gqa__amx_accumulate(const struct gqa__accumulate_args *args)
{
    const struct gqa__key_run run = {NULL, 0, args->v, args->v_stride, args->keys};
    const int32_t ld = args->ld;

    assert(args->keys % 32 == 0 && ld % AMX_ROWS == 0 && ld <= AMX_TILE_ROWS);
    if (args->flags & GQA__ACC_MARKED) {
        accumulate_marked(args);
        return;
    }
    for (int32_t lane = 0; lane < ld; lane += 32) {
        const struct value_args values = {.run = &run,
                                          .runs = 1,
                                          .p = (const unsigned char *)args->p +
                                               lane / 16 * AMX_TILE_BYTES,
                                          .p_step = (int64_t)ld / 16 * AMX_TILE_BYTES,
                                          .o = args->o + lane,
                                          .ld = ld,
                                          .dv = args->dv,
                                          .first = (args->flags & GQA__ACC_FIRST) != 0};
        if (lane + 16 < ld) {
            value_lanes(&values, true);
        } else {
            value_lanes(&values, false);
        }
    }
}

#else

typedef int gqa__amx_attention_not_built; /* a translation unit is not empty */

#endif
