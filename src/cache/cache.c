/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - a cache in use: room, append, truncate, read. layout.c makes it. */
#include "cache/cache.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/tensor.h"
#include "cache/pages.h"
#include "cache/ring.h"

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

gqa_status gqa__cache_room(const struct gqa_cache *cache, int32_t sequence_id, int32_t n,
                           gqa_error *err)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    int64_t pages = gqa__cache_pages_for(cache, sequence_id, n);
    if (n > cache->max_tokens - sequence->length) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "sequence %d holds %d tokens; %d more exceed max_tokens %d",
                         (int)sequence_id, (int)sequence->length, (int)n, (int)cache->max_tokens);
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
        const struct gqa__append_args k = {.page = gqa__cache_k(cache, page, head),
                                           .stride = layout->k_stride,
                                           .slot = slot,
                                           .n = run,
                                           .src = rows->k + done * rows->k_step,
                                           .src_stride = rows->k_step,
                                           .dim = layout->dk,
                                           .storage = layout->dtype_k,
                                           .flush = layout->flush};
        const struct gqa__append_args v = {.page = gqa__cache_v(cache, page, head),
                                           .stride = layout->v_stride,
                                           .slot = slot,
                                           .n = run,
                                           .src = rows->v + done * rows->v_step,
                                           .src_stride = rows->v_step,
                                           .dim = layout->dv,
                                           .storage = layout->dtype_v,
                                           .flush = layout->flush};
        layout->kernels->append_k(&k);
        if (layout->kernels->append_v(&v)) {
            cache->special[(int64_t)page * layout->hkv + head] = 1;
        }
        done += run;
    }
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
    const int32_t slot = length % cache->layout.page_size;
    assert(length >= 0 && length <= sequence->length && (length == 0 || length > sequence->first));

    /* Last page first: taken again, they come back in the same order. */
    for (int32_t i = held - 1; i >= kept; i--) {
        gqa__page_leave(cache, sequence->pages[i]);
        sequence->pages[i] = -1;
    }
    if (slot != 0 && length < sequence->length &&
        !gqa__page_shared(cache, sequence->pages[kept - 1])) {
        gqa__page_zero(cache, sequence->pages[kept - 1], slot);
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

/* n stored elements, step apart, as f32. */
static void load_elements(float *dst, const unsigned char *src, int64_t step, int32_t n,
                          gqa_dtype dtype)
{
    for (int32_t i = 0; i < n; i++) {
        if (dtype == GQA_F32) {
            memcpy(&dst[i], src + (size_t)(i * step) * sizeof dst[i], sizeof dst[i]);
        } else {
            uint16_t half;
            memcpy(&half, src + (size_t)(i * step) * sizeof half, sizeof half);
            dst[i] = dtype == GQA_BF16 ? gqa__bf16_to_f32(half) : gqa__f16_to_f32(half);
        }
    }
}

void gqa__cache_load(const struct gqa_cache *cache, int32_t sequence_id, int32_t head,
                     int32_t index, float *k, float *v)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const int32_t page = gqa__cache_page(cache, sequence, index);
    const int64_t slot = index % layout->page_size;
    assert(index >= sequence->first && index < sequence->length);

    if (k != NULL) {
        load_elements(k,
                      gqa__cache_k(cache, page, head) +
                          (size_t)(slot * layout->k_stride) * gqa__dtype_size(layout->dtype_k),
                      1, layout->dk, layout->dtype_k);
    }
    if (v != NULL) {
        const int64_t offset = layout->kernels->v_transposed ? slot : slot * layout->v_stride;
        const int64_t step = layout->kernels->v_transposed ? layout->v_stride : 1;
        load_elements(
            v, gqa__cache_v(cache, page, head) + (size_t)offset * gqa__dtype_size(layout->dtype_v),
            step, layout->dv, layout->dtype_v);
    }
}
