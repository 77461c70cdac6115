/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c - see batch.h. */
#include "api/batch.h"

#include "base/error.h"
#include "base/tensor.h"

bool gqa__batch_begin(const struct gqa__call *call, int32_t b)
{
    const int32_t *const sequences = call->in.sequences;

    call->entries[b] = (struct gqa__batch_entry){.sequence = sequences != NULL ? sequences[b] : b};
    if (call->views != NULL) {
        call->views[b] = (struct gqa__kv_view){0};
    }
    return call->entries[b].sequence >= 0;
}

gqa_status gqa__check_valid(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const gqa_inputs *const in = &call->in;
    const int32_t tokens = call->tokens;
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

void gqa__batch_phase(const struct gqa__call *call, int32_t b)
{
    struct gqa__batch_entry *const entry = &call->entries[b];

    entry->tkg =
        call->in.phase == GQA_PHASE_TKG || (call->in.phase == GQA_PHASE_AUTO && entry->past > 0);
}
