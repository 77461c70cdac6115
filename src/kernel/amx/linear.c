/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c - projections with AMX: Y^T [out][token] = W [out][in] X^T.
 *
 * Packed weights: [out / 16][in / 32] tiles A of [16 outputs][32] bf16. int8 weights are the same
 * tiles of half the size (amx/int8.h), which become bf16 in L1 on their way.
 * Packed activations: [tokens / 16][in / 32] tiles B of [16 pairs][16 tokens][2] bf16.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "kernel/amx/int8.h"
#include "kernel/amx/slab.h"

size_t gqa__amx_weight_bytes(int64_t out, int64_t in)
{
    return (size_t)((out + 15) / 16 * k32_count(in)) * AMX_TILE_BYTES;
}

/* 16 values from k on, zero beyond in. */
INLINE __m512 load_values(const float *src, int64_t rest)
{
    const __mmask16 mask = rest >= 16  ? 0xffffu
                           : rest <= 0 ? (__mmask16)0
                                       : (__mmask16)((1u << rest) - 1u);

    return _mm512_maskz_loadu_ps(mask, src);
}

void gqa__amx_pack_weight(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    const int64_t k32s = k32_count(in);
    uint16_t *to = (uint16_t *)dst + row / 16 * k32s * 512 + row % 16 * AMX_DEPTH;

    assert(row < out);
    (void)out;
    for (int64_t g = 0; g < k32s; g++, to += 512) {
        const int64_t k = g * AMX_DEPTH;
        const __m512 lo = load_values(src + k, in - k);
        const __m512 hi =
            in - k > 16 ? load_values(src + k + 16, in - k - 16) : _mm512_setzero_ps();
        _mm512_storeu_si512(to, bf16_pair(lo, hi));
    }
}

size_t gqa__amx_int8_bytes(int64_t out, int64_t in)
{
    return (size_t)((out + 15) / 16 * k32_count(in)) * AMX_INT8_BYTES;
}

void gqa__amx_pack_int8(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in)
{
    int8_t *to = (int8_t *)dst + row / 16 * k32_count(in) * AMX_INT8_BYTES + row % 16 * AMX_DEPTH;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k / AMX_DEPTH * AMX_INT8_BYTES + amx_int8_place(k % AMX_DEPTH)] = src[k];
    }
}

size_t gqa__amx_x_bytes(int32_t tokens, int64_t in)
{
    return (size_t)((tokens + 15) / 16 * k32_count(in)) * AMX_TILE_BYTES;
}

void gqa__amx_pack_x(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    const int64_t k32s = k32_count(in);
    unsigned char *to = dst;

    for (int32_t t = 0; t < tokens; t += 16) {
        for (int64_t g = 0; g < k32s; g++, to += AMX_TILE_BYTES) {
            const int64_t k = g * AMX_DEPTH;
            __m512i r[16];
            for (int32_t i = 0; i < 16; i++) {
                const float *row = x + (t + i) * x_stride + k;
                r[i] = _mm512_setzero_si512();
                if (t + i < tokens) {
                    r[i] = factor_pair(load_values(row, in - k),
                                       in - k > 16 ? load_values(row + 16, in - k - 16)
                                                   : _mm512_setzero_ps());
                }
            }
            transpose16(r);
            for (int32_t i = 0; i < 16; i++) {
                _mm512_storeu_si512(to + i * 64, r[i]);
            }
        }
    }
}

/* Tokens [token, token + tokens) of one or two output tiles. */
INLINE void multiply_outs(const struct gqa__linear_args *args, int64_t out, int32_t token,
                          int32_t tokens, const bool two_outs)
{
    const int32_t k32s = (int32_t)k32_count(args->in);
    const int64_t band = (int64_t)k32s * AMX_TILE_BYTES;
    const unsigned char *w = (const unsigned char *)args->weight + out / 16 * band;
    const unsigned char *x = (const unsigned char *)args->x + token / 16 * band;
    const struct bands bands = {w, band, k32s, AMX_TILE_BYTES, out + 32 < args->out};
    struct linear_scratch *scratch = args->scratch;
    const int32_t step = tokens > 32 ? SLAB_K32S : k32s;

    for (int32_t g = 0; g < k32s; g += step) {
        const int64_t at = (int64_t)g * AMX_TILE_BYTES;
        for (int32_t t = 0; t < tokens; t += 32) {
            struct slab slab = {.w = w + at,
                                .x = x + t / 16 * band + at,
                                .w_band = band,
                                .x_band = band,
                                .w_step = AMX_TILE_BYTES,
                                .w_row = 64,
                                .k32s = k32s - g < step ? k32s - g : step,
                                .c = scratch->c[t / 32],
                                .first = g == 0};
            if (tokens > 32) {
                slab.prefetch = prefetch_window(&bands, g, t / 32, (tokens + 31) / 32);
                prefetch_sums(args, out, token + t, g);
            }
            if (t + 16 < tokens) {
                multiply_slab(&slab, two_outs, true);
            } else {
                multiply_slab(&slab, two_outs, false);
            }
        }
    }
    store_tiles(args, scratch->c, out, token, tokens);
}

