/* SPDX-License-Identifier: Apache-2.0 */
/* forward_batch.c - which tokens of a forward call are valid, where they go, and whether they fit.
 */
#include "api/forward_check.h"
#include "api/positions.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/tensor.h"

gqa_status gqa__check_valid(const int32_t *first_valid, const int32_t *lengths, int32_t b,
                            int32_t tokens, int32_t *first, int32_t *n, gqa_error *err)
{
    int32_t begin = first_valid != NULL ? first_valid[b] : 0;
    int32_t count;

    if (begin < 0 || begin > tokens) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.first_valid", "[%d] is %d; it must be 0..%d", b,
                         begin, tokens);
    }
    count = lengths != NULL ? lengths[b] : tokens - begin;
    if (count < 0 || count > tokens - begin) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.lengths",
                         "[%d] is %d; with first_valid %d it must be 0..%d", b, count, begin,
                         tokens - begin);
    }
    *first = begin;
    *n = count;
    return GQA_OK;
}

/* The row's own position ids, if it has any: above `last`, and rising, unless masks say who sees
 * whom. Clears *ordered if they do not rise: then a row may see a later token of the call (at an
 * equal position, too). */
static gqa_status check_positions(const struct gqa__call *call, const struct gqa__batch_entry *row,
                                  int32_t b, int64_t last, bool *ordered, gqa_error *err)
{
    const gqa_inputs *in = &call->in;
    struct gqa__ids ids = {.of = GQA__IDS_FORWARD, .n = row->n, .row = b, .above = last};

    ids.first = row->first_valid;
    ids.any_order =
        gqa__present(&in->mask) || gqa__present(&in->active_mask) || in->key_begin != NULL;
    if (in->position_ids != NULL) {
        ids.ids = in->position_ids + (int64_t)b * call->tokens + row->first_valid;
    }
    return gqa__check_ids(&ids, ordered, err);
}

/* A row that appends: room in the sequence, its positions and columns. */
static gqa_status check_append(const struct gqa__call *call, struct gqa__batch_entry *row,
                               int32_t b, bool *ordered, gqa_error *err)
{
    const struct gqa_cache *cache = call->cache;
    int64_t last = (int64_t)INT32_MIN - 1;

    *ordered = true;
    if (cache != NULL) {
        const struct gqa__sequence *sequence = &cache->sequences[row->sequence];
        row->past = sequence->length;
        row->columns = sequence->columns;
        if (sequence->length > 0) {
            last = sequence->last;
            *ordered = sequence->ordered;
        }
        if (row->n > cache->max_tokens - sequence->length) {
            return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                             "sequence %d holds %d tokens; %d more exceed max_tokens %d",
                             row->sequence, sequence->length, row->n, cache->max_tokens);
        }
        if (call->tokens > INT32_MAX - sequence->columns) {
            return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                             "sequence %d has seen %d columns; %d more exceed %d", row->sequence,
                             sequence->columns, call->tokens, INT32_MAX);
        }
    }
    row->next_position = 0;
    if (row->past > 0 && row->n > 0 && call->in.position_ids == NULL) {
        if (last + row->n > INT32_MAX) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.position_ids",
                             "is NULL: row %d would continue after position %lld beyond %d", b,
                             (long long)last, INT32_MAX);
        }
        row->next_position = (int32_t)last + 1;
    }
    return check_positions(call, row, b, last, ordered, err);
}

/* A row that reads only: its queries are the sequence's last tokens. Position ids that it has of
 * its own need not be those of the cache. */
static gqa_status check_borrow(const struct gqa__call *call, struct gqa__batch_entry *row,
                               int32_t b, bool *ordered, gqa_error *err)
{
    struct gqa__kv_view view;

    gqa__view_cache(&view, call->cache, row->sequence);
    if (row->n > view.length) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.lengths",
                         "row %d has %d queries, but sequence %d holds only %d tokens", b, row->n,
                         row->sequence, view.length);
    }
    row->past = view.length - row->n;
    row->next_position = 0;
    row->columns = 0;
    *ordered = view.ordered;
    if (row->n > 0) {
        int32_t first = gqa__view_column(&view, row->past) - row->first_valid;
        int32_t last = gqa__view_column(&view, view.length - 1);
        if (gqa__present(&call->in.active_mask) && (first < 0 || last - first >= call->tokens)) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.active_mask",
                             "inputs.active_mask has %d columns; the queries of row %d are columns "
                             "%d..%d of its sequence and begin at column %d of the call",
                             call->tokens, b, first + row->first_valid, last, row->first_valid);
        }
        row->columns = first > 0 ? first : 0;
    }
    return check_positions(call, row, b, -1, NULL, err);
}

/* Mask and bias must have a column for every key of the row. */
static gqa_status check_columns(const struct gqa__call *call, const struct gqa__batch_entry *row,
                                int32_t b, gqa_error *err)
{
    const gqa_tensor *tensors[2] = {&call->in.mask, &call->in.bias};
    const char *fields[2] = {"inputs.mask", "inputs.bias"};
    int64_t columns = (int64_t)row->columns + call->tokens;

    if (!call->append) {
        columns = call->cache->sequences[row->sequence].columns;
    }
    for (int i = 0; i < 2; i++) {
        if (gqa__present(tensors[i]) && tensors[i]->shape[3] < columns) {
            return gqa__fail(err, GQA_ERR_SHAPE, fields[i],
                             "has %lld columns; row %d has %lld keys, padding included",
                             (long long)tensors[i]->shape[3], b, (long long)columns);
        }
    }
    return GQA_OK;
}

gqa_status gqa__call_entries(struct gqa__call *call, struct gqa__batch_entry *rows, gqa_error *err)
{
    int64_t pages = 0;
    gqa_status status = GQA_OK;

    call->two_pass = call->params->shape.right != 0;
    status =
        gqa__check_sequences(call->in.sequences, call->batch,
                             call->cache != NULL ? call->cache->max_sequences : call->batch, err);
    if (status == GQA_OK && call->in.sequences != NULL) {
        status = gqa__check_distinct(call->in.sequences, call->batch, rows, err);
    }
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        struct gqa__batch_entry *row = &rows[b];
        bool ordered = true;

        *row = (struct gqa__batch_entry){0};
        row->sequence = call->in.sequences != NULL ? call->in.sequences[b] : b;
        if (row->sequence < 0) {
            continue;
        }
        status = gqa__check_valid(call->in.first_valid, call->in.lengths, b, call->tokens,
                                  &row->first_valid, &row->n, err);
        if (status == GQA_OK) {
            status = call->append ? check_append(call, row, b, &ordered, err)
                                  : check_borrow(call, row, b, &ordered, err);
        }
        if (status == GQA_OK) {
            status = check_columns(call, row, b, err);
        }
        call->two_pass = call->two_pass || !ordered;
        row->tkg =
            call->in.phase == GQA_PHASE_TKG || (call->in.phase == GQA_PHASE_AUTO && row->past > 0);
        if (status == GQA_OK && call->cache != NULL && call->append) {
            pages += gqa__cache_pages_for(call->cache, row->sequence, row->n);
        }
    }
    if (status == GQA_OK && call->cache != NULL && pages > call->cache->free_count) {
        status = gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                           "the call needs %lld pages; %lld of %lld are free", (long long)pages,
                           (long long)call->cache->free_count, (long long)call->cache->num_pages);
    }
    return status;
}
