/* SPDX-License-Identifier: Apache-2.0 */
/* ring.h - a sequence of which only the last tokens are held: pages leave it at its beginning, once
 * no token that follows can see anything in them.
 *
 * The cache's retention says what a token at position p can see: positions from p - window + 1 on
 * and from the start of p's chunk on. Tokens leave when others are appended, whole granules at a
 * time: a page, or as many pages as a panel has. The last token before the call always stays, so
 * its position and column are there.
 */
#ifndef GQA__RING_H
#define GQA__RING_H

#include "cache/cache.h"

/* The lowest position that a token at `position` of a sequence with this origin can see. */
int64_t gqa__retained_from(const struct gqa__retention *retention, int32_t origin,
                           int64_t position);

/* Is everything held that a token at `position` of the sequence can see? */
bool gqa__ring_holds(const struct gqa_cache *cache, int32_t sequence, int64_t position);

/* Tokens that leave together. */
int32_t gqa__ring_granule(const struct gqa_cache *cache);

/* Place in its list of the first page that a sequence with this first index has. */
int32_t gqa__ring_first_page(const struct gqa_cache *cache, int32_t first);

/* Pages that come free when the sequence gives back what a token at `position` and those after it
 * cannot see. */
int64_t gqa__ring_frees(const struct gqa_cache *cache, int32_t sequence, int64_t position);

/* The same for the sequences of one call, one after the other: a page that several hold comes free
 * with the last one. Each claim is taken back, in any order, before anything else is done. */
int64_t gqa__ring_claim(struct gqa_cache *cache, int32_t sequence, int64_t position);
void gqa__ring_unclaim(struct gqa_cache *cache, int32_t sequence, int64_t position);

/* Give it back. */
void gqa__ring_release(struct gqa_cache *cache, int32_t sequence, int64_t position);

/* What a sequence has lost at its beginning. */
struct gqa__ring_past {
    int32_t first;    /* index of the first token held */
    int32_t origin;   /* position of index 0 */
    int32_t released; /* greatest position of what left */
};

/* A sequence that holds nothing becomes one that has lost its beginning and holds nothing yet; the
 * slots before first in its first pages are zero. Pages of it are taken; they are free. */
void gqa__ring_begin(struct gqa_cache *cache, int32_t sequence, const struct gqa__ring_past *past);

/* Most pages that one sequence of such a cache holds if a call appends at most call_tokens, and
 * positions rise with each token; 0 = all of max_tokens. panel_keys: of the kernel set. */
int64_t gqa__ring_most_pages(const gqa_cache_options *options, int32_t panel_keys);

#endif