enum { STREAM_TILES = 4 };

/* Up to 16 tokens with up to STREAM_TILES output tiles. So few tokens cost as much time as it takes
 * to read the weights, so the tiles run side by side, the weights of each a read stream of its
 * own. */
INLINE void stream_outs(const struct gqa__linear_args *args, int64_t out, int32_t token,
                        const int32_t tiles)
{
    const int32_t k32s = (int32_t)k32_count(args->in);
    const int64_t band = (int64_t)k32s * AMX_TILE_BYTES;
    const unsigned char *w = (const unsigned char *)args->weight + out / 16 * band;
    const unsigned char *x = (const unsigned char *)args->x + token / 16 * band;
    float *const c = ((struct linear_scratch *)args->scratch)->c[0]; /* [STREAM_TILES] tiles */

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t g = 0; g < k32s; g++, w += AMX_TILE_BYTES, x += AMX_TILE_BYTES) {
        _tile_loadd(4, x, 64);
        _tile_loadd(5, w, 64);
        _tile_dpbf16ps(0, 5, 4);
        if (tiles > 1) {
            _tile_loadd(6, w + band, 64);
            _tile_dpbf16ps(1, 6, 4);
        }
        if (tiles > 2) {
            _tile_loadd(7, w + 2 * band, 64);
            _tile_dpbf16ps(2, 7, 4);
        }
        if (tiles > 3) {
            _tile_loadd(5, w + 3 * band, 64);
            _tile_dpbf16ps(3, 5, 4);
        }
    }
    _tile_stored(0, c, 64);
    _tile_stored(1, c + TILE_FLOATS, 64);
    _tile_stored(2, c + 2 * TILE_FLOATS, 64);
    _tile_stored(3, c + 3 * TILE_FLOATS, 64);
    settle_memory();
    for (int32_t i = 0; i < tiles; i++) {
        store_tile(args, c + i * TILE_FLOATS, out + i * 16, token);
    }
}

/* Outputs of a range for the last tokens, of which there are up to 16. */
static void stream_range(const struct gqa__linear_args *args, int32_t token)
{
    for (int64_t out = args->out_begin; out < args->out_end; out += STREAM_TILES * 16) {
        const int64_t rest = args->out_end - out;
        if (rest > 48) {
            stream_outs(args, out, token, 4);
        } else if (rest > 32) {
            stream_outs(args, out, token, 3);
        } else if (rest > 16) {
            stream_outs(args, out, token, 2);
        } else {
            stream_outs(args, out, token, 1);
        }
    }
    if (args->stream) {
        v_fence();
    }
}

/* --- int8 weights ---------------------------------------------------------------------------- */

/* int8 weights become bf16 LEAD_K32S k32s before their product, in a ring of RING_K32S: a tile
 * cannot be loaded from stores that are still on their way to L1. */
enum { LEAD_K32S = 2, RING_K32S = 4 };

INLINE void expand_k32(unsigned char *to, const struct bands *from, int32_t g, const bool two_outs)
{
    const int64_t at = (int64_t)g * AMX_INT8_BYTES;

    if (g < from->k32s) {
        expand_tile(to, from->w + at, AMX_INT8_PREFETCH);
        if (two_outs) {
            expand_tile(to + AMX_TILE_BYTES, from->w + from->band + at, AMX_INT8_PREFETCH);
        }
    }
}

/* One or two output tiles by one or two token tiles over all of k. So few tokens cost as much time
 * as it takes to read the weights. x and x_band as in struct slab; the sums go to
 * scratch->c[0]. */
