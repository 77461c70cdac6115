/* SPDX-License-Identifier: Apache-2.0 */
/* forward_batch.c - which tokens of a forward call are valid, where they go, and whether they fit.
 */
#include "api/batch.h"
#include "api/blocks.h"
#include "api/forward_check.h"
#include "api/positions.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "cache/ring.h"

/* The entry's own position ids, if it has any: above `above`, and rising, unless masks say who sees
 * whom. Clears *ordered if they do not rise: then a row may see a later token of the call (at an
 * equal position, too). */
static gqa_status check_entry_ids(const struct gqa__call *call, int32_t b, int64_t above,
                                  bool *ordered, gqa_error *err)
{
    const gqa_inputs *const in = &call->in;
    const struct gqa__batch_entry *const entry = &call->entries[b];
    struct gqa__ids ids = {.of = GQA__IDS_FORWARD, .n = entry->n, .entry = b, .above = above};

    ids.first = entry->first_valid;
    ids.any_order =
        gqa__present(&in->mask) || gqa__present(&in->active_mask) || in->key_begin != NULL;
    if (in->position_ids != NULL) {
        ids.ids = in->position_ids + gqa__call_token(call, b, entry->first_valid);
    }
    return gqa__check_ids(&ids, ordered, err);
}

/* An entry that appends: room in the sequence, its positions and columns. */
static gqa_status check_appending(const struct gqa__call *call, int32_t b, bool *ordered,
                                  gqa_error *err)
{
    struct gqa__batch_entry *const entry = &call->entries[b];
    int64_t last = (int64_t)INT32_MIN - 1;

    if (call->in_blocks) {
        entry->past = entry->columns = call->blocks.lengths[b];
        const gqa_status status = gqa__blocks_view(call, b, entry->n, ordered, err);
        call->views[b].pad_from = entry->past;
        call->views[b].padding = entry->first_valid;
        return status;
    }
    if (call->cache != NULL) {
        const struct gqa__sequence *const sequence = &call->cache->sequences[entry->sequence];
        const gqa_status status =
            gqa__cache_fits(call->cache, entry->sequence, entry->n, entry->tokens, err);
        if (status != GQA_OK) {
            return status;
        }
        entry->past = sequence->length;
        entry->columns = sequence->columns;
        if (sequence->length > 0) {
            last = sequence->last;
            *ordered = sequence->ordered;
        }
    }
    if (entry->past > 0 && entry->n > 0 && call->in.position_ids == NULL) {
        if (last + entry->n > INT32_MAX) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.position_ids",
                             "is NULL: batch entry %d would continue after position %lld beyond %d",
                             b, (long long)last, INT32_MAX);
        }
        entry->next_position = (int32_t)last + 1;
    }
    return check_entry_ids(call, b, last, ordered, err);
}

/* A ring: is what the entry's tokens can see still there, and what may leave? That is what neither
 * they nor a token that follows the last one held can see: the call can be taken back. */
static gqa_status check_ring(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    struct gqa__batch_entry *const entry = &call->entries[b];
    const struct gqa_cache *const cache = call->cache;
    int64_t lowest = INT32_MAX;

    if (cache == NULL || entry->n == 0 ||
        (cache->retention.window == 0 && cache->retention.chunk == 0)) {
        return GQA_OK;
    }
    if (entry->past > 0) {
        lowest = (int64_t)cache->sequences[entry->sequence].last + 1;
    }
    for (int32_t t = 0; t < entry->n; t++) {
        lowest = gqa__min(lowest, gqa__call_position(call, b, entry->first_valid + t));
    }
    entry->lowest = (int32_t)lowest;
    return gqa__check_held(call, b, err);
}

/* An entry that reads only: its queries are the sequence's last tokens. Position ids that it has of
 * its own need not be those of the cache. */
static gqa_status check_reading(const struct gqa__call *call, int32_t b, bool *ordered,
                                gqa_error *err)
{
    struct gqa__batch_entry *const entry = &call->entries[b];
    struct gqa__kv_view *const view = &call->views[b];
    const gqa_tensor *const active = &call->in.active_mask;

    if (call->in_blocks) {
        const gqa_status status = gqa__blocks_view(call, b, 0, NULL, err);
        if (status != GQA_OK) {
            return status;
        }
    } else {
        gqa__view_cache(view, call->cache, entry->sequence);
    }
    if (entry->n > view->length) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.lengths",
                         "batch entry %d has %d queries, but sequence %d holds only %d tokens", b,
                         entry->n, entry->sequence, view->length);
    }
    entry->past = view->length - entry->n;
    *ordered = view->ordered;
    const gqa_status status = gqa__check_held(call, b, err);
    if (status != GQA_OK) {
        return status;
    }
    if (entry->n > 0) {
        const int32_t first = gqa__view_column(view, entry->past) - entry->first_valid;
        const int32_t last = gqa__view_column(view, view->length - 1);
        if (gqa__present(active) && (first < 0 || last - first >= active->shape[2])) {
            return gqa__fail(
                err, GQA_ERR_ARG, "inputs.active_mask",
                "inputs.active_mask has %d columns; the queries of batch entry %d are columns "
                "%d..%d of its sequence and begin at column %d of the call",
                (int)active->shape[2], b, first + entry->first_valid, last, entry->first_valid);
        }
        entry->columns = first > 0 ? first : 0;
    }
    return check_entry_ids(call, b, -1, NULL, err);
}

