/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - see ring.h. */
#include "cache/ring.h"

#include <assert.h>

#include "base/chunk.h"
#include "base/memory.h"
#include "cache/pages.h"

int64_t gqa__retained_from(const struct gqa__retention *retention, int32_t origin, int64_t position)
{
    int64_t from = INT64_MIN;

    if (retention->window > 0) {
        from = position - retention->window + 1;
    }
    if (retention->chunk > 0) {
        from = gqa__max(from, gqa__chunk_start(position, origin, retention->chunk));
    }
    return from;
}

bool gqa__ring_holds(const struct gqa_cache *cache, int32_t sequence_id, int64_t position)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];

    return sequence->first == 0 ||
           gqa__retained_from(&cache->retention, sequence->origin, position) > sequence->released;
}

/* Both are powers of two. */
static int32_t granule_of(int32_t page_size, int32_t panel_keys)
{
    return (int32_t)gqa__max(page_size, panel_keys);
}

int32_t gqa__ring_granule(const struct gqa_cache *cache)
{
    return granule_of(cache->layout.page_size, cache->layout.kernels->panel_keys);
}

int32_t gqa__ring_first_page(const struct gqa_cache *cache, int32_t first)
{
    return (first - first % gqa__ring_granule(cache)) / cache->layout.page_size;
}

/* Do all tokens [first, end) stand below the position? */
static bool all_below(const struct gqa_cache *cache, const struct gqa__sequence *sequence,
                      int32_t first, int32_t end, int64_t position)
{
    const int32_t least = sequence->ordered ? end - 1 : first; /* the others cannot be above it */

    for (int32_t i = least; i < end; i++) {
        if (cache->positions[gqa__cache_slot(cache, sequence, i)] >= position) {
            return false;
        }
    }
    return true;
}

/* Index of the first token that stays when those leave that a token at `position` cannot see. */
static int32_t first_kept(const struct gqa_cache *cache, const struct gqa__sequence *sequence,
                          int64_t position)
{
    const int32_t granule = gqa__ring_granule(cache);
    const int64_t from = gqa__retained_from(&cache->retention, sequence->origin, position);
    int32_t first = sequence->first;
    int64_t end = (int64_t)first - first % granule + granule;

    while (from > INT64_MIN && end < sequence->length &&
           all_below(cache, sequence, first, (int32_t)end, from)) {
        first = (int32_t)end;
        end += granule;
    }
    return first;
}

/* Places in the sequence's list of the pages that leave: [begin, end). */
struct leaving {
    int32_t begin, end;
};

static struct leaving leaving_pages(const struct gqa_cache *cache,
                                    const struct gqa__sequence *sequence, int64_t position)
{
    return (struct leaving){gqa__ring_first_page(cache, sequence->first),
                            gqa__ring_first_page(cache, first_kept(cache, sequence, position))};
}

int64_t gqa__ring_frees(const struct gqa_cache *cache, int32_t sequence_id, int64_t position)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct leaving range = leaving_pages(cache, sequence, position);
    int64_t pages = 0;

    for (int32_t i = range.begin; i < range.end; i++) {
        pages += gqa__page_shared(cache, sequence->pages[i]) ? 0 : 1;
    }
    return pages;
}

int64_t gqa__ring_claim(struct gqa_cache *cache, int32_t sequence_id, int64_t position)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct leaving range = leaving_pages(cache, sequence, position);
    int64_t pages = 0;

    for (int32_t i = range.begin; i < range.end; i++) {
        pages += --cache->holders[sequence->pages[i]] == 0 ? 1 : 0;
    }
    return pages;
}

void gqa__ring_unclaim(struct gqa_cache *cache, int32_t sequence_id, int64_t position)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct leaving range = leaving_pages(cache, sequence, position);

    for (int32_t i = range.begin; i < range.end; i++) {
        cache->holders[sequence->pages[i]]++;
    }
}

void gqa__ring_release(struct gqa_cache *cache, int32_t sequence_id, int64_t position)
{
    struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct leaving range = leaving_pages(cache, sequence, position);
    const int32_t first = first_kept(cache, sequence, position);

    for (int32_t i = sequence->first; i < first; i++) {
        const int32_t gone = cache->positions[gqa__cache_slot(cache, sequence, i)];
        sequence->released = i == 0 ? gone : (int32_t)gqa__max(sequence->released, gone);
    }
    for (int32_t i = range.end - 1; i >= range.begin; i--) {
        gqa__page_leave(cache, sequence->pages[i]);
        sequence->pages[i] = -1;
    }
    sequence->first = first;
}

void gqa__ring_begin(struct gqa_cache *cache, int32_t sequence_id,
                     const struct gqa__ring_past *past)
{
    struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page_size = cache->layout.page_size;
    assert(sequence->length == 0);

    for (int32_t i = gqa__ring_first_page(cache, past->first); (int64_t)i * page_size < past->first;
         i++) {
        sequence->pages[i] = gqa__page_take(cache);
    }
    sequence->length = past->first;
    sequence->first = past->first;
    sequence->origin = past->origin;
    sequence->released = past->released;
    sequence->last = past->first > 0 ? INT32_MIN : 0; /* before any token held */
}

int64_t gqa__ring_most_pages(const gqa_cache_options *options, int32_t panel_keys)
{
    const int32_t page_size = options->page_size, all = options->max_tokens;
    const int32_t call = options->call_tokens > 0 ? options->call_tokens : all;
    const int64_t full = (all - 1) / page_size + 1;
    int64_t seen = INT32_MAX; /* tokens before a call that its first one sees; or the last one */

    if (options->retain_window == 0 && options->retain_chunk == 0) {
        return full;
    }
    if (options->retain_window > 0) {
        seen = options->retain_window - 1;
    }
    if (options->retain_chunk > 0) {
        seen = gqa__min(seen, options->retain_chunk - 1);
    }
    /* They begin anywhere in a granule. */
    const int64_t tokens = gqa__max(seen, 1) + granule_of(page_size, panel_keys) - 1 + call;
    return gqa__min(full, (tokens + page_size - 1) / page_size);
}
