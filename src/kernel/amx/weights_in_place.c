/* SPDX-License-Identifier: Apache-2.0 */
/* weights_in_place.c - weights in place for AMX: the caller's rows as the tiles A of amx/linear.c.
 *
 * A tile load takes 16 rows at any one distance from each other. So rows of bf16 are loaded as
 * tiles from where they lie, if they are equally far apart and their length is a multiple of 32.
 * (Rows a multiple of 4096 bytes apart share a set of L1 and come from L2 every time, which the
 * products hide.) Of other rows and formats the tiles of one slab of k are made in L1, while the
 * products of the slab before run.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <assert.h>

#include "kernel/amx/slab.h"
#include "kernel/avx512/weights_in_place.h"

/* Makes k32s tiles of [16 outputs][32] at `to`, from k32 `first` on, of the 16 rows from `row`
 * on. */
INLINE void make_tiles(unsigned char *to, const struct gqa__rows *rows, int32_t row, int64_t first,
                       int64_t k32s, const gqa_dtype dtype)
{
    for (int64_t g = 0; g < k32s; g++, to += AMX_TILE_BYTES) {
        const int64_t k = (first + g) * AMX_DEPTH;
        const int64_t prefetch = prefetch_offset(rows, k, dtype);
#pragma GCC unroll 16
        for (int32_t i = 0; i < AMX_ROWS; i++) {
            _mm512_storeu_si512(to + i * 64, load_operands_of(rows->row[row + i], k, rows->in - k,
                                                              prefetch, dtype));
        }
    }
}

static void make_format(unsigned char *to, const struct gqa__rows *rows, int32_t row, int64_t first,
                        int64_t k32s)
{
    if (rows->dtype == GQA_F32) {
        make_tiles(to, rows, row, first, k32s, GQA_F32);
    } else if (rows->dtype == GQA_BF16) {
        make_tiles(to, rows, row, first, k32s, GQA_BF16);
    } else if (rows->dtype == GQA_I8) {
        make_tiles(to, rows, row, first, k32s, GQA_I8);
    } else {
        make_tiles(to, rows, row, first, k32s, GQA_F16);
    }
}

void gqa__amx_pack_rows(void *dst, const struct gqa__rows *rows)
{
    const int64_t k32s = k32_count(rows->in);

    assert(rows->count % AMX_ROWS == 0);
    for (int32_t i = 0; i < rows->count; i += AMX_ROWS) {
        make_format((unsigned char *)dst + i / AMX_ROWS * k32s * AMX_TILE_BYTES, rows, i, 0, k32s);
    }
}

/* Bytes from row to row if tiles can be loaded from the rows themselves, else 0. */
static int64_t tile_stride(const struct gqa__rows *rows)
{
    const uintptr_t first = (uintptr_t)rows->row[0]; /* the rows may be of several tensors */
    const uintptr_t stride = (uintptr_t)rows->row[1] - first;

    for (int32_t i = 2; i < rows->count; i++) {
        if ((uintptr_t)rows->row[i] != first + (uintptr_t)i * stride) {
            return 0;
        }
    }
    return rows->dtype == GQA_BF16 && rows->in % AMX_DEPTH == 0 ? (int64_t)stride : 0;
}

/* --- many tokens ----------------------------------------------------------------------------- */

/* Side work for the slab after the current one, some rows at each step: its tiles are made in L1,
 * or, where the rows are tiles as they lie, they are prefetched. */
struct next_slab {
    struct side_work side_work; /* must be first: a step gets its address and finds the rest */
    const struct gqa__rows *rows;
    unsigned char *to;     /* [2][SLAB_K32S] tiles */
    int64_t first, k32s;   /* of k */
    int32_t out, row, end; /* the output of the first tile; the next of its `end` rows */
    int32_t rows_a_step;
};

/* One row of the tiles, over all k32s of the slab. */
INLINE void next_slab_row(const struct next_slab *r, const gqa_dtype dtype)
{
    unsigned char *to = r->to + r->row / 16 * SLAB_BYTES + r->row % 16 * 64;
    const void *from = r->rows->row[r->out + r->row];

    for (int64_t g = 0; g < r->k32s; g++, to += AMX_TILE_BYTES) {
        const int64_t k = (r->first + g) * AMX_DEPTH;
        _mm512_storeu_si512(to, load_operands_of(from, k, r->rows->in - k,
                                                 prefetch_offset(r->rows, k, dtype), dtype));
    }
}

static void next_slab_step(struct side_work *side_work)
{
    struct next_slab *r = (struct next_slab *)side_work;

    for (int32_t i = 0; i < r->rows_a_step && r->row < r->end; i++, r->row++) {
        if (r->rows->dtype == GQA_F32) {
            next_slab_row(r, GQA_F32);
        } else if (r->rows->dtype == GQA_BF16) {
            next_slab_row(r, GQA_BF16);
        } else if (r->rows->dtype == GQA_I8) {
            next_slab_row(r, GQA_I8);
        } else {
            next_slab_row(r, GQA_F16);
        }
    }
}

/* The same where the rows are tiles as they lie: prefetch. */
static void prefetch_step(struct side_work *side_work)
{
    struct next_slab *r = (struct next_slab *)side_work;

    for (int32_t i = 0; i < r->rows_a_step && r->row < r->end; i++, r->row++) {
        const uintptr_t from = (uintptr_t)r->rows->row[r->out + r->row];
        for (int64_t g = 0; g < r->k32s; g++) {
            v_prefetch(from +
                       (uintptr_t)prefetch_offset(r->rows, (r->first + g) * AMX_DEPTH, GQA_BF16));
        }
    }
}

