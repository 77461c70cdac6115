/* SPDX-License-Identifier: Apache-2.0 */
/* keep.c - some of a sequence's last tokens kept, the others freed. */
#include <assert.h>

#include "cache/cache.h"
#include "cache/pages.h"

/* How many of kept [n] stay where they are. */
static int32_t tokens_at_rest(const int32_t *kept, int32_t n)
{
    int32_t rest = 0;
    while (rest < n && kept[rest] == rest) {
        rest++;
    }
    return rest;
}

/* The pages of a sequence that tokens move to: places [begin, end) of its list. */
struct page_range {
    int32_t begin, end;
};

static struct page_range pages_written(const struct gqa_cache *cache, int32_t first,
                                       const int32_t *kept, int32_t n)
{
    const int32_t page_size = cache->layout.page_size;
    const int32_t rest = tokens_at_rest(kept, n);
    if (rest == n) {
        return (struct page_range){0, 0};
    }
    return (struct page_range){(first + rest) / page_size, (first + n - 1) / page_size + 1};
}

int64_t gqa__cache_keep_pages(const struct gqa_cache *cache, int32_t sequence_id, int32_t first,
                              const int32_t *kept, int32_t n)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct page_range range = pages_written(cache, first, kept, n);
    int64_t copies = 0;
    for (int32_t i = range.begin; i < range.end; i++) {
        copies += gqa__page_shared(cache, sequence->pages[i]) ? 1 : 0;
    }
    return copies;
}

void gqa__cache_keep(struct gqa_cache *cache, int32_t sequence_id, int32_t first,
                     const int32_t *kept, int32_t n)
{
    struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct page_range range = pages_written(cache, first, kept, n);
    assert(first >= 0 && n <= sequence->length - first);

    for (int32_t i = range.begin; i < range.end; i++) {
        if (gqa__page_shared(cache, sequence->pages[i])) {
            sequence->pages[i] = gqa__page_copy(cache, sequence->pages[i], cache->layout.page_size);
        }
    }
    /* A token moves down, onto one that has moved already or is not kept. */
    for (int32_t i = tokens_at_rest(kept, n); i < n; i++) {
        gqa__slot_copy(cache, gqa__cache_slot(cache, sequence, first + i),
                       gqa__cache_slot(cache, sequence, first + kept[i]));
    }
    if (first == 0 && n > 0) {
        sequence->origin = cache->positions[gqa__cache_slot(cache, sequence, 0)];
    }
    gqa__cache_cut(cache, sequence_id, first + n, -1);
}
