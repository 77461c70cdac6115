/* SPDX-License-Identifier: Apache-2.0 */
/* model_saved.c - a sequence of all caches of a model as bytes: a header, how long each part is,
 * and the saved sequence of each cache (cache/saved.h), in the order of their layers.
 *
 * All numbers have their lowest byte first.
 *
 *    0  8 bytes  "gqamodl\n"
 *    8  u32      version, 1
 *   12  u32      caches
 *   16  u64      size of all
 *   24  32 bytes of zero
 *   56  u64      checksum of what comes before the first part, as in cache/saved.h
 *   64  u64      size of each part [caches]
 *                the parts
 */
#include "api/cache_checks.h"
#include "api/model_cache.h"
#include "api/sequences.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/memory.h"

#include <string.h>

#define MAGIC   UINT64_C(0x0a6c646f6d617167) /* "gqamodl\n" */
#define VERSION 1

enum {
    AT_VERSION = 8,
    AT_CACHES = 12,
    AT_SIZE = 16,
    AT_ZERO = 24,
    AT_CHECKSUM = 56,
    AT_TABLE = 64
};

static size_t head_size(const gqa_model_cache *model)
{
    return AT_TABLE + 8 * (size_t)model->owners;
}

gqa_status gqa_model_cache_save_size(const gqa_model_cache *model, int32_t sequence, size_t *size,
                                     gqa_error *err)
{
    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    gqa_status status = gqa__model_agrees(model, "sequence", sequence, err);
    if (status != GQA_OK) {
        return status;
    }
    size_t all = head_size(model);
    for (int32_t i = 0; i < model->owners && status == GQA_OK; i++) {
        struct gqa__saved saved;
        status = gqa__check_save(model->cache[i], sequence, &saved, err);
        if (status == GQA_OK && !gqa__add(all, saved.size, &all)) {
            status = gqa__fail(err, GQA_ERR_ARG, "sequence",
                               "%d takes more bytes than the address space has", (int)sequence);
        }
        status = gqa__model_in_layer(model, i, status, err);
    }
    if (status == GQA_OK) {
        *size = all;
    }
    return status;
}

gqa_status gqa_model_cache_save(const gqa_model_cache *model, int32_t sequence, void *bytes,
                                size_t size, gqa_error *err)
{
    unsigned char *const head = bytes;
    size_t need = 0, at = 0;
    const gqa_status status = gqa_model_cache_save_size(model, sequence, &need, err);
    if (status != GQA_OK) {
        return status;
    }
    if (bytes == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "is NULL");
    }
    if (size != need) {
        return gqa__fail(err, GQA_ERR_ARG, "size",
                         "is %zu; sequence %d takes %zu bytes (gqa_model_cache_save_size)", size,
                         (int)sequence, need);
    }
    memset(head, 0, AT_TABLE);
    gqa__put_u64(head, MAGIC);
    gqa__put_u32(head + AT_VERSION, VERSION);
    gqa__put_u32(head + AT_CACHES, (uint32_t)model->owners);
    gqa__put_u64(head + AT_SIZE, size);
    at = head_size(model);
    for (int32_t i = 0; i < model->owners; i++) {
        struct gqa__saved saved = gqa__saved_form(model->cache[i], sequence);
        (void)gqa__saved_place(&saved); /* it was when its size was asked for */
        gqa__put_u64(head + AT_TABLE + 8 * (size_t)i, saved.size);
        gqa__saved_write(model->cache[i], sequence, &saved, head + at);
        at += saved.size;
    }
    gqa__put_u64(head + AT_CHECKSUM, gqa__saved_checksum(head, head_size(model)));
    return GQA_OK;
}

