/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c - the options of a cache checked, its size worked out, and its memory divided up. */
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/storage.h"
#include "base/tensor.h"
#include "cache/cache.h"
#include "cache/ring.h"
#include "kernel/contract/integer.h"

static bool page_size_valid(int32_t page_size)
{
    return page_size >= GQA__PAGE_SIZE_MIN && page_size <= GQA__PAGE_SIZE_MAX &&
           (page_size & (page_size - 1)) == 0;
}

/* Pages of one sequence that is full. */
static int32_t pages_per_sequence(int32_t max_tokens, int32_t page_size)
{
    return (max_tokens - 1) / page_size + 1;
}

gqa_status gqa__cache_options_resolve(const gqa_cache_options *in, int32_t panel_keys,
                                      gqa_cache_options *out, gqa_error *err)
{
    const gqa_status status = gqa__import(out, sizeof *out, in, "options", err);
    if (status != GQA_OK) {
        return status;
    }
    if (out->max_sequences < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "options.max_sequences",
                         "is %d; it must be positive, or 0 for 1", (int)out->max_sequences);
    }
    if (out->max_sequences == 0) {
        out->max_sequences = 1;
    }
    if (out->max_tokens < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "options.max_tokens", "is %d; it must be at least 1",
                         (int)out->max_tokens);
    }
    if (out->max_tokens > INT32_MAX - GQA__FOLD_BLOCK) {
        return gqa__fail(err, GQA_ERR_ARG, "options.max_tokens", "is %d; the limit is %d",
                         (int)out->max_tokens, INT32_MAX - GQA__FOLD_BLOCK);
    }
    if (out->page_size == 0) {
        out->page_size = GQA__PAGE_SIZE_DEFAULT;
    }
    if (!page_size_valid(out->page_size)) {
        return gqa__fail(err, GQA_ERR_ARG, "options.page_size",
                         "is %d; it must be 16, 32, 64, 128, 256 or 512", (int)out->page_size);
    }
    const struct {
        const char *field;
        int32_t value;
    } counts[] = {{"options.retain_window", out->retain_window},
                  {"options.retain_chunk", out->retain_chunk},
                  {"options.call_tokens", out->call_tokens}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (counts[i].value < 0) {
            return gqa__fail(err, GQA_ERR_ARG, counts[i].field, "is %d; it must be at least 0",
                             (int)counts[i].value);
        }
    }
    if (out->num_pages == 0) {
        out->num_pages = out->max_sequences * gqa__ring_most_pages(out, panel_keys);
    }
    if (out->num_pages < 0 || out->num_pages > INT32_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "options.num_pages",
                         "is %lld; it must be 1 .. %d, or 0 for enough (which "
                         "must not be more)",
                         (long long)out->num_pages, INT32_MAX);
    }
    return GQA_OK;
}

static gqa_status check_dtype(const struct gqa__kernels *kernels, gqa_dtype dtype,
                              const char *field, gqa_error *err)
{
    if (!gqa__stores(dtype)) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "is %d; it must be GQA_F32 (0), GQA_BF16 (1), GQA_F16 (2), GQA_I8 (5), "
                         "GQA_E4M3 (6), GQA_E4M3_240 (7) or GQA_I4 (8)",
                         (int)dtype);
    }
    if (kernels->numerics == GQA_NUMERICS_BF16 && (dtype == GQA_F32 || dtype == GQA_F16)) {
        return gqa__fail(err, dtype == GQA_F16 ? GQA_ERR_UNSUPPORTED : GQA_ERR_ARG, field,
                         "is %s; with numerics BF16 it must be GQA_BF16 or of 8 or 4 bits",
                         dtype == GQA_F16 ? "GQA_F16" : "GQA_F32");
    }
    return GQA_OK;
}

/* Of which the types that are rounded only have nothing: their rows are not rotated. */
static gqa_status check_rotation(int32_t rotate, gqa_dtype dtype, const char *field, gqa_error *err)
{
    if (rotate != 0 && rotate != 1) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is %d; it must be 0 or 1", (int)rotate);
    }
    if (rotate != 0 && !gqa__scaled(dtype)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                         "is 1 with storage type %d; only the quantised ones are rotated: GQA_I8 "
                         "(5), GQA_E4M3 (6), GQA_E4M3_240 (7) and GQA_I4 (8)",
                         (int)dtype);
    }
    return GQA_OK;
}

