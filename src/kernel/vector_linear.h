/* vector_linear.h - projections with f32 operands.
 *
 * Packed weights: [out / OUTS][in][OUTS], two vectors of outputs side by side.
 * Packed activations: [tokens / TILE_ROWS][in][TILE_ROWS], the last group [in][rows that are left].
 *
 * From STREAM_TOKENS + 1 tokens on the products are tiles of registers. Fewer tokens are a matter
 * of reading the weights: the partial chains of GQA__DOT_BLOCK inputs do not depend on each other,
 * so several of them run side by side, each a read stream of its own.
 */
#ifndef GQA__VECTOR_LINEAR_H
#define GQA__VECTOR_LINEAR_H

#include <string.h>

#include "kernel/scalar_attention.h"
#include "kernel/vector_product.h"

enum {
    OUTS = 2 * VEC,    /* outputs of a block */
    STREAM_TOKENS = 4, /* most tokens for which the weights are streamed */
    FAR_ROWS = 16      /* weight rows that are asked for in advance */
};

static inline size_t weight_bytes_vector(int64_t out, int64_t in)
{
    return (size_t)((out + OUTS - 1) / OUTS * OUTS * in) * sizeof(float);
}

static inline void pack_weight_vector(void *dst, int64_t row, const float *src, int64_t out,
                                      int64_t in)
{
    float *to = (float *)dst + row / OUTS * OUTS * in + row % OUTS;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * OUTS] = src[k];
    }
}

static inline size_t x_bytes_vector(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)in * sizeof(float);
}

static inline void pack_x_vector(void *dst, const float *x, int64_t x_stride, int32_t tokens,
                                 int64_t in)
{
    float *to = dst;

    for (int32_t t = 0; t < tokens; t += TILE_ROWS) {
        const int32_t rows = tokens - t < TILE_ROWS ? tokens - t : TILE_ROWS;
        const float *from = x + t * x_stride; /* [rows][in] */
        if (rows == 1) {
            memcpy(to, from, (size_t)in * sizeof *to);
            to += in;
            continue;
        }
        for (int64_t k = 0; k < in; k++, to += rows) {
            for (int32_t i = 0; i < rows; i++) {
                to[i] = from[i * x_stride + k];
            }
        }
    }
}

/* n <= VEC outputs of one token: y from +0 (first), bias and NaN on the last chain. */
INLINE void add_outputs(float *y, const float *c, const float *bias, int32_t n, bool first,
                        bool last)
{
    vec total = v_load(c);

    if (!first) {
        total = v_add(v_load_part(y, n), total);
    }
    if (last && bias != NULL) {
        total = v_add(total, v_load_part(bias, n));
    }
    v_store_part(y, last ? v_canonical(total) : total, n);
}

/* Adds the chains c [rows][OUTS] over inputs k .. of tokens token .. to y. */
static inline void add_chains(const struct gqa__linear_args *args, int64_t out, int32_t token,
                              int32_t rows, const float *c, int64_t k)
{
    const bool last = k + GQA__DOT_BLOCK >= args->in;

    for (int32_t i = 0; i < rows; i++) {
        float *y = args->y + (token + i) * args->y_stride + out; /* [OUTS] */
        for (int32_t j = 0; j < OUTS; j += VEC) {
            const int64_t left = args->out_end - out - j;
            const int32_t n = left <= 0 ? 0 : left < VEC ? (int32_t)left : VEC;
            if (n > 0) {
                add_outputs(y + j, c + i * OUTS + j,
                            args->bias != NULL ? args->bias + out + j : NULL, n, k == 0, last);
            }
        }
    }
}

/* The vector at outputs j of a weight row, FAR_ROWS rows in advance. */
INLINE struct ahead ask_weights(const float *w, int32_t j)
{
    const int64_t row = OUTS * (int64_t)sizeof(float);
    return (struct ahead){(uintptr_t)(w + j) + FAR_ROWS * (uintptr_t)row, row, 0};
}

/* Inputs k .. k + n of the outputs in the range, for one group of tokens: its activations stay in
 * L1, the weights of a task in L2. */
static inline void linear_tile(const struct gqa__linear_args *args, int32_t token, int64_t k,
                               int64_t n)
{
    const int32_t left = args->tokens - token;
    const int32_t rows = left < TILE_ROWS ? left : TILE_ROWS;
    const float *x = (const float *)args->x + token * args->in + k * rows; /* [n][rows] */
    float c[TILE_ROWS * OUTS];

    for (int64_t out = args->out_begin; out < args->out_end; out += OUTS) {
        const float *w = (const float *)args->weight + out * args->in + k * OUTS; /* [n][OUTS] */
        const struct product product = {.a = x,
                                        .a_row = 1,
                                        .a_step = rows,
                                        .b = w,
                                        .b_step = OUTS,
                                        .n = n,
                                        .c = c,
                                        .c_row = OUTS,
                                        .first = true};
        if (token == 0) {
            product_two_far(&product, rows);
        } else {
            product_two(&product, rows);
        }
        add_chains(args, out, token, rows, c, k);
    }
}

/* --- few tokens ------------------------------------------------------------------------------ */

/* Some chains of one block of outputs: chain s takes inputs [s * GQA__DOT_BLOCK, ...). */
struct streams {
    const float *w;     /* [inputs][OUTS] from the first chain's first input on */
    const float *x;     /* [inputs][tokens] likewise */
    int64_t begin, end; /* of the inputs of every chain */
    float *c;           /* [chains][tokens][OUTS], added to */
};

