/* SPDX-License-Identifier: Apache-2.0 */
/* bundle.c - see bundle.h. By page ids and index arithmetic alone. */
#include "attention/bundle.h"

#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "stage/span.h"

enum { BUNDLED = -2 }; /* in the place of a page: the segment is in a bundle */

void gqa__bundles_carve(struct gqa__bundles *bundles, struct gqa__arena *arena, int32_t segments)
{
    const int64_t n = segments;
    int32_t *const memory = gqa__arena_take(arena, 7 * n + 1, sizeof *memory);

    *bundles = (struct gqa__bundles){.n = 0};
    if (memory != NULL) {
        bundles->member = memory;
        bundles->shared_end = memory + n;
        bundles->page = memory + 2 * n;
        bundles->whole = memory + 3 * n;
        bundles->order = memory + 4 * n;
        bundles->blocks = memory + 5 * n;
        bundles->first_member = memory + 6 * n; /* [n + 1] */
    }
}

/* --- what a segment may share ------------------------------------------------------------------
 */

/* Do all rows of segment s begin with the same key, the first of a fold block? */
static bool begins_together(const struct gqa__bundle_source *source, int32_t s)
{
    const int32_t *const lo = source->span_lo + source->first_token[s];
    const int32_t *const hi = source->span_hi + source->first_token[s];

    for (int32_t i = 0; i < source->segments[s].n; i++) {
        if (lo[i] != lo[0] || lo[i] % GQA__FOLD_BLOCK != 0 || hi[i] - lo[i] < GQA__FOLD_BLOCK) {
            return false;
        }
    }
    return source->segments[s].n > 0 && lo[0] / GQA__FOLD_BLOCK == source->block_begin[s];
}

/* The page in which the segment's keys begin, or -1 if it cannot share it: it has tiles of its own
 * that are full, or masks that may say anything of any key. */
static int32_t first_page(const struct gqa__bundle_source *source, int32_t s)
{
    const struct gqa__segment *const segment = &source->segments[s];
    const struct gqa__params *const params = source->params;
    const int64_t rows = (int64_t)segment->n * params->shape.group;
    const bool masked =
        gqa__present(&segment->mask) || gqa__present(&segment->bias) || segment->key_begin != NULL;

    if (segment->view.cache == NULL || masked || rows >= params->kernels->tile_rows ||
        !begins_together(source, s)) {
        return -1;
    }
    return gqa__cache_page(segment->view.cache, segment->view.sequence,
                           source->span_lo[source->first_token[s]]);
}

