/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - the public cache functions: check the arguments, then call src/cache. */
#include "gqa/cache.h"

#include <stddef.h>

#include "api/cache_checks.h"
#include "api/positions.h"
#include "api/rules.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "cache/ring.h"
#include "kernel/contract/convert.h"
#include "layer/layer.h"

void gqa_cache_options_init_sized(gqa_cache_options *options, const gqa_layer *layer, size_t size)
{
    gqa_cache_options own;
    const bool bf16 = layer != NULL && layer->params.kernels->numerics == GQA_NUMERICS_BF16;
    gqa__init_struct(options, size);
    gqa__init_struct(&own, sizeof own);
    own.max_sequences = 1;
    own.page_size = GQA__PAGE_SIZE_DEFAULT;
    own.dtype_k = bf16 ? GQA_BF16 : GQA_F32;
    own.dtype_v = own.dtype_k;
    gqa__export(options, &own, sizeof own);
}

void gqa_cache_options_retain(gqa_cache_options *options, const gqa_layer *layer)
{
    const bool all = layer == NULL || layer->params.backend == GQA_BACKEND_NEURON;
    const int32_t window = all ? 0 : layer->params.config.sliding_window;
    const int32_t chunk = all ? 0 : layer->params.config.attention_chunk_size;

    gqa__export_field(options, offsetof(gqa_cache_options, retain_window), &window, sizeof window);
    gqa__export_field(options, offsetof(gqa_cache_options, retain_chunk), &chunk, sizeof chunk);
}

/* A cache before it is carved. */
struct order {
    const gqa_layer *layer;
    gqa_cache_options options;
    struct gqa__cache_layout layout;
    size_t size;
};

/* Check everything and count the bytes. */
static gqa_status take_order(struct order *order, const gqa_layer *layer,
                             const gqa_cache_options *options, gqa_error *err)
{
    struct gqa__arena arena;
    gqa_status status;

    if (layer == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "layer", "is NULL");
    }
    if (options == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "options", "is NULL");
    }
    order->layer = layer;
    order->layout = gqa__layer_cache_layout(&layer->params);
    status = gqa__cache_options_resolve(options, layer->params.kernels->panel_keys, &order->options,
                                        err);
    if (status == GQA_OK) {
        const struct gqa__retention retention = {order->options.retain_window,
                                                 order->options.retain_chunk};
        status = gqa__check_retention(
            &layer->params, &retention,
            retention.window > 0 ? "options.retain_window" : "options.retain_chunk", err);
    }
    if (status == GQA_OK) {
        status = gqa__cache_layout_init(&order->layout, &order->options, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_count(&arena);
    gqa__cache_carve(&arena, &order->layout, &order->options);
    if (arena.failed) {
        return gqa__fail(err, GQA_ERR_ARG, "options.num_pages",
                         "a pool of %lld pages of %zu bytes exceeds the address space",
                         (long long)order->options.num_pages, order->layout.page_bytes);
    }
    order->size = arena.used;
    return GQA_OK;
}

/* The caller's memory, if there is some. */
static gqa_status check_lent(const struct order *order, gqa_error *err)
{
    const void *const memory = order->options.memory;
    const size_t size = order->options.memory_size;

    if (memory == NULL && size != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "options.memory", "is NULL, but memory_size is %zu",
                         size);
    }
    if ((uintptr_t)memory % GQA__ALIGN != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "options.memory", "is %p; it must be aligned to %d",
                         memory, GQA__ALIGN);
    }
    if (memory != NULL && size < order->size) {
        return gqa__fail(err, GQA_ERR_ARG, "options.memory_size",
                         "is %zu; this cache needs %zu bytes, as gqa_cache_size says", size,
                         order->size);
    }
    return GQA_OK;
}

