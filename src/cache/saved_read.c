/* SPDX-License-Identifier: Apache-2.0 */
/* saved_read.c - see saved.h: bytes that somebody saved, checked and made a sequence again. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "cache/saved.h"

/* A number of the header that counts something. */
static gqa_status get_count(const unsigned char *bytes, size_t at, const char *what, int32_t *count,
                            gqa_error *err)
{
    const uint32_t x = gqa__get_u32(bytes + at);
    if (x > INT32_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "say %lu %s; the most is %d", (unsigned long)x,
                         what, INT32_MAX);
    }
    *count = (int32_t)x;
    return GQA_OK;
}

static gqa_status get_form(const unsigned char *bytes, size_t at, const char *what,
                           struct gqa__row_form *form, gqa_error *err)
{
    const uint32_t word = gqa__get_u32(bytes + at), x = word & ~GQA__SAVED_ROTATED;
    if (x > GQA_I4 || !gqa__stores((gqa_dtype)x)) {
        return gqa__fail(
            err, GQA_ERR_UNSUPPORTED, "bytes",
            "say that %s is of type %lu; it must be GQA_F32 (0), GQA_BF16 (1), GQA_F16 "
            "(2), GQA_I8 (5), GQA_E4M3 (6), GQA_E4M3_240 (7) or GQA_I4 (8)",
            what, (unsigned long)word);
    }
    form->dtype = (gqa_dtype)x;
    form->rotated = word != x;
    if (form->rotated && !gqa__scaled(form->dtype)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "bytes",
                         "say that %s is of type %lu and rotated; only GQA_I8 (5), GQA_E4M3 (6), "
                         "GQA_E4M3_240 (7) and GQA_I4 (8) are",
                         what, (unsigned long)x);
    }
    return GQA_OK;
}

/* What comes before the counts. */
static gqa_status check_kind(const unsigned char *bytes, size_t size, gqa_error *err)
{
    if (size < GQA__SAVED_HEADER) {
        return gqa__fail(err, GQA_ERR_ARG, "size",
                         "is %zu; the header of a saved sequence alone has %d bytes", size,
                         GQA__SAVED_HEADER);
    }
    if (gqa__get_u64(bytes) != GQA__SAVED_MAGIC) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes",
                         "are no saved sequence: they must begin with %s", "\"gqaseq\\r\\n\"");
    }
    if (gqa__get_u32(bytes + GQA__AT_VERSION) != GQA__SAVED_VERSION) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "bytes",
                         "are of version %lu; this library reads version %d",
                         (unsigned long)gqa__get_u32(bytes + GQA__AT_VERSION), GQA__SAVED_VERSION);
    }
    const uint32_t header = gqa__get_u32(bytes + GQA__AT_HEADER);
    const uint32_t must =
        gqa__get_u32(bytes + GQA__AT_FIRST) > 0 ? GQA__SAVED_LONGER : GQA__SAVED_HEADER;
    if (header != must) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "say a header of %lu bytes; it must have %lu",
                         (unsigned long)header, (unsigned long)must);
    }
    if (size < must) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is %zu; the header alone has %lu bytes", size,
                         (unsigned long)must);
    }
    return GQA_OK;
}

/* What the sequence has lost at its beginning. Its last token is always there. */
static gqa_status get_past(struct gqa__saved *saved, const unsigned char *bytes, gqa_error *err)
{
    struct gqa__ring_past *const past = &saved->past;
    const gqa_status status =
        get_count(bytes, GQA__AT_FIRST, "tokens that left", &past->first, err);
    if (status != GQA_OK || past->first == 0) {
        return status;
    }
    const uint32_t origin = gqa__get_u32(bytes + GQA__AT_ORIGIN);
    const uint32_t released = gqa__get_u32(bytes + GQA__AT_RELEASED);
    if (released > INT32_MAX || origin > released) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes",
                         "say position %lu of index 0 and %lu of what left; the first must not be "
                         "above the second, nor that above %d",
                         (unsigned long)origin, (unsigned long)released, INT32_MAX);
    }
    if (saved->tokens < 1 || saved->tokens > INT32_MAX - past->first) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes",
                         "say %d tokens after %d that left; it must be 1 .. %d", (int)saved->tokens,
                         (int)past->first, INT32_MAX - (int)past->first);
    }
    past->origin = (int32_t)origin;
    past->released = (int32_t)released;
    return GQA_OK;
}

