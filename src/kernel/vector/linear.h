/* SPDX-License-Identifier: Apache-2.0 */
/* linear.h - projections with f32 operands.
 *
 * Packed weights: [out / OUTS][in][OUTS], two vectors of outputs side by side, f32 or int8. Packed
 * activations: a token group after the other, each [in][rows] with token_group_rows tokens, fewer
 * in the last.
 *
 * From STREAM_TOKENS + 1 tokens on, sums are kept in registers, OUTS outputs of one token group at
 * a time. Fewer tokens cost as much time as it takes to read the weights. The partial chains of
 * GQA__DOT_BLOCK inputs do not depend on each other, so several of them run side by side, the
 * weights of each a read stream of its own.
 */
#ifndef GQA__KERNEL_VECTOR_LINEAR_H
#define GQA__KERNEL_VECTOR_LINEAR_H

#include <string.h>

#include "kernel/scalar/attention.h"
#include "kernel/vector/output.h"
#include "kernel/vector/product.h"
#include "kernel/vector/words.h"

enum {
    OUTS = 2 * VEC,     /* outputs of a block */
    STREAM_TOKENS = 4,  /* most tokens for which the weights are streamed */
    PREFETCH_ROWS = 16, /* weight rows are prefetched in advance */
    EXPANDED = 64,      /* rows of int8 weights that are f32 at a time ... */
    SHARING = 6         /* ... and the token groups that use them */
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

static inline size_t int8_bytes_vector(int64_t out, int64_t in)
{
    return (size_t)((out + OUTS - 1) / OUTS * OUTS * in);
}

static inline void pack_int8_vector(void *dst, int64_t row, const int8_t *src, int64_t out,
                                    int64_t in)
{
    int8_t *to = (int8_t *)dst + row / OUTS * OUTS * in + row % OUTS;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * OUTS] = src[k];
    }
}

/* Tokens of a token group: no more than the registers have room for, and the groups of a call as
 * even as they can be. */
static inline int32_t token_group_rows(int32_t tokens)
{
    const int32_t groups = (tokens + MOST_ROWS - 1) / MOST_ROWS;

    return (tokens + groups - 1) / groups;
}

static inline size_t x_bytes_vector(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)in * sizeof(float);
}