static gqa_status own_memory(const struct order *order, void **memory, gqa_error *err)
{
    const gqa_status status = gqa__alloc(&order->layer->runtime, order->size, "options.num_pages",
                                         "a cache", memory, err);

    return status != GQA_ERR_NOMEM
               ? status
               : gqa__fail(err, GQA_ERR_NOMEM, "options.num_pages",
                           "no memory for a cache of %zu bytes (%lld pages of %zu bytes)",
                           order->size, (long long)order->options.num_pages,
                           order->layout.page_bytes);
}

gqa_status gqa_cache_size(const gqa_layer *layer, const gqa_cache_options *options, size_t *size,
                          gqa_error *err)
{
    struct order order;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = take_order(&order, layer, options, err);
    if (status == GQA_OK) {
        *size = order.size;
    }
    return status;
}

gqa_status gqa_cache_create(gqa_cache **out, const gqa_layer *layer,
                            const gqa_cache_options *options, gqa_error *err)
{
    struct order order;
    struct gqa__arena arena;
    gqa_status status;
    void *memory;

    if (out == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "out", "is NULL");
    }
    *out = NULL;
    status = take_order(&order, layer, options, err);
    if (status == GQA_OK) {
        status = check_lent(&order, err);
    }
    if (status == GQA_OK) {
        memory = order.options.memory;
        status = memory != NULL ? GQA_OK : own_memory(&order, &memory, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    /* The struct is carved first: the block and the cache have one address. */
    gqa__arena_open(&arena, memory, order.size);
    *out = gqa__cache_carve(&arena, &order.layout, &order.options);
    (*out)->runtime = layer->runtime;
    (*out)->lent = order.options.memory != NULL;
    return GQA_OK;
}

void gqa_cache_destroy(gqa_cache **cache)
{
    if (cache == NULL || *cache == NULL) {
        return;
    }
    const gqa_runtime runtime = (*cache)->runtime;
    if (!(*cache)->lent) {
        gqa__release(&runtime, *cache);
    }
    *cache = NULL;
}

int32_t gqa_cache_length(const gqa_cache *cache, int32_t sequence)
{
    if (cache == NULL || sequence < 0 || sequence >= cache->max_sequences) {
        return -1;
    }
    return cache->sequences[sequence].length;
}

int32_t gqa_cache_first(const gqa_cache *cache, int32_t sequence)
{
    if (cache == NULL || sequence < 0 || sequence >= cache->max_sequences) {
        return -1;
    }
    return cache->sequences[sequence].first;
}

int64_t gqa_cache_free_pages(const gqa_cache *cache)
{
    return cache == NULL ? -1 : cache->free_count;
}

gqa_status gqa__check_truncate(const gqa_cache *cache, int32_t sequence, int32_t length,
                               gqa_error *err)
{
    const gqa_status status = gqa__check_sequence(cache, "sequence", sequence, err);
    if (status != GQA_OK) {
        return status;
    }
    const int32_t held = cache->sequences[sequence].length;
    if (length < 0 || length > held) {
        return gqa__fail(err, GQA_ERR_ARG, "length",
                         "is %d; it must be 0 .. %d, the tokens that sequence %d holds",
                         (int)length, (int)held, (int)sequence);
    }
    return length == 0 || length == held
               ? GQA_OK
               : gqa__check_last(cache, sequence, length - 1, "length", length, err);
}

gqa_status gqa_cache_truncate(gqa_cache *cache, int32_t sequence, int32_t length, gqa_error *err)
{
    const gqa_status status = gqa__check_truncate(cache, sequence, length, err);
    if (status == GQA_OK) {
        gqa__cache_cut(cache, sequence, length, -1);
    }
    return status;
}

/* Positions (NULL: continued) of n more tokens: rising, from above the last one held. */
static gqa_status check_appended_ids(const struct gqa__sequence *sequence, const int32_t *positions,
                                     int32_t n, gqa_error *err)
{
    const int64_t last = sequence->length > 0 ? sequence->last : -1;
    const struct gqa__ids ids = {GQA__IDS_APPEND, positions, n, -1, 0, last, false};
    if (positions == NULL && last + n > INT32_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "positions",
                         "is NULL and %d tokens after position %lld exceed %d", (int)n,
                         (long long)last, INT32_MAX);
    }
    return gqa__check_ids(&ids, NULL, err);
}

