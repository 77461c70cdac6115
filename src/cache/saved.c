/* SPDX-License-Identifier: Apache-2.0 */
/* saved.c - see saved.h: the form of a saved sequence, and how it is written. */
#include "cache/saved.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

bool gqa__saved_place(struct gqa__saved *saved)
{
    const size_t k_scales = (size_t)gqa__row_scales(saved->k.dtype, saved->dk);
    const size_t v_scales = (size_t)gqa__row_scales(saved->v.dtype, saved->dv);
    const struct {
        int32_t heads;
        size_t row; /* bytes of one head */
    } rows[GQA__SAVED_PARTS] = {{1, sizeof(int32_t)},
                                {1, sizeof(int32_t)},
                                {saved->hkv, gqa__stored_bytes(saved->k.dtype, saved->dk)},
                                {saved->hkv, gqa__stored_bytes(saved->v.dtype, saved->dv)},
                                {saved->hkv, k_scales * sizeof(float)},
                                {saved->hkv, v_scales * sizeof(float)}};
    size_t at = gqa__saved_header(saved);
    for (int i = 0; i < GQA__SAVED_PARTS; i++) {
        size_t bytes, end;
        if (!gqa__mul((size_t)saved->tokens, (size_t)rows[i].heads, &bytes) ||
            !gqa__mul(bytes, rows[i].row, &bytes) || !gqa__add(at, bytes, &end)) {
            return false;
        }
        saved->part[i] = (struct gqa__saved_range){at, end};
        if (!gqa__add(end, 7, &at)) {
            return false;
        }
        at -= at % 8;
    }
    saved->size = at;
    return true;
}

struct gqa__saved gqa__saved_form(const struct gqa_cache *cache, int32_t sequence_id)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    const struct gqa__cache_layout *const layout = &cache->layout;
    return (struct gqa__saved){.tokens = sequence->length - sequence->first,
                               .columns = sequence->columns,
                               .past = {sequence->first, sequence->origin, sequence->released},
                               .last = sequence->last,
                               .hkv = layout->hkv,
                               .dk = layout->dk,
                               .dv = layout->dv,
                               .k = gqa__cache_form(cache, false),
                               .v = gqa__cache_form(cache, true)};
}

static const char *type_name(gqa_dtype dtype)
{
    static const char *const names[] = {
        [GQA_F32] = "GQA_F32", [GQA_BF16] = "GQA_BF16", [GQA_F16] = "GQA_F16",
        [GQA_I8] = "GQA_I8",   [GQA_E4M3] = "GQA_E4M3", [GQA_E4M3_240] = "GQA_E4M3_240",
        [GQA_I4] = "GQA_I4",
    };
    return names[dtype];
}

/* Are rows of K, or V, as the cache stores them? */
static gqa_status check_form(const struct gqa_cache *cache, const struct gqa__saved *saved,
                             bool value, const char *field, gqa_error *err)
{
    const struct gqa__row_form its = value ? saved->v : saved->k;
    const struct gqa__row_form own = gqa__cache_form(cache, value);

    if (its.dtype != own.dtype) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "a sequence with %s of %s; the cache that it goes to stores %s: convert "
                         "must be 1",
                         value ? "V" : "K", type_name(its.dtype), type_name(own.dtype));
    }
    if (its.rotated != own.rotated) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "a sequence with %s %s; the cache that it goes to has options.rotate_%s "
                         "%d: convert must be 1",
                         value ? "V" : "K", its.rotated ? "rotated" : "not rotated",
                         value ? "v" : "k", own.rotated ? 1 : 0);
    }
    return GQA_OK;
}