/* The counts, and with them the size of each part and of all. */
static gqa_status get_header(struct gqa__saved *saved, const unsigned char *bytes, size_t size,
                             gqa_error *err)
{
    const struct {
        size_t at;
        const char *what;
        int32_t *count;
    } counts[] = {{GQA__AT_TOKENS, "tokens", &saved->tokens},
                  {GQA__AT_COLUMNS, "columns", &saved->columns},
                  {GQA__AT_HKV, "KV heads", &saved->hkv},
                  {GQA__AT_DK, "elements of a head of K", &saved->dk},
                  {GQA__AT_DV, "elements of a head of V", &saved->dv}};
    gqa_status status = check_kind(bytes, size, err);
    saved->past = (struct gqa__ring_past){0};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0] && status == GQA_OK; i++) {
        status = get_count(bytes, counts[i].at, counts[i].what, counts[i].count, err);
    }
    if (status == GQA_OK) {
        status = get_past(saved, bytes, err);
    }
    if (status == GQA_OK) {
        status = get_form(bytes, GQA__AT_DTYPE_K, "K", &saved->k, err);
    }
    if (status == GQA_OK) {
        status = get_form(bytes, GQA__AT_DTYPE_V, "V", &saved->v, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (saved->hkv < 1 || saved->dk < 1 || saved->dv < 1) { /* so that each row has a byte */
        return gqa__fail(
            err, GQA_ERR_ARG, "bytes",
            "say %d KV heads, of %d elements of K and %d of V; each must be at least 1",
            (int)saved->hkv, (int)saved->dk, (int)saved->dv);
    }
    if (!gqa__saved_place(saved) || saved->size != size) {
        return gqa__fail(err, GQA_ERR_ARG, "size",
                         "is %zu; %d tokens of %d KV heads, as the header says, have another size",
                         size, (int)saved->tokens, (int)saved->hkv);
    }
    if (gqa__get_u64(bytes + GQA__AT_SIZE) != size) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "say a size of %llu; size is %zu",
                         (unsigned long long)gqa__get_u64(bytes + GQA__AT_SIZE), size);
    }
    return GQA_OK;
}

/* Positions are not negative; columns rise, no token without one, and end within those of the
 * sequence. */
static gqa_status check_lists(struct gqa__saved *saved, const unsigned char *bytes, gqa_error *err)
{
    uint32_t least = (uint32_t)saved->past.first; /* of the next column */
    saved->last = 0;
    for (int32_t i = 0; i < saved->tokens; i++) {
        const uint32_t position =
            gqa__get_u32(bytes + saved->part[GQA__SAVED_POSITIONS].at + (size_t)i * 4);
        const uint32_t column =
            gqa__get_u32(bytes + saved->part[GQA__SAVED_COLUMNS].at + (size_t)i * 4);
        if (position > INT32_MAX) {
            return gqa__fail(err, GQA_ERR_ARG, "bytes",
                             "give token %d position %lu; the most is %d", (int)i,
                             (unsigned long)position, INT32_MAX);
        }
        if (column < least || column >= (uint32_t)saved->columns) {
            return gqa__fail(err, GQA_ERR_ARG, "bytes",
                             "give token %d column %lu; it must be %lu .. %d", (int)i,
                             (unsigned long)column, (unsigned long)least, (int)saved->columns - 1);
        }
        least = column + 1;
        saved->last = (int32_t)position;
    }
    return GQA_OK;
}

/* May codes be what quantising n elements left? Those beyond them are 0. */
static bool codes_sound(const unsigned char *code, gqa_dtype type, int32_t n)
{
    const int64_t all =
        type == GQA_I4 ? (int64_t)gqa__row_scales(type, n) * GQA__I4_GROUP : (int64_t)n;
    bool sound = true;

    for (int64_t i = 0; i < all; i++) {
        const float value = gqa__code_value(type, code, i);
        const float most = i < n ? gqa__code_limit(type) : 0.0f;
        sound = sound && value >= -most && value <= most;
    }
    return sound;
}

/* Codes and scales of K or V. */
static gqa_status check_scaled(const struct gqa__saved *saved, const unsigned char *bytes,
                               bool value, gqa_error *err)
{
    const gqa_dtype type = value ? saved->v.dtype : saved->k.dtype;
    const int32_t dim = value ? saved->dv : saved->dk, scales = gqa__row_scales(type, dim);
    const size_t row = gqa__stored_bytes(type, dim), rows = (size_t)saved->tokens;
    const unsigned char *const code = bytes + saved->part[value ? GQA__SAVED_V : GQA__SAVED_K].at;
    const unsigned char *const scale =
        bytes + saved->part[value ? GQA__SAVED_V_SCALES : GQA__SAVED_K_SCALES].at;

    for (size_t i = 0; i < rows * (size_t)saved->hkv && gqa__scaled(type); i++) {
        if (!codes_sound(code + i * row, type, dim)) {
            return gqa__fail(err, GQA_ERR_ARG, "bytes",
                             "hold a code of %s, of token %zu, that no quantised number has",
                             value ? "V" : "K", i / (size_t)saved->hkv);
        }
        for (size_t g = 0; g < (size_t)scales; g++) {
            const uint32_t word = gqa__get_u32(scale + (i * (size_t)scales + g) * sizeof word);
            if (!gqa__scale_sound(gqa__f32_from_bits(word))) {
                return gqa__fail(err, GQA_ERR_ARG, "bytes",
                                 "hold 0x%08lx as a scale of %s, of token %zu, which is none",
                                 (unsigned long)word, value ? "V" : "K", i / (size_t)saved->hkv);
            }
        }
    }
    return GQA_OK;
}

/* The bytes between the parts. */
static bool gaps_are_zero(const struct gqa__saved *saved, const unsigned char *bytes)
{
    unsigned char any = 0;
    for (int i = 0; i < GQA__SAVED_PARTS; i++) {
        for (size_t at = saved->part[i].end; at < gqa__saved_gap_end(saved, i); at++) {
            any |= bytes[at];
        }
    }
    return any == 0;
}

