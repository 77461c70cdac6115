/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - see view.h; the panels of a view are in panel.c. */
#include "cache/view.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "base/storage.h"
#include "base/tensor.h"

void gqa__view_cache(struct gqa__kv_view *view, const struct gqa_cache *cache, int32_t sequence)
{
    *view = (struct gqa__kv_view){.kernels = cache->layout.kernels,
                                  .dk = cache->layout.dk,
                                  .dv = cache->layout.dv,
                                  .cache = cache,
                                  .sequence = &cache->sequences[sequence]};
    view->first = view->sequence->first;
    view->length = view->sequence->length;
    view->origin = view->sequence->origin;
    view->ordered = view->sequence->ordered;
}

static struct gqa__host_rows plain_rows(const gqa_tensor *t)
{
    return (struct gqa__host_rows){.data = t->data,
                                   .dtype = t->dtype,
                                   .token = t->stride[0],
                                   .head = t->stride[1],
                                   .step = t->stride[2]};
}

void gqa__view_host(struct gqa__kv_view *view, const struct gqa__kernels *kernels,
                    const struct gqa__host_keys *keys, int32_t n, const int32_t *positions)
{
    *view = (struct gqa__kv_view){
        .kernels = kernels, .length = n, .ordered = true, .host = *keys, .positions = positions};
    if (positions == NULL || n == 0) {
        return;
    }
    view->origin = positions[0];
    for (int32_t i = 1; i < n && view->ordered; i++) {
        view->ordered = positions[i] >= positions[i - 1];
    }
}

void gqa__view_plain(struct gqa__kv_view *view, const struct gqa__kernels *kernels,
                     const gqa_tensor *key, const gqa_tensor *value, int32_t n,
                     const int32_t *positions)
{
    const struct gqa__host_keys keys = {
        .k = plain_rows(key), .v = plain_rows(value), .block_size = INT32_MAX};

    gqa__view_host(view, kernels, &keys, n, positions);
    view->dk = (int32_t)key->shape[2];
    view->dv = (int32_t)value->shape[2];
}

gqa_dtype gqa__view_dtype(const struct gqa__kv_view *view, bool value)
{
    if (view->cache != NULL) {
        return value ? view->cache->layout.dtype_v : view->cache->layout.dtype_k;
    }
    return value ? view->host.v.dtype : view->host.k.dtype;
}

int64_t gqa__view_key_bytes(const struct gqa__kv_view *view)
{
    const gqa_dtype dtype_k = gqa__view_dtype(view, false);
    const gqa_dtype dtype_v = gqa__view_dtype(view, true);
    const int32_t scales = gqa__row_scales(dtype_k, view->dk) + gqa__row_scales(dtype_v, view->dv);

    return (int64_t)gqa__stored_bytes(dtype_k, view->dk) +
           (int64_t)gqa__stored_bytes(dtype_v, view->dv) + scales * (int64_t)sizeof(float);
}

int32_t gqa__view_position(const struct gqa__kv_view *view, int32_t index)
{
    assert(index >= view->first && index < view->length);
    if (view->cache != NULL) {
        return view->cache->positions[gqa__cache_slot(view->cache, view->sequence, index)];
    }
    return view->positions != NULL ? view->positions[index] : index;
}

int32_t gqa__view_column(const struct gqa__kv_view *view, int32_t index)
{
    assert(index >= view->first && index < view->length);
    if (view->cache != NULL) {
        return view->cache->columns[gqa__cache_slot(view->cache, view->sequence, index)];
    }
    return index + (index >= view->pad_from ? view->padding : 0);
}

/* Copy the per-slot numbers of indices [first, first + n). */
static void copy_slots(const struct gqa__kv_view *view, const int32_t *slots, int32_t first,
                       int32_t n, int32_t *dst)
{
    const int32_t page_size = view->cache->layout.page_size;
    for (int32_t done = 0; done < n;) {
        const int64_t slot = gqa__cache_slot(view->cache, view->sequence, first + done);
        const int64_t run = gqa__min(n - done, page_size - slot % page_size);
        memcpy(dst + done, slots + slot, (size_t)run * sizeof *dst);
        done += (int32_t)run;
    }
}

void gqa__view_positions(const struct gqa__kv_view *view, int32_t first, int32_t n, int32_t *dst)
{
    assert(first >= 0 && n >= 0 && n <= view->length - first);
    if (view->cache != NULL) {
        copy_slots(view, view->cache->positions, first, n, dst);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        dst[i] = gqa__view_position(view, first + i);
    }
}

void gqa__view_columns(const struct gqa__kv_view *view, int32_t first, int32_t n, int32_t *dst)
{
    assert(first >= 0 && n >= 0 && n <= view->length - first);
    if (view->cache != NULL) {
        copy_slots(view, view->cache->columns, first, n, dst);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        dst[i] = gqa__view_column(view, first + i);
    }
}

int32_t gqa__view_lower_bound(const struct gqa__kv_view *view, int64_t position)
{
    int32_t low = view->first, high = view->length;
    int64_t guess;
    assert(view->ordered);
    if (low == high || position <= gqa__view_position(view, low)) {
        return low;
    }
    if (gqa__view_position(view, high - 1) < position) {
        return high;
    }
    guess = position - view->origin; /* where ids rise by one */
    if (guess > low && guess < high && gqa__view_position(view, (int32_t)guess) == position &&
        gqa__view_position(view, (int32_t)guess - 1) < position) {
        return (int32_t)guess;
    }
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (gqa__view_position(view, middle) < position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void gqa__view_load(const struct gqa__kv_view *view, int32_t head, int32_t index, float *k,
                    float *v)
{
    if (view->cache != NULL) {
        const int32_t sequence = (int32_t)(view->sequence - view->cache->sequences);
        gqa__cache_load(view->cache, sequence, head, index, k, v);
        return;
    }
    if (k != NULL) {
        gqa__host_load(&view->host, &view->host.k, head, index, k, view->dk);
    }
    if (v != NULL) {
        gqa__host_load(&view->host, &view->host.v, head, index, v, view->dv);
    }
}
