/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c - see pages.h. */
#include "cache/pages.h"

#include <assert.h>
#include <string.h>

#include "cache/row.h"

/* For one holder, with whatever the page last held. */
static int32_t pop_page(struct gqa_cache *cache)
{
    assert(cache->free_count > 0);
    const int32_t page = cache->free_pages[--cache->free_count];
    assert(cache->holders[page] == 0);
    cache->holders[page] = 1;
    return page;
}

int32_t gqa__page_take(struct gqa_cache *cache)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const int32_t page = pop_page(cache);
    const size_t slots = (size_t)layout->page_size;
    const size_t heads = (size_t)layout->hkv;
    for (int32_t head = 0; head < layout->hkv; head++) {
        memset(gqa__cache_k(cache, page, head), 0, layout->k_bytes + layout->v_bytes);
    }
    memset(cache->positions + (size_t)page * slots, 0, slots * sizeof *cache->positions);
    memset(cache->columns + (size_t)page * slots, 0, slots * sizeof *cache->columns);
    memset(cache->special + (size_t)page * heads, 0, heads * sizeof *cache->special);
    return page;
}

void gqa__page_leave(struct gqa_cache *cache, int32_t page)
{
    assert(cache->holders[page] > 0);
    if (--cache->holders[page] == 0) {
        cache->free_pages[cache->free_count++] = page;
    }
}

void gqa__page_zero(struct gqa_cache *cache, int32_t page, int32_t slot, int32_t end)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const size_t from = (size_t)slot, freed = (size_t)(end - slot);

    for (int32_t head = 0; head < layout->hkv; head++) {
        const struct gqa__plane k = gqa__cache_plane(cache, page, head, false);
        const struct gqa__plane v = gqa__cache_plane(cache, page, head, true);
        gqa__plane_zero(&k, slot, end);
        gqa__plane_zero(&v, slot, end);
    }
    const size_t first = (size_t)page * (size_t)layout->page_size + from;
    memset(cache->positions + first, 0, freed * sizeof *cache->positions);
    memset(cache->columns + first, 0, freed * sizeof *cache->columns);
}

int32_t gqa__page_import(struct gqa_cache *cache, const struct gqa_cache *from, int32_t page,
                         int32_t used)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const int32_t copy = pop_page(cache);
    const size_t slots = (size_t)layout->page_size, heads = (size_t)layout->hkv;
    const size_t at = (size_t)copy, source = (size_t)page;

    for (int32_t head = 0; head < layout->hkv; head++) {
        memcpy(gqa__cache_k(cache, copy, head), gqa__cache_k(from, page, head),
               layout->k_bytes + layout->v_bytes);
    }
    memcpy(cache->positions + at * slots, from->positions + source * slots,
           slots * sizeof *cache->positions);
    memcpy(cache->columns + at * slots, from->columns + source * slots,
           slots * sizeof *cache->columns);
    memcpy(cache->special + at * heads, from->special + source * heads,
           heads * sizeof *cache->special);
    gqa__page_zero(cache, copy, used, layout->page_size);
    return copy;
}

int32_t gqa__page_copy(struct gqa_cache *cache, int32_t page, int32_t used)
{
    const int32_t copy = gqa__page_import(cache, cache, page, used);
    gqa__page_leave(cache, page);
    return copy;
}

/* One token's K or V of one head from a page to another, or the same. */
static void copy_row(struct gqa_cache *cache, int32_t head, bool value, int64_t to, int64_t from)
{
    const int32_t slots = cache->layout.page_size;
    const struct gqa__plane source = gqa__cache_plane(cache, (int32_t)(from / slots), head, value);
    const struct gqa__plane plane = gqa__cache_plane(cache, (int32_t)(to / slots), head, value);
    struct gqa__row row;

    gqa__row_get(&source, (int32_t)(from % slots), &row);
    gqa__row_put(&plane, (int32_t)(to % slots), &row);
}

void gqa__slot_copy(struct gqa_cache *cache, int64_t to, int64_t from)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const int32_t to_page = (int32_t)(to / layout->page_size);
    const int32_t from_page = (int32_t)(from / layout->page_size);
    assert(!gqa__page_shared(cache, to_page));

    for (int32_t head = 0; head < layout->hkv; head++) {
        copy_row(cache, head, false, to, from);
        copy_row(cache, head, true, to, from);
        cache->special[(int64_t)to_page * layout->hkv + head] |=
            cache->special[(int64_t)from_page * layout->hkv + head];
    }
    cache->positions[to] = cache->positions[from];
    cache->columns[to] = cache->columns[from];
}
