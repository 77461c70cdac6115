/* avx512_bf16_linear.c - projections with bf16 operands on AVX-512 (avx512_bf16.h).
 *
 * Packed weights: [out / 32][in / 2][32 outputs][2] bf16, in rounded up to 32, the rest zero.
 * Packed activations: [tokens / 4][in][4] f32 that were rounded to bf16, the last group [in][rows].
 */
#include "kernel/avx512_bf16.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <assert.h>
#include <stdbool.h>

#include "base/number.h"
#include "kernel/avx512_flush.h"
#include "kernel/scalar_bf16.h"
#include "kernel/vector_avx512.h"

enum {
    PAIR_OUTS = 2 * VEC, /* outputs of a block */
    PAIR_TOKENS = 4,     /* tokens of a tile of registers */
    PAIR_GROUP = 32,
    AHEAD_BYTES = 2048, /* how far in advance weights are asked for */
    BLOCK_TOKENS = 32   /* tokens whose sums are kept before the bias is added */
};

static int64_t padded_inputs(int64_t in)
{
    return (in + PAIR_GROUP - 1) / PAIR_GROUP * PAIR_GROUP;
}

size_t gqa__avx512_weight_bytes(int64_t out, int64_t in)
{
    const int64_t blocks = (out + PAIR_OUTS - 1) / PAIR_OUTS;
    return (size_t)(blocks * PAIR_OUTS * padded_inputs(in)) * sizeof(uint16_t);
}

void gqa__avx512_pack_weight(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    const int64_t padded = padded_inputs(in);
    uint16_t *to = (uint16_t *)dst + row / PAIR_OUTS * PAIR_OUTS * padded + row % PAIR_OUTS * 2;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < padded; k++) {
        to[k / 2 * PAIR_OUTS * 2 + k % 2] = k < in ? gqa__f32_to_bf16(src[k]) : 0;
    }
}

size_t gqa__avx512_x_bytes(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)padded_inputs(in) * sizeof(float);
}

void gqa__avx512_pack_x(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    const int64_t padded = padded_inputs(in);
    float *to = dst;

    for (int32_t t = 0; t < tokens; t += PAIR_TOKENS) {
        const int32_t rows = tokens - t < PAIR_TOKENS ? tokens - t : PAIR_TOKENS;
        for (int64_t k = 0; k < padded; k++, to += rows) {
            for (int32_t i = 0; i < rows; i++) {
                to[i] = k < in ? factor_value(x[(t + i) * x_stride + k]) : 0.0f;
            }
        }
    }
}

/* The two values of k of 16 outputs. */
INLINE void load_pair(const uint16_t *w, vec *even, vec *odd)
{
    const __m512i pair = _mm512_loadu_si512(w);

    *even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
}

/* One group of 32 inputs: w [16][PAIR_OUTS][2], x [32][rows]; c, d: outputs 0-15 and 16-31. */
INLINE void add_inputs(vec c[PAIR_TOKENS], vec d[PAIR_TOKENS], const uint16_t *w, const float *x,
                       const int32_t rows)
{
    vec even[PAIR_TOKENS], odd[PAIR_TOKENS], even2[PAIR_TOKENS], odd2[PAIR_TOKENS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        even[i] = odd[i] = even2[i] = odd2[i] = v_zero();
    }
    for (int32_t k = 0; k < PAIR_GROUP; k += 2, w += 2 * PAIR_OUTS, x += 2 * rows) {
        vec w0, w1, w2, w3;
        load_pair(w, &w0, &w1);
        load_pair(w + PAIR_OUTS, &w2, &w3);
        v_prefetch((uintptr_t)w + AHEAD_BYTES);
        v_prefetch((uintptr_t)w + AHEAD_BYTES + 64);
#pragma GCC unroll 4
        for (int32_t i = 0; i < rows; i++) {
            const vec x0 = v_set(x[i]), x1 = v_set(x[rows + i]);
            even[i] = v_fma(x0, w0, even[i]);
            odd[i] = v_fma(x1, w1, odd[i]);
            even2[i] = v_fma(x0, w2, even2[i]);
            odd2[i] = v_fma(x1, w3, odd2[i]);
        }
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        c[i] = v_add(c[i], v_add(even[i], odd[i]));
        d[i] = v_add(d[i], v_add(even2[i], odd2[i]));
    }
}

INLINE void token_tile(float *to, const uint16_t *w, const float *x, int64_t padded,
                       const int32_t rows)
{
    vec c[PAIR_TOKENS], d[PAIR_TOKENS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        c[i] = d[i] = v_zero();
    }
    for (int64_t k = 0; k < padded; k += PAIR_GROUP) {
        add_inputs(c, d, w + k * PAIR_OUTS, x + k * rows, rows);
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        v_store(to + i * PAIR_OUTS, c[i]);
        v_store(to + i * PAIR_OUTS + VEC, d[i]);
    }
}

/* c [tokens][PAIR_OUTS] of one block of outputs; not inlined, because the mode is set around it. */
static __attribute__((noinline)) void product_block(float *c, const uint16_t *w, const float *x,
                                                    int64_t padded, int32_t tokens)
{
    for (; tokens > 0; tokens -= PAIR_TOKENS) {
        if (tokens >= 4) {
            token_tile(c, w, x, padded, 4);
        } else if (tokens == 3) {
            token_tile(c, w, x, padded, 3);
        } else if (tokens == 2) {
            token_tile(c, w, x, padded, 2);
        } else {
            token_tile(c, w, x, padded, 1);
        }
        c += PAIR_TOKENS * PAIR_OUTS;
        x += PAIR_TOKENS * padded;
    }
}

static void store_outputs(const struct gqa__linear_args *args, int64_t out, int32_t token,
                          int32_t rows, const float *c)
{
    for (int32_t j = 0; j < PAIR_OUTS; j += VEC) {
        const int64_t left = args->out_end - out - j;
        const int32_t n = left < VEC ? (int32_t)left : VEC;
        vec bias = v_zero();
        if (n <= 0) {
            break;
        }
        if (args->bias != NULL) {
            bias = v_load_part(args->bias + out + j, n);
        }
        for (int32_t i = 0; i < rows; i++) {
            const vec sum = v_load(c + i * PAIR_OUTS + j);
            const vec y = args->bias != NULL ? v_add(sum, bias) : sum;
            v_store_part(args->y + (token + i) * args->y_stride + out + j, v_canonical(y), n);
        }
    }
}

void gqa__avx512_linear(const struct gqa__linear_args *args)
{
    const int64_t padded = padded_inputs(args->in);
    float c[BLOCK_TOKENS * PAIR_OUTS];

    assert(args->out_begin % PAIR_OUTS == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += PAIR_OUTS) {
        const uint16_t *w = (const uint16_t *)args->weight + out * padded;
        for (int32_t t = 0; t < args->tokens; t += BLOCK_TOKENS) {
            const int32_t left = args->tokens - t;
            const int32_t rows = left < BLOCK_TOKENS ? left : BLOCK_TOKENS;
            const unsigned saved = flush_enter();
            product_block(c, w, (const float *)args->x + t * padded, padded, rows);
            flush_leave(saved);
            store_outputs(args, out, t, rows, c);
        }
    }
}

#else

typedef int gqa__avx512_bf16_linear_not_built; /* a translation unit is not empty */

#endif
