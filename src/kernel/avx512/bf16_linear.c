/* SPDX-License-Identifier: Apache-2.0 */
/* bf16_linear.c - projections with bf16 operands on AVX-512 (avx512/bf16.h).
 *
 * Packed weights: [out / 32][in / 2][32 outputs][2] bf16, in rounded up to 32, the rest zero; int8
 * weights: [out / 32][in][32 outputs], likewise.
 * Packed activations: [tokens / 4][in][4] f32 that were rounded to bf16, the last group [in][rows].
 */
#include "kernel/avx512/bf16.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512

#include <assert.h>
#include <stdbool.h>

#include "base/number.h"
#include "kernel/avx512/flush.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/output.h"
#include "kernel/vector/words_avx512.h"

enum {
    PAIR_OUTS = 2 * VEC, /* outputs of a block */
    PAIR_TOKENS = 4,     /* tokens of a token group */
    PAIR_K32 = 32,
    PREFETCH_BYTES = 2048, /* how far in advance weights are prefetched */
    SUM_TOKENS = 32,       /* tokens whose sums are kept before the bias is added */
    EXPANDED = 64          /* inputs of int8 weights expanded to f32 at a time */
};

static int64_t padded_inputs(int64_t in)
{
    return (in + PAIR_K32 - 1) / PAIR_K32 * PAIR_K32;
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

size_t gqa__avx512_int8_bytes(int64_t out, int64_t in)
{
    const int64_t blocks = (out + PAIR_OUTS - 1) / PAIR_OUTS;
    return (size_t)(blocks * PAIR_OUTS * padded_inputs(in));
}

void gqa__avx512_pack_int8(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in)
{
    int8_t *to = (int8_t *)dst + row / PAIR_OUTS * PAIR_OUTS * padded_inputs(in) + row % PAIR_OUTS;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * PAIR_OUTS] = src[k];
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

/* How weights of one block of outputs lie: bf16 [in / 2][PAIR_OUTS][2], or [in][PAIR_OUTS]. */
enum form { PAIRS, INT8, WIDE };

/* Weights from some input on, an even one. */
struct weights {
    const void *at;
    enum form form; /* a constant where the product is made */
};

INLINE int64_t weight_bytes(enum form form)
{
    return form == PAIRS ? 2 : form == INT8 ? 1 : (int64_t)sizeof(float);
}

INLINE struct weights skip_inputs(struct weights w, int64_t inputs)
{
    w.at = (const unsigned char *)w.at + inputs * PAIR_OUTS * weight_bytes(w.form);
    return w;
}

/* The first two inputs of the VEC outputs from out on. */
INLINE void load_pair(struct weights w, int32_t out, vec *even, vec *odd)
{
    if (w.form == PAIRS) {
        const __m512i pair = _mm512_loadu_si512((const uint16_t *)w.at + 2 * out);
        *even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
        *odd = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
    } else if (w.form == INT8) {
        *even = v_load_i8((const int8_t *)w.at + out);
        *odd = v_load_i8((const int8_t *)w.at + out + PAIR_OUTS);
    } else {
        *even = v_load((const float *)w.at + out);
        *odd = v_load((const float *)w.at + out + PAIR_OUTS);
    }
}

INLINE void prefetch_weights(struct weights w)
{
    if (w.form != WIDE) {
        v_prefetch((uintptr_t)w.at + PREFETCH_BYTES);
    }
    if (w.form == PAIRS) {
        v_prefetch((uintptr_t)w.at + PREFETCH_BYTES + 64);
    }
}

/* One k32 of inputs, x [32][rows]; c, d: outputs 0-15 and 16-31. */
INLINE void add_inputs(vec c[PAIR_TOKENS], vec d[PAIR_TOKENS], struct weights w, const float *x,
                       const int32_t rows)
{
    vec even[PAIR_TOKENS], odd[PAIR_TOKENS], even2[PAIR_TOKENS], odd2[PAIR_TOKENS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        even[i] = odd[i] = even2[i] = odd2[i] = v_zero();
    }
    for (int32_t k = 0; k < PAIR_K32; k += 2, w = skip_inputs(w, 2), x += 2 * rows) {
        vec w0, w1, w2, w3;
        load_pair(w, 0, &w0, &w1);
        load_pair(w, VEC, &w2, &w3);
        prefetch_weights(w);
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

/* One block of outputs over the inputs k .. k + n, n a multiple of 32, of some tokens. */
struct inputs_product {
    float *c;       /* [tokens][PAIR_OUTS]; starts from +0 where k is 0 */
    const float *x; /* [tokens / PAIR_TOKENS][inputs][PAIR_TOKENS], packed */
    int64_t inputs, k, n;
    int32_t tokens;
};

INLINE void one_token_group(const struct inputs_product *p, int32_t token, struct weights w,
                            const int32_t rows)
{
    const float *x = p->x + token * p->inputs + p->k * rows; /* [n][rows] */
    float *to = p->c + token * PAIR_OUTS;
    vec c[PAIR_TOKENS], d[PAIR_TOKENS];

#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        c[i] = p->k == 0 ? v_zero() : v_load(to + i * PAIR_OUTS);
        d[i] = p->k == 0 ? v_zero() : v_load(to + i * PAIR_OUTS + VEC);
    }
    for (int64_t k = 0; k < p->n; k += PAIR_K32) {
        add_inputs(c, d, skip_inputs(w, k), x + k * rows, rows);
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < rows; i++) {
        v_store(to + i * PAIR_OUTS, c[i]);
        v_store(to + i * PAIR_OUTS + VEC, d[i]);
    }
}

INLINE void token_groups(const struct inputs_product *p, struct weights w)
{
    for (int32_t t = 0; t < p->tokens; t += PAIR_TOKENS) {
        const int32_t rows = p->tokens - t;
        if (rows >= 4) {
            one_token_group(p, t, w, 4);
        } else if (rows == 3) {
            one_token_group(p, t, w, 3);
        } else if (rows == 2) {
            one_token_group(p, t, w, 2);
        } else {
            one_token_group(p, t, w, 1);
        }
    }
}

/* int8 weights for more than one tile of tokens: each is converted once. */
INLINE void expand_and_multiply(struct inputs_product p, const int8_t *from, float *wide)
{
    for (; p.k < p.inputs; p.k += EXPANDED, from += EXPANDED * PAIR_OUTS) {
        p.n = p.inputs - p.k < EXPANDED ? p.inputs - p.k : EXPANDED;
        for (int64_t i = 0; i < p.n * PAIR_OUTS; i += PAIR_OUTS) {
            v_store(wide + i, v_load_i8(from + i));
            v_store(wide + i + VEC, v_load_i8(from + i + VEC));
            v_prefetch((uintptr_t)(from + i) + PREFETCH_BYTES);
        }
        token_groups(&p, (struct weights){wide, WIDE});
    }
}

/* scratch->c [tokens][PAIR_OUTS] of the block of outputs from out on, tokens from token on; not
 * inlined, because the mode is set around it. */
static __attribute__((noinline)) void product_block(const struct gqa__linear_args *args,
                                                    int64_t out, int32_t token, int32_t tokens)
{
    struct gqa__avx512_linear_scratch *scratch = args->scratch;
    const int64_t padded = padded_inputs(args->in);
    const float *x = (const float *)args->x + token * padded;
    const struct inputs_product product = {
        .c = scratch->c, .x = x, .inputs = padded, .n = padded, .tokens = tokens};
    const int8_t *w = (const int8_t *)args->weight + out * padded;

    if (args->scale == NULL) {
        token_groups(&product,
                     (struct weights){(const uint16_t *)args->weight + out * padded, PAIRS});
    } else if (tokens <= PAIR_TOKENS) {
        token_groups(&product, (struct weights){w, INT8});
    } else {
        expand_and_multiply(product, w, scratch->wide);
    }
}

static void store_outputs(const struct gqa__linear_args *args, int64_t out, int32_t token,
                          int32_t rows, const float *c)
{
    for (int32_t j = 0; j < PAIR_OUTS; j += VEC) {
        const int64_t rest = args->out_end - out - j;
        const int32_t n = rest < VEC ? (int32_t)rest : VEC;
        if (n <= 0) {
            break;
        }
        for (int32_t i = 0; i < rows; i++) {
            float *y = args->y + (token + i) * args->y_stride + out + j; /* [n] */
            v_store_part(
                y, output_values(args, v_load(c + i * PAIR_OUTS + j), token + i, out + j, n), n);
        }
    }
}

void gqa__avx512_linear(const struct gqa__linear_args *args)
{
    const struct gqa__avx512_linear_scratch *scratch = args->scratch;

    assert(args->out_begin % PAIR_OUTS == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += PAIR_OUTS) {
        for (int32_t t = 0; t < args->tokens; t += SUM_TOKENS) {
            const int32_t rest = args->tokens - t;
            const int32_t rows = rest < SUM_TOKENS ? rest : SUM_TOKENS;
            const unsigned saved = flush_enter();
            product_block(args, out, t, rows);
            flush_leave(saved);
            store_outputs(args, out, t, rows, scratch->c);
        }
    }
}

#else

typedef int gqa__avx512_bf16_linear_not_built; /* a translation unit is not empty */

#endif
