/* SPDX-License-Identifier: Apache-2.0 */
/* pages.h - the pages of a cache's pool: taken and given back. */
#ifndef GQA__PAGES_H
#define GQA__PAGES_H

#include "cache/cache.h"

/* A free page, there must be one; everything that belongs to it is zeroed. */
int32_t gqa__page_take(struct gqa_cache *cache);

/* Give a page back. */
void gqa__page_leave(struct gqa_cache *cache, int32_t page);

/* Zero slots [slot, page_size) of a page: K and V of all heads, positions and columns. */
void gqa__page_zero(struct gqa_cache *cache, int32_t page, int32_t slot);

#endif