gqa_status gqa__saved_read(struct gqa__saved *saved, const unsigned char *bytes, size_t size,
                           gqa_error *err)
{
    gqa_status status = get_header(saved, bytes, size, err);
    if (status != GQA_OK) {
        return status;
    }
    const uint64_t said = gqa__get_u64(bytes + GQA__AT_CHECKSUM),
                   found = gqa__saved_checksum(bytes, size);
    if (said != found) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes",
                         "are damaged: their checksum is %016llx, the header says %016llx",
                         (unsigned long long)found, (unsigned long long)said);
    }
    if (!gaps_are_zero(saved, bytes)) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "are not zero between two parts");
    }
    status = check_lists(saved, bytes, err);
    if (status == GQA_OK) {
        status = check_scaled(saved, bytes, false, err);
    }
    if (status == GQA_OK) {
        status = check_scaled(saved, bytes, true, err);
    }
    return status;
}

/* K or V of one saved token and head as a page stores it. */
static void get_row(const struct gqa__saved *saved, const unsigned char *bytes, int32_t token,
                    const struct gqa__row_at *at, struct gqa__row *row)
{
    const gqa_dtype type = at->value ? saved->v.dtype : saved->k.dtype;
    const int32_t dim = at->value ? saved->dv : saved->dk;
    const enum gqa__saved_part part = at->value ? GQA__SAVED_V : GQA__SAVED_K;
    const enum gqa__saved_part part_scales = at->value ? GQA__SAVED_V_SCALES : GQA__SAVED_K_SCALES;
    const size_t size = gqa__stored_bytes(type, dim), scales = (size_t)gqa__row_scales(type, dim);
    const unsigned char *const from = bytes + gqa__saved_row(saved, part, token, at->head, size);
    const unsigned char *const scale =
        bytes + gqa__saved_row(saved, part_scales, token, at->head, scales * sizeof(float));

    for (size_t i = 0; i < (size_t)dim && type == GQA_F32; i++) {
        const uint32_t word = gqa__get_u32(from + i * sizeof word);
        memcpy(row->element + i * sizeof word, &word, sizeof word);
    }
    for (size_t i = 0; i < (size_t)dim && gqa__dtype_size(type) == 2; i++) {
        const uint16_t half = gqa__get_u16(from + i * sizeof half);
        memcpy(row->element + i * sizeof half, &half, sizeof half);
    }
    if (gqa__scaled(type)) {
        memcpy(row->element, from, size);
    }
    for (size_t g = 0; g < scales; g++) {
        row->scale[g] = gqa__f32_from_bits(gqa__get_u32(scale + g * sizeof(float)));
    }
}

/* Positions and columns of all tokens, a few at a time. */
static void restore_lists(struct gqa_cache *cache, int32_t sequence, const struct gqa__saved *saved,
                          const unsigned char *bytes)
{
    int32_t positions[64], columns[64];
    int32_t n;
    for (int32_t done = 0; done < saved->tokens; done += n) {
        n = (int32_t)gqa__min(saved->tokens - done, 64);
        for (int32_t i = 0; i < n; i++) {
            const size_t at = (size_t)(done + i) * 4;
            positions[i] = (int32_t)gqa__get_u32(bytes + saved->part[GQA__SAVED_POSITIONS].at + at);
            columns[i] = (int32_t)gqa__get_u32(bytes + saved->part[GQA__SAVED_COLUMNS].at + at);
        }
        gqa__cache_extend(cache, sequence, n, positions, columns, columns[n - 1] + 1);
    }
    gqa__cache_extend(cache, sequence, 0, NULL, NULL, saved->columns);
}

/* K and V of the saved tokens [first, first + n), head by head: codes and scales as they are where
 * the cache's form is the same. */
static void restore_rows(struct gqa_cache *cache, int32_t sequence, const struct gqa__saved *saved,
                         const unsigned char *bytes, int32_t first, int32_t n)
{
    struct gqa__row row;

    for (int32_t head = 0; head < saved->hkv; head++) {
        for (int32_t i = first; i < first + n; i++) {
            struct gqa__row_at at = {head, saved->past.first + i, false};
            get_row(saved, bytes, i, &at, &row);
            gqa__cache_set_row(cache, sequence, &at, &row, saved->k);
            at.value = true;
            get_row(saved, bytes, i, &at, &row);
            gqa__cache_set_row(cache, sequence, &at, &row, saved->v);
        }
    }
}

void gqa__saved_restore(struct gqa_cache *cache, int32_t sequence, const struct gqa__saved *saved,
                        const unsigned char *bytes)
{
    int32_t n;
    gqa__ring_begin(cache, sequence, &saved->past);
    restore_lists(cache, sequence, saved, bytes);
    for (int32_t done = 0; done < saved->tokens; done += n) {
        n = (int32_t)gqa__min(saved->tokens - done, cache->layout.page_size);
        restore_rows(cache, sequence, saved, bytes, done, n);
    }
}
