/* SPDX-License-Identifier: Apache-2.0 */
/* stage.h - the element-wise passes that a compiler does not vectorise from scalar/stage.h:
 * norm, rope and gate. Same operations, same order. */
#ifndef GQA__KERNEL_VECTOR_STAGE_H
#define GQA__KERNEL_VECTOR_STAGE_H

#include "kernel/scalar/stage.h"
#include "kernel/vector/words.h"

enum {
    NORM_VECTORS = NORM_CHAINS / VEC, /* vectors that hold the chains of a sum */
    GATE_PIECE = 64                   /* gates whose activation is computed at once */
};

/* --- norm ------------------------------------------------------------------------------------ */

/* sum_values of scalar/stage.h, VEC chains at a time. */
static inline float sum_lanes(const float *x, int64_t n)
{
    float chain[NORM_CHAINS];
    vec sum[NORM_VECTORS];
    int64_t i = 0;

    for (int32_t j = 0; j < NORM_VECTORS; j++) {
        sum[j] = v_zero();
    }
    for (; i + NORM_CHAINS <= n; i += NORM_CHAINS) {
        for (int32_t j = 0; j < NORM_VECTORS; j++) {
            sum[j] = v_add(sum[j], v_load(x + i + j * VEC));
        }
    }
    for (int32_t j = 0; j < NORM_VECTORS; j++) {
        v_store(chain + j * VEC, sum[j]);
    }
    for (; i < n; i++) {
        chain[i % NORM_CHAINS] += x[i];
    }
    return join_chains(chain);
}

/* sum_squares of scalar/stage.h, VEC chains at a time. */
static inline float square_lanes(const float *x, float mean, int64_t n)
{
    const vec center = v_set(mean);
    float chain[NORM_CHAINS];
    vec sum[NORM_VECTORS];
    int64_t i = 0;

    for (int32_t j = 0; j < NORM_VECTORS; j++) {
        sum[j] = v_zero();
    }
    for (; i + NORM_CHAINS <= n; i += NORM_CHAINS) {
        for (int32_t j = 0; j < NORM_VECTORS; j++) {
            const vec d = v_sub(v_load(x + i + j * VEC), center);
            sum[j] = v_fma(d, d, sum[j]);
        }
    }
    for (int32_t j = 0; j < NORM_VECTORS; j++) {
        v_store(chain + j * VEC, sum[j]);
    }
    for (; i < n; i++) {
        const float d = x[i] - mean;
        chain[i % NORM_CHAINS] = fmaf(d, d, chain[i % NORM_CHAINS]);
    }
    return join_chains(chain);
}

INLINE vec round_lanes(vec x, const gqa_dtype cast)
{
    if (cast == GQA_BF16) {
        return v_round_bf16(x);
    }
    return cast == GQA_F16 ? v_round_f16(x) : x;
}

/* y of norm_vector, when mean and rs are known; cast is a constant where it is called. */
INLINE void apply_norm(const struct gqa__norm_args *args, float mean, float rs,
                       const gqa_dtype cast)
{
    const vec center = v_set(mean), factor = v_set(rs), offset = v_set(args->offset);

    for (int64_t i = 0; i < args->n; i += VEC) {
        const int32_t n = args->n - i < VEC ? (int32_t)(args->n - i) : VEC;
        vec y = v_mul(v_sub(v_load_part(args->src + i, n), center), factor);
        y = round_lanes(y, cast);
        if (args->weight != NULL) {
            y = v_mul(y, v_add(v_load_part(args->weight + i, n), offset));
            y = round_lanes(y, cast);
        }
        if (args->bias != NULL) {
            y = v_add(y, v_load_part(args->bias + i, n));
        }
        v_store_part(args->dst + i, v_canonical(y), n);
    }
}

