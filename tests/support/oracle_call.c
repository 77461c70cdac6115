/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_call.c - attention alone, on plain keys and values or on a cache. */
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

/* Plain keys and values of one batch row as a sequence. */
static void build_sequence(const oracle_layer *layer, const gqa_attend_inputs *in, int b,
                           oracle_sequence *sequence)
{
    bool batched = in->key.rank == 4;
    int all = (int)in->key.shape[batched ? 1 : 0];
    gqa_dtype format = layer->bf16 ? GQA_BF16 : GQA_F32;
    int n = in->key_lengths != NULL ? in->key_lengths[b] : all;
    sequence->length = n;
    sequence->tokens = oracle_zeros((size_t)n, sizeof *sequence->tokens);
    for (int i = 0; i < n; i++) {
        oracle_token *token = &sequence->tokens[i];
        token->position = in->key_position_ids != NULL ? in->key_position_ids[b * all + i] : i;
        token->column = i;
        token->k = oracle_zeros((size_t)(layer->hkv * layer->dk), sizeof *token->k);
        token->v = oracle_zeros((size_t)(layer->hkv * layer->dv), sizeof *token->v);
        for (int h = 0; h < layer->hkv; h++) {
            for (int d = 0; d < layer->dk; d++) {
                token->k[h * layer->dk + d].v =
                    oracle_round(oracle_at(&in->key, b, i, h, d), format);
            }
            for (int d = 0; d < layer->dv; d++) {
                token->v[h * layer->dv + d].v =
                    oracle_round(oracle_at(&in->value, b, i, h, d), format);
            }
        }
    }
}

static void free_sequence(oracle_sequence *sequence)
{
    for (int i = 0; i < sequence->length; i++) {
        free(sequence->tokens[i].k);
        free(sequence->tokens[i].v);
    }
    free(sequence->tokens);
}

/* Queries are the last positions of the keys; more queries than keys begin before the first key. */
static int default_position(const oracle_sequence *keys, int index)
{
    if (keys->length == 0) {
        return 0;
    }
    return index >= 0 ? keys->tokens[index].position : keys->tokens[0].position + index;
}

static void attend_row(const oracle_layer *layer, const gqa_attend_inputs *in,
                       const oracle_sequence *keys, int b, oracle_result *r)
{
    int first = in->first_valid != NULL ? in->first_valid[b] : 0;
    int n = in->lengths != NULL ? in->lengths[b] : r->tokens - first;
    bool tkg = in->phase == GQA_PHASE_TKG || (in->phase == GQA_PHASE_AUTO && keys->length > n);
    const double *sinks = tkg && layer->tkg_sinks != NULL ? layer->tkg_sinks : layer->sinks;
    oracle_num *q = oracle_zeros((size_t)layer->dk, sizeof *q);
    for (int t = first; t < first + n; t++) {
        size_t cell = (size_t)(b * r->tokens + t);
        oracle_row row = {
            .b = b, .t = t, .keys = keys, .q = q, .mask = &in->mask, .bias = &in->bias};
        row.position = in->position_ids != NULL
                           ? in->position_ids[cell]
                           : default_position(keys, keys->length - (first + n - t));
        row.key_begin = in->key_begin != NULL ? in->key_begin + cell : NULL;
        row.key_end = in->key_end != NULL ? in->key_end + cell : NULL;
        row.range_begin = in->range_begin;
        row.range_end = in->range_end > 0 ? in->range_end : -1;
        row.sinks = in->leave_out_sinks != 0 ? NULL : sinks;
        r->valid[cell] = true;
        for (int h = 0; h < layer->hq; h++) {
            row.h = h;
            for (int d = 0; d < layer->dk; d++) {
                q[d].v = oracle_at(&in->query, b, t, h, d);
            }
            r->lse[cell * (size_t)layer->hq + (size_t)h] = oracle_attention_row(
                layer, &row,
                r->stage[GQA_STAGE_ATTN] +
                    (cell * (size_t)layer->hq + (size_t)h) * (size_t)layer->dv);
        }
    }
    free(q);
}

void oracle_attend(const oracle_layer *layer, const oracle_cache *cache,
                   const gqa_attend_inputs *inputs, oracle_result *result)
{
    memset(result, 0, sizeof *result);
    result->batch = inputs->query.rank == 4 ? (int)inputs->query.shape[0] : 1;
    result->tokens = (int)inputs->query.shape[inputs->query.rank == 4 ? 1 : 0];
    size_t rows = (size_t)(result->batch * result->tokens);
    result->valid = oracle_zeros(rows, sizeof *result->valid);
    result->lse = oracle_zeros(rows * (size_t)layer->hq, sizeof *result->lse);
    result->width[GQA_STAGE_ATTN] = layer->hq * layer->dv;
    result->stage[GQA_STAGE_ATTN] =
        oracle_zeros(rows * (size_t)(layer->hq * layer->dv), sizeof(oracle_num));
    for (int b = 0; b < result->batch; b++) {
        int id = inputs->sequences != NULL ? inputs->sequences[b] : b;
        if (cache != NULL && id >= 0) {
            attend_row(layer, inputs, &cache->sequences[id], b, result);
        } else if (cache == NULL) {
            oracle_sequence keys = {0};
            build_sequence(layer, inputs, b, &keys);
            attend_row(layer, inputs, &keys, b, result);
            free_sequence(&keys);
        }
    }
}
