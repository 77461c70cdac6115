/* SPDX-License-Identifier: Apache-2.0 */
/* panel.c - contiguous keys for the products: a pointer into a page, or a copy in scratch.
 *
 * Scratch: K [GQA__FOLD_BLOCK][k_stride], then V [GQA__FOLD_BLOCK][v_stride] or, transposed,
 * [dv rounded up to value_step][GQA__FOLD_BLOCK], both of the kernel set's operand type. Keys lie
 * there by their index modulo GQA__FOLD_BLOCK, so that the panels of one fold block do not
 * overwrite each other.
 */
#include <assert.h>
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/tensor.h"
#include "cache/panel.h"

static size_t k_scratch_bytes(const struct gqa__kernels *kernels, int32_t dk)
{
    const int64_t elements = GQA__FOLD_BLOCK * gqa__round_up(dk, kernels->depth_step);
    const int64_t bytes = elements * (int64_t)gqa__dtype_size(kernels->operand);
    return (size_t)gqa__round_up(bytes, GQA__ALIGN);
}

static size_t v_scratch_bytes(const struct gqa__kernels *kernels, int32_t dv)
{
    const int64_t elements = GQA__FOLD_BLOCK * gqa__round_up(dv, kernels->value_step);
    const int64_t bytes = elements * (int64_t)gqa__dtype_size(kernels->operand);
    return (size_t)gqa__round_up(bytes, GQA__ALIGN);
}

size_t gqa__view_scratch_bytes(const struct gqa__kernels *kernels, int32_t dk, int32_t dv)
{
    return k_scratch_bytes(kernels, dk) + v_scratch_bytes(kernels, dv);
}

/* n stored elements as operands: of the same type, or f32 of any. */
static void copy_elements(const struct gqa__kernels *kernels, unsigned char *dst,
                          const unsigned char *src, gqa_dtype from, int64_t n)
{
    if (from == kernels->operand) {
        memcpy(dst, src, (size_t)n * gqa__dtype_size(from));
        return;
    }
    assert(kernels->operand == GQA_F32);
    kernels->load((float *)(void *)dst, src, n, from);
}

/* Where the first key of a panel of pages lies in the scratch. */
static size_t first_row(const struct gqa__panel_job *job)
{
    return (size_t)(job->first % GQA__FOLD_BLOCK);
}

/* Rows of stride elements from slot-major pages to scratch; rows beyond valid are zeroed. value:
 * V of the pages, else K. Returns the first row. */
static const void *gather_rows(const struct gqa__panel_job *job, bool value)
{
    const struct gqa_cache *const cache = job->view->cache;
    const struct gqa__cache_layout *const layout = &cache->layout;
    const gqa_dtype from = value ? layout->dtype_v : layout->dtype_k;
    const int64_t stride = value ? layout->v_stride : layout->k_stride;
    const size_t from_row = (size_t)stride * gqa__dtype_size(from);
    const size_t to_row = (size_t)stride * gqa__dtype_size(layout->kernels->operand);
    unsigned char *const dst = (value ? job->v : job->k) + first_row(job) * to_row;

    for (int32_t done = 0; done < job->valid;) {
        const int32_t slot = (job->first + done) % layout->page_size;
        const int32_t run = (int32_t)gqa__min(job->valid - done, layout->page_size - slot);
        const int32_t page = gqa__cache_page(cache, job->view->sequence, job->first + done);
        const unsigned char *src =
            value ? gqa__cache_v(cache, page, job->head) : gqa__cache_k(cache, page, job->head);
        copy_elements(layout->kernels, dst + (size_t)done * to_row, src + (size_t)slot * from_row,
                      from, run * stride);
        done += run;
    }
    memset(dst + (size_t)job->valid * to_row, 0, (size_t)(job->keys - job->valid) * to_row);
    return dst;
}

/* V of transposed pages [value_dim][page_size] to scratch [value_dim][GQA__FOLD_BLOCK]. Returns the
 * first key of the first row. */
static const void *gather_columns(const struct gqa__panel_job *job)
{
    const struct gqa_cache *const cache = job->view->cache;
    const struct gqa__cache_layout *const layout = &cache->layout;
    const size_t size = gqa__dtype_size(layout->dtype_v);
    const size_t to_row = GQA__FOLD_BLOCK * size;
    const size_t from_row = (size_t)layout->v_stride * size;
    unsigned char *const dst = job->v + first_row(job) * size;
    assert(layout->dtype_v == layout->kernels->operand);

    for (int32_t done = 0; done < job->valid;) {
        const int32_t slot = (job->first + done) % layout->page_size;
        const int32_t run = (int32_t)gqa__min(job->valid - done, layout->page_size - slot);
        const int32_t page = gqa__cache_page(cache, job->view->sequence, job->first + done);
        const unsigned char *const src = gqa__cache_v(cache, page, job->head) + (size_t)slot * size;
        for (int64_t d = 0; d < job->value_dim; d++) {
            memcpy(dst + (size_t)d * to_row + (size_t)done * size, src + (size_t)d * from_row,
                   (size_t)run * size);
        }
        done += run;
    }
    for (int64_t d = 0; d < job->value_dim; d++) {
        memset(dst + (size_t)d * to_row + (size_t)job->valid * size, 0,
               (size_t)(job->keys - job->valid) * size);
    }
    return dst;
}

