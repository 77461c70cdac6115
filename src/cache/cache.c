/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - a cache in use: room, append, truncate, read. layout.c makes it. */
#include "cache/cache.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/hadamard.h"
#include "base/memory.h"
#include "cache/pages.h"
#include "cache/ring.h"
#include "cache/row.h"

static int32_t pages_held(const struct gqa_cache *cache, int32_t length)
{
    return length == 0 ? 0 : (length - 1) / cache->layout.page_size + 1;
}

/* The page that the next token joins, which holds tokens already; -1 if it begins a new one. */
static int32_t open_page(const struct gqa_cache *cache, const struct gqa__sequence *sequence)
{
    return sequence->length % cache->layout.page_size == 0
               ? -1
               : gqa__cache_page(cache, sequence, sequence->length - 1);
}

int64_t gqa__cache_pages_for(const struct gqa_cache *cache, int32_t sequence_id, int32_t n)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page_size = cache->layout.page_size;
    const int32_t page = open_page(cache, sequence);
    const int64_t length = sequence->length;
    const int64_t copies = n > 0 && page >= 0 && gqa__page_shared(cache, page) ? 1 : 0;
    return (length + n + page_size - 1) / page_size - pages_held(cache, (int32_t)length) + copies;
}

/* The sequence counts as one that has left its open page. */
int64_t gqa__cache_claim(struct gqa_cache *cache, int32_t sequence, int32_t n)
{
    const int64_t pages = gqa__cache_pages_for(cache, sequence, n);
    const int32_t page = open_page(cache, &cache->sequences[sequence]);
    if (n > 0 && page >= 0) {
        cache->holders[page]--;
    }
    return pages;
}

void gqa__cache_unclaim(struct gqa_cache *cache, int32_t sequence, int32_t n)
{
    const int32_t page = open_page(cache, &cache->sequences[sequence]);
    if (n > 0 && page >= 0) {
        cache->holders[page]++;
    }
}

/* Are `pages` new pages, for n tokens of the sequence, free? */
static gqa_status check_free(const struct gqa_cache *cache, int32_t sequence, int32_t n,
                             int64_t pages, gqa_error *err)
{
    return pages <= cache->free_count
               ? GQA_OK
               : gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                           "%d tokens for sequence %d bring the call to %lld new pages; %lld of "
                           "%lld are free",
                           (int)n, (int)sequence, (long long)pages, (long long)cache->free_count,
                           (long long)cache->num_pages);
}

gqa_status gqa__cache_fits(const struct gqa_cache *cache, int32_t sequence_id, int32_t n,
                           int32_t columns, gqa_error *err)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];

    if (n > cache->max_tokens - sequence->length) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "sequence %d holds %d tokens; %d more exceed max_tokens %d",
                         (int)sequence_id, (int)sequence->length, (int)n, (int)cache->max_tokens);
    }
    if (columns > INT32_MAX - sequence->columns) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "sequence %d has seen %d columns; %d more exceed %d", (int)sequence_id,
                         (int)sequence->columns, (int)columns, INT32_MAX);
    }
    return GQA_OK;
}

gqa_status gqa__cache_room(const struct gqa_cache *cache, int32_t sequence_id, int32_t n,
                           gqa_error *err)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    int64_t pages = gqa__cache_pages_for(cache, sequence_id, n);
    const gqa_status status = gqa__cache_fits(cache, sequence_id, n, n, err);
    if (status != GQA_OK) {
        return status;
    }
    if (n > 0) {
        pages -= gqa__ring_frees(cache, sequence_id, (int64_t)sequence->last + 1);
    }
    return check_free(cache, sequence_id, n, pages, err);
}

gqa_status gqa__cache_room_for(const struct gqa_cache *cache, int32_t sequence, int32_t first,
                               int32_t length, gqa_error *err)
{
    assert(cache->sequences[sequence].length == 0);
    if (length > cache->max_tokens) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "%d tokens for sequence %d exceed max_tokens %d", (int)length,
                         (int)sequence, (int)cache->max_tokens);
    }
    const int32_t pages = pages_held(cache, length) - gqa__ring_first_page(cache, first);
    return check_free(cache, sequence, length - first, pages, err);
}