INLINE void stream_int8(const struct bands *from, const unsigned char *x, int64_t x_band,
                        struct linear_scratch *scratch, const bool two_outs, const bool two_tokens)
{
    unsigned char(*const ring)[2 * AMX_TILE_BYTES] = (void *)scratch->w; /* [RING_K32S] */
    float *const c = scratch->c[0];

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t g = -LEAD_K32S; g < from->k32s; g++) {
        const int32_t soon = g + LEAD_K32S;
        const unsigned char *w = ring[(g + RING_K32S) % RING_K32S];
        expand_k32(ring[soon % RING_K32S], from, soon, two_outs);
        if (g < 0) {
            continue;
        }
        settle_memory();
        _tile_loadd(4, w, 64);
        _tile_loadd(6, x + (int64_t)g * AMX_TILE_BYTES, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two_tokens) {
            _tile_loadd(7, x + x_band + (int64_t)g * AMX_TILE_BYTES, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_outs) {
            _tile_loadd(5, w + AMX_TILE_BYTES, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_outs && two_tokens) {
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, 64);
    _tile_stored(1, c + TILE_FLOATS, 64);
    _tile_stored(2, c + 2 * TILE_FLOATS, 64);
    _tile_stored(3, c + 3 * TILE_FLOATS, 64);
    settle_memory();
}

/* multiply_outs for int8 weights. For more than 32 tokens a slab of weights at a time becomes
 * bf16. */
INLINE void multiply_int8(const struct gqa__linear_args *args, int64_t out, int32_t token,
                          int32_t tokens, const bool two_outs)
{
    const int32_t k32s = (int32_t)k32_count(args->in);
    const int64_t w_band = (int64_t)k32s * AMX_INT8_BYTES;
    const int64_t x_band = (int64_t)k32s * AMX_TILE_BYTES;
    const unsigned char *w = (const unsigned char *)args->weight + out / 16 * w_band;
    const unsigned char *x = (const unsigned char *)args->x + token / 16 * x_band;
    const struct bands bands = {w, w_band, k32s, AMX_INT8_BYTES, out + 32 < args->out};
    struct linear_scratch *scratch = args->scratch;
    unsigned char *wide = scratch->w[0];

    if (tokens <= 16) {
        stream_int8(&bands, x, x_band, scratch, two_outs, false);
    } else if (tokens <= 32) {
        stream_int8(&bands, x, x_band, scratch, two_outs, true);
    }
    for (int32_t g = 0; g < k32s && tokens > 32; g += SLAB_K32S) {
        const int32_t some = k32s - g < SLAB_K32S ? k32s - g : SLAB_K32S;
        const int64_t at = (int64_t)g * AMX_TILE_BYTES;
        expand_tiles(wide, w + g * AMX_INT8_BYTES, some);
        if (two_outs) {
            expand_tiles(wide + SLAB_BYTES, w + w_band + g * AMX_INT8_BYTES, some);
        }
        for (int32_t t = 0; t < tokens; t += 32) {
            const struct slab slab = {.w = wide,
                                      .x = x + t / 16 * x_band + at,
                                      .w_band = SLAB_BYTES,
                                      .x_band = x_band,
                                      .w_step = AMX_TILE_BYTES,
                                      .w_row = 64,
                                      .k32s = some,
                                      .c = scratch->c[t / 32],
                                      .first = g == 0,
                                      .prefetch =
                                          prefetch_window(&bands, g, t / 32, (tokens + 31) / 32)};
            prefetch_sums(args, out, token + t, g);
            if (t + 16 < tokens) {
                multiply_slab(&slab, two_outs, true);
            } else {
                multiply_slab(&slab, two_outs, false);
            }
        }
    }
    store_tiles(args, scratch->c, out, token, tokens);
}

void gqa__amx_linear(const struct gqa__linear_args *args)
{
    assert(args->out_begin % 16 == 0);
    for (int32_t token = 0; token < args->tokens; token += MOST_TOKENS) {
        const int32_t rest = args->tokens - token;
        const int32_t tokens = rest < MOST_TOKENS ? rest : MOST_TOKENS;
        if (tokens <= 16 && args->scale == NULL) {
            stream_range(args, token);
            continue;
        }
        for (int64_t out = args->out_begin; out < args->out_end; out += 32) {
            const bool two_outs = out + 16 < args->out_end;
            if (args->scale != NULL && two_outs) {
                multiply_int8(args, out, token, tokens, true);
            } else if (args->scale != NULL) {
                multiply_int8(args, out, token, tokens, false);
            } else if (two_outs) {
                multiply_outs(args, out, token, tokens, true);
            } else {
                multiply_outs(args, out, token, tokens, false);
            }
        }
    }
}

#else

typedef int gqa__amx_linear_not_built; /* a translation unit is not empty */

#endif
