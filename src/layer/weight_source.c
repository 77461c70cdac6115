/* SPDX-License-Identifier: Apache-2.0 */
/* weight_source.c - see weight_source.h. */
#include "layer/weight_source.h"

/* Row `row` of [q | k | v] in the caller's layout. */
static struct gqa__weight_source qkv_source(const struct gqa__params *params,
                                            const gqa_weights *weights, int64_t row)
{
    const struct gqa__shape *const shape = &params->shape;
    const struct gqa__weight_source separate[3] = {
        {"weights.wq", &weights->wq, &weights->wq_scale, &weights->bq, 0, 0},
        {"weights.wk", &weights->wk, &weights->wk_scale, &weights->bk, 0, 0},
        {"weights.wv", &weights->wv, &weights->wv_scale, &weights->bv, 0, 0}};
    /* Rows before a matrix in our order, and behind the last; rows of a matrix per KV head, and
     * before it there. */
    const int64_t first[4] = {0, shape->q_rows, (int64_t)shape->q_rows + shape->k_rows,
                              (int64_t)shape->q_rows + shape->k_rows + shape->v_rows};
    const int64_t per[3] = {(int64_t)shape->group * shape->q_head_rows, shape->dk,
                            shape->v_rows / shape->hkv};
    const int64_t before[3] = {0, per[0], per[0] + per[1]};
    const int matrix = row < first[1] ? 0 : row < first[2] ? 1 : 2;
    const int64_t i = row - first[matrix];
    struct gqa__weight_source source = {
        "weights.wqkv", &weights->wqkv, &weights->wqkv_scale, &weights->bqkv, row, first[3] - row};
    if (params->config.qkv_layout == GQA_QKV_SEPARATE) {
        source = separate[matrix];
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
    const struct gqa__weight_source gate = {
        "weights.wgate", &weights->wgate, &weights->wgate_scale, NULL, row, linear->out - row};
    const struct gqa__weight_source o = {"weights.wo", &weights->wo, &weights->wo_scale,
                                         &weights->bo, row,          linear->out - row};
    if (linear == &params->qkv) {
        return qkv_source(params, weights, row);
    }
    return linear == &params->gate ? gate : o;
}
