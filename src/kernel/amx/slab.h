/* SPDX-License-Identifier: Apache-2.0 */
/* slab.h - products of one slab of k with AMX, and how outputs are stored: what packed weights
 * (amx/linear.c) and weights in place (amx/weights_in_place.c) share. */
#ifndef GQA__KERNEL_AMX_SLAB_H
#define GQA__KERNEL_AMX_SLAB_H

#include "kernel/amx/amx.h"
#include "kernel/vector/words_avx512.h"

#include "kernel/vector/output.h"

static inline int64_t k32_count(int64_t in)
{
    return (in + AMX_DEPTH - 1) / AMX_DEPTH;
}

/* Store C [16 outputs][16 tokens] as y[token][output] with scale and bias, NaN canonical. */
static inline void store_tile(const struct gqa__linear_args *args, float *c, int64_t out,
                              int32_t token)
{
    const int64_t rest = args->out_end - out;
    const int32_t outs = rest < 16 ? (int32_t)rest : 16;
    const int32_t rows = args->tokens - token < 16 ? args->tokens - token : 16;
    __m512i r[16];

    for (int i = 0; i < 16; i++) {
        r[i] = _mm512_loadu_si512(c + i * 16);
    }
    transpose16(r);
    for (int32_t i = 0; i < rows; i++) {
        store_output(args, args->y + (token + i) * args->y_stride + out,
                     output_values(args, _mm512_castsi512_ps(r[i]), token + i, out, outs), outs);
    }
}

/* Products of up to MOST_TOKENS tokens with 32 outputs, k in slabs: the weights of a slab stay
 * in L1 while all tokens use them, and the sums wait in memory in between. */
enum {
    MOST_TOKENS = 128,
    SLAB_K32S = 8,    /* 16 KiB of weights */
    WINDOW_K32S = 32, /* weights are prefetched a window of slabs in advance */
    TILE_FLOATS = 256,
    SLAB_BYTES = SLAB_K32S * AMX_TILE_BYTES /* of one output tile's weights */
};

/* What the products keep in args->scratch. */
struct linear_scratch {
    float c[MOST_TOKENS / 32][4 * TILE_FLOATS]; /* the sums of a packet of tokens */
    unsigned char w[2][2 * SLAB_BYTES];         /* two output tiles, of a slab and the next */
};

_Static_assert(sizeof(struct linear_scratch) <= AMX_SCRATCH_BYTES, "scratch_bytes");

/* Bands: the packed weights of 32 outputs, 16 outputs a band; and what follows them in memory. */
struct bands {
    const unsigned char *w; /* [k32s] tiles of 16 outputs; the next band is `band` bytes on */
    int64_t band;
    int32_t k32s, tile_bytes;
    bool more; /* the next 32 outputs follow */
};

/* Weights that are prefetched beside a slab. One stream of lines cannot use all that L3 and memory
 * give, so several run side by side, in each of the two output tiles. */
struct weight_prefetch {
    const unsigned char *at; /* NULL = nothing */
    int64_t band, stream;    /* bytes to the other output tile, and from a stream to the next */
    int32_t streams, lines;  /* of a tile; lines of each that are prefetched with each k32 */
};

/* What pass number `pass` over the slab at k32 g prefetches. There is one pass for each 32 tokens,
 * and a window is several slabs: all passes over all slabs of one window together prefetch the
 * next. */
static inline struct weight_prefetch prefetch_window(const struct bands *p, int32_t g, int32_t pass,
                                                     int32_t passes)
{
    const int32_t begin = g / WINDOW_K32S * WINDOW_K32S, next = begin + WINDOW_K32S;
    const int32_t rest = p->k32s - g;
    const int32_t k32s = rest < SLAB_K32S ? rest : SLAB_K32S;
    const int32_t lines = 32 * p->tile_bytes / AMX_TILE_BYTES; /* of two tiles */
    struct weight_prefetch prefetch = {NULL, p->band, 0, lines / 8, (4 + passes - 1) / passes};
    const int64_t share = (int64_t)((g - begin) * passes + pass * k32s) * prefetch.lines * 64;

    if (next < p->k32s) {
        const int32_t after = p->k32s - next;
        prefetch.at = p->w + (int64_t)next * p->tile_bytes + share;
        prefetch.stream = (int64_t)(after < WINDOW_K32S ? after : WINDOW_K32S) * 256;
    } else if (p->more) {
        prefetch.at = p->w + 2 * p->band + share;
        prefetch.stream = (int64_t)(p->k32s < WINDOW_K32S ? p->k32s : WINDOW_K32S) * 256;
    }
    return prefetch;
}