gqa_status gqa__saved_fits(const struct gqa_cache *cache, const struct gqa__saved *saved,
                           bool convert, const char *field, gqa_error *err)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    gqa_status status;
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
    status = convert ? GQA_OK : check_form(cache, saved, false, field, err);
    if (status == GQA_OK && !convert) {
        status = check_form(cache, saved, true, field, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const int64_t seen =
        gqa__retained_from(&cache->retention, saved->past.origin, (int64_t)saved->last + 1);
    if (saved->past.first > 0 && seen <= saved->past.released) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "a sequence without its first %d tokens, up to position %d, which a token "
                         "at position %lld can see in the cache that it goes to",
                         (int)saved->past.first, (int)saved->past.released,
                         (long long)saved->last + 1);
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

/* The elements and scales of a row, lowest byte first. */
static void put_saved_row(const struct gqa__row *row, const struct gqa__plane *plane,
                          unsigned char *elements, unsigned char *scales)
{
    for (size_t i = 0; i < (size_t)plane->dim && plane->dtype == GQA_F32; i++) {
        uint32_t word;
        memcpy(&word, row->element + i * sizeof word, sizeof word);
        gqa__put_u32(elements + i * sizeof word, word);
    }
    for (size_t i = 0; i < (size_t)plane->dim && gqa__dtype_size(plane->dtype) == 2; i++) {
        uint16_t half;
        memcpy(&half, row->element + i * sizeof half, sizeof half);
        gqa__put_u16(elements + i * sizeof half, half);
    }
    if (gqa__scaled(plane->dtype)) {
        memcpy(elements, row->element, gqa__stored_bytes(plane->dtype, plane->dim));
    }
    for (size_t g = 0; g < (size_t)plane->scales; g++) {
        gqa__put_u32(scales + g * sizeof(float), gqa__f32_bits(row->scale[g]));
    }
}

static uint32_t type_word(struct gqa__row_form form)
{
    return (uint32_t)form.dtype | (form.rotated ? GQA__SAVED_ROTATED : 0);
}

static void put_header(const struct gqa__saved *saved, unsigned char *bytes)
{
    gqa__put_u64(bytes, GQA__SAVED_MAGIC);
    gqa__put_u32(bytes + GQA__AT_VERSION, GQA__SAVED_VERSION);
    gqa__put_u32(bytes + GQA__AT_HEADER, (uint32_t)gqa__saved_header(saved));
    gqa__put_u64(bytes + GQA__AT_SIZE, saved->size);
    gqa__put_u32(bytes + GQA__AT_TOKENS, (uint32_t)saved->tokens);
    gqa__put_u32(bytes + GQA__AT_COLUMNS, (uint32_t)saved->columns);
    gqa__put_u32(bytes + GQA__AT_HKV, (uint32_t)saved->hkv);
    gqa__put_u32(bytes + GQA__AT_DK, (uint32_t)saved->dk);
    gqa__put_u32(bytes + GQA__AT_DV, (uint32_t)saved->dv);
    gqa__put_u32(bytes + GQA__AT_DTYPE_K, type_word(saved->k));
    gqa__put_u32(bytes + GQA__AT_DTYPE_V, type_word(saved->v));
    gqa__put_u32(bytes + GQA__AT_FIRST, (uint32_t)saved->past.first);
    if (saved->past.first > 0) {
        gqa__put_u32(bytes + GQA__AT_ORIGIN, (uint32_t)saved->past.origin);
        gqa__put_u32(bytes + GQA__AT_RELEASED, (uint32_t)saved->past.released);
    }
}

/* K or V of n tokens from index at->index of the sequence on, which one page and head holds. */
static void put_plane(const struct gqa__plane *plane, const struct gqa__row_at *at, int32_t n,
                      const struct gqa__saved *saved, unsigned char *bytes)
{
    const enum gqa__saved_part part = at->value ? GQA__SAVED_V : GQA__SAVED_K;
    const enum gqa__saved_part scales = at->value ? GQA__SAVED_V_SCALES : GQA__SAVED_K_SCALES;
    const size_t row_bytes = gqa__stored_bytes(plane->dtype, plane->dim);
    const size_t scale_bytes = (size_t)plane->scales * sizeof(float);
    struct gqa__row row;

    for (int32_t i = 0; i < n; i++) {
        const int32_t token = at->index - saved->past.first + i;
        gqa__row_get(plane, (at->index + i) % plane->slots, &row);
        put_saved_row(&row, plane, bytes + gqa__saved_row(saved, part, token, at->head, row_bytes),
                      bytes + gqa__saved_row(saved, scales, token, at->head, scale_bytes));
    }
}

/* K and V of n tokens from index `first` of the sequence on, which lie in one page. A head's V may
 * be transposed: its memory is used up before the next one's. */
static void put_page(const struct gqa_cache *cache, int32_t page, const struct gqa__saved *saved,
                     int32_t first, int32_t n, unsigned char *bytes)
{
    for (int32_t head = 0; head < cache->layout.hkv; head++) {
        for (int value = 0; value < 2; value++) {
            const struct gqa__row_at at = {head, first, value != 0};
            const struct gqa__plane plane = gqa__cache_plane(cache, page, head, at.value);
            put_plane(&plane, &at, n, saved, bytes);
        }
    }
}

void gqa__saved_write(const struct gqa_cache *cache, int32_t sequence_id,
                      const struct gqa__saved *saved, unsigned char *bytes)
{
    const struct gqa__sequence *const sequence = &cache->sequences[sequence_id];
    unsigned char *const positions = bytes + saved->part[GQA__SAVED_POSITIONS].at;
    unsigned char *const columns = bytes + saved->part[GQA__SAVED_COLUMNS].at;
    int32_t n;

    put_header(saved, bytes);
    for (int32_t i = 0; i < saved->tokens; i++) {
        const int64_t slot = gqa__cache_slot(cache, sequence, saved->past.first + i);
        gqa__put_u32(positions + (size_t)i * 4, (uint32_t)cache->positions[slot]);
        gqa__put_u32(columns + (size_t)i * 4, (uint32_t)cache->columns[slot]);
    }
    for (int32_t done = sequence->first; done < sequence->length; done += n) {
        n = (int32_t)gqa__min(sequence->length - done,
                              cache->layout.page_size - done % cache->layout.page_size);
        put_page(cache, gqa__cache_page(cache, sequence, done), saved, done, n, bytes);
    }
    for (int i = 0; i < GQA__SAVED_PARTS; i++) {
        const size_t end = saved->part[i].end;
        memset(bytes + end, 0, gqa__saved_gap_end(saved, i) - end);
    }
    gqa__put_u64(bytes + GQA__AT_CHECKSUM, gqa__saved_checksum(bytes, saved->size));
}
