/* SPDX-License-Identifier: Apache-2.0 */
/* saved.c - see saved.h: the form of a saved sequence, and how it is written. */
#include "cache/saved.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

/* *at: behind a part of tokens * heads * dim elements that begins there, at a multiple of 8. */
static bool add_part(size_t *at, const struct gqa__saved *saved, int32_t heads, int32_t dim,
                     size_t size)
{
    size_t bytes;
    if (!gqa__mul((size_t)saved->tokens, (size_t)heads, &bytes) ||
        !gqa__mul(bytes, (size_t)dim, &bytes) || !gqa__mul(bytes, size, &bytes) ||
        !gqa__add(bytes, 7, &bytes)) {
        return false;
    }
    return gqa__add(*at, bytes - bytes % 8, at);
}

bool gqa__saved_place(struct gqa__saved *saved)
{
    size_t at = GQA__SAVED_HEADER;
    saved->positions_at = at;
    if (!add_part(&at, saved, 1, 1, sizeof(int32_t))) {
        return false;
    }
    saved->columns_at = at;
    if (!add_part(&at, saved, 1, 1, sizeof(int32_t))) {
        return false;
    }
    saved->k_at = at;
    if (!add_part(&at, saved, saved->hkv, saved->dk, gqa__dtype_size(saved->dtype_k))) {
        return false;
    }
    saved->v_at = at;
    if (!add_part(&at, saved, saved->hkv, saved->dv, gqa__dtype_size(saved->dtype_v))) {
        return false;
    }
    saved->size = at;
    return true;
}

struct gqa__saved gqa__saved_form(const struct gqa_cache *cache, int32_t sequence_id)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct gqa__cache_layout *const layout = &cache->layout;
    return (struct gqa__saved){.tokens = sequence->length,
                               .columns = sequence->columns,
                               .hkv = layout->hkv,
                               .dk = layout->dk,
                               .dv = layout->dv,
                               .dtype_k = layout->dtype_k,
                               .dtype_v = layout->dtype_v};
}

static const char *type_name(gqa_dtype dtype)
{
    return dtype == GQA_F32 ? "GQA_F32" : "GQA_BF16";
}

gqa_status gqa__saved_fits(const struct gqa_cache *cache, const struct gqa__saved *saved,
                           bool convert, const char *field, gqa_error *err)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct {
        const char *what;
        int32_t saved, cache;
    } sizes[] = {{"KV heads", saved->hkv, layout->hkv},
                 {"elements in a head of K", saved->dk, layout->dk},
                 {"elements in a head of V", saved->dv, layout->dv}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].saved != sizes[i].cache) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             "a sequence of %d %s; the cache that it goes to has %d",
                             (int)sizes[i].saved, sizes[i].what, (int)sizes[i].cache);
        }
    }
    const bool k = saved->dtype_k != layout->dtype_k, v = saved->dtype_v != layout->dtype_v;
    if (!convert && (k || v)) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "a sequence with %s of %s; the cache that it goes to stores %s: convert "
                         "must be 1",
                         k ? "K" : "V", type_name(k ? saved->dtype_k : saved->dtype_v),
                         type_name(k ? layout->dtype_k : layout->dtype_v));
    }
    return GQA_OK;
}

uint64_t gqa__saved_checksum(const unsigned char *bytes, size_t size)
{
    uint64_t h = 0;
    for (size_t at = 0; at < size; at += 8) {
        const uint64_t word = at == GQA__AT_CHECKSUM ? 0 : gqa__get_u64(bytes + at);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return h;
}

/* n stored elements, step apart. Returns the end of what was written. */
static unsigned char *put_elements(unsigned char *bytes, const unsigned char *src, int64_t step,
                                   int32_t n, gqa_dtype dtype)
{
    const size_t size = gqa__dtype_size(dtype);
    for (int32_t i = 0; i < n; i++, bytes += size) {
        const unsigned char *const at = src + (size_t)(i * step) * size;
        uint32_t word;
        uint16_t half;
        if (dtype == GQA_F32) {
            memcpy(&word, at, sizeof word);
            gqa__put_u32(bytes, word);
        } else {
            memcpy(&half, at, sizeof half);
            gqa__put_u16(bytes, half);
        }
    }
    return bytes;
}

static void put_header(const struct gqa__saved *saved, unsigned char *bytes)
{
    memcpy(bytes, GQA__SAVED_MAGIC, 8);
    gqa__put_u32(bytes + GQA__AT_VERSION, GQA__SAVED_VERSION);
    gqa__put_u32(bytes + GQA__AT_HEADER, GQA__SAVED_HEADER);
    gqa__put_u64(bytes + GQA__AT_SIZE, saved->size);
    gqa__put_u32(bytes + GQA__AT_TOKENS, (uint32_t)saved->tokens);
    gqa__put_u32(bytes + GQA__AT_COLUMNS, (uint32_t)saved->columns);
    gqa__put_u32(bytes + GQA__AT_HKV, (uint32_t)saved->hkv);
    gqa__put_u32(bytes + GQA__AT_DK, (uint32_t)saved->dk);
    gqa__put_u32(bytes + GQA__AT_DV, (uint32_t)saved->dv);
    gqa__put_u32(bytes + GQA__AT_DTYPE_K, (uint32_t)saved->dtype_k);
    gqa__put_u32(bytes + GQA__AT_DTYPE_V, (uint32_t)saved->dtype_v);
    gqa__put_u32(bytes + GQA__AT_FIRST, 0);
}

void gqa__saved_write(const struct gqa_cache *cache, int32_t sequence_id,
                      const struct gqa__saved *saved, unsigned char *bytes)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct gqa__cache_layout *const layout = &cache->layout;
    const bool transposed = layout->kernels->v_transposed;
    const size_t k_row = (size_t)layout->k_stride * gqa__dtype_size(layout->dtype_k);
    const size_t v_slot =
        (size_t)(transposed ? 1 : layout->v_stride) * gqa__dtype_size(layout->dtype_v);
    unsigned char *k = bytes + saved->k_at, *v = bytes + saved->v_at;

    put_header(saved, bytes);
    for (int32_t i = 0; i < saved->tokens; i++) {
        const int64_t at = gqa__cache_slot(cache, sequence, i);
        const int32_t page = gqa__cache_page(cache, sequence, i);
        const size_t slot = (size_t)(at % layout->page_size);
        gqa__put_u32(bytes + saved->positions_at + (size_t)i * 4, (uint32_t)cache->positions[at]);
        gqa__put_u32(bytes + saved->columns_at + (size_t)i * 4, (uint32_t)cache->columns[at]);
        for (int32_t head = 0; head < layout->hkv; head++) {
            k = put_elements(k, gqa__cache_k(cache, page, head) + slot * k_row, 1, layout->dk,
                             layout->dtype_k);
            v = put_elements(v, gqa__cache_v(cache, page, head) + slot * v_slot,
                             transposed ? layout->v_stride : 1, layout->dv, layout->dtype_v);
        }
    }
    /* Behind positions, columns, K and V there may be bytes up to the next multiple of 8. */
    const size_t list = saved->positions_at + (size_t)saved->tokens * 4;
    memset(bytes + list, 0, saved->columns_at - list);
    memset(bytes + saved->columns_at + (size_t)saved->tokens * 4, 0,
           saved->k_at - saved->columns_at - (size_t)saved->tokens * 4);
    memset(k, 0, (size_t)(bytes + saved->v_at - k));
    memset(v, 0, (size_t)(bytes + saved->size - v));
    gqa__put_u64(bytes + GQA__AT_CHECKSUM, gqa__saved_checksum(bytes, saved->size));
}