void gqa__cache_extend(struct gqa_cache *cache, int32_t sequence_id, int32_t n,
                       const int32_t *positions, const int32_t *columns, int32_t columns_after)
{
    struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page_size = cache->layout.page_size;
    const int32_t page = open_page(cache, sequence);
    assert(n >= 0 && n <= cache->max_tokens - sequence->length);

    if (n > 0 && page >= 0 && gqa__page_shared(cache, page)) {
        sequence->pages[sequence->length / page_size] =
            gqa__page_copy(cache, page, sequence->length % page_size);
    }
    for (int32_t i = 0; i < n; i++) {
        const int32_t index = sequence->length;
        int32_t position = 0;
        if (positions != NULL) {
            position = positions[i];
        } else if (index > 0) {
            position = sequence->last + 1;
        }
        if (index % page_size == 0) {
            sequence->pages[index / page_size] = gqa__page_take(cache);
        }

        const int64_t slot = gqa__cache_slot(cache, sequence, index);
        cache->positions[slot] = position;
        cache->columns[slot] = columns != NULL ? columns[i] : sequence->columns + i;
        if (index == 0) {
            sequence->origin = position;
        } else if (position < sequence->last) {
            sequence->ordered = false;
        }
        sequence->last = position;
        sequence->length++;
    }
    sequence->columns = columns_after;
}

/* K, or V with value, of n tokens, which lie `step` elements apart, to slots [slot, slot + n) of a
 * page. */
struct slots_write {
    bool value;
    int32_t slot, n;
    const float *src;
    int64_t step;
};

/* One token after the other, rotated in between. Returns whether V is special. */
static bool append_rotated(const struct gqa__kernels *kernels, const struct gqa__append_args *all,
                           bool value)
{
    struct gqa__append_args one = *all;
    float x[GQA__HEAD_DIM_MAX];
    bool special = false;

    one.n = 1;
    one.src = x;
    one.flush = false; /* of what is appended, not of what it is rotated to */
    for (int32_t i = 0; i < all->n; i++) {
        memcpy(x, all->src + i * all->src_stride, (size_t)all->dim * sizeof *x);
        if (all->flush) {
            kernels->flush(x, all->dim);
        }
        gqa__hadamard(x, all->dim, 1);
        one.slot = all->slot + i;
        if (value) {
            special |= kernels->append_v(&one);
        } else {
            kernels->append_k(&one);
        }
    }
    return special;
}

/* Returns whether V is special. */
static bool write_slots(const struct gqa__cache_layout *layout, const struct gqa__plane *plane,
                        const struct slots_write *write)
{
    const struct gqa__append_args args = {.page = plane->at,
                                          .stride = plane->stride,
                                          .slot = write->slot,
                                          .n = write->n,
                                          .src = write->src,
                                          .src_stride = write->step,
                                          .dim = plane->dim,
                                          .storage = plane->dtype,
                                          .flush = layout->flush,
                                          .scale = plane->scale,
                                          .scale_stride = plane->slots};

    if (plane->rotated) {
        return append_rotated(layout->kernels, &args, write->value);
    }
    if (write->value) {
        return layout->kernels->append_v(&args);
    }
    layout->kernels->append_k(&args);
    return false;
}

void gqa__cache_write(struct gqa_cache *cache, int32_t sequence_id, int32_t head, int32_t first,
                      int32_t n, const struct gqa__kv_rows *rows)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    assert(first >= sequence->first && n >= 0 && n <= sequence->length - first);

    for (int32_t done = 0; done < n;) {
        const int32_t slot = (first + done) % layout->page_size;
        const int32_t run = (int32_t)gqa__min(n - done, layout->page_size - slot);
        const int32_t page = gqa__cache_page(cache, sequence, first + done);
        if (rows->k != NULL) {
            const struct gqa__plane plane = gqa__cache_plane(cache, page, head, false);
            const struct slots_write k = {false, slot, run, rows->k + done * rows->k_step,
                                          rows->k_step};
            (void)write_slots(layout, &plane, &k);
        }
        if (rows->v != NULL) {
            const struct gqa__plane plane = gqa__cache_plane(cache, page, head, true);
            const struct slots_write v = {true, slot, run, rows->v + done * rows->v_step,
                                          rows->v_step};
            if (write_slots(layout, &plane, &v)) {
                cache->special[(int64_t)page * layout->hkv + head] = 1;
            }
        }
        done += run;
    }
}

void gqa__cache_get_row(const struct gqa_cache *cache, int32_t sequence_id,
                        const struct gqa__row_at *at, struct gqa__row *row)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page = gqa__cache_page(cache, sequence, at->index);
    const struct gqa__plane plane = gqa__cache_plane(cache, page, at->head, at->value);

    gqa__row_get(&plane, at->index % cache->layout.page_size, row);
}