/* Columns of the entry once the call is done, padding included. */
static int64_t columns_of(const struct gqa__call *call, int32_t b)
{
    const struct gqa__batch_entry *const entry = &call->entries[b];

    if (call->append) {
        return (int64_t)entry->columns + entry->tokens;
    }
    return call->in_blocks ? call->views[b].length : call->views[b].sequence->columns;
}

/* The active mask has a column for each of the entry's. */
static gqa_status check_active_columns(const struct gqa__call *call, int32_t b, gqa_error *err)
{
    const gqa_tensor *const active = &call->in.active_mask;
    const int32_t tokens = call->entries[b].tokens;

    return !gqa__present(active) || active->shape[2] >= tokens
               ? GQA_OK
               : gqa__fail(err, GQA_ERR_SHAPE, "inputs.active_mask",
                           "has %d columns; batch entry %d has %d tokens", (int)active->shape[2],
                           (int)b, (int)tokens);
}

static gqa_status check_forward_entry(struct gqa__call *call, int32_t b, gqa_error *err)
{
    bool ordered = true;
    gqa_status status = gqa__check_valid(call, b, err);

    if (status == GQA_OK) {
        status = check_active_columns(call, b, err);
    }
    if (status == GQA_OK) {
        status = call->append ? check_appending(call, b, &ordered, err)
                              : check_reading(call, b, &ordered, err);
    }
    if (status == GQA_OK && call->append) {
        status = check_ring(call, b, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_columns(call, b, columns_of(call, b), err);
    }
    call->two_pass = call->two_pass || !ordered;
    return status;
}

/* Pages that the call's entries give back first, and new ones that they then take. */
struct page_count {
    int64_t given, taken;
};

static struct page_count count_pages(const struct gqa__call *call)
{
    struct gqa_cache *const cache = call->cache;
    const struct gqa__batch_entry *const end = call->entries + call->batch;
    struct page_count count = {0, 0};

    for (const struct gqa__batch_entry *e = call->entries; e < end; e++) {
        count.given +=
            e->sequence >= 0 && e->n > 0 ? gqa__ring_claim(cache, e->sequence, e->lowest) : 0;
    }
    for (const struct gqa__batch_entry *e = call->entries; e < end; e++) {
        count.taken += e->sequence >= 0 ? gqa__cache_claim(cache, e->sequence, e->n) : 0;
    }
    for (const struct gqa__batch_entry *e = call->entries; e < end; e++) {
        if (e->sequence >= 0) {
            gqa__cache_unclaim(cache, e->sequence, e->n);
        }
        if (e->sequence >= 0 && e->n > 0) {
            gqa__ring_unclaim(cache, e->sequence, e->lowest);
        }
    }
    return count;
}

/* Room in the cache for the tokens of all entries together. */
static gqa_status check_pages(const struct gqa__call *call, gqa_error *err)
{
    const struct gqa_cache *const cache = call->cache;

    if (cache == NULL || !call->append) {
        return GQA_OK;
    }
    const struct page_count count = count_pages(call);
    const int64_t pages = count.taken - count.given;
    if (pages > cache->free_count) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "the call needs %lld pages; %lld of %lld are free", (long long)pages,
                         (long long)cache->free_count, (long long)cache->num_pages);
    }
    return GQA_OK;
}

gqa_status gqa__forward_entries(struct gqa__call *call, gqa_error *err)
{
    const int32_t *const sequences = call->in.sequences;
    const int32_t most = call->cache != NULL ? call->cache->max_sequences : call->batch;
    gqa_status status = gqa__check_rows(call, err);

    call->two_pass = call->params->shape.right != 0;
    if (status == GQA_OK) {
        status = gqa__check_sequences(sequences, call->batch, most, err);
    }
    if (status == GQA_OK && call->in_blocks) {
        status = gqa__blocks_sequences(call, err);
    }
    if (status == GQA_OK && sequences != NULL) {
        status = gqa__check_distinct(sequences, call->batch, call->entries, err);
    }
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        if (gqa__batch_begin(call, b)) {
            status = check_forward_entry(call, b, err);
            gqa__batch_phase(call, b);
        }
    }
    if (status == GQA_OK && call->in_blocks && call->append) {
        status = gqa__blocks_places(call, err);
    }
    return status == GQA_OK ? check_pages(call, err) : status;
}
