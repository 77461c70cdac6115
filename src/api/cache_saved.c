/* SPDX-License-Identifier: Apache-2.0 */
/* cache_saved.c - public functions that save a sequence as bytes and load it. */
#include "api/cache_checks.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "cache/saved.h"
#include "gqa/cache.h"

gqa_status gqa__check_save(const gqa_cache *cache, int32_t sequence, struct gqa__saved *saved,
                           gqa_error *err)
{
    const gqa_status status = gqa__check_sequence(cache, "sequence", sequence, err);
    if (status != GQA_OK) {
        return status;
    }
    *saved = gqa__saved_form(cache, sequence);
    if (!gqa__saved_place(saved)) {
        return gqa__fail(err, GQA_ERR_ARG, "sequence",
                         "%d holds %d tokens, whose bytes exceed the address space", (int)sequence,
                         (int)saved->tokens);
    }
    return GQA_OK;
}

gqa_status gqa_cache_save_size(const gqa_cache *cache, int32_t sequence, size_t *size,
                               gqa_error *err)
{
    struct gqa__saved saved;
    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    const gqa_status status = gqa__check_save(cache, sequence, &saved, err);
    if (status == GQA_OK) {
        *size = saved.size;
    }
    return status;
}

gqa_status gqa_cache_save(const gqa_cache *cache, int32_t sequence, void *bytes, size_t size,
                          gqa_error *err)
{
    struct gqa__saved saved;
    const gqa_status status = gqa__check_save(cache, sequence, &saved, err);
    if (status != GQA_OK) {
        return status;
    }
    if (bytes == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "bytes", "is NULL");
    }
    if (size != saved.size) {
        return gqa__fail(err, GQA_ERR_ARG, "size",
                         "is %zu; sequence %d takes %zu bytes (gqa_cache_save_size)", size,
                         (int)sequence, saved.size);
    }
    gqa__saved_write(cache, sequence, &saved, bytes);
    return GQA_OK;
}

gqa_status gqa__check_load(const gqa_cache *cache, int32_t sequence, const void *bytes, size_t size,
                           int32_t convert, struct gqa__saved *saved, gqa_error *err)
{
    gqa_status status = gqa__check_convert(convert, err);
    if (status == GQA_OK) {
        status = gqa__saved_read(saved, bytes, size, err);
    }
    if (status == GQA_OK) {
        status = gqa__saved_fits(cache, saved, convert != 0, "bytes", err);
    }
    if (status == GQA_OK) {
        status = gqa__cache_room_for(cache, sequence, saved->past.first,
                                     saved->past.first + saved->tokens, err);
    }
    return status;
}

gqa_status gqa_cache_load(gqa_cache *cache, int32_t sequence, const void *bytes, size_t size,
                          int32_t convert, gqa_error *err)
{
    struct gqa__saved saved;
    gqa_status status = gqa__check_empty(cache, "sequence", sequence, err);
    if (status == GQA_OK && bytes == NULL) {
        status = gqa__fail(err, GQA_ERR_ARG, "bytes", "is NULL");
    }
    if (status == GQA_OK) {
        status = gqa__check_load(cache, sequence, bytes, size, convert, &saved, err);
    }
    if (status == GQA_OK) {
        const gqa__fpmode mode = gqa__fpmode_enter();
        gqa__saved_restore(cache, sequence, &saved, bytes);
        gqa__fpmode_leave(mode);
    }
    return status;
}