/* A row of the page's own form, of a scaled type. */
static void put_row(struct gqa_cache *cache, int32_t sequence_id, const struct gqa__row_at *at,
                    const struct gqa__row *row)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page = gqa__cache_page(cache, sequence, at->index);
    const struct gqa__plane plane = gqa__cache_plane(cache, page, at->head, at->value);
    const bool bf16 = layout->kernels->numerics == GQA_NUMERICS_BF16;

    gqa__row_put(&plane, at->index % layout->page_size, row);
    for (int32_t g = 0; g < plane.scales && at->value; g++) {
        if (gqa__scale_special(plane.dtype, row->scale[g], bf16)) {
            cache->special[(int64_t)page * layout->hkv + at->head] = 1;
        }
    }
}

void gqa__cache_set_row(struct gqa_cache *cache, int32_t sequence, const struct gqa__row_at *at,
                        const struct gqa__row *row, struct gqa__row_form form)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    float x[GQA__HEAD_DIM_MAX];
    const struct gqa__kv_rows k = {.k = x}, v = {.v = x};

    if (gqa__scaled(form.dtype) && gqa__same_form(form, gqa__cache_form(cache, at->value))) {
        put_row(cache, sequence, at, row);
        return;
    }
    gqa__row_values(row, form, at->value ? layout->dv : layout->dk, x);
    gqa__cache_write(cache, sequence, at->head, at->index, 1, at->value ? &v : &k);
}

static bool positions_ordered(const struct gqa_cache *cache, const struct gqa__sequence *sequence)
{
    for (int32_t i = sequence->first + 1; i < sequence->length; i++) {
        if (cache->positions[gqa__cache_slot(cache, sequence, i)] <
            cache->positions[gqa__cache_slot(cache, sequence, i - 1)]) {
            return false;
        }
    }
    return true;
}

void gqa__cache_cut(struct gqa_cache *cache, int32_t sequence_id, int32_t length,
                    int32_t columns_after)
{
    struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t begin = gqa__ring_first_page(cache, sequence->first);
    const int32_t kept = (int32_t)gqa__max(begin, pages_held(cache, length));
    const int32_t held = pages_held(cache, sequence->length);
    const int32_t page_size = cache->layout.page_size, slot = length % page_size;
    assert(length >= 0 && length <= sequence->length && (length == 0 || length > sequence->first));

    /* Last page first: taken again, they come back in the same order. */
    for (int32_t i = held - 1; i >= kept; i--) {
        gqa__page_leave(cache, sequence->pages[i]);
        sequence->pages[i] = -1;
    }
    if (slot != 0 && length < sequence->length &&
        !gqa__page_shared(cache, sequence->pages[kept - 1])) {
        const int64_t end = gqa__min((int64_t)sequence->length - (length - slot), page_size);
        gqa__page_zero(cache, sequence->pages[kept - 1], slot, (int32_t)end);
    }

    sequence->length = length;
    if (length == 0) {
        sequence->first = 0;
        sequence->released = 0;
        sequence->origin = 0;
        sequence->last = 0;
        sequence->columns = columns_after >= 0 ? columns_after : 0;
    } else {
        const int64_t last = gqa__cache_slot(cache, sequence, length - 1);
        sequence->last = cache->positions[last];
        sequence->columns = columns_after >= 0 ? columns_after : cache->columns[last] + 1;
    }
    /* The cut can only remove disorder, never bring it. */
    sequence->ordered = sequence->ordered || positions_ordered(cache, sequence);
}

void gqa__cache_fork(struct gqa_cache *cache, int32_t from, int32_t to)
{
    const struct gqa__sequence *const source = &cache->sequences[from];
    struct gqa__sequence *const sequence = &cache->sequences[to];
    int32_t *const pages = sequence->pages;
    assert(from != to && sequence->length == 0);

    *sequence = *source;
    sequence->pages = pages;
    for (int32_t i = gqa__ring_first_page(cache, source->first);
         i < pages_held(cache, source->length); i++) {
        pages[i] = source->pages[i];
        cache->holders[pages[i]]++;
    }
}

void gqa__cache_load(const struct gqa_cache *cache, int32_t sequence_id, int32_t head,
                     int32_t index, float *k, float *v)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    struct gqa__row_at at = {head, index, false};
    struct gqa__row row;
    assert(index >= cache->sequences[sequence_id].first &&
           index < cache->sequences[sequence_id].length);

    if (k != NULL) {
        gqa__cache_get_row(cache, sequence_id, &at, &row);
        gqa__row_values(&row, gqa__cache_form(cache, false), layout->dk, k);
    }
    if (v != NULL) {
        at.value = true;
        gqa__cache_get_row(cache, sequence_id, &at, &row);
        gqa__row_values(&row, gqa__cache_form(cache, true), layout->dv, v);
    }
}
