/* SPDX-License-Identifier: Apache-2.0 */
/* sequences.c - see sequences.h. */
#include "api/sequences.h"

#include "base/error.h"
#include "cache/ring.h"

gqa_status gqa__check_sequence(const gqa_cache *cache, const char *field, int32_t sequence,
                               gqa_error *err)
{
    if (cache == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "cache", "is NULL");
    }
    if (sequence < 0 || sequence >= cache->max_sequences) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is %d; it must be 0 .. %d", (int)sequence,
                         (int)cache->max_sequences - 1);
    }
    return GQA_OK;
}

gqa_status gqa__check_empty(const gqa_cache *cache, const char *field, int32_t sequence,
                            gqa_error *err)
{
    const gqa_status status = gqa__check_sequence(cache, field, sequence, err);
    if (status == GQA_OK && cache->sequences[sequence].length > 0) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "is %d, which holds %d tokens; it must hold none: truncate it to 0",
                         (int)sequence, (int)cache->sequences[sequence].length);
    }
    return status;
}

gqa_status gqa__check_last(const gqa_cache *cache, int32_t sequence_id, int32_t index,
                           const char *field, int32_t value, gqa_error *err)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const bool held = index >= sequence->first;
    const int64_t next =
        held ? (int64_t)cache->positions[gqa__cache_slot(cache, sequence, index)] + 1 : 0;

    if (held && gqa__ring_holds(cache, sequence_id, next)) {
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_ARG, field,
                     "is %d: sequence %d would go on after token %d, but has given back its first "
                     "%d tokens, which the next one can see",
                     (int)value, (int)sequence_id, (int)index, (int)sequence->first);
}

gqa_status gqa__check_convert(int32_t convert, gqa_error *err)
{
    if (convert != 0 && convert != 1) {
        return gqa__fail(err, GQA_ERR_ARG, "convert", "is %d; it must be 0 or 1", (int)convert);
    }
    return GQA_OK;
}

gqa_status gqa__check_sequences(const int32_t *sequences, int32_t batch, int32_t max_sequences,
                                gqa_error *err)
{
    for (int32_t b = 0; b < batch; b++) {
        const int32_t id = sequences != NULL ? sequences[b] : b;
        if (id < -1 || id >= max_sequences) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.sequences",
                             "[%d] is %d; the cache has sequences 0..%d", b, id, max_sequences - 1);
        }
    }
    return GQA_OK;
}

/* Do the ids of active entries rise? Then no two are equal. */
static bool rising(const int32_t *sequences, int32_t batch)
{
    int32_t last = -1;

    for (int32_t b = 0; b < batch; b++) {
        if (sequences[b] >= 0) {
            if (sequences[b] <= last) {
                return false;
            }
            last = sequences[b];
        }
    }
    return true;
}

/* While the ids are sorted an entry is a sequence and, in n, the batch entry that named it. */
static bool before(const struct gqa__batch_entry *a, const struct gqa__batch_entry *b)
{
    return a->sequence != b->sequence ? a->sequence < b->sequence : a->n < b->n;
}

/* Let the entry at `top` of a heap of n, largest first, sink to its place. */
static void sink(struct gqa__batch_entry *heap, int64_t n, int64_t top)
{
    const struct gqa__batch_entry entry = heap[top];

    for (int64_t child = 2 * top + 1; child < n; child = 2 * top + 1) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1])) {
            child++;
        }
        if (!before(&entry, &heap[child])) {
            break;
        }
        heap[top] = heap[child];
        top = child;
    }
    heap[top] = entry;
}

/* Heapsort: in place, and n log n for any order. */
static void sort(struct gqa__batch_entry *entries, int64_t n)
{
    for (int64_t top = n / 2 - 1; top >= 0; top--) {
        sink(entries, n, top);
    }
    for (int64_t end = n - 1; end > 0; end--) {
        const struct gqa__batch_entry largest = entries[0];
        entries[0] = entries[end];
        entries[end] = largest;
        sink(entries, end, 0);
    }
}

gqa_status gqa__check_distinct(const int32_t *sequences, int32_t batch,
                               struct gqa__batch_entry *entries, gqa_error *err)
{
    int32_t repeat = batch, earlier = 0, active = 0;

    if (rising(sequences, batch)) {
        return GQA_OK;
    }
    for (int32_t b = 0; b < batch; b++) {
        if (sequences[b] >= 0) {
            entries[active++] = (struct gqa__batch_entry){.sequence = sequences[b], .n = b};
        }
    }
    sort(entries, active);
    for (int32_t i = 1; i < active; i++) {
        if (entries[i].sequence == entries[i - 1].sequence && entries[i].n < repeat) {
            repeat = entries[i].n;
            earlier = entries[i - 1].n;
        }
    }
    if (repeat == batch) {
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_ARG, "inputs.sequences",
                     "[%d] and [%d] are both %d; no two may be equal", earlier, repeat,
                     sequences[repeat]);
}
