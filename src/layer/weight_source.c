/* SPDX-License-Identifier: Apache-2.0 */
/* weight_source.c - see weight_source.h. */
#include "layer/weight_source.h"

/* q, k, v and what is fused of them, for one phase. Rows are left to be set. */
struct qkv_sources {
    struct gqa__weight_source separate[3], fused;
};

static struct qkv_sources qkv_sources_of(const gqa_weights *weights, bool tkg)
{
    const struct qkv_sources cte = {
        .separate = {{"weights.wq", &weights->wq, &weights->wq_scale, &weights->bq, 0, 0},
                     {"weights.wk", &weights->wk, &weights->wk_scale, &weights->bk, 0, 0},
                     {"weights.wv", &weights->wv, &weights->wv_scale, &weights->bv, 0, 0}},
        .fused = {"weights.wqkv", &weights->wqkv, &weights->wqkv_scale, &weights->bqkv, 0, 0}};
    const struct qkv_sources other = {
        .separate =
            {{"weights.tkg_wq", &weights->tkg_wq, &weights->tkg_wq_scale, &weights->tkg_bq, 0, 0},
             {"weights.tkg_wk", &weights->tkg_wk, &weights->tkg_wk_scale, &weights->tkg_bk, 0, 0},
             {"weights.tkg_wv", &weights->tkg_wv, &weights->tkg_wv_scale, &weights->tkg_bv, 0, 0}},
        .fused = {"weights.tkg_wqkv", &weights->tkg_wqkv, &weights->tkg_wqkv_scale,
                  &weights->tkg_bqkv, 0, 0}};

    return tkg ? other : cte;
}

/* Row `row` of [q | k | v] in the caller's layout. */
static struct gqa__weight_source qkv_source(const struct gqa__params *params,
                                            const struct qkv_sources *sources, int64_t row)
{
    const struct gqa__shape *const shape = &params->shape;
    /* Rows before a matrix in our order, and behind the last; rows of a matrix per KV head, and
     * before it there. */
    const int64_t first[4] = {0, shape->q_rows, (int64_t)shape->q_rows + shape->k_rows,
                              (int64_t)shape->q_rows + shape->k_rows + shape->v_rows};
    const int64_t per[3] = {(int64_t)shape->group * shape->q_head_rows, shape->dk,
                            shape->v_rows / shape->hkv};
    const int64_t before[3] = {0, per[0], per[0] + per[1]};
    const int matrix = row < first[1] ? 0 : row < first[2] ? 1 : 2;
    const int64_t i = row - first[matrix];
    struct gqa__weight_source source = sources->fused;

    source.row = row;
    source.rows = first[3] - row;
    if (params->config.qkv_layout == GQA_QKV_SEPARATE) {
        source = sources->separate[matrix];
        source.row = i;
        source.rows = first[matrix + 1] - row;
    } else if (params->config.qkv_layout == GQA_QKV_GROUPED) {
        source.row =
            i / per[matrix] * (per[0] + per[1] + per[2]) + before[matrix] + i % per[matrix];
        source.rows = per[matrix] - i % per[matrix];
    }
    return source;
}

struct gqa__weight_source gqa__weight_source_of(const struct gqa__params *params,
                                                const gqa_weights *weights,
                                                const struct gqa__linear *linear, int64_t row)
{
    const int64_t rows = linear->out - row;
    const struct gqa__weight_source gate = {
        "weights.wgate", &weights->wgate, &weights->wgate_scale, NULL, row, rows};
    const struct gqa__weight_source o = {"weights.wo", &weights->wo, &weights->wo_scale,
                                         &weights->bo, row,          rows};
    const struct gqa__weight_source tkg_o = {
        "weights.tkg_wo", &weights->tkg_wo, &weights->tkg_wo_scale, &weights->tkg_bo, row, rows};

    if (linear == &params->qkv || linear == &params->tkg_qkv) {
        const struct qkv_sources sources = qkv_sources_of(weights, linear == &params->tkg_qkv);
        return qkv_source(params, &sources, row);
    }
    return linear == &params->gate ? gate : linear == &params->o ? o : tkg_o;
}
