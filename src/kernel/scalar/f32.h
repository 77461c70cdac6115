/* SPDX-License-Identifier: Apache-2.0 */
/* f32.h - f32 operands: every product is one chain of fma per result, in rising k.
 *
 *   c[i][j] = fma(a[i][k], b[k][j], c[i][j])   k = 0, 1, ..
 *
 * Q K^T: i key, j lane, k depth. P V: i value dimension, j lane, k key. Projections: i token, j
 * output, k input; there the chain restarts from +0 every GQA__DOT_BLOCK values of k, and the
 * partial chains are added in order: y = ((c0 + c1) + c2) .. + bias. A depth is at most
 * GQA__DOT_BLOCK, so scores never restart.
 */
#ifndef GQA__KERNEL_SCALAR_F32_H
#define GQA__KERNEL_SCALAR_F32_H

#include <float.h>
#include <string.h>

#include "kernel/scalar/attention.h"
#include "kernel/scalar/linear.h"
#include "kernel/scalar/scaled.h"

enum { F32_ROWS = 8 }; /* rows of a that chain_block takes at once */

/* Element (i, k) of a is at[i * row + k * step]. */
struct strided {
    const float *at;
    int64_t row, step;
};

/* c[F32_ROWS][SCALAR_LANES] over n values of k; b [n][b_step]. The rows are written out so that
 * the compiler keeps each in a register. */
static inline void chain_block(float (*restrict c)[SCALAR_LANES], const struct strided a,
                               const float *restrict b, int64_t b_step, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        const float *restrict ak = a.at + k * a.step;
        const float *restrict bk = b + k * b_step; /* [SCALAR_LANES] */
        const float a0 = ak[0], a1 = ak[a.row], a2 = ak[2 * a.row], a3 = ak[3 * a.row];
        const float a4 = ak[4 * a.row], a5 = ak[5 * a.row], a6 = ak[6 * a.row];
        const float a7 = ak[7 * a.row];

        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            c[0][j] = fmaf(a0, bk[j], c[0][j]);
            c[1][j] = fmaf(a1, bk[j], c[1][j]);
            c[2][j] = fmaf(a2, bk[j], c[2][j]);
            c[3][j] = fmaf(a3, bk[j], c[3][j]);
            c[4][j] = fmaf(a4, bk[j], c[4][j]);
            c[5][j] = fmaf(a5, bk[j], c[5][j]);
            c[6][j] = fmaf(a6, bk[j], c[6][j]);
            c[7][j] = fmaf(a7, bk[j], c[7][j]);
        }
    }
}

/* One row of a: c [width], width a constant multiple of SCALAR_LANES. */
static inline void chain_row(float *restrict c, int32_t width, const struct strided a,
                             const float *restrict b, int64_t b_step, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        const float ak = a.at[k * a.step];
        const float *restrict bk = b + k * b_step; /* [width] */

        for (int32_t j = 0; j < width; j++) {
            c[j] = fmaf(ak, bk[j], c[j]);
        }
    }
}

/* --- attention ------------------------------------------------------------------------------- */

static inline size_t q_bytes_f32(int32_t dk, int32_t ld)
{
    return (size_t)dk * (size_t)ld * sizeof(float);
}

/* q^T [dk][ld], scaled; lanes beyond the rows are zero. */
static inline void pack_q_f32(const struct gqa__pack_q_args *args)
{
    const int32_t ld = args->ld, dk = args->dk;
    float *out = args->dst;

    assert(args->map->count <= ld && ld % SCALAR_LANES == 0);
    memset(out, 0, q_bytes_f32(dk, ld));
    for (int32_t r = 0; r < args->map->count; r++) {
        const int64_t row = gqa__row_offset(args->map, r);
        for (int32_t d = 0; d < dk; d++) {
            out[(int64_t)d * ld + r] = scaled_query(args, row + d);
        }
    }
}

/* Consecutive elements of a page. */
struct stored {
    void *page;
    int64_t offset; /* of the first, in elements */
    gqa_dtype type;
    bool flush; /* a denormal counts as zero of its sign */
};