static bool whole_lines(size_t *bytes)
{
    if (!gqa__add(*bytes, GQA__ALIGN - 1, bytes)) {
        return false;
    }
    *bytes -= *bytes % GQA__ALIGN;
    return true;
}

/* K or V of one page and head: rows of elements, or of bytes, and the scales behind them. */
struct kv_bytes {
    int64_t rows, stride;
    int32_t slots;
    gqa_dtype dtype;
    int32_t scales;
};

/* Where the scales begin, and where all ends; both at whole cache lines. */
static bool kv_place(const struct kv_bytes *kv, size_t *scale_at, size_t *bytes)
{
    const size_t size = gqa__scaled(kv->dtype) ? 1 : gqa__dtype_size(kv->dtype);
    const size_t scales = (size_t)kv->scales * (size_t)kv->slots * sizeof(float);

    return gqa__mul((size_t)kv->rows, (size_t)kv->stride, scale_at) &&
           gqa__mul(*scale_at, size, scale_at) && whole_lines(scale_at) &&
           gqa__add(*scale_at, scales, bytes) && whole_lines(bytes);
}

/* Elements, or bytes, from a row of dim elements to the next, which the kernel set wants rounded up
 * to step elements. */
static int64_t row_stride(gqa_dtype dtype, int32_t dim, int32_t step)
{
    return gqa__integer(dtype) ? gqa__integer_row_bytes(dtype, dim) : gqa__round_up(dim, step);
}

static gqa_status check_sizes(int32_t hkv, int32_t dk, int32_t dv, gqa_error *err)
{
    if (hkv < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "config.num_key_value_heads",
                         "is %d; a cache needs at least 1", (int)hkv);
    }
    if (dk < 1 || dk > GQA__HEAD_DIM_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "config.head_dim", "is %d; a cache holds 1 .. %d",
                         (int)dk, GQA__HEAD_DIM_MAX);
    }
    if (dv < 1 || dv > GQA__HEAD_DIM_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "config.v_head_dim", "is %d; a cache holds 1 .. %d",
                         (int)dv, GQA__HEAD_DIM_MAX);
    }
    return GQA_OK;
}

gqa_status gqa__cache_layout_init(struct gqa__cache_layout *layout,
                                  const gqa_cache_options *options, gqa_error *err)
{
    const struct gqa__kernels *const kernels = layout->kernels;
    const int32_t page_size = options->page_size;
    gqa_status status = check_sizes(layout->hkv, layout->dk, layout->dv, err);
    if (status == GQA_OK) {
        status = check_dtype(kernels, options->dtype_k, "options.dtype_k", err);
    }
    if (status == GQA_OK) {
        status = check_dtype(kernels, options->dtype_v, "options.dtype_v", err);
    }
    if (status == GQA_OK) {
        status = check_rotation(options->rotate_k, options->dtype_k, "options.rotate_k", err);
    }
    if (status == GQA_OK) {
        status = check_rotation(options->rotate_v, options->dtype_v, "options.rotate_v", err);
    }
    if (status != GQA_OK) {
        return status;
    }

    layout->page_size = page_size;
    layout->dtype_k = options->dtype_k;
    layout->dtype_v = options->dtype_v;
    layout->rotate_k = options->rotate_k != 0;
    layout->rotate_v = options->rotate_v != 0;
    layout->v_transposed = kernels->v_transposed && !gqa__integer(layout->dtype_v);
    layout->k_scales = gqa__row_scales(layout->dtype_k, layout->dk);
    layout->v_scales = gqa__row_scales(layout->dtype_v, layout->dv);
    const int64_t v_row = row_stride(layout->dtype_v, layout->dv, kernels->value_step);
    layout->k_stride = row_stride(layout->dtype_k, layout->dk, kernels->depth_step);
    layout->v_stride = layout->v_transposed ? page_size : v_row;
    const struct kv_bytes k = {page_size, layout->k_stride, page_size, layout->dtype_k,
                               layout->k_scales};
    const struct kv_bytes v = {layout->v_transposed ? v_row : page_size, layout->v_stride,
                               page_size, layout->dtype_v, layout->v_scales};
    if (!kv_place(&k, &layout->k_scale_at, &layout->k_bytes) ||
        !kv_place(&v, &layout->v_scale_at, &layout->v_bytes) ||
        !gqa__add(layout->k_bytes, layout->v_bytes, &layout->page_bytes) ||
        !gqa__mul(layout->page_bytes, (size_t)layout->hkv, &layout->page_bytes)) {
        return gqa__fail(err, GQA_ERR_ARG, "options.page_size",
                         "a page of %d tokens and %d KV heads exceeds the address space",
                         (int)page_size, (int)layout->hkv);
    }
    return GQA_OK;
}

