/* SPDX-License-Identifier: Apache-2.0 */
/* products.h - the two products of attention by tiles: scores K Q^T, and values V^T P. Layouts as
 * in amx/attention.c. */
#ifndef GQA__KERNEL_AMX_PRODUCTS_H
#define GQA__KERNEL_AMX_PRODUCTS_H

#include <string.h>

#include "kernel/amx/amx.h"
#include "kernel/amx/output_path.h"
#include "kernel/vector/convert_avx512.h"

/* --- prefetch -------------------------------------------------------------------------------- */

/* Memory that is read after this block, on its way into L2. The regions of the list are taken
 * PREFETCH_STREAMS at a time, side by side, because memory answers several streams faster than one.
 * A round is one cache line of each of them. The rounds are spread over the work of the block: each
 * step of the work adds a fraction of a round to `due`, and when a whole one is due it is
 * prefetched. */
struct prefetch_queue {
    const struct gqa__prefetch *at; /* [rest] regions that are not done */
    int32_t rest;
    size_t done; /* bytes already prefetched of each of the first PREFETCH_STREAMS */
    int32_t due; /* rounds that are due, in units of 1 / PREFETCH_ONE */
    /* What a step adds to due: a product of two tiles of K; the exponentials of four keys of 16
     * lanes; a product of two tiles of V. */
    int32_t scores, exponentials, values;
};

enum {
    PREFETCH_STREAMS = 4, /* K and V of two pages */
    PREFETCH_ONE = 1 << 10
};

INLINE void prefetch_lines(struct prefetch_queue *prefetch, int32_t more)
{
    for (prefetch->due += more; prefetch->due >= PREFETCH_ONE; prefetch->due -= PREFETCH_ONE) {
        const int32_t streams =
            prefetch->rest < PREFETCH_STREAMS ? prefetch->rest : PREFETCH_STREAMS;
        bool rest = false;
        for (int32_t s = 0; s < streams; s++) {
            const struct gqa__prefetch *region = &prefetch->at[s];
            if (prefetch->done < region->bytes) {
                _mm_prefetch((const char *)region->at + prefetch->done, _MM_HINT_T1);
            }
            rest = rest || prefetch->done + 64 < region->bytes;
        }
        prefetch->done += 64;
        if (!rest) {
            prefetch->at += streams;
            prefetch->rest -= streams;
            prefetch->done = 0;
        }
    }
}

/* What each of `steps` steps must add for all rounds to be prefetched by the last of them. */
INLINE int32_t prefetch_rate(size_t rounds, int32_t steps)
{
    return (int32_t)(rounds * PREFETCH_ONE / (size_t)steps) + 1;
}

/* The queue of a block. With 16 lanes each kind of step waits for memory whatever it does, so all
 * three prefetch, in the proportion of their times. With more lanes the exponentials have time for
 * all of it. */
INLINE struct prefetch_queue prefetch_begin(const struct gqa__block *block)
{
    const int32_t exponentials = block->keys / 4 * (block->ld / 16);
    struct prefetch_queue prefetch = {.at = block->prefetch, .rest = block->prefetches};
    size_t rounds = 0;

    for (int32_t i = 0; i < block->prefetches; i++) {
        rounds += block->prefetch[i].bytes / (64 * PREFETCH_STREAMS);
    }
    if (block->ld > 16) {
        prefetch.exponentials = prefetch_rate(rounds, exponentials);
        return prefetch;
    }
    prefetch.scores = prefetch_rate(rounds * 3 / 8, block->keys / 32 * ((block->dk + 31) / 32));
    prefetch.exponentials = prefetch_rate(rounds * 3 / 8, exponentials);
    prefetch.values = prefetch_rate(rounds * 2 / 8, block->keys / 32 * ((block->dv + 31) / 32));
    return prefetch;
}

/* --- scores ---------------------------------------------------------------------------------- */

/* Scores of 32 keys and one or two lane tiles. */
struct score_keys {
    float *s;               /* [32][stride] of the first lane tile */
    int64_t stride;         /* floats */
    int64_t lane_step;      /* floats from one lane tile to the next */
    const unsigned char *q; /* packed queries of the first lane tile */
    int64_t q_step;         /* bytes from one lane tile to the next */
    const uint16_t *k;      /* [32][k_stride] */
    int64_t k_stride;
    int32_t k32s;
    struct prefetch_queue *prefetch; /* or NULL */
};