/* Work that is done in steps beside the products of a slab, one step for each k32. */
struct side_work {
    void (*step)(struct side_work *side_work);
};

/* What a slab reads and writes. */
struct slab {
    const unsigned char *w; /* tiles of 16 outputs; the next 16 are w_band bytes on */
    const unsigned char *x; /* tiles of 16 tokens; the next 16 are x_band bytes on */
    int64_t w_band, x_band;
    int64_t w_step, w_row; /* bytes from a tile to the next, and from row to row of a tile */
    int32_t k32s;
    float *c;                        /* [2 outputs][2 tokens] tiles */
    bool first;                      /* the sums start from +0, not from c */
    struct weight_prefetch prefetch; /* prefetched meanwhile */
    struct side_work *side_work;     /* or NULL */
};

/* Prefetches the lines that belong to k32 g of the slab. */
INLINE void prefetch_slab(const struct weight_prefetch *prefetch, int32_t g)
{
    for (int32_t line = 0; line < prefetch->lines; line++) {
        const uintptr_t at = (uintptr_t)prefetch->at + (uintptr_t)(g * prefetch->lines + line) * 64;
        for (int32_t i = 0; i < prefetch->streams; i++) {
            v_prefetch(at + (uintptr_t)(i * prefetch->stream));
            v_prefetch(at + (uintptr_t)(prefetch->band + i * prefetch->stream));
        }
    }
}

/* One or two output tiles by one or two token tiles over one slab of k. */
INLINE void multiply_slab(const struct slab *slab, const bool two_outs, const bool two_tokens)
{
    settle_memory();
    if (slab->first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, slab->c, 64);
        _tile_loadd(1, slab->c + TILE_FLOATS, 64);
        _tile_loadd(2, slab->c + 2 * TILE_FLOATS, 64);
        _tile_loadd(3, slab->c + 3 * TILE_FLOATS, 64);
    }
    for (int32_t g = 0; g < slab->k32s; g++) {
        const int64_t at = (int64_t)g * AMX_TILE_BYTES;
        const unsigned char *w = slab->w + g * slab->w_step;
        _tile_loadd(4, w, slab->w_row);
        _tile_loadd(6, slab->x + at, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two_tokens) {
            _tile_loadd(7, slab->x + slab->x_band + at, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_outs) {
            _tile_loadd(5, w + slab->w_band, slab->w_row);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_outs && two_tokens) {
            _tile_dpbf16ps(3, 5, 7);
        }
        if (slab->prefetch.at != NULL) {
            prefetch_slab(&slab->prefetch, g);
        }
        if (slab->side_work != NULL) {
            slab->side_work->step(slab->side_work);
        }
    }
    _tile_stored(0, slab->c, 64);
    _tile_stored(1, slab->c + TILE_FLOATS, 64);
    _tile_stored(2, slab->c + 2 * TILE_FLOATS, 64);
    _tile_stored(3, slab->c + 3 * TILE_FLOATS, 64);
}

/* Prefetches lines of y, to which the sums will be stored in the end: a few tokens beside each
 * slab, so that the lines come in while products run. */
INLINE void prefetch_sums(const struct gqa__linear_args *args, int64_t out, int32_t token,
                          int32_t g)
{
    const int32_t first = token + g / SLAB_K32S * 4; /* 4 tokens a slab: 32 in 8 slabs */

    if (g >= 8 * SLAB_K32S || args->stream) {
        return;
    }
    for (int32_t i = first; i < first + 4 && i < args->tokens; i++) {
        const uintptr_t y = (uintptr_t)(args->y + i * args->y_stride + out);
        v_prefetch(y);
        v_prefetch(y + 64);
    }
}

/* Stores the sums c of the tokens from `token` on, for the outputs from out to out + 32 that are in
 * the range. */
static inline void store_tiles(const struct gqa__linear_args *args, float (*c)[4 * TILE_FLOATS],
                               int64_t out, int32_t token, int32_t tokens)
{
    const bool two_outs = out + 16 < args->out_end;

    for (int32_t t = 0; t < tokens; t += 32) {
        for (int32_t i = 0; i < 4; i++) {
            const bool exists = (i < 2 || two_outs) && (i % 2 == 0 || t + 16 < tokens);
            if (exists) {
                store_tile(args, c[t / 32] + i * TILE_FLOATS, out + i / 2 * 16,
                           token + t + i % 2 * 16);
            }
        }
    }
    if (args->stream) {
        v_fence();
    }
}

#endif