/* Write tokens first .. first + n - 1 of both tensors, converting a few at a time. */
static void append_converted(gqa_cache *cache, int32_t sequence, const gqa_tensor *key,
                             const gqa_tensor *value, int32_t first)
{
    float k[GQA__HEAD_DIM_MAX], v[GQA__HEAD_DIM_MAX];
    const struct gqa__kernels *const kernels = cache->layout.kernels;
    const int32_t dk = cache->layout.dk, dv = cache->layout.dv;
    for (int32_t head = 0; head < cache->layout.hkv; head++) {
        for (int32_t i = 0; i < (int32_t)key->shape[0]; i++) {
            gqa__load(kernels, k, key, i * key->stride[0] + head * key->stride[1], dk);
            gqa__load(kernels, v, value, i * value->stride[0] + head * value->stride[1], dv);
            gqa__cache_write(cache, sequence, head, first + i, 1,
                             &(struct gqa__kv_rows){.k = k, .v = v, .k_step = dk, .v_step = dv});
        }
    }
}

/* The caller's keys and values, fitted; one that is absent has no data. */
struct kv {
    gqa_tensor k, v;
    int64_t n; /* tokens */
};

static gqa_status check_append_tensors(const gqa_cache *cache, const gqa_tensor *key,
                                       const gqa_tensor *value, struct kv *kv, gqa_error *err)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    if (!gqa__present(key)) {
        return gqa__fail(err, GQA_ERR_ARG, "key", "is missing");
    }
    if (!gqa__present(value)) {
        return gqa__fail(err, GQA_ERR_ARG, "value", "is missing");
    }

    const int64_t k_shape[3] = {-1, layout->hkv, layout->dk};
    gqa_status status = gqa__tensor_fit(
        key, &(struct gqa__form){"key", GQA__FLOATS, 3, k_shape, false}, &kv->k, err);
    if (status != GQA_OK) {
        return status;
    }
    const int64_t v_shape[3] = {kv->k.shape[0], layout->hkv, layout->dv};
    status = gqa__tensor_fit(value, &(struct gqa__form){"value", GQA__FLOATS, 3, v_shape, false},
                             &kv->v, err);
    if (status != GQA_OK) {
        return status;
    }
    if (kv->k.shape[0] > cache->max_tokens) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "key",
                         "shape[0] is %lld tokens; max_tokens of the cache is %d",
                         (long long)kv->k.shape[0], (int)cache->max_tokens);
    }
    kv->n = kv->k.shape[0];
    return GQA_OK;
}

gqa_status gqa_cache_append(gqa_cache *cache, int32_t sequence, const gqa_tensor *key,
                            const gqa_tensor *value, const int32_t *positions, gqa_error *err)
{
    struct kv kv;
    gqa_status status = gqa__check_sequence(cache, "sequence", sequence, err);
    if (status == GQA_OK) {
        status = check_append_tensors(cache, key, value, &kv, err);
    }
    if (status != GQA_OK) {
        return status;
    }

    const struct gqa__sequence *const own = &cache->sequences[sequence];
    int32_t n = (int32_t)kv.n;
    const int32_t first = own->length;
    status = check_appended_ids(own, positions, n, err);
    if (status != GQA_OK) {
        return status;
    }
    status = gqa__cache_room(cache, sequence, n, err);
    if (status != GQA_OK) {
        return status;
    }

    const gqa__fpmode saved = gqa__fpmode_enter();
    if (n > 0) {
        gqa__ring_release(cache, sequence, (int64_t)own->last + 1);
    }
    gqa__cache_extend(cache, sequence, n, positions, NULL, own->columns + n);
    append_converted(cache, sequence, &kv.k, &kv.v, first);
    gqa__fpmode_leave(saved);
    return GQA_OK;
}

