/* SPDX-License-Identifier: Apache-2.0 */
/* attend_batch.c - the keys and valid queries of each row of an attend call. */
#include <string.h>

#include "api/attend_check.h"
#include "api/forward_check.h"
#include "api/positions.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/tensor.h"

/* The keys of batch row b. */
static gqa_status find_view(const struct gqa__attend_call *call, int32_t b,
                            struct gqa__attend_entry *row, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    gqa_tensor key, value;
    int32_t length = call->keys;
    const int32_t *positions = NULL;
    struct gqa__ids ids;
    gqa_status status;

    if (call->cache != NULL) {
        gqa__view_cache(&row->view, call->cache, in->sequences != NULL ? in->sequences[b] : b);
        return GQA_OK;
    }
    if (in->key_lengths != NULL) {
        length = in->key_lengths[b];
        if (length < 0 || length > call->keys) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.key_lengths", "[%d] is %d; it must be 0..%d",
                             b, length, call->keys);
        }
    }
    if (in->key_position_ids != NULL) {
        positions = in->key_position_ids + (int64_t)b * call->keys;
    }
    ids = (struct gqa__ids){GQA__IDS_KEYS,
                            positions,
                            length,
                            b,
                            0,
                            (int64_t)INT32_MIN - 1,
                            gqa__present(&in->mask) || in->key_begin != NULL};
    status = gqa__check_ids(&ids, NULL, err);
    if (status != GQA_OK) {
        return status;
    }
    key = in->key;
    value = in->value;
    for (int i = 0; i < 3; i++) { /* drop the batch dimension */
        key.shape[i] = in->key.shape[i + 1];
        key.stride[i] = in->key.stride[i + 1];
        value.shape[i] = in->value.shape[i + 1];
        value.stride[i] = in->value.stride[i + 1];
    }
    key.rank = 3;
    value.rank = 3;
    key.data = (unsigned char *)in->key.data +
               (size_t)(b * in->key.stride[0]) * gqa__dtype_size(key.dtype);
    value.data = (unsigned char *)in->value.data +
                 (size_t)(b * in->value.stride[0]) * gqa__dtype_size(value.dtype);
    gqa__view_plain(&row->view, call->params->kernels, &key, &value, length, positions);
    return GQA_OK;
}

/* Mask and bias columns, and the end of the key range, against this row's keys. */
static gqa_status check_row(const struct gqa__attend_call *call,
                            const struct gqa__attend_entry *row, int32_t b, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    const gqa_tensor *tensors[2] = {&in->mask, &in->bias};
    const char *fields[2] = {"inputs.mask", "inputs.bias"};
    int32_t columns = call->cache != NULL ? row->view.sequence->columns : row->view.length;

    for (int i = 0; i < 2; i++) {
        if (gqa__present(tensors[i]) && tensors[i]->shape[3] < columns) {
            return gqa__fail(err, GQA_ERR_SHAPE, fields[i], "has %lld columns; row %d has %d keys",
                             (long long)tensors[i]->shape[3], b, columns);
        }
    }
    if (in->range_end % GQA__FOLD_BLOCK != 0 && in->range_end < row->view.length) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_end",
                         "is %d; it must be a multiple of %d or at least the %d "
                         "keys of row %d",
                         in->range_end, GQA__FOLD_BLOCK, row->view.length, b);
    }
    return GQA_OK;
}

gqa_status gqa__attend_entries(const struct gqa__attend_call *call, struct gqa__attend_entry *rows,
                               gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    gqa_status status = GQA_OK;

    if (call->cache != NULL) { /* it is only read: two rows may have one sequence */
        status = gqa__check_sequences(in->sequences, call->batch, call->cache->max_sequences, err);
    }
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        struct gqa__attend_entry *row = &rows[b];
        memset(row, 0, sizeof *row);
        if (in->sequences != NULL && in->sequences[b] < 0) {
            continue;
        }
        status = gqa__check_valid(in->first_valid, in->lengths, b, call->tokens, &row->first_valid,
                                  &row->n, err);
        if (status == GQA_OK) {
            status = find_view(call, b, row, err);
        }
        if (status == GQA_OK) {
            status = check_row(call, row, b, err);
        }
        row->tkg = in->phase == GQA_PHASE_TKG ||
                   (in->phase == GQA_PHASE_AUTO && row->view.length > row->n);
    }
    return status;
}