/* Is the head sound, and made of as many caches as the model has? */
static gqa_status check_head(const gqa_model_cache *model, const unsigned char *bytes, size_t size,
                             gqa_error *err)
{
    unsigned char any = 0;
    if (size < AT_TABLE || gqa__get_u64(bytes) != MAGIC) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes",
                         "are no saved sequence of a model: they must begin with %s, and be more "
                         "than %d",
                         "\"gqamodl\\n\"", AT_TABLE);
    }
    if (gqa__get_u32(bytes + AT_VERSION) != VERSION) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "bytes",
                         "are of version %lu; this library reads version %d",
                         (unsigned long)gqa__get_u32(bytes + AT_VERSION), VERSION);
    }
    if (gqa__get_u32(bytes + AT_CACHES) != (uint32_t)model->owners) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "are of %lu caches; the model has %d",
                         (unsigned long)gqa__get_u32(bytes + AT_CACHES), (int)model->owners);
    }
    if (size < head_size(model) || gqa__get_u64(bytes + AT_SIZE) != size) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is %zu; the bytes say %llu", size,
                         (unsigned long long)gqa__get_u64(bytes + AT_SIZE));
    }
    for (size_t i = AT_ZERO; i < AT_CHECKSUM; i++) {
        any |= bytes[i];
    }
    if (any != 0 ||
        gqa__get_u64(bytes + AT_CHECKSUM) != gqa__saved_checksum(bytes, head_size(model))) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "are damaged: their first %zu are not sound",
                         head_size(model));
    }
    return GQA_OK;
}

/* Every part, within the size, for its cache; all of one length. Fills model->saved. */
static gqa_status check_parts(const gqa_model_cache *model, const unsigned char *bytes, size_t size,
                              int32_t convert, int32_t sequence, gqa_error *err)
{
    size_t at = head_size(model);
    int32_t length = 0;
    for (int32_t i = 0; i < model->owners; i++) {
        const uint64_t part = gqa__get_u64(bytes + AT_TABLE + 8 * (size_t)i);
        struct gqa__saved *const saved = &model->saved[i];
        gqa_status status = GQA_OK;
        if (part > size - at || (i + 1 == model->owners && part != size - at)) {
            status = gqa__fail(err, GQA_ERR_ARG, "bytes", "give cache %d %llu of the %zu left",
                               (int)i, (unsigned long long)part, size - at);
        }
        if (status == GQA_OK) {
            status = gqa__check_load(model->cache[i], sequence, bytes + at, (size_t)part, convert,
                                     saved, err);
        }
        if (status == GQA_OK && i > 0 && saved->past.first + saved->tokens != length) {
            status = gqa__fail(err, GQA_ERR_ARG, "bytes", "are of %d tokens, and of %d in layer 0",
                               (int)(saved->past.first + saved->tokens), (int)length);
        }
        if (status != GQA_OK) {
            return gqa__model_in_layer(model, i, status, err);
        }
        length = saved->past.first + saved->tokens;
        at += (size_t)part;
    }
    return GQA_OK;
}

gqa_status gqa_model_cache_load(gqa_model_cache *model, int32_t sequence, const void *bytes,
                                size_t size, int32_t convert, gqa_error *err)
{
    gqa_status status = model == NULL ? gqa__fail(err, GQA_ERR_ARG, "model", "is NULL") : GQA_OK;
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        status = gqa__check_empty(model->cache[i], "sequence", sequence, err);
        status = gqa__model_in_layer(model, i, status, err);
    }
    if (status == GQA_OK && bytes == NULL) {
        status = gqa__fail(err, GQA_ERR_ARG, "bytes", "is NULL");
    }
    if (status == GQA_OK) {
        status = check_head(model, bytes, size, err);
    }
    if (status == GQA_OK) {
        status = check_parts(model, bytes, size, convert, sequence, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const gqa__fpmode mode = gqa__fpmode_enter();
    const unsigned char *part = (const unsigned char *)bytes + head_size(model);
    for (int32_t i = 0; i < model->owners; i++) {
        gqa__saved_restore(model->cache[i], sequence, &model->saved[i], part);
        part += model->saved[i].size;
    }
    gqa__fpmode_leave(mode);
    return GQA_OK;
}