/* The next slab begins at k32 g of `all`, and is to be ready after `steps` steps. */
static void next_slab_begin(struct next_slab *r, unsigned char *to, int64_t g, int64_t all,
                            int32_t steps)
{
    r->to = to;
    r->first = g;
    r->k32s = all - g < SLAB_K32S ? all - g : SLAB_K32S;
    r->row = r->k32s > 0 ? 0 : r->end;
    r->rows_a_step = (r->end + steps - 1) / steps;
}

/* All tokens of one or two output tiles; stride as from tile_stride. */
INLINE void multiply_rows(const struct gqa__linear_args *args, const struct gqa__rows *rows,
                          int32_t out, int64_t stride, const bool two_outs)
{
    const int64_t k32s = k32_count(args->in), x_band = k32s * AMX_TILE_BYTES;
    const int32_t passes = (args->tokens + 31) / 32;
    struct linear_scratch *scratch = args->scratch;
    struct next_slab next = {.side_work = {stride != 0 ? prefetch_step : next_slab_step},
                             .rows = rows,
                             .out = out,
                             .end = two_outs ? 32 : 16};

    next_slab_begin(&next, scratch->w[0], 0, k32s, 1);
    next.side_work.step(&next.side_work);
    for (int64_t g = 0; g < k32s; g += SLAB_K32S) {
        unsigned char *const tiles = next.to;
        struct slab slab = {.w = tiles,
                            .w_band = SLAB_BYTES,
                            .x_band = x_band,
                            .w_step = AMX_TILE_BYTES,
                            .w_row = 64,
                            .k32s = (int32_t)next.k32s,
                            .first = g == 0,
                            .side_work = &next.side_work};
        if (stride != 0) {
            slab.w = (const unsigned char *)rows->row[out] + g * 64;
            slab.w_band = 16 * stride;
            slab.w_step = 64;
            slab.w_row = stride;
        }
        next_slab_begin(&next, scratch->w[tiles == scratch->w[0]], g + SLAB_K32S, k32s,
                        passes * slab.k32s);
        for (int32_t t = 0; t < args->tokens; t += 32) {
            slab.x = (const unsigned char *)args->x + t / 16 * x_band + g * AMX_TILE_BYTES;
            slab.c = scratch->c[t / 32];
            prefetch_sums(args, out, t, (int32_t)g);
            if (t + 16 < args->tokens) {
                multiply_slab(&slab, two_outs, true);
            } else {
                multiply_slab(&slab, two_outs, false);
            }
        }
    }
    store_tiles(args, scratch->c, out, 0, args->tokens);
}

/* --- few tokens ------------------------------------------------------------------------------ */

/* Prefetches a cache line of each of 16 rows. */
INLINE void prefetch_tile_lines(uintptr_t at, int64_t stride)
{
#pragma GCC unroll 16
    for (int32_t i = 0; i < AMX_ROWS; i++, at += (uintptr_t)stride) {
        v_prefetch(at);
    }
}

/* Up to 32 tokens with one or two tiles of 16 rows, stride bytes apart: nothing is copied. */
INLINE void stream_tile_rows(const struct gqa__linear_args *args, const struct gqa__rows *rows,
                             int32_t out, int64_t stride, const bool two_outs,
                             const bool two_tokens)
{
    const int64_t band = k32_count(args->in) * AMX_TILE_BYTES;
    const unsigned char *const w = rows->row[out], *const w2 = w + 16 * stride;
    const unsigned char *const x = args->x;
    float(*const c)[4 * TILE_FLOATS] = ((struct linear_scratch *)args->scratch)->c;

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < args->in; k += AMX_DEPTH) {
        const int64_t prefetch = prefetch_offset(rows, k, GQA_BF16);
        prefetch_tile_lines((uintptr_t)w + (uintptr_t)prefetch, stride);
        _tile_loadd(6, x + k * 32, 64);
        _tile_loadd(4, w + k * 2, stride);
        _tile_dpbf16ps(0, 4, 6);
        if (two_outs) {
            prefetch_tile_lines((uintptr_t)w2 + (uintptr_t)prefetch, stride);
            _tile_loadd(5, w2 + k * 2, stride);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_tokens) {
            _tile_loadd(7, x + band + k * 32, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_outs && two_tokens) {
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c[0], 64);
    _tile_stored(1, c[0] + TILE_FLOATS, 64);
    _tile_stored(2, c[0] + 2 * TILE_FLOATS, 64);
    _tile_stored(3, c[0] + 3 * TILE_FLOATS, 64);
    store_tiles(args, c, out, 0, args->tokens);
}

static void stream_all(const struct gqa__linear_args *args, const struct gqa__rows *rows,
                       int64_t stride)
{
    for (int32_t out = 0; out < rows->count; out += 32) {
        const bool two_outs = out + 16 < rows->count;
        if (two_outs && args->tokens > 16) {
            stream_tile_rows(args, rows, out, stride, true, true);
        } else if (two_outs) {
            stream_tile_rows(args, rows, out, stride, true, false);
        } else {
            stream_tile_rows(args, rows, out, stride, false, args->tokens > 16);
        }
    }
}

bool gqa__amx_linear_rows(const struct gqa__linear_args *args, const struct gqa__rows *rows)
{
    const int64_t stride = tile_stride(rows);

    if (args->tokens > MOST_TOKENS) {
        return false;
    }
    if (args->tokens <= 32 && stride != 0) {
        stream_all(args, rows, stride);
        return true;
    }
    for (int32_t out = 0; out < rows->count; out += 32) {
        if (out + 16 < rows->count) {
            multiply_rows(args, rows, out, stride, true);
        } else {
            multiply_rows(args, rows, out, stride, false);
        }
    }
    return true;
}

#else

typedef int gqa__amx_weights_in_place_not_built; /* a translation unit is not empty */

#endif
