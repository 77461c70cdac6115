/* SPDX-License-Identifier: Apache-2.0 */
/* attend_batch.c - the keys and valid queries of each batch entry of an attend call. */
#include "api/attend_check.h"
#include "api/batch.h"
#include "api/blocks.h"
#include "api/positions.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"

/* Batch entry b of a tensor [B, K, Hkv, D]: [K, Hkv, D]. */
static gqa_tensor entry_of(const gqa_tensor *t, int32_t b)
{
    gqa_tensor own = *t;

    own.rank = 3;
    own.data = (unsigned char *)t->data + (size_t)(b * t->stride[0]) * gqa__dtype_size(t->dtype);
    for (int i = 0; i < 3; i++) {
        own.shape[i] = t->shape[i + 1];
        own.stride[i] = t->stride[i + 1];
    }
    return own;
}

/* The plain keys of batch entry b. */
static gqa_status find_plain(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const struct gqa__attend *const attend = &call->attend;
    const gqa_tensor key = entry_of(&attend->key, b);
    const gqa_tensor value = entry_of(&attend->value, b);
    const int32_t length = attend->key_lengths != NULL ? attend->key_lengths[b] : call->keys;
    const int32_t *const positions = attend->key_position_ids != NULL
                                         ? attend->key_position_ids + (int64_t)b * call->keys
                                         : NULL;
    const struct gqa__ids ids = {.of = GQA__IDS_KEYS,
                                 .ids = positions,
                                 .n = length,
                                 .entry = b,
                                 .above = (int64_t)INT32_MIN - 1,
                                 .any_order =
                                     gqa__present(&call->in.mask) || call->in.key_begin != NULL};
    gqa_status status;

    if (length < 0 || length > call->keys) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.key_lengths", "[%d] is %d; it must be 0..%d", b,
                         length, call->keys);
    }
    status = gqa__check_ids(&ids, NULL, err);
    if (status == GQA_OK) {
        gqa__view_plain(&call->views[b], call->params->kernels, &key, &value, length, positions);
        call->views[b].flush = call->params->shape.flush;
    }
    return status;
}

/* Columns of the entry's keys, and the end of the key range, against its keys. */
static gqa_status check_keys(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const struct gqa__kv_view *const view = &call->views[b];
    const int32_t columns = view->sequence != NULL ? view->sequence->columns : view->length;
    const int32_t end = call->attend.range_end;
    const gqa_status status = gqa__check_columns(call, b, columns, err);

    if (status == GQA_OK && end % GQA__FOLD_BLOCK != 0 && end < view->length) {
        return gqa__fail(
            err, GQA_ERR_ARG, "inputs.range_end",
            "is %d; it must be a multiple of %d or at least the %d keys of batch entry %d", end,
            GQA__FOLD_BLOCK, view->length, b);
    }
    return status;
}

static gqa_status check_attend_entry(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    struct gqa__batch_entry *const entry = &call->entries[b];
    gqa_status status = gqa__check_valid(call, b, err);

    if (status == GQA_OK && call->in_blocks) {
        status = gqa__blocks_view(call, b, 0, NULL, err);
    } else if (status == GQA_OK && call->cache == NULL) {
        status = find_plain(call, b, err);
    } else if (status == GQA_OK) {
        gqa__view_cache(&call->views[b], call->cache, entry->sequence);
    }
    if (status == GQA_OK) {
        entry->past = call->views[b].length - entry->n;
        status = call->cache != NULL ? gqa__check_held(call, b, err) : GQA_OK;
    }
    if (status == GQA_OK) {
        status = check_keys(call, b, err);
    }
    return status;
}

gqa_status gqa__attend_entries(struct gqa__call *call, gqa_error *err)
{
    gqa_status status = gqa__check_rows(call, err);

    if (status == GQA_OK &&
        call->cache != NULL) { /* it is only read: two entries may have one sequence */
        status =
            gqa__check_sequences(call->in.sequences, call->batch, call->cache->max_sequences, err);
    }
    if (status == GQA_OK && call->in_blocks) {
        status = gqa__blocks_sequences(call, err);
    }
    call->attend.longest = 0;
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        if (gqa__batch_begin(call, b)) {
            status = check_attend_entry(call, b, err);
            gqa__batch_phase(call, b);
            call->attend.longest = (int32_t)gqa__max(call->attend.longest, call->views[b].length);
        }
    }
    return status;
}