/* Fit key and value, where given, to the same number of tokens. */
static gqa_status check_read(const gqa_cache *cache, const gqa_tensor *key, const gqa_tensor *value,
                             struct kv *kv, gqa_error *err)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    gqa_status status = GQA_OK;
    kv->n = -1;
    if (!gqa__present(key) && !gqa__present(value)) {
        return gqa__fail(err, GQA_ERR_ARG, "key", "is missing, and value too; give one of them");
    }
    if (gqa__present(key)) {
        const int64_t shape[3] = {layout->hkv, -1, layout->dk};
        status = gqa__tensor_fit(key, &(struct gqa__form){"key", GQA__FLOATS, 3, shape, false},
                                 &kv->k, err);
        if (status != GQA_OK) {
            return status;
        }
        kv->n = kv->k.shape[1];
    }
    if (gqa__present(value)) {
        const int64_t shape[3] = {layout->hkv, kv->n, layout->dv};
        status = gqa__tensor_fit(value, &(struct gqa__form){"value", GQA__FLOATS, 3, shape, false},
                                 &kv->v, err);
        if (status != GQA_OK) {
            return status;
        }
        kv->n = kv->v.shape[1];
    }
    return GQA_OK;
}

/* Copy tokens first .. first + n - 1 out; a tensor without data is not wanted. */
static void read_converted(const gqa_cache *cache, int32_t sequence, int32_t first, int32_t n,
                           const gqa_tensor *k, const gqa_tensor *v)
{
    const struct gqa__kernels *const kernels = cache->layout.kernels;
    float row[GQA__HEAD_DIM_MAX];

    for (int32_t head = 0; head < cache->layout.hkv; head++) {
        for (int32_t i = 0; i < n; i++) {
            if (k->data != NULL) {
                gqa__cache_load(cache, sequence, head, first + i, row, NULL);
                gqa__store(kernels, k, head * k->stride[0] + i * k->stride[1], row,
                           cache->layout.dk);
            }
            if (v->data != NULL) {
                gqa__cache_load(cache, sequence, head, first + i, NULL, row);
                gqa__store(kernels, v, head * v->stride[0] + i * v->stride[1], row,
                           cache->layout.dv);
            }
        }
    }
}

gqa_status gqa_cache_read(const gqa_cache *cache, int32_t sequence, int32_t first,
                          const gqa_tensor *key, const gqa_tensor *value, int32_t *positions,
                          gqa_error *err)
{
    struct kv kv = {0};
    gqa__fpmode saved;
    gqa_status status = gqa__check_sequence(cache, "sequence", sequence, err);
    if (status == GQA_OK) {
        status = check_read(cache, key, value, &kv, err);
    }
    if (status != GQA_OK) {
        return status;
    }

    const struct gqa__sequence *const own = &cache->sequences[sequence];
    if (first < own->first || first > own->length) {
        return gqa__fail(err, GQA_ERR_ARG, "first",
                         "is %d; it must be %d .. %d, the tokens that sequence %d holds",
                         (int)first, (int)own->first, (int)own->length, (int)sequence);
    }
    if (kv.n > own->length - first) {
        return gqa__fail(err, GQA_ERR_SHAPE, gqa__present(key) ? "key" : "value",
                         "shape[1] is %lld tokens from %d on; sequence %d holds %d",
                         (long long)kv.n, (int)first, (int)sequence, (int)own->length);
    }

    saved = gqa__fpmode_enter();
    read_converted(cache, sequence, first, (int32_t)kv.n, &kv.k, &kv.v);
    gqa__fpmode_leave(saved);
    for (int32_t i = 0; positions != NULL && i < (int32_t)kv.n; i++) {
        positions[i] = cache->positions[gqa__cache_slot(cache, own, first + i)];
    }
    return GQA_OK;
}
