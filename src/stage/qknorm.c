/* qknorm.c - the norm of q and k, per head or over the whole projection. */
#include "stage/stage.h"

struct vectors {
    float *x; /* [n][heads][dk] */
    int32_t heads;
    const float *weight, *bias; /* [dk], [heads][dk] or NULL */
    bool per_head;              /* weight and bias are [heads][dk] */
};

static void norm_heads(const struct gqa__params *params, const struct vectors *vectors, int32_t n,
                       struct gqa__norm_args *args)
{
    const int64_t dk = params->shape.dk;
    args->n = dk;
    args->n_true = dk;
    for (int64_t i = 0; i < (int64_t)n * vectors->heads; i++) {
        const int64_t at = vectors->per_head ? i % vectors->heads * dk : 0;
        args->weight = vectors->weight == NULL ? NULL : vectors->weight + at;
        args->bias = vectors->bias == NULL ? NULL : vectors->bias + at;
        args->src = vectors->x + i * dk;
        args->dst = vectors->x + i * dk;
        params->row->norm(args);
    }
}

static void norm_whole(const struct gqa__params *params, const struct vectors *vectors, int32_t n,
                       struct gqa__norm_args *args)
{
    args->n = (int64_t)vectors->heads * params->shape.dk;
    args->n_true = args->n;
    args->weight = vectors->weight; /* [heads * dk] */
    args->bias = vectors->bias;
    for (int32_t t = 0; t < n; t++) {
        args->src = vectors->x + t * args->n;
        args->dst = vectors->x + t * args->n;
        params->row->norm(args);
    }
}

static void norm(const struct gqa__params *params, const struct vectors *vectors, int32_t n)
{
    struct gqa__norm_args args;
    if (vectors->x == NULL) {
        return;
    }
    args.kind = params->config.qk_norm;
    args.eps = params->config.qk_norm_eps;
    args.offset = (float)params->config.qk_norm_offset;
    args.cast = GQA_F32;
    if (params->config.qk_norm_scope == GQA_QK_NORM_WHOLE) {
        norm_whole(params, vectors, n, &args);
    } else {
        norm_heads(params, vectors, n, &args);
    }
}

void gqa__stage_qk_norm(const struct gqa__params *params, gqa_qk_norm_placement placement, float *q,
                        float *k, int32_t n)
{
    struct vectors queries, keys;
    if (params->config.qk_norm_scope == GQA_QK_NORM_OFF ||
        params->config.qk_norm_placement != placement) {
        return;
    }
    queries.x = q;
    queries.heads = params->shape.hq;
    queries.weight = params->q_norm;
    queries.bias = params->q_norm_bias;
    queries.per_head = params->q_norm_per_head;
    keys.x = k;
    keys.heads = params->shape.hkv;
    keys.weight = params->k_norm;
    keys.bias = params->k_norm_bias;
    keys.per_head = params->k_norm_per_head;
    norm(params, &queries, n);
    norm(params, &keys, n);
}
