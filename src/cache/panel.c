/* SPDX-License-Identifier: Apache-2.0 */
/* panel.c - contiguous keys for the products: a pointer into a page, or a copy in scratch.
 *
 * Scratch: K [GQA__FOLD_BLOCK][k_stride], then V [GQA__FOLD_BLOCK][v_stride] or, transposed,
 * [dv rounded up to value_step][GQA__FOLD_BLOCK], both of the kernel set's operand type; then the
 * scales of K and of V [GQA__FOLD_BLOCK]. Of the host's int8 the bytes lie where the operands
 * would. Keys lie there by their index modulo GQA__FOLD_BLOCK, so that the panels of one fold block
 * do not overwrite each other.
 */
#include <assert.h>
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/storage.h"
#include "base/tensor.h"
#include "cache/panel.h"
#include "cache/row.h"

#define SCALE_BYTES (2 * GQA__FOLD_BLOCK * sizeof(float))

/* For that many operands, or for as many keys of int8. */
static size_t scratch_bytes(const struct gqa__kernels *kernels, int64_t operands, int32_t dim)
{
    const int64_t bytes = operands * (int64_t)gqa__dtype_size(kernels->operand);
    const int64_t int8 = GQA__FOLD_BLOCK * gqa__integer_row_bytes(GQA_I8, dim);

    return (size_t)gqa__round_up(gqa__max(bytes, int8), GQA__ALIGN);
}

static size_t k_scratch_bytes(const struct gqa__kernels *kernels, int32_t dk)
{
    const int64_t elements = GQA__FOLD_BLOCK * gqa__round_up(dk, kernels->depth_step);
    return scratch_bytes(kernels, elements, dk);
}

static size_t v_scratch_bytes(const struct gqa__kernels *kernels, int32_t dv)
{
    const int64_t elements = GQA__FOLD_BLOCK * gqa__round_up(dv, kernels->value_step);
    return scratch_bytes(kernels, elements, dv);
}

size_t gqa__view_scratch_bytes(const struct gqa__kernels *kernels, int32_t dk, int32_t dv)
{
    return k_scratch_bytes(kernels, dk) + v_scratch_bytes(kernels, dv) + SCALE_BYTES;
}

/* Where the first key of a panel of pages lies in the scratch. */
static size_t first_row(const struct gqa__panel_job *job)
{
    return (size_t)(job->first % GQA__FOLD_BLOCK);
}

/* The next keys of the panel, from key `done` on, that lie in one page. */
struct page_run {
    struct gqa__plane plane; /* K or V */
    int32_t slot, n;
};

static struct page_run next_run(const struct gqa__panel_job *job, int32_t done, bool value)
{
    const struct gqa_cache *const cache = job->view->cache;
    const int32_t page_size = cache->layout.page_size, index = job->first + done;
    const int32_t page = gqa__cache_page(cache, job->view->sequence, index);
    const int32_t slot = index % page_size;

    return (struct page_run){gqa__cache_plane(cache, page, job->head, value), slot,
                             (int32_t)gqa__min(job->valid - done, page_size - slot)};
}

/* Rows of K, or of V that is not transposed, as operands: of the operand type as they are, other
 * floats to f32, codes expanded. */
static void gather_run(const struct gqa__kernels *kernels, unsigned char *dst,
                       const struct page_run *run)
{
    const struct gqa__plane *const plane = &run->plane;
    const unsigned char *const src = plane->at + (size_t)run->slot * plane->row;

    if (plane->dtype == kernels->operand) {
        memcpy(dst, src, (size_t)run->n * plane->row);
    } else if (gqa__e4m3(plane->dtype)) {
        kernels->expand(&(struct gqa__expand_args){.dst = dst,
                                                   .dst_stride = plane->stride,
                                                   .src = src,
                                                   .src_stride = plane->stride,
                                                   .rows = run->n,
                                                   .n = (int32_t)plane->stride});
    } else {
        assert(kernels->operand == GQA_F32);
        kernels->load((float *)(void *)dst, src, run->n * plane->stride, plane->dtype);
    }
}

/* Rows of slot-major pages to scratch; rows beyond valid are zeroed. value: V of the pages, else K.
 * Returns the first row. */
static const void *gather_rows(const struct gqa__panel_job *job, bool value)
{
    const struct gqa__cache_layout *const layout = &job->view->cache->layout;
    const int64_t stride = value ? layout->v_stride : layout->k_stride;
    const size_t row = (size_t)stride * gqa__dtype_size(layout->kernels->operand);
    unsigned char *const dst = (value ? job->v : job->k) + first_row(job) * row;
    struct page_run run;

    for (int32_t done = 0; done < job->valid; done += run.n) {
        run = next_run(job, done, value);
        gather_run(layout->kernels, dst + (size_t)done * row, &run);
    }
    memset(dst + (size_t)job->valid * row, 0, (size_t)(job->keys - job->valid) * row);
    return dst;
}

