/* SPDX-License-Identifier: Apache-2.0 */
/* pages.h - the pages of a cache's pool: taken, shared, copied and given back. */
#ifndef GQA__PAGES_H
#define GQA__PAGES_H

#include "cache/cache.h"

/* A free page, there must be one, for one holder; everything that belongs to it is zeroed. */
int32_t gqa__page_take(struct gqa_cache *cache);

/* A free page, there must be one, in the place of a shared one that a holder leaves: slots
 * [0, used) of it, the others zero. */
int32_t gqa__page_copy(struct gqa_cache *cache, int32_t page, int32_t used);

/* A free page, there must be one, with slots [0, used) of a page of a cache whose pages are alike
 * (it may be the same one). */
int32_t gqa__page_import(struct gqa_cache *cache, const struct gqa_cache *from, int32_t page,
                         int32_t used);

/* One holder less; without holders the page is free. */
void gqa__page_leave(struct gqa_cache *cache, int32_t page);

static inline bool gqa__page_shared(const struct gqa_cache *cache, int32_t page)
{
    return cache->holders[page] > 1;
}

/* The token of slot `from` also to slot `to`, K and V of all heads, position and column. Both count
 * all slots of the pool; `to` is in a page that is not shared. */
void gqa__slot_copy(struct gqa_cache *cache, int64_t to, int64_t from);

/* Zero slots [slot, end) of a page: K and V of all heads, positions and columns. */
void gqa__page_zero(struct gqa_cache *cache, int32_t page, int32_t slot, int32_t end);

#endif