static bool pages_special(const struct gqa__panel_job *job)
{
    const struct gqa_cache *const cache = job->view->cache;
    const int32_t page_size = cache->layout.page_size;
    const int32_t last = job->first + job->valid - 1;
    for (int32_t index = job->first; index <= last; index += page_size - index % page_size) {
        const int64_t page = gqa__cache_page(cache, job->view->sequence, index);
        if (cache->special[page * cache->layout.hkv + job->head] != 0) {
            return true;
        }
    }
    return false;
}

static void panel_of_pages(struct gqa__panel_job *job, struct gqa__kv_panel *panel)
{
    const struct gqa_cache *const cache = job->view->cache;
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__kernels *const kernels = layout->kernels;
    const bool aligned = layout->page_size % kernels->panel_keys == 0;
    const bool direct_k = aligned && layout->dtype_k == kernels->operand;
    const bool direct_v = aligned && layout->dtype_v == kernels->operand;
    const int32_t slot = job->first % layout->page_size;
    const int32_t page = gqa__cache_page(cache, job->view->sequence, job->first);

    if (direct_k || direct_v) {
        job->keys = (int32_t)gqa__min(job->keys, layout->page_size - slot);
    }
    job->valid = (int32_t)gqa__min(job->valid, job->keys);

    panel->k_stride = layout->k_stride;
    if (direct_k) {
        const size_t row_bytes = (size_t)layout->k_stride * gqa__dtype_size(layout->dtype_k);
        panel->k = gqa__cache_k(cache, page, job->head) + (size_t)slot * row_bytes;
    } else {
        panel->k = gather_rows(job, false);
    }

    panel->v_stride = layout->v_stride;
    if (direct_v) {
        const int64_t elements = kernels->v_transposed ? slot : slot * layout->v_stride;
        panel->v = gqa__cache_v(cache, page, job->head) +
                   (size_t)elements * gqa__dtype_size(layout->dtype_v);
    } else if (kernels->v_transposed) {
        panel->v = gather_columns(job);
        panel->v_stride = GQA__FOLD_BLOCK;
    } else {
        panel->v = gather_rows(job, true);
    }
    panel->special = pages_special(job);
}

int32_t gqa__view_prefetch(const struct gqa__kv_view *view, int32_t head, int32_t first,
                           int32_t keys, struct gqa__prefetch *list)
{
    const struct gqa_cache *const cache = view->cache;
    const int64_t end = gqa__min((int64_t)first + keys, view->length);
    int32_t n = 0;

    if (cache == NULL) {
        return gqa__prefetch_of_host(view, head, first, (int32_t)end, list);
    }
    for (int32_t index = (int32_t)gqa__max(first, view->first), run; index < end; index += run) {
        const struct gqa__cache_layout *const layout = &cache->layout;
        const int32_t slot = index % layout->page_size;
        const int32_t page = gqa__cache_page(cache, view->sequence, index);
        const size_t k_row = (size_t)layout->k_stride * gqa__dtype_size(layout->dtype_k);
        const size_t v_row = (size_t)layout->v_stride * gqa__dtype_size(layout->dtype_v);
        run = (int32_t)gqa__min(end - index, layout->page_size - slot);
        assert(n + 2 <= GQA__KEY_PREFETCHES);
        list[n++] = (struct gqa__prefetch){gqa__cache_k(cache, page, head) + (size_t)slot * k_row,
                                           (size_t)run * k_row};
        if (!layout->kernels->v_transposed) {
            list[n++] = (struct gqa__prefetch){
                gqa__cache_v(cache, page, head) + (size_t)slot * v_row, (size_t)run * v_row};
        } else if (run == layout->page_size) {
            list[n++] =
                (struct gqa__prefetch){gqa__cache_v(cache, page, head), (size_t)view->dv * v_row};
        }
    }
    return n;
}

void gqa__view_panel(const struct gqa__kv_view *view, int32_t head, int32_t first, int32_t max_keys,
                     void *scratch, struct gqa__kv_panel *panel)
{
    const struct gqa__kernels *const kernels = view->kernels;
    const int64_t rest = view->length - first;
    struct gqa__panel_job job = {.view = view, .head = head, .first = first};
    assert(first >= 0 && first % kernels->panel_keys == 0 && rest > 0);
    assert(max_keys > 0 && max_keys % kernels->panel_keys == 0 && max_keys <= GQA__FOLD_BLOCK);

    job.keys = (int32_t)gqa__min(max_keys, gqa__round_up(rest, kernels->panel_keys));
    job.valid = (int32_t)gqa__min(job.keys, rest);
    job.k = scratch;
    job.v = job.k + k_scratch_bytes(kernels, view->dk);
    job.k_stride = gqa__round_up(view->dk, kernels->depth_step);
    job.value_dim = gqa__round_up(view->dv, kernels->value_step);
    if (view->cache != NULL) {
        panel_of_pages(&job, panel);
    } else {
        gqa__panel_of_host(&job, panel);
    }
    panel->keys = job.keys;
}