static inline void norm_lanes(const struct gqa__norm_args *args)
{
    const float count = (float)args->n_true;
    const bool layer = args->kind == GQA_NORM_LAYER;
    const float mean = layer ? sum_lanes(args->src, args->n_true) / count : 0.0f;
    const float squares = square_lanes(args->src, mean, args->n_true);
    const float size = args->kind == GQA_NORM_L2 ? squares : squares / count;
    const float rs = 1.0f / sqrtf(size + args->eps);

    if (args->cast == GQA_BF16) {
        apply_norm(args, mean, rs, GQA_BF16);
    } else if (args->cast == GQA_F16) {
        apply_norm(args, mean, rs, GQA_F16);
    } else {
        apply_norm(args, mean, rs, GQA_F32);
    }
}

/* --- rope ------------------------------------------------------------------------------------ */

/* rotate of scalar/stage.h, VEC pairs at a time. */
INLINE void rotate_lanes(vec *a, vec *b, vec c, vec s)
{
    const vec first = v_fms(*a, c, v_mul(*b, s));
    const vec second = v_fma(*b, c, v_mul(*a, s));

    *a = v_canonical(first);
    *b = v_canonical(second);
}

static inline void rope_half(float *x, const float *c, const float *s, int32_t pairs)
{
    for (int32_t j = 0; j < pairs; j += VEC) {
        const int32_t n = pairs - j < VEC ? pairs - j : VEC;
        vec a = v_load_part(x + j, n), b = v_load_part(x + pairs + j, n);
        rotate_lanes(&a, &b, v_load_part(c + j, n), v_load_part(s + j, n));
        v_store_part(x + j, a, n);
        v_store_part(x + pairs + j, b, n);
    }
}

static inline void rope_interleaved(float *x, const float *c, const float *s, int32_t pairs)
{
    int32_t j = 0;

    for (; j + VEC <= pairs; j += VEC) {
        float *at = x + 2 * j; /* [2 VEC] */
        vec a, b, lo, hi;
        v_split(v_load(at), v_load(at + VEC), &a, &b);
        rotate_lanes(&a, &b, v_load(c + j), v_load(s + j));
        v_join(a, b, &lo, &hi);
        v_store(at, lo);
        v_store(at + VEC, hi);
    }
    for (; j < pairs; j++) {
        rotate(x + 2 * j, x + 2 * j + 1, c[j], s[j]);
    }
}

static inline void rope_lanes(const struct gqa__rope_args *args)
{
    for (int32_t h = 0; h < args->heads; h++) {
        float *head = args->x + h * args->head_stride; /* [rotary_dim] */
        if (args->style == GQA_ROPE_INTERLEAVED) {
            rope_interleaved(head, args->c, args->s, args->rotary_dim / 2);
        } else if (args->style == GQA_ROPE_HALF) {
            rope_half(head, args->c, args->s, args->rotary_dim / 2);
        }
    }
}

/* --- gate ------------------------------------------------------------------------------------ */

/* Activations of n <= GATE_PIECE gates: loops without a choice, which the compiler vectorises. */
static inline void activate(float *restrict y, const float *restrict g, int32_t n,
                            gqa_gate_activation activation)
{
    if (activation == GQA_GATE_SOFTPLUS) {
        for (int32_t i = 0; i < n; i++) {
            y[i] = gqa__softplusf(g[i]);
        }
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        y[i] = gqa__sigmoidf(g[i]);
    }
}

static inline void gate_lanes(float *dst, const float *a, const float *g, int32_t g_step,
                              gqa_gate_activation activation, int64_t n)
{
    float y[GATE_PIECE];

    if (g_step == 0) {
        activate(y, g, 1, activation);
        scale_vector(dst, a, y[0], n);
        return;
    }
    for (int64_t i = 0; i < n; i += GATE_PIECE) {
        const int32_t rest = n - i < GATE_PIECE ? (int32_t)(n - i) : GATE_PIECE;
        activate(y, g + i, rest, activation);
        for (int32_t j = 0; j < rest; j++) {
            dst[i + j] = gqa__canonical(a[i + j] * y[j]);
        }
    }
}

#endif
