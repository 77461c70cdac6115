/* SPDX-License-Identifier: Apache-2.0 */
/* qknorm.c - the norm of q and k, per head or over the whole projection. */
#include "stage/stage.h"

struct vectors {
    struct gqa__heads x;        /* dim dk */
    const float *weight, *bias; /* [dk], [heads][dk] or NULL */
    bool per_head;              /* weight and bias are [heads][dk] */
};

/* Each head of one token. */
static void norm_heads(const struct gqa__params *params, const struct vectors *vectors, float *x,
                       struct gqa__norm_args *args)
{
    const int64_t dk = params->shape.dk;
    args->n = dk;
    args->n_true = dk;
    for (int64_t h = 0; h < vectors->x.heads; h++) {
        const int64_t at = vectors->per_head ? h * dk : 0;
        args->weight = vectors->weight == NULL ? NULL : vectors->weight + at;
        args->bias = vectors->bias == NULL ? NULL : vectors->bias + at;
        args->src = x + h * dk;
        args->dst = x + h * dk;
        params->kernels->norm(args);
    }
}

/* All heads of one token together. */
static void norm_whole(const struct gqa__params *params, const struct vectors *vectors, float *x,
                       struct gqa__norm_args *args)
{
    args->n = (int64_t)vectors->x.heads * params->shape.dk;
    args->n_true = args->n;
    args->weight = vectors->weight; /* [heads * dk] */
    args->bias = vectors->bias;
    args->src = x;
    args->dst = x;
    params->kernels->norm(args);
}

static void norm(const struct gqa__params *params, const struct vectors *vectors, int32_t n)
{
    struct gqa__norm_args args;
    args.kind = params->config.qk_norm;
    args.eps = params->config.qk_norm_eps;
    args.offset = (float)params->config.qk_norm_offset;
    args.cast = GQA_F32;
    for (int64_t i = 0; i < n && vectors->x.x != NULL; i++) {
        float *const x = vectors->x.x + i * vectors->x.step;
        if (params->config.qk_norm_scope == GQA_QK_NORM_WHOLE) {
            norm_whole(params, vectors, x, &args);
        } else {
            norm_heads(params, vectors, x, &args);
        }
    }
}

void gqa__stage_qk_norm(const struct gqa__params *params, gqa_qk_norm_placement placement,
                        const struct gqa__qkv *x, int32_t n)
{
    struct vectors queries, keys;
    if (params->config.qk_norm_scope == GQA_QK_NORM_OFF ||
        params->config.qk_norm_placement != placement) {
        return;
    }
    queries.x = x->q;
    queries.weight = params->q_norm;
    queries.bias = params->q_norm_bias;
    queries.per_head = params->q_norm_per_head;
    keys.x = x->k;
    keys.weight = params->k_norm;
    keys.bias = params->k_norm_bias;
    keys.per_head = params->k_norm_per_head;
    norm(params, &queries, n);
    norm(params, &keys, n);
}
