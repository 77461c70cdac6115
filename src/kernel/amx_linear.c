/* amx_linear.c - projections with AMX: Y^T [out][token] = W [out][in] X^T.
 *
 * Packed weights: [out / 16][in / 32] tiles A of [16 outputs][32] bf16.
 * Packed activations: [tokens / 16][in / 32] tiles B of [16 pairs][16 tokens][2] bf16.
 */
#include "kernel/amx.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "kernel/amx_vector.h"

#define INLINE static inline __attribute__((always_inline))

static int64_t groups_of(int64_t in)
{
    return (in + AMX_DEPTH - 1) / AMX_DEPTH;
}

size_t gqa__amx_weight_bytes(int64_t out, int64_t in)
{
    return (size_t)((out + 15) / 16 * groups_of(in)) * AMX_TILE_BYTES;
}

/* 16 values from k on, zero beyond in. */
INLINE __m512 load_values(const float *src, int64_t left)
{
    const __mmask16 mask = left >= 16  ? 0xffffu
                           : left <= 0 ? (__mmask16)0
                                       : (__mmask16)((1u << left) - 1u);

    return _mm512_maskz_loadu_ps(mask, src);
}

void gqa__amx_pack_weight(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    const int64_t groups = groups_of(in);
    uint16_t *to = (uint16_t *)dst + row / 16 * groups * 512 + row % 16 * AMX_DEPTH;

    assert(row < out);
    (void)out;
    for (int64_t g = 0; g < groups; g++, to += 512) {
        const int64_t k = g * AMX_DEPTH;
        const __m512 lo = load_values(src + k, in - k);
        const __m512 hi =
            in - k > 16 ? load_values(src + k + 16, in - k - 16) : _mm512_setzero_ps();
        _mm512_storeu_si512(to, bf16_pair(lo, hi));
    }
}

size_t gqa__amx_x_bytes(int32_t tokens, int64_t in)
{
    return (size_t)((tokens + 15) / 16 * groups_of(in)) * AMX_TILE_BYTES;
}

void gqa__amx_pack_x(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    const int64_t groups = groups_of(in);
    unsigned char *to = dst;

    for (int32_t t = 0; t < tokens; t += 16) {
        for (int64_t g = 0; g < groups; g++, to += AMX_TILE_BYTES) {
            const int64_t k = g * AMX_DEPTH;
            __m512i r[16];
            for (int32_t i = 0; i < 16; i++) {
                const float *row = x + (t + i) * x_stride + k;
                r[i] = _mm512_setzero_si512();
                if (t + i < tokens) {
                    r[i] = bf16_pair(load_values(row, in - k),
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

/* Store C [16 outputs][16 tokens] as y[token][output] with bias, NaN canonical. */
static void store_tile(const struct gqa__linear_args *args, float *c, int64_t out, int32_t token)
{
    const int64_t left = args->out_end - out;
    const __mmask16 mask = left >= 16 ? 0xffffu : (__mmask16)((1u << left) - 1u);
    const int32_t rows = args->tokens - token < 16 ? args->tokens - token : 16;
    __m512 bias = _mm512_setzero_ps();
    __m512i r[16];

    for (int i = 0; i < 16; i++) {
        r[i] = _mm512_loadu_si512(c + i * 16);
    }
    transpose16(r);
    if (args->bias != NULL) {
        bias = _mm512_maskz_loadu_ps(mask, args->bias + out);
    }
    for (int32_t i = 0; i < rows; i++) {
        __m512 y = _mm512_castsi512_ps(r[i]);
        if (args->bias != NULL) {
            y = _mm512_add_ps(y, bias);
        }
        _mm512_mask_storeu_ps(args->y + (token + i) * args->y_stride + out, mask, canonical(y));
    }
}

/* One or two output tiles by one or two token tiles. */
INLINE void product(const struct gqa__linear_args *args, int64_t out, int32_t token,
                    const bool two_outs, const bool two_tokens)
{
    const int64_t groups = groups_of(args->in);
    const int64_t panel = groups * AMX_TILE_BYTES;
    const unsigned char *w = (const unsigned char *)args->weight + out / 16 * panel;
    const unsigned char *x = (const unsigned char *)args->x + token / 16 * panel;
    float c[4][256];

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t at = 0; at < panel; at += AMX_TILE_BYTES) {
        _tile_loadd(4, w + at, 64);
        _tile_loadd(6, x + at, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two_tokens) {
            _tile_loadd(7, x + panel + at, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_outs) {
            _tile_loadd(5, w + panel + at, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (two_outs && two_tokens) {
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c[0], 64);
    store_tile(args, c[0], out, token);
    if (two_tokens) {
        _tile_stored(1, c[1], 64);
        store_tile(args, c[1], out, token + 16);
    }
    if (two_outs) {
        _tile_stored(2, c[2], 64);
        store_tile(args, c[2], out + 16, token);
    }
    if (two_outs && two_tokens) {
        _tile_stored(3, c[3], 64);
        store_tile(args, c[3], out + 16, token + 16);
    }
}

void gqa__amx_linear(const struct gqa__linear_args *args)
{
    assert(args->out_begin % 16 == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += 32) {
        const bool two_outs = out + 16 < args->out_end;
        for (int32_t token = 0; token < args->tokens; token += 32) {
            const bool two_tokens = token + 16 < args->tokens;
            if (two_outs && two_tokens) {
                product(args, out, token, true, true);
            } else if (two_outs) {
                product(args, out, token, true, false);
            } else if (two_tokens) {
                product(args, out, token, false, true);
            } else {
                product(args, out, token, false, false);
            }
        }
    }
}

#else

typedef int gqa__amx_linear_not_built; /* a translation unit is not empty */

#endif