/* V of transposed pages [value_dim][page_size]: some columns of all rows. */
static void gather_columns_run(const struct gqa__panel_job *job, unsigned char *dst,
                               const struct page_run *run)
{
    const struct gqa__plane *const plane = &run->plane;
    const struct gqa__kernels *const kernels = job->view->kernels;
    const size_t size = gqa__dtype_size(kernels->operand), slot = (size_t)run->slot;

    if (gqa__e4m3(plane->dtype)) {
        kernels->expand(&(struct gqa__expand_args){.dst = dst,
                                                   .dst_stride = GQA__FOLD_BLOCK,
                                                   .src = plane->at + slot,
                                                   .src_stride = plane->stride,
                                                   .rows = (int32_t)job->value_dim,
                                                   .n = run->n});
        return;
    }
    assert(plane->dtype == kernels->operand);
    for (size_t d = 0; d < (size_t)job->value_dim; d++) {
        memcpy(dst + d * GQA__FOLD_BLOCK * size, plane->at + d * plane->row + slot * size,
               (size_t)run->n * size);
    }
}

/* V of transposed pages to scratch [value_dim][GQA__FOLD_BLOCK]. Returns the first key of the first
 * row. */
static const void *gather_columns(const struct gqa__panel_job *job)
{
    const size_t size = gqa__dtype_size(job->view->kernels->operand);
    const size_t rest = (size_t)(job->keys - job->valid);
    unsigned char *const dst = job->v + first_row(job) * size;
    struct page_run run;

    for (int32_t done = 0; done < job->valid; done += run.n) {
        run = next_run(job, done, true);
        gather_columns_run(job, dst + (size_t)done * size, &run);
    }
    for (size_t d = 0; d < (size_t)job->value_dim && rest > 0; d++) {
        memset(dst + (d * GQA__FOLD_BLOCK + (size_t)job->valid) * size, 0, rest * size);
    }
    return dst;
}

