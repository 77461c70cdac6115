/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c - see batch.h. */
#include "api/batch.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "stage/span.h"

bool gqa__batch_begin(const struct gqa__call *call, int32_t b)
{
    const int32_t *const sequences = call->in.sequences;

    const int32_t *const rows = call->in.row_begin;
    struct gqa__batch_entry *const entry = &call->entries[b];

    *entry = (struct gqa__batch_entry){.sequence = sequences != NULL ? sequences[b] : b};
    entry->tensor_b = rows != NULL ? 0 : b;
    entry->tensor_t = rows != NULL ? rows[b] : 0;
    entry->tokens = rows != NULL ? rows[b + 1] - rows[b] : call->tokens;
    if (call->views != NULL) {
        call->views[b] = (struct gqa__kv_view){0};
    }
    return entry->sequence >= 0;
}

gqa_status gqa__check_rows(const struct gqa__call *call, gqa_error *err)
{
    const int32_t *const rows = call->in.row_begin;
    int32_t below = 0;

    for (int32_t b = 0; rows != NULL && b <= call->batch; b++) {
        const bool last = b == call->batch;
        if (rows[b] < below || rows[b] > call->tokens || (b == 0 && rows[b] != 0) ||
            (last && rows[b] != call->tokens)) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.row_begin",
                             "[%d] is %d; it must begin with 0, not fall, and end with the call's "
                             "%d tokens",
                             (int)b, (int)rows[b], (int)call->tokens);
        }
        below = rows[b];
    }
    return GQA_OK;
}

gqa_status gqa__check_valid(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const gqa_inputs *const in = &call->in;
    const int32_t tokens = call->entries[b].tokens;
    const int32_t begin = in->first_valid != NULL ? in->first_valid[b] : 0;
    int32_t count;

    if (begin < 0 || begin > tokens) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.first_valid", "[%d] is %d; it must be 0..%d", b,
                         begin, tokens);
    }
    count = in->lengths != NULL ? in->lengths[b] : tokens - begin;
    if (count < 0 || count > tokens - begin) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.lengths",
                         "[%d] is %d; with first_valid %d it must be 0..%d", b, count, begin,
                         tokens - begin);
    }
    call->entries[b].first_valid = begin;
    call->entries[b].n = count;
    return GQA_OK;
}

gqa_status gqa__check_columns(const struct gqa__call *call, int32_t b, int64_t columns,
                              gqa_error *err)
{
    const gqa_tensor *const tensors[2] = {&call->in.mask, &call->in.bias};
    const char *const fields[2] = {"inputs.mask", "inputs.bias"};

    for (int i = 0; i < 2; i++) {
        if (gqa__present(tensors[i]) && tensors[i]->shape[3] < columns) {
            return gqa__fail(err, GQA_ERR_SHAPE, fields[i],
                             "has %lld columns; batch entry %d has %lld keys, padding included",
                             (long long)tensors[i]->shape[3], b, (long long)columns);
        }
    }
    return GQA_OK;
}

gqa_status gqa__check_held(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const struct gqa__batch_entry *const entry = &call->entries[b];
    const struct gqa__sequence *const sequence =
        call->cache != NULL ? &call->cache->sequences[entry->sequence] : NULL;
    const bool at_end = !call->append && (!call->alone || call->in.position_ids == NULL);
    int32_t lowest = INT32_MAX;

    if (sequence == NULL || sequence->first == 0 || entry->n == 0) {
        return GQA_OK;
    }
    if (at_end && entry->past < sequence->first) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.lengths",
                         "batch entry %d has %d queries, the last tokens of sequence %d, which "
                         "holds only %d: tokens %d .. %d",
                         (int)b, (int)entry->n, (int)entry->sequence,
                         (int)(sequence->length - sequence->first), (int)sequence->first,
                         (int)sequence->length - 1);
    }
    for (int32_t t = 0; t < entry->n; t++) {
        const int32_t position = gqa__call_position(call, b, entry->first_valid + t);
        lowest = (int32_t)gqa__min(lowest, position);
    }
    const struct gqa__span span = gqa__span_of(&call->params->shape, sequence->origin, lowest);
    if (span.first <= sequence->released) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.position_ids",
                         "batch entry %d has a token at position %d, which can see position %lld; "
                         "sequence %d has given back what lies up to position %d",
                         (int)b, (int)lowest, (long long)span.first, (int)entry->sequence,
                         (int)sequence->released);
    }
    return GQA_OK;
}

void gqa__batch_phase(const struct gqa__call *call, int32_t b)
{
    struct gqa__batch_entry *const entry = &call->entries[b];

    entry->tkg =
        call->in.phase == GQA_PHASE_TKG || (call->in.phase == GQA_PHASE_AUTO && entry->past > 0);
}