static inline void pack_x_vector(void *dst, const float *x, int64_t x_stride, int32_t tokens,
                                 int64_t in)
{
    const int32_t group = token_group_rows(tokens);
    float *to = dst;

    for (int32_t t = 0; t < tokens; t += group) {
        const int32_t rows = tokens - t < group ? tokens - t : group;
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

/* Adds the chains c [rows][OUTS] that begin at input k to y of the tokens from `token` on; those
 * that begin at input 0 come first and are stored. After the last chain an output gets its scale,
 * bias and epilogue. */
static inline void add_chains(const struct gqa__linear_args *args, int64_t out, int32_t token,
                              int32_t rows, const float *c, int64_t k)
{
    const bool last = k + GQA__DOT_BLOCK >= args->in;

    for (int32_t i = 0; i < rows; i++) {
        float *y = args->y + (token + i) * args->y_stride + out; /* [OUTS] */
        for (int32_t j = 0; j < OUTS; j += VEC) {
            const int64_t rest = args->out_end - out - j;
            const int32_t n = rest <= 0 ? 0 : rest < VEC ? (int32_t)rest : VEC;
            vec total = v_load(c + i * OUTS + j);
            if (n == 0) {
                break;
            }
            if (k > 0) {
                total = v_add(v_load_part(y + j, n), total);
            }
            v_store_part(y + j, last ? output_values(args, total, token + i, out + j, n) : total,
                         n);
        }
    }
}

/* Stores the sums [rows][OUTS] of tokens token .. */
static inline void store_sums(const struct gqa__linear_args *args, int64_t out, int32_t token,
                              int32_t rows, const float *sum)
{
    for (int32_t i = 0; i < rows; i++) {
        float *y = args->y + (token + i) * args->y_stride + out; /* [OUTS] */
        for (int32_t j = 0; j < OUTS; j += VEC) {
            const int64_t rest = args->out_end - out - j;
            const int32_t n = rest <= 0 ? 0 : rest < VEC ? (int32_t)rest : VEC;
            if (n > 0) {
                store_output(args, y + j,
                             output_values(args, v_load(sum + i * OUTS + j), token + i, out + j, n),
                             n);
            }
        }
    }
}

/* OUTS outputs for one token group, chain after chain. Meanwhile it prefetches its share of the
 * next OUTS outputs' weights: all groups together prefetch all of them. */
static inline void linear_group(const struct gqa__linear_args *args, int64_t out, int32_t token)
{
    const int32_t tokens = args->tokens - token, group = token_group_rows(args->tokens);
    const int32_t rows = tokens < group ? tokens : group;
    const float *x = (const float *)args->x + token * args->in;    /* [in][rows] */
    const float *w = (const float *)args->weight + out * args->in; /* [in][OUTS] */
    const int64_t groups = (args->tokens + group - 1) / group;
    const int64_t bytes = OUTS * (int64_t)sizeof(float); /* of an input's weights */
    const int64_t step = out + OUTS < args->out ? (bytes + groups - 1) / groups : 0;
    const uintptr_t share = (uintptr_t)w + (uintptr_t)(args->in * (bytes + token / group * step));
    float c[MOST_ROWS * OUTS], sum[MOST_ROWS * OUTS];

    for (int64_t k = 0; k < args->in; k += GQA__DOT_BLOCK) {
        const int64_t rest = args->in - k;
        const struct operand_prefetch prefetch = {
            step > 0 ? share + (uintptr_t)(k * step) : (uintptr_t)x, step, 0};
        const struct product product = {.a = x + k * rows,
                                        .a_row = 1,
                                        .a_step = rows,
                                        .b = w + k * OUTS,
                                        .b_step = OUTS,
                                        .n = rest < GQA__DOT_BLOCK ? rest : GQA__DOT_BLOCK,
                                        .c = k == 0 ? sum : c,
                                        .c_row = OUTS,
                                        .first = true,
                                        .prefetch = {prefetch}};
        product_many(&product, rows);
        for (int32_t i = 0; i < rows * OUTS && k > 0; i += VEC) {
            v_store(sum + i, v_add(v_load(sum + i), v_load(c + i)));
        }
    }
    store_sums(args, out, token, rows, sum);
}

/* --- int8 weights, many tokens --------------------------------------------------------------- */

/* to [rows][OUTS] */
static inline void expand_rows(float *to, const int8_t *w, int64_t rows)
{
    for (int64_t i = 0; i < rows * OUTS; i += OUTS) {
        v_store(to + i, v_load_i8(w + i));
        v_store(to + i + VEC, v_load_i8(w + i + VEC));
        v_prefetch((uintptr_t)(w + i) + EXPANDED * OUTS);
    }
}

/* What the products keep in args->scratch. */
struct vector_scratch {
    float w[EXPANDED * OUTS];            /* weights as f32, [inputs][OUTS] */
    float c[SHARING * MOST_ROWS * OUTS]; /* sums, [tokens][OUTS] */
};

/* One chain, inputs k .. k + n, of OUTS outputs for the tokens from `token` on, which fit SHARING
 * token groups. EXPANDED inputs of weights at a time become f32 and serve all groups; in between
 * the sums wait in memory. */
static inline void expanded_inputs(const struct gqa__linear_args *args, int64_t out, int32_t token,
                                   int32_t tokens, int64_t k, int64_t n)
{
    const int8_t *w = (const int8_t *)args->weight + out * args->in + k * OUTS; /* [n][OUTS] */
    const int32_t group = token_group_rows(args->tokens);
    struct vector_scratch *scratch = args->scratch;
    float *wide = scratch->w, *c = scratch->c;

    for (int64_t at = 0; at < n; at += EXPANDED) {
        const int64_t some = n - at < EXPANDED ? n - at : EXPANDED;
        expand_rows(wide, w + at * OUTS, some);
        for (int32_t t = 0; t < tokens; t += group) {
            const int32_t rows = tokens - t < group ? tokens - t : group;
            const float *x = (const float *)args->x + (token + t) * args->in; /* [in][rows] */
            const struct product product = {.a = x + (k + at) * rows,
                                            .a_row = 1,
                                            .a_step = rows,
                                            .b = wide,
                                            .b_step = OUTS,
                                            .n = some,
                                            .c = c + t * OUTS,
                                            .c_row = OUTS,
                                            .first = at == 0,
                                            .prefetch = {{(uintptr_t)x, 0, 0}}};
            product_many(&product, rows);
        }
    }
    add_chains(args, out, token, tokens, c, k);
}

static inline void linear_expanded(const struct gqa__linear_args *args)
{
    const int32_t most = SHARING * token_group_rows(args->tokens);

    for (int32_t t = 0; t < args->tokens; t += most) {
        const int32_t tokens = args->tokens - t < most ? args->tokens - t : most;
        for (int64_t out = args->out_begin; out < args->out_end; out += OUTS) {
            for (int64_t k = 0; k < args->in; k += GQA__DOT_BLOCK) {
                const int64_t rest = args->in - k;
                expanded_inputs(args, out, t, tokens, k,
                                rest < GQA__DOT_BLOCK ? rest : GQA__DOT_BLOCK);
            }
        }
    }
}

/* --- few tokens ------------------------------------------------------------------------------ */

/* Some chains of one block of outputs: chain s takes inputs [s * GQA__DOT_BLOCK, ...). */
struct streams {
    const void *w;      /* [inputs][OUTS] from the first chain's first input on */
    bool int8;          /* its type; else f32 */
    const float *x;     /* [inputs][tokens] from the same input on */
    int64_t begin, end; /* of the inputs of every chain */
    float *c;           /* [chains][tokens][OUTS], added to */
};

/* VEC weights, `at` elements from the start. */
INLINE vec stream_weights(const struct streams *p, int64_t at, const bool int8)
{
    return int8 ? v_load_i8((const int8_t *)p->w + at) : v_load((const float *)p->w + at);
}

/* Prefetches the weights that lie PREFETCH_ROWS rows of f32 further on, even if that is beyond the
 * end: a prefetch of an address that does not exist does nothing. */
INLINE void prefetch_stream(const struct streams *p, int64_t at, const bool int8)
{
    const uintptr_t far = PREFETCH_ROWS * OUTS * sizeof(float);

    if (int8) {
        v_prefetch((uintptr_t)p->w + (uintptr_t)at + far);
    } else {
        v_prefetch((uintptr_t)p->w + (uintptr_t)at * sizeof(float) + far);
        v_prefetch((uintptr_t)p->w + (uintptr_t)(at + VEC) * sizeof(float) + far);
    }
}

INLINE void stream_chains(const struct streams *p, const int32_t chains, const int32_t tokens,
                          const bool int8)
{
    vec c[GROUP_ROWS], d[GROUP_ROWS];

#pragma GCC unroll 8
    for (int32_t i = 0; i < chains * tokens; i++) {
        c[i] = v_load(p->c + i * OUTS);
        d[i] = v_load(p->c + i * OUTS + VEC);
    }
    for (int64_t k = p->begin; k < p->end; k++) {
#pragma GCC unroll 8
        for (int32_t s = 0; s < chains; s++) {
            const int64_t at = (s * GQA__DOT_BLOCK + k) * OUTS;
            const float *x = p->x + (s * GQA__DOT_BLOCK + k) * tokens;
            const vec w0 = stream_weights(p, at, int8), w1 = stream_weights(p, at + VEC, int8);
            prefetch_stream(p, at, int8);
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

/* chains * tokens <= GROUP_ROWS */
INLINE void stream_some(const struct streams *p, int32_t chains, const int32_t tokens,
                        const bool int8)
{
    if (chains == 1) {
        stream_chains(p, 1, tokens, int8);
    } else if (2 * tokens <= GROUP_ROWS && chains == 2) {
        stream_chains(p, 2, tokens, int8);
    } else if (3 * tokens <= GROUP_ROWS && chains == 3) {
        stream_chains(p, 3, tokens, int8);
    } else if (4 * tokens <= GROUP_ROWS && chains == 4) {
        stream_chains(p, 4, tokens, int8);
    } else if (5 * tokens <= GROUP_ROWS && chains == 5) {
        stream_chains(p, 5, tokens, int8);
    } else if (6 * tokens <= GROUP_ROWS && chains == 6) {
        stream_chains(p, 6, tokens, int8);
    } else if (7 * tokens <= GROUP_ROWS && chains == 7) {
        stream_chains(p, 7, tokens, int8);
    } else if (8 * tokens <= GROUP_ROWS && chains == 8) {
        stream_chains(p, 8, tokens, int8);
    }
}

INLINE void stream_type(const struct streams *p, int32_t chains, int32_t tokens, const bool int8)
{
    switch (tokens) {
    case 1:
        stream_some(p, chains, 1, int8);
        break;
    case 2:
        stream_some(p, chains, 2, int8);
        break;
    case 3:
        stream_some(p, chains, 3, int8);
        break;
    default:
        stream_some(p, chains, 4, int8);
        break;
    }
}

static inline void stream_tokens(const struct streams *p, int32_t chains, int32_t tokens)
{
    if (p->int8) {
        stream_type(p, chains, tokens, true);
    } else {
        stream_type(p, chains, tokens, false);
    }
}

/* The chains that start at inputs k, k + GQA__DOT_BLOCK, .. of one block of outputs. */
static inline void linear_streams(const struct gqa__linear_args *args, int64_t out, int64_t k,
                                  int32_t chains)
{
    const int32_t tokens = args->tokens;
    const int64_t rest = args->in - k - (chains - 1) * GQA__DOT_BLOCK; /* of the last chain */
    float c[GROUP_ROWS * OUTS];
    const int64_t at = out * args->in + k * OUTS;
    struct streams streams = {.w = (const float *)args->weight + at,
                              .int8 = args->scale != NULL,
                              .x = (const float *)args->x + k * tokens,
                              .end = rest < GQA__DOT_BLOCK ? rest : GQA__DOT_BLOCK,
                              .c = c};

    if (streams.int8) {
        streams.w = (const int8_t *)args->weight + at;
    }
    memset(c, 0, sizeof c);
    stream_tokens(&streams, chains, tokens);
    if (streams.end < GQA__DOT_BLOCK && chains > 1) { /* the last chain is shorter */
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
    const int32_t side = GROUP_ROWS / args->tokens; /* chains side by side */

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
    if (args->scale != NULL) {
        linear_expanded(args);
        return;
    }
    for (int64_t out = args->out_begin; out < args->out_end; out += OUTS) {
        for (int32_t t = 0; t < args->tokens; t += token_group_rows(args->tokens)) {
            linear_group(args, out, t);
        }
    }
    if (args->stream) {
        v_fence();
    }
}

#endif