/* Keys before the first one of the columns that the active mask speaks of. Columns rise. */
static int32_t keys_before_active(const struct gqa__segment *segment)
{
    int32_t low = segment->view.first, high = segment->view.length;

    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (gqa__view_column(&segment->view, middle) < segment->active_column) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Where positions fall with the index: the keys from `first` to the one returned are all within
 * every row's span. */
static int32_t keys_in_spans(const struct gqa__params *params, const struct gqa__segment *segment,
                             int32_t first, int32_t end)
{
    struct gqa__span all = {INT32_MIN, INT32_MAX};
    int32_t k = first;

    for (int32_t i = 0; i < segment->n; i++) {
        const struct gqa__span own =
            gqa__span_of(&params->shape, segment->view.origin, segment->positions[i]);
        all.first = gqa__max(all.first, own.first);
        all.last = gqa__min(all.last, own.last);
    }
    for (; k < end; k++) {
        const int32_t position = gqa__view_position(&segment->view, k);
        if (position < all.first || position > all.last) {
            break;
        }
    }
    return k;
}

/* The end of the fold blocks that all rows of segment s see whole, from its first key on. */
static int32_t whole_blocks(const struct gqa__bundle_source *source, int32_t s)
{
    const struct gqa__segment *const segment = &source->segments[s];
    const int64_t at = source->first_token[s];
    int32_t end = segment->view.length;

    for (int32_t i = 0; i < segment->n; i++) {
        end = (int32_t)gqa__min(end, source->span_hi[at + i]);
    }
    if (gqa__present(&segment->active_mask)) {
        end = (int32_t)gqa__min(end, keys_before_active(segment));
    }
    if (!segment->view.ordered) {
        end = keys_in_spans(source->params, segment, source->span_lo[at], end);
    }
    return end / GQA__FOLD_BLOCK;
}

/* The end of the whole blocks in common of segments a and b, which begin in the same page. */
static int32_t common_blocks(const struct gqa__bundles *bundles,
                             const struct gqa__bundle_source *source, int32_t a, int32_t b)
{
    const struct gqa__kv_view *const one = &source->segments[a].view;
    const struct gqa__kv_view *const other = &source->segments[b].view;
    const int32_t page_size = one->cache->layout.page_size;
    const int64_t end = gqa__min(bundles->whole[a], bundles->whole[b]) * (int64_t)GQA__FOLD_BLOCK;
    int64_t k = (int64_t)source->block_begin[a] * GQA__FOLD_BLOCK;

    while (k < end && gqa__cache_page(one->cache, one->sequence, (int32_t)k) ==
                          gqa__cache_page(other->cache, other->sequence, (int32_t)k)) {
        k += page_size - k % page_size;
    }
    return (int32_t)(gqa__min(k, end) / GQA__FOLD_BLOCK);
}

/* --- bundles -----------------------------------------------------------------------------------
 */

/* Segments after `first` that have blocks in common with it, those with most first, into order and
 * blocks. Returns how many. */
static int32_t find_others(const struct gqa__bundles *bundles,
                           const struct gqa__bundle_source *source, int32_t first)
{
    const struct gqa__kv_view *const view = &source->segments[first].view;
    int32_t n = 0;

    for (int32_t s = first + 1; s < source->n; s++) {
        int32_t blocks, at = n;
        if (bundles->page[s] != bundles->page[first] ||
            source->block_begin[s] != source->block_begin[first] ||
            source->segments[s].view.cache != view->cache) {
            continue;
        }
        for (int32_t i = 0; i < 2; i++) {
            const int32_t one = i == 0 ? first : s;
            if (bundles->whole[one] < 0) {
                bundles->whole[one] = whole_blocks(source, one);
            }
        }
        blocks = common_blocks(bundles, source, first, s);
        if (blocks <= source->block_begin[first]) {
            continue;
        }
        for (; at > 0 && bundles->blocks[at - 1] < blocks; at--) {
            bundles->order[at] = bundles->order[at - 1];
            bundles->blocks[at] = bundles->blocks[at - 1];
        }
        bundles->order[at] = s;
        bundles->blocks[at] = blocks;
        n++;
    }
    return n;
}

/* Of n others those that are taken stand in front of order. Returns how many. */
static int32_t choose(const struct gqa__bundles *bundles, const struct gqa__bundle_source *source,
                      int32_t first, int32_t n)
{
    const int32_t group = source->params->shape.group;
    const int32_t most = source->params->kernels->tile_rows;
    int32_t rows = source->segments[first].n * group;
    int32_t fit = 0, taken = 0;
    int64_t best = 0;

    for (int32_t i = 0; i < n; i++) {
        const int32_t more = source->segments[bundles->order[i]].n * group;
        if (more > most - rows) {
            continue;
        }
        rows += more;
        bundles->order[fit] = bundles->order[i];
        bundles->blocks[fit] = bundles->blocks[i];
        fit++;
        if (fit * (int64_t)(bundles->blocks[i] - source->block_begin[first]) > best) {
            best = fit * (int64_t)(bundles->blocks[i] - source->block_begin[first]);
            taken = fit;
        }
    }
    return taken;
}

void gqa__bundle_segments(struct gqa__bundles *bundles, const struct gqa__bundle_source *source,
                          bool apart)
{
    int32_t members = 0;

    if (source->n == 1) {
        bundles->n = 1;
        bundles->member[0] = bundles->first_member[0] = 0;
        bundles->first_member[1] = 1;
        bundles->shared_end[0] = source->block_begin[0];
        return;
    }
    bundles->n = 0;
    for (int32_t s = 0; s < source->n; s++) {
        bundles->page[s] = apart ? -1 : first_page(source, s);
        bundles->whole[s] = -1;
    }
    for (int32_t s = 0; s < source->n; s++) {
        int32_t taken = 0;
        if (bundles->page[s] == BUNDLED) {
            continue;
        }
        if (bundles->page[s] >= 0) {
            taken = choose(bundles, source, s, find_others(bundles, source, s));
        }
        bundles->first_member[bundles->n] = members;
        bundles->shared_end[bundles->n] =
            taken > 0 ? bundles->blocks[taken - 1] : source->block_begin[s];
        bundles->member[members++] = s;
        for (int32_t i = 0; i < taken; i++) {
            bundles->member[members++] = bundles->order[i];
            bundles->page[bundles->order[i]] = BUNDLED;
        }
        bundles->n++;
    }
    bundles->first_member[bundles->n] = members;
}