INLINE void score_keys(const struct score_keys at, const bool two)
{
    const size_t row = (size_t)at.k_stride * sizeof(uint16_t);
    const size_t s_row = (size_t)at.stride * sizeof(float);

    _tile_zero(0);
    _tile_zero(1);
    if (two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int32_t g = 0; g < at.k32s; g++) {
        _tile_loadd(6, at.q + (int64_t)g * AMX_TILE_BYTES, 64);
        _tile_loadd(4, at.k + g * AMX_DEPTH, row);
        _tile_dpbf16ps(0, 4, 6);
        if (!two && at.prefetch != NULL) {
            prefetch_lines(at.prefetch, at.prefetch->scores);
        }
        _tile_loadd(5, at.k + 16 * at.k_stride + g * AMX_DEPTH, row);
        _tile_dpbf16ps(1, 5, 6);
        if (two) {
            _tile_loadd(7, at.q + at.q_step + (int64_t)g * AMX_TILE_BYTES, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, at.s, s_row);
    _tile_stored(1, at.s + 16 * at.stride, s_row);
    if (two) {
        _tile_stored(2, at.s + at.lane_step, s_row);
        _tile_stored(3, at.s + 16 * at.stride + at.lane_step, s_row);
    }
}

/* Scores of one run for lanes [lane, lane + 32) or [lane, lane + 16), whose queries are q. */
INLINE void score_run(const struct gqa__score_args *args, int32_t lane, const unsigned char *q,
                      int32_t k32s, const bool two)
{
    for (int32_t key = 0; key < args->keys; key += 32) {
        const struct score_keys at = {.s = args->s + lane + (int64_t)key * args->ld,
                                      .stride = args->ld,
                                      .lane_step = 16,
                                      .q = q,
                                      .q_step = (int64_t)k32s * AMX_TILE_BYTES,
                                      .k = (const uint16_t *)args->k + key * args->k_stride,
                                      .k_stride = args->k_stride,
                                      .k32s = k32s};
        score_keys(at, two);
    }
}

/* --- values ---------------------------------------------------------------------------------- */

/* A product of values, V^T P, for one or two lane tiles. */
struct value_args {
    const struct gqa__key_run *run;
    int32_t runs;
    const unsigned char *p; /* tiles of the first lane tile */
    int64_t p_step;         /* bytes between tiles of 32 keys */
    float *o;               /* [dv][ld] from the first lane on */
    int32_t ld, dv;
    bool first;
    struct prefetch_queue *prefetch; /* for one lane tile, or NULL */
    struct output_path *path;        /* merges and finishes the sums; NULL: they go to o */
};

/* Loads one tile C from o; rows beyond dv go through a spare tile. store_o is the way back. */
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

INLINE void store_o(const int tile, float *o, int32_t ld, int32_t rows)
{
    float spare[16 * 16];
    float *to = rows == 16 ? o : spare;
    const size_t stride = rows == 16 ? (size_t)ld * sizeof(float) : 64;

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
    for (int32_t i = 0; i < rows && rows < 16; i++) {
        _mm512_storeu_ps(o + (int64_t)i * ld, _mm512_loadu_ps(spare + i * 16));
    }
}

/* Takes the four tiles C, from value dimension d on, through the output path. Those that were not
 * computed hold zeros and come along. */
INLINE void tiles_out(const struct value_args *args, int32_t d, const bool two_lanes)
{
    float *const patch = args->path->patch;
    const int32_t rest = args->dv - d;

    _tile_stored(0, patch, PATCH_LANES * sizeof(float));
    _tile_stored(2, patch + 16 * PATCH_LANES, PATCH_LANES * sizeof(float));
    if (two_lanes) {
        _tile_stored(1, patch + 16, PATCH_LANES * sizeof(float));
        _tile_stored(3, patch + 16 * PATCH_LANES + 16, PATCH_LANES * sizeof(float));
    }
    settle_memory();
    output_path_patch(args->path, patch, d, rest < 32 ? rest : 32, two_lanes);
}

/* Value dimensions [d, d + 32) or, without two_dims, [d, d + 16), for one or two lane tiles. */
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
    for (int32_t i = 0; i < args->runs; i++) {
        const struct gqa__key_run *run = &args->run[i];
        const uint16_t *v = (const uint16_t *)run->v + d * run->v_stride;
        const size_t row = (size_t)run->v_stride * sizeof(uint16_t);
        for (int32_t key = 0; key < run->keys; key += 32, p += args->p_step) {
            if (!two_lanes && args->prefetch != NULL) {
                prefetch_lines(args->prefetch, args->prefetch->values);
            }
            _tile_loadd(4, v + key, row);
            _tile_loadd(6, p, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (two_lanes) {
                _tile_loadd(7, p + AMX_TILE_BYTES, 64);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (two_dims) {
                _tile_loadd(5, v + 16 * run->v_stride + key, row);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (two_dims && two_lanes) {
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    if (args->path != NULL) {
        tiles_out(args, d, two_lanes);
        return;
    }
    store_o(0, o, args->ld, rows0);
    if (two_lanes) {
        store_o(1, o + 16, args->ld, rows0);
    }
    if (two_dims) {
        store_o(2, o + (int64_t)16 * args->ld, args->ld, rows1);
    }
    if (two_dims && two_lanes) {
        store_o(3, o + (int64_t)16 * args->ld + 16, args->ld, rows1);
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

#endif
