/* SPDX-License-Identifier: Apache-2.0 */
/* qkv.c - the fused projection of q, k and v (and the gate in the tail of q), the gate's own one,
 * and what follows them before norms and rope.
 *
 * The packed matrix has its rows in the order [q heads | k heads | v heads] whatever layout the
 * caller's weights had, so separate and fused weights give the same bits.
 */
#include "stage/stage.h"

#include "base/memory.h"

#include <string.h>

static size_t projection_bytes(const struct gqa__params *params, int32_t tokens)
{
    const size_t bytes = (size_t)tokens * (size_t)params->qkv.out * sizeof(float);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

size_t gqa__stage_qkv_scratch(const struct gqa__params *params, int32_t tokens,
                              const gqa_runtime *runtime)
{
    /* The gate's projection reads the same packed activations. */
    return projection_bytes(params, tokens) +
           gqa__linear_scratch_bytes(&params->qkv, tokens, runtime);
}

/* heads pieces of dim floats, src_step apart, side by side. */
static void gather(float *dst, const float *src, int32_t heads, int64_t src_step, int32_t dim)
{
    for (int32_t h = 0; h < heads; h++) {
        memcpy(dst + (int64_t)h * dim, src + h * src_step, (size_t)dim * sizeof *dst);
    }
}

static float *token(const struct gqa__heads *heads, int64_t i)
{
    return heads->x == NULL ? NULL : heads->x + i * heads->step;
}

/* One token's projection row [q | k | v] to where they belong; NULL = not wanted. */
static void split(const struct gqa__shape *shape, const float *row, float *q, float *k, float *v,
                  float *gate)
{
    const float *const row_k = row + shape->q_rows;
    const float *const row_v = shape->v_rows == 0 ? row_k : row_k + shape->k_rows;
    if (q != NULL) {
        gather(q, row, shape->hq, shape->q_head_rows, shape->dk);
    }
    if (gate != NULL) {
        gather(gate, row + shape->dk, shape->hq, shape->q_head_rows, shape->dv);
    }
    if (k != NULL) {
        memcpy(k, row_k, (size_t)shape->k_rows * sizeof *k);
    }
    if (v != NULL) {
        gather(v, row_v, shape->hkv, shape->dv, shape->dv);
    }
}

void gqa__stage_qkv_project(const struct gqa__params *params,
                            const struct gqa__projection *projection, const gqa_runtime *runtime)
{
    const struct gqa__shape *const shape = &params->shape;
    const int64_t out = params->qkv.out;
    const int64_t out_step = params->kernels->out_step;
    struct gqa__product product = {.linear = gqa__stage_qkv_matrix(params, projection->tkg),
                                   .x = projection->x_norm,
                                   .x_stride = shape->hidden,
                                   .tokens = projection->n,
                                   .out_end = out,
                                   .y_stride = out,
                                   .after = {.clip = projection->clip}};

    product.scratch =
        (unsigned char *)projection->scratch + projection_bytes(params, projection->n);
    /* q or k and v begin and end inside a block of outputs: the whole block is computed. */
    if ((projection->makes & GQA__MAKE_Q) == 0) {
        product.out_begin = shape->q_rows / out_step * out_step;
    }
    if ((projection->makes & GQA__MAKE_KV) == 0) {
        product.out_end = gqa__min(gqa__round_up(shape->q_rows, out_step), out);
    }
    product.y = (float *)projection->scratch + product.out_begin; /* [n][qkv.out] */
    gqa__linear_run(&product, runtime);
    if (projection->gate != NULL && shape->gate_rows > 0) {
        product.linear = &params->gate;
        product.x_packed = true;
        product.out_begin = 0;
        product.out_end = params->gate.out;
        product.y = projection->gate;
        product.y_stride = params->gate.out;
        product.after.clip = 0.0f;
        gqa__linear_run(&product, runtime);
    }
}

void gqa__stage_qkv_split(const struct gqa__params *params, const void *scratch, int32_t begin,
                          int32_t end, const struct gqa__qkv *out)
{
    const struct gqa__shape *const shape = &params->shape;
    const float *const proj = scratch; /* [tokens][qkv.out] */
    const bool q_tail = params->config.gate == GQA_GATE_Q_TAIL;

    for (int64_t t = begin; t < end; t++) {
        const int64_t i = t - begin;
        split(shape, proj + t * params->qkv.out, token(&out->q, i), token(&out->k, i),
              token(&out->v, i),
              out->gate == NULL || !q_tail ? NULL : out->gate + i * shape->hq * shape->dv);
    }
}

bool gqa__stage_qkv_rows(const struct gqa__params *params, void *scratch, struct gqa__qkv *out)
{
    const struct gqa__shape *const shape = &params->shape;
    float *const row = scratch; /* [qkv.out] of token 0; NULL while a workspace is counted */

    if (params->config.gate == GQA_GATE_Q_TAIL || shape->v_rows == 0) {
        return false;
    }
    out->q = (struct gqa__heads){row, params->qkv.out, shape->hq};
    out->k = (struct gqa__heads){row, params->qkv.out, shape->hkv};
    out->v = out->k;
    if (row != NULL) {
        out->k.x = row + shape->q_rows;
        out->v.x = out->k.x + shape->k_rows;
    }
    return true;
}

/* RMS over each value head, without a weight. */
static void norm_values(const struct gqa__params *params, float *v, int64_t heads)
{
    struct gqa__norm_args args;
    args.n = params->shape.dv;
    args.n_true = params->shape.dv;
    args.kind = params->config.v_norm;
    args.eps = params->config.qk_norm_eps;
    args.offset = 0.0f;
    args.weight = NULL;
    args.bias = NULL;
    args.cast = GQA_F32;
    for (int64_t h = 0; h < heads; h++) {
        args.src = v + h * args.n;
        args.dst = v + h * args.n;
        params->kernels->norm(&args);
    }
}

static void clip(const struct gqa__params *params, float *x, int64_t count)
{
    if (x != NULL && params->config.clip_qkv > 0.0f) {
        params->kernels->clip(x, x, params->config.clip_qkv, count);
    }
}

static void scale_vectors(const struct gqa__params *params, float *x, float factor, int64_t count)
{
    if (x != NULL && factor != 0.0f) {
        params->kernels->scale(x, x, factor, count);
    }
}

void gqa__stage_clip(const struct gqa__params *params, const struct gqa__qkv *x, bool clipped,
                     int32_t n)
{
    const struct gqa__shape *const shape = &params->shape;
    const int64_t k_count = (int64_t)shape->hkv * shape->dk;
    const int64_t v_count = (int64_t)shape->hkv * shape->dv;
    for (int64_t i = 0; i < n; i++) {
        float *const k = token(&x->k, i), *const v = token(&x->v, i);
        if (!clipped) {
            clip(params, token(&x->q, i), (int64_t)shape->hq * shape->dk);
            clip(params, k, k_count);
            clip(params, v, v_count);
        }
        if (v != NULL && params->config.v_norm != GQA_NORM_NONE) {
            norm_values(params, v, shape->hkv);
        }
        scale_vectors(params, v, params->config.v_scale, v_count);
        scale_vectors(params, k, params->config.key_multiplier, k_count);
    }
}