/* n values to elements of a page; true if one of them is not finite. */
static inline bool store_values(const struct stored to, const float *src, int32_t n)
{
    uint32_t largest = 0;

    for (int32_t i = 0; i < n; i++) {
        const float x = to.flush ? gqa__flush(src[i]) : src[i];
        float value = gqa__canonical(x);
        if (to.type == GQA_F32) {
            ((float *)to.page)[to.offset + i] = value;
        } else if (to.type == GQA_BF16) {
            value = gqa__round_bf16(x);
            ((uint16_t *)to.page)[to.offset + i] = (uint16_t)(gqa__f32_bits(value) >> 16);
        } else {
            const uint16_t half = gqa__f32_to_f16(x);
            value = gqa__f16_to_f32(half);
            ((uint16_t *)to.page)[to.offset + i] = half;
        }
        const uint32_t size = gqa__f32_bits(value) & 0x7fffffffu;
        largest = size > largest ? size : largest;
    }
    return largest >= 0x7f800000u;
}

/* Where token i of those that are appended goes. */
static inline struct stored stored_token(const struct gqa__append_args *args, int32_t i)
{
    return (struct stored){args->page, (args->slot + i) * args->stride, args->storage, args->flush};
}

static inline bool append_v_f32(const struct gqa__append_args *args)
{
    bool nonfinite = false;

    if (gqa__scaled(args->storage)) {
        return append_scaled(args, false, false);
    }
    for (int32_t i = 0; i < args->n; i++) {
        nonfinite |=
            store_values(stored_token(args, i), args->src + i * args->src_stride, args->dim);
    }
    return nonfinite;
}

static inline void append_k_f32(const struct gqa__append_args *args)
{
    append_v_f32(args); /* K rows are stored alike */
}

/* s [keys][ld] */
static inline void scale_scores(float *restrict s, const float *restrict scale, int32_t keys,
                                int32_t ld)
{
    for (int32_t key = 0; key < keys; key++) {
        for (int32_t j = 0; j < ld; j++) {
            s[(int64_t)key * ld + j] *= scale[key];
        }
    }
}

/* q [dk][ld] */
static inline void score_f32(const struct gqa__score_args *args)
{
    const int32_t ld = args->ld;

    assert(args->keys % F32_ROWS == 0 && ld % SCALAR_LANES == 0 && args->dk <= GQA__DOT_BLOCK);
    for (int32_t key = 0; key < args->keys; key += F32_ROWS) {
        const struct strided a = {(const float *)args->k + key * args->k_stride, args->k_stride, 1};
        for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
            float c[F32_ROWS][SCALAR_LANES];
            memset(c, 0, sizeof c);
            chain_block(c, a, (const float *)args->q + lane, ld, args->dk);
            for (int32_t i = 0; i < F32_ROWS; i++) {
                memcpy(args->s + (int64_t)(key + i) * ld + lane, c[i], sizeof c[i]);
            }
        }
    }
    if (args->scale != NULL) {
        scale_scores(args->s, args->scale, args->keys, ld);
    }
}

/* What stands for p in the product with V whose scale is multiplied beside it. */
static inline float scaled_probability(float p, float scale)
{
    const float product = p * scale;
    return product < FLT_MIN ? 0.0f : product;
}

/* p [keys][ld] f32 */
static inline void softmax_f32(const struct gqa__softmax_args *args)
{
    const float hidden = args->mark != NULL ? -0.0f : 0.0f;
    const int32_t ld = args->ld;
    float safe[SCALAR_TILE_ROWS];
    float sums[4][SCALAR_TILE_ROWS];

    assert(args->keys % 4 == 0 && ld <= SCALAR_TILE_ROWS);
    max_scores(args->m, args->s, args->keys, ld);
    safe_max(safe, args->m, ld);
    memset(sums, 0, sizeof sums);
    for (int32_t key = 0; key < args->keys; key++) {
        const float *restrict row = args->s + (int64_t)key * ld;    /* [ld] */
        float *restrict out = (float *)args->p + (int64_t)key * ld; /* [ld] */
        float *restrict sum = sums[key % 4];
        for (int32_t j = 0; j < ld; j++) {
            const float e = gqa__exp2f(row[j] - safe[j]);
            const float weight = args->scale != NULL ? scaled_probability(e, args->scale[key]) : e;
            sum[j] += e;
            out[j] = row[j] == -INFINITY ? hidden : weight;
        }
    }
    join_sums(args->l, sums, ld);
}