static void init_pages(struct gqa_cache *cache, int32_t *lists)
{
    /* The stack pops from its end: page 0 is taken first. */
    for (int64_t i = 0; i < cache->num_pages; i++) {
        cache->free_pages[i] = (int32_t)(cache->num_pages - 1 - i);
        cache->holders[i] = 0;
    }
    cache->free_count = cache->num_pages;
    for (int32_t s = 0; s < cache->max_sequences; s++) {
        struct gqa__sequence *sequence = &cache->sequences[s];
        *sequence = (struct gqa__sequence){.ordered = true};
        sequence->pages = lists + (int64_t)s * cache->max_pages;
        for (int32_t i = 0; i < cache->max_pages; i++) {
            sequence->pages[i] = -1;
        }
    }
}

struct gqa_cache *gqa__cache_carve(struct gqa__arena *arena, const struct gqa__cache_layout *layout,
                                   const gqa_cache_options *options)
{
    struct gqa_cache own = {.layout = *layout,
                            .retention = {options->retain_window, options->retain_chunk}};
    own.max_sequences = options->max_sequences != 0 ? options->max_sequences : 1;
    own.max_tokens = options->max_tokens;
    own.max_pages = pages_per_sequence(own.max_tokens, layout->page_size);
    own.num_pages =
        options->num_pages != 0 ? options->num_pages : (int64_t)own.max_sequences * own.max_pages;

    struct gqa_cache *cache = gqa__arena_take(arena, 1, sizeof *cache);
    own.sequences = gqa__arena_take(arena, own.max_sequences, sizeof *own.sequences);
    int32_t *lists =
        gqa__arena_take(arena, (int64_t)own.max_sequences * own.max_pages, sizeof *lists);
    own.holders = gqa__arena_take(arena, own.num_pages, sizeof *own.holders);
    own.free_pages = gqa__arena_take(arena, own.num_pages, sizeof *own.free_pages);
    own.positions =
        gqa__arena_take(arena, own.num_pages * layout->page_size, sizeof *own.positions);
    own.columns = gqa__arena_take(arena, own.num_pages * layout->page_size, sizeof *own.columns);
    own.special = gqa__arena_take(arena, own.num_pages * layout->hkv, sizeof *own.special);
    own.pool = gqa__arena_take(arena, own.num_pages, layout->page_bytes);
    if (cache == NULL || arena->failed) {
        return NULL;
    }

    *cache = own;
    init_pages(cache, lists);
    return cache;
}

gqa_status gqa__cache_matches(const struct gqa_cache *cache, const struct gqa__cache_layout *layer,
                              gqa_error *err)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    if (layout->kernels != layer->kernels) {
        return gqa__fail(err, GQA_ERR_ARG, "cache",
                         "is laid out for kernels %s; the layer computes with kernels %s",
                         layout->kernels->name, layer->kernels->name);
    }
    if (layout->hkv != layer->hkv) {
        return gqa__fail(err, GQA_ERR_ARG, "cache", "has %d KV heads; the layer has %d",
                         (int)layout->hkv, (int)layer->hkv);
    }
    if (layout->dk != layer->dk) {
        return gqa__fail(err, GQA_ERR_ARG, "cache", "has head_dim %d; the layer has %d",
                         (int)layout->dk, (int)layer->dk);
    }
    if (layout->dv != layer->dv) {
        return gqa__fail(err, GQA_ERR_ARG, "cache", "has v_head_dim %d; the layer has %d",
                         (int)layout->dv, (int)layer->dv);
    }
    if (layout->flush != layer->flush) {
        return gqa__fail(err, GQA_ERR_ARG, "cache",
                         "is of a layer with config.denormals = %d; the layer has %d",
                         (int)layout->flush, (int)layer->flush);
    }
    return GQA_OK;
}