/* Scales of e4m3, of the panel's keys; 0 beyond valid. NULL: the type has none. */
static const float *gather_key_scales(const struct gqa__panel_job *job, bool value)
{
    const struct gqa__cache_layout *const layout = &job->view->cache->layout;
    float *const dst = (value ? job->v_scale : job->k_scale) + first_row(job);
    struct page_run run;

    if (!gqa__e4m3(value ? layout->dtype_v : layout->dtype_k)) {
        return NULL;
    }
    for (int32_t done = 0; done < job->valid; done += run.n) {
        run = next_run(job, done, value);
        memcpy(dst + done, run.plane.scale + run.slot, (size_t)run.n * sizeof *dst);
    }
    memset(dst + job->valid, 0, (size_t)(job->keys - job->valid) * sizeof *dst);
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

/* May the products read a type where it is stored? */
static bool is_direct(const struct gqa__panel_job *job, gqa_dtype dtype)
{
    return dtype == job->view->kernels->operand || (job->stored && !gqa__integer(dtype));
}

static void panel_of_pages(struct gqa__panel_job *job, struct gqa__kv_panel *panel)
{
    const struct gqa_cache *const cache = job->view->cache;
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__kernels *const kernels = layout->kernels;
    const bool aligned = layout->page_size % kernels->panel_keys == 0;
    const bool direct_k = aligned && is_direct(job, layout->dtype_k);
    const bool direct_v = aligned && is_direct(job, layout->dtype_v);
    const int32_t slot = job->first % layout->page_size;
    const int32_t page = gqa__cache_page(cache, job->view->sequence, job->first);

    if (direct_k || direct_v) {
        job->keys = (int32_t)gqa__min(job->keys, layout->page_size - slot);
    }
    job->valid = (int32_t)gqa__min(job->valid, job->keys);

    panel->k_stride = layout->k_stride;
    if (direct_k) {
        panel->k_type = layout->dtype_k;
        const int64_t elements = slot * layout->k_stride;
        panel->k =
            gqa__cache_k(cache, page, job->head) + gqa__stored_bytes(layout->dtype_k, elements);
    } else {
        panel->k = gqa__integer(layout->dtype_k) ? NULL : gather_rows(job, false);
    }

    panel->v_stride = layout->v_stride;
    if (direct_v) {
        panel->v_type = layout->dtype_v;
        const int64_t elements = kernels->v_transposed ? slot : slot * layout->v_stride;
        panel->v =
            gqa__cache_v(cache, page, job->head) + gqa__stored_bytes(layout->dtype_v, elements);
    } else if (gqa__integer(layout->dtype_v)) {
        panel->v = NULL;
    } else if (kernels->v_transposed) {
        panel->v = gather_columns(job);
        panel->v_stride = GQA__FOLD_BLOCK;
    } else {
        panel->v = gather_rows(job, true);
    }
    panel->k_scale = gather_key_scales(job, false);
    panel->v_scale = gather_key_scales(job, true);
    panel->special = pages_special(job);
}

/* Slots [slot, slot + n) of K or V of a page; of transposed V only whole pages. Returns how many
 * pieces. */
static int32_t list_plane(const struct gqa__plane *plane, int32_t slot, int32_t n,
                          struct gqa__prefetch *list)
{
    int32_t pieces = 0;

    if (!plane->transposed) {
        list[pieces++] =
            (struct gqa__prefetch){plane->at + (size_t)slot * plane->row, (size_t)n * plane->row};
    } else if (n == plane->slots) {
        list[pieces++] = (struct gqa__prefetch){plane->at, (size_t)plane->dim * plane->row};
    }
    if (plane->scales == 1) {
        list[pieces++] = (struct gqa__prefetch){(unsigned char *)(plane->scale + slot),
                                                (size_t)n * sizeof *plane->scale};
    } else if (plane->scales > 1) {
        list[pieces++] = (struct gqa__prefetch){(unsigned char *)plane->scale,
                                                (size_t)plane->scales * (size_t)plane->slots *
                                                    sizeof *plane->scale};
    }
    return pieces;
}

static struct gqa__integer_rows integer_rows(const struct gqa__plane *plane, int32_t slot)
{
    return (struct gqa__integer_rows){.row = plane->at + (size_t)slot * plane->row,
                                      .row_step = (int64_t)plane->row,
                                      .scale = plane->scale + slot,
                                      .scale_step = plane->slots};
}

/* A job for keys from `first` on; keys and valid are left to set. */
static struct gqa__panel_job job_at(const struct gqa__kv_view *view, int32_t head, int32_t first,
                                    void *scratch)
{
    const struct gqa__kernels *const kernels = view->kernels;
    struct gqa__panel_job job = {.view = view, .head = head, .first = first};

    job.k = scratch;
    job.v = job.k + k_scratch_bytes(kernels, view->dk);
    job.k_scale = (float *)(void *)(job.v + v_scratch_bytes(kernels, view->dv));
    job.v_scale = job.k_scale + GQA__FOLD_BLOCK;
    job.k_stride = gqa__round_up(view->dk, kernels->depth_step);
    job.value_dim = gqa__round_up(view->dv, kernels->value_step);
    return job;
}

static void integer_run_of_page(const struct gqa__kv_view *view, int32_t head, int32_t first,
                                int32_t max_keys, struct gqa__integer_run *run)
{
    const int32_t page_size = view->cache->layout.page_size, slot = first % page_size;
    const int32_t page = gqa__cache_page(view->cache, view->sequence, first);
    const struct gqa__plane k = gqa__cache_plane(view->cache, page, head, false);
    const struct gqa__plane v = gqa__cache_plane(view->cache, page, head, true);

    run->keys = (int32_t)gqa__min(max_keys, page_size - slot);
    run->k = integer_rows(&k, slot);
    run->v = integer_rows(&v, slot);
}

void gqa__view_integer_run(const struct gqa__kv_view *view, int32_t head, int32_t first,
                           int32_t max_keys, void *scratch, struct gqa__integer_run *run)
{
    struct gqa__panel_job job;

    if (view->cache != NULL) {
        integer_run_of_page(view, head, first, max_keys, run);
        return;
    }
    job = job_at(view, head, first, scratch);
    job.keys = max_keys;
    job.valid = (int32_t)gqa__min(max_keys, view->length - first);
    gqa__integer_run_of_host(&job, run);
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
        const int32_t slot = index % cache->layout.page_size;
        const int32_t page = gqa__cache_page(cache, view->sequence, index);
        const struct gqa__plane k = gqa__cache_plane(cache, page, head, false);
        const struct gqa__plane v = gqa__cache_plane(cache, page, head, true);
        run = (int32_t)gqa__min(end - index, cache->layout.page_size - slot);
        assert(n + 4 <= GQA__KEY_PREFETCHES);
        n += list_plane(&k, slot, run, list + n);
        n += list_plane(&v, slot, run, list + n);
    }
    return n;
}

/* job: made by job_at. */
static void make_panel(struct gqa__panel_job *job, int32_t max_keys, struct gqa__kv_panel *panel)
{
    const struct gqa__kv_view *const view = job->view;
    const struct gqa__kernels *const kernels = view->kernels;
    const int64_t rest = view->length - job->first;
    assert(job->first >= 0 && job->first % kernels->panel_keys == 0 && rest > 0);
    assert(max_keys > 0 && max_keys % kernels->panel_keys == 0 && max_keys <= GQA__FOLD_BLOCK);

    job->keys = (int32_t)gqa__min(max_keys, gqa__round_up(rest, kernels->panel_keys));
    job->valid = (int32_t)gqa__min(job->keys, rest);
    panel->k_type = panel->v_type = kernels->operand;
    if (view->cache != NULL) {
        panel_of_pages(job, panel);
    } else {
        panel->k_scale = NULL;
        panel->v_scale = NULL;
        gqa__panel_of_host(job, panel);
    }
    panel->keys = job->keys;
}

void gqa__view_panel(const struct gqa__kv_view *view, int32_t head, int32_t first, int32_t max_keys,
                     void *scratch, struct gqa__kv_panel *panel)
{
    struct gqa__panel_job job = job_at(view, head, first, scratch);

    make_panel(&job, max_keys, panel);
}

void gqa__view_stored_panel(const struct gqa__kv_view *view, int32_t head, int32_t first,
                            int32_t max_keys, void *scratch, struct gqa__kv_panel *panel)
{
    struct gqa__panel_job job = job_at(view, head, first, scratch);

    job.stored = true;
    make_panel(&job, max_keys, panel);
}