/* One value dimension for SCALAR_LANES lanes: where a lane's p is -0, v counts as +0. c
 * [SCALAR_LANES], p [keys][ld] */
static inline void chain_marked(float *restrict c, const struct strided v, const float *restrict p,
                                int64_t ld, int32_t keys)
{
    for (int32_t key = 0; key < keys; key++) {
        const float value = v.at[key * v.step];
        const float *restrict p_key = p + key * ld; /* [SCALAR_LANES] */
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            const float seen = gqa__f32_bits(p_key[j]) == 0x80000000u ? 0.0f : value;
            c[j] = fmaf(seen, p_key[j], c[j]);
        }
    }
}

/* Sums c of `rows` value dimensions from o, or +0; store_lanes: back to o. */
static inline void load_lanes(float (*restrict c)[SCALAR_LANES], const float *restrict o,
                              int32_t ld, int32_t rows, int flags)
{
    for (int32_t i = 0; i < rows; i++) {
        for (int32_t j = 0; j < SCALAR_LANES; j++) {
            c[i][j] = flags & GQA__ACC_FIRST ? 0.0f : o[(int64_t)i * ld + j];
        }
    }
}

static inline void store_lanes(float *restrict o, int32_t ld, float (*restrict c)[SCALAR_LANES],
                               int32_t rows)
{
    for (int32_t i = 0; i < rows; i++) {
        memcpy(o + (int64_t)i * ld, c[i], sizeof c[i]);
    }
}

/* p [keys][ld] */
static inline void accumulate_f32(const struct gqa__accumulate_args *args)
{
    const int32_t ld = args->ld, keys = args->keys;
    const bool marked = (args->flags & GQA__ACC_MARKED) != 0;

    assert(ld % SCALAR_LANES == 0);
    for (int32_t lane = 0; lane < ld; lane += SCALAR_LANES) {
        const float *p = (const float *)args->p + lane;
        for (int32_t d = 0; d < args->dv;) {
            const bool block = args->dv - d >= F32_ROWS && !marked;
            const int32_t rows = block ? F32_ROWS : 1;
            const struct strided a = {(const float *)args->v + d, 1, args->v_stride};
            float *out = args->o + (int64_t)d * ld + lane;
            float c[F32_ROWS][SCALAR_LANES];

            load_lanes(c, out, ld, rows, args->flags);
            if (block) {
                chain_block(c, a, p, ld, keys);
            } else if (marked) {
                chain_marked(c[0], a, p, ld, keys);
            } else {
                chain_row(c[0], SCALAR_LANES, a, p, ld, keys);
            }
            store_lanes(out, ld, c, rows);
            d += rows;
        }
    }
}

/* --- projections ----------------------------------------------------------------------------- */

static inline size_t weight_bytes_f32(int64_t out, int64_t in)
{
    const int64_t blocks = (out + SCALAR_OUT_STEP - 1) / SCALAR_OUT_STEP;
    return (size_t)(blocks * SCALAR_OUT_STEP * in) * sizeof(float);
}

/* dst [out / SCALAR_OUT_STEP][in][SCALAR_OUT_STEP] */
static inline void pack_weight_f32(void *dst, int64_t row, const float *src, int64_t out,
                                   int64_t in)
{
    float *to = (float *)dst + row / SCALAR_OUT_STEP * SCALAR_OUT_STEP * in + row % SCALAR_OUT_STEP;

    assert(row < out);
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        to[k * SCALAR_OUT_STEP] = src[k];
    }
}

static inline size_t int8_bytes_f32(int64_t out, int64_t in)
{
    return int8_packed_bytes(out, in);
}