INLINE void stream_chains(const struct streams *p, const int32_t chains, const int32_t tokens)
{
    vec c[TILE_ROWS], d[TILE_ROWS];

#pragma GCC unroll 8
    for (int32_t i = 0; i < chains * tokens; i++) {
        c[i] = v_load(p->c + i * OUTS);
        d[i] = v_load(p->c + i * OUTS + VEC);
    }
    for (int64_t k = p->begin; k < p->end; k++) {
#pragma GCC unroll 8
        for (int32_t s = 0; s < chains; s++) {
            const float *w = p->w + (s * GQA__DOT_BLOCK + k) * OUTS;
            const float *x = p->x + (s * GQA__DOT_BLOCK + k) * tokens;
            const vec w0 = v_load(w), w1 = v_load(w + VEC);
            v_prefetch(ask_weights(w, 0).at);
            v_prefetch(ask_weights(w, VEC).at);
#pragma GCC unroll 8
            for (int32_t t = 0; t < tokens; t++) {
                const vec xt = v_set(x[t]);
                c[s * tokens + t] = v_fma(xt, w0, c[s * tokens + t]);
                d[s * tokens + t] = v_fma(xt, w1, d[s * tokens + t]);
            }
        }
    }
#pragma GCC unroll 8
    for (int32_t i = 0; i < chains * tokens; i++) {
        v_store(p->c + i * OUTS, c[i]);
        v_store(p->c + i * OUTS + VEC, d[i]);
    }
}

/* chains * tokens <= TILE_ROWS */
INLINE void stream_some(const struct streams *p, int32_t chains, const int32_t tokens)
{
    if (chains == 1) {
        stream_chains(p, 1, tokens);
    } else if (2 * tokens <= TILE_ROWS && chains == 2) {
        stream_chains(p, 2, tokens);
    } else if (3 * tokens <= TILE_ROWS && chains == 3) {
        stream_chains(p, 3, tokens);
    } else if (4 * tokens <= TILE_ROWS && chains == 4) {
        stream_chains(p, 4, tokens);
    } else if (5 * tokens <= TILE_ROWS && chains == 5) {
        stream_chains(p, 5, tokens);
    } else if (6 * tokens <= TILE_ROWS && chains == 6) {
        stream_chains(p, 6, tokens);
    } else if (7 * tokens <= TILE_ROWS && chains == 7) {
        stream_chains(p, 7, tokens);
    } else if (8 * tokens <= TILE_ROWS && chains == 8) {
        stream_chains(p, 8, tokens);
    }
}

static inline void stream_tokens(const struct streams *p, int32_t chains, int32_t tokens)
{
    switch (tokens) {
    case 1:
        stream_some(p, chains, 1);
        break;
    case 2:
        stream_some(p, chains, 2);
        break;
    case 3:
        stream_some(p, chains, 3);
        break;
    default:
        stream_some(p, chains, 4);
        break;
    }
}

/* The chains that start at inputs k, k + GQA__DOT_BLOCK, .. of one block of outputs. */
static inline void linear_streams(const struct gqa__linear_args *args, int64_t out, int64_t k,
                                  int32_t chains)
{
    const int32_t tokens = args->tokens;
    const int64_t left = args->in - k - (chains - 1) * GQA__DOT_BLOCK; /* of the last chain */
    float c[TILE_ROWS * OUTS];
    struct streams streams = {.w = (const float *)args->weight + out * args->in + k * OUTS,
                              .x = (const float *)args->x + k * tokens,
                              .end = left < GQA__DOT_BLOCK ? left : GQA__DOT_BLOCK,
                              .c = c};

    memset(c, 0, sizeof c);
    stream_tokens(&streams, chains, tokens);
    if (streams.end < GQA__DOT_BLOCK && chains > 1) { /* the others are longer */
        streams.begin = streams.end;
        streams.end = GQA__DOT_BLOCK;
        stream_tokens(&streams, chains - 1, tokens);
    }
    for (int32_t s = 0; s < chains; s++) {
        add_chains(args, out, 0, tokens, c + s * tokens * OUTS, k + s * GQA__DOT_BLOCK);
    }
}

static inline void linear_vector(const struct gqa__linear_args *args)
{
    const int32_t side = TILE_ROWS / args->tokens; /* chains side by side */

    assert(args->out_begin % OUTS == 0);
    if (args->tokens <= STREAM_TOKENS) {
        for (int64_t out = args->out_begin; out < args->out_end; out += OUTS) {
            for (int64_t k = 0; k < args->in; k += side * GQA__DOT_BLOCK) {
                const int64_t chains = (args->in - k + GQA__DOT_BLOCK - 1) / GQA__DOT_BLOCK;
                linear_streams(args, out, k, chains < side ? (int32_t)chains : side);
            }
        }
        return;
    }
    for (int64_t k = 0; k < args->in; k += GQA__DOT_BLOCK) {
        const int64_t left = args->in - k;
        for (int32_t t = 0; t < args->tokens; t += TILE_ROWS) {
            linear_tile(args, t, k, left < GQA__DOT_BLOCK ? left : GQA__DOT_BLOCK);
        }
    }
}

#endif