/* dst [out / SCALAR_OUT_STEP][in][SCALAR_OUT_STEP] */
static inline void pack_int8_f32(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in)
{
    assert(row < out);
    (void)out;
    pack_int8_row(dst, row, src, in, in);
}

static inline size_t x_bytes_f32(int32_t tokens, int64_t in)
{
    return (size_t)tokens * (size_t)in * sizeof(float);
}

/* dst [tokens][in] */
static inline void pack_x_f32(void *dst, const float *x, int64_t x_stride, int32_t tokens,
                              int64_t in)
{
    for (int32_t t = 0; t < tokens; t++) {
        memcpy((float *)dst + t * in, x + t * x_stride, (size_t)in * sizeof(float));
    }
}

/* Adds one partial chain c [width], which began at input k, to y of a token's outputs from out on;
 * the chain that begins at input 0 comes first and is stored. After the last chain an output gets
 * its scale, bias and epilogue. */
static inline void add_chain(const struct gqa__linear_args *args, int32_t token, int64_t out,
                             const float *restrict c, int32_t width, int64_t k)
{
    const bool last = k + GQA__DOT_BLOCK >= args->in;
    const int32_t valid = (int32_t)(args->out_end - out < width ? args->out_end - out : width);
    float *restrict y = args->y + token * args->y_stride + out; /* [valid] */

    for (int32_t j = 0; j < valid; j++) {
        const float total = k == 0 ? c[j] : y[j] + c[j];
        y[j] = last ? output_value(args, total, token, out + j) : total;
    }
}

/* Outputs out .. out + SCALAR_OUT_STEP over inputs k .. k + n of every token; w [n][step]. */
static inline void linear_inputs(const struct gqa__linear_args *args, const float *w, int64_t out,
                                 int64_t k, int64_t n)
{
    int32_t t = 0;

    for (; t + F32_ROWS <= args->tokens; t += F32_ROWS) {
        const struct strided a = {(const float *)args->x + t * args->in + k, args->in, 1};
        for (int32_t half = 0; half < SCALAR_OUT_STEP; half += SCALAR_LANES) {
            float c[F32_ROWS][SCALAR_LANES];
            memset(c, 0, sizeof c);
            chain_block(c, a, w + half, SCALAR_OUT_STEP, n);
            for (int32_t i = 0; i < F32_ROWS; i++) {
                add_chain(args, t + i, out + half, c[i], SCALAR_LANES, k);
            }
        }
    }
    for (; t < args->tokens; t++) {
        const struct strided a = {(const float *)args->x + t * args->in + k, args->in, 1};
        float c[SCALAR_OUT_STEP] = {0.0f};
        chain_row(c, SCALAR_OUT_STEP, a, w, SCALAR_OUT_STEP, n);
        add_chain(args, t, out, c, SCALAR_OUT_STEP, k);
    }
}

/* Weights of int8 as f32, on the way of linear_f32. */
enum { SCRATCH_F32 = GQA__DOT_BLOCK * SCALAR_OUT_STEP * (int)sizeof(float) };

static inline void linear_f32(const struct gqa__linear_args *args)
{
    float *w = args->scratch; /* [GQA__DOT_BLOCK][SCALAR_OUT_STEP] */

    assert(args->out_begin % SCALAR_OUT_STEP == 0);
    for (int64_t out = args->out_begin; out < args->out_end; out += SCALAR_OUT_STEP) {
        for (int64_t k = 0; k < args->in; k += GQA__DOT_BLOCK) {
            const int64_t rest = args->in - k;
            const int64_t n = rest < GQA__DOT_BLOCK ? rest : GQA__DOT_BLOCK;
            const int64_t at = out * args->in + k * SCALAR_OUT_STEP;
            if (args->scale != NULL) {
                expand_int8(w, (const int8_t *)args->weight + at, n * SCALAR_OUT_STEP);
                linear_inputs(args, w, out, k, n);
            } else {
                linear_inputs(args, (const float *)args->weight + at, out, k, n);
            }
        }
    }
}

#endif
