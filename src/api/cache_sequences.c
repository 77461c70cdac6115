/* SPDX-License-Identifier: Apache-2.0 */
/* cache_sequences.c - public functions that make a sequence of another one, or of its own tokens.
 */
#include "api/cache_checks.h"
#include "api/sequences.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "cache/ring.h"
#include "cache/saved.h"
#include "gqa/cache.h"

gqa_status gqa__check_fork(const gqa_cache *cache, int32_t from, int32_t to, gqa_error *err)
{
    gqa_status status = gqa__check_sequence(cache, "from", from, err);
    if (status == GQA_OK && from == to) {
        status =
            gqa__fail(err, GQA_ERR_ARG, "to", "is %d, and from too; they must differ", (int)to);
    }
    if (status == GQA_OK) {
        status = gqa__check_empty(cache, "to", to, err);
    }
    return status;
}

gqa_status gqa_cache_fork(gqa_cache *cache, int32_t from, int32_t to, gqa_error *err)
{
    const gqa_status status = gqa__check_fork(cache, from, to, err);
    if (status == GQA_OK) {
        gqa__cache_fork(cache, from, to);
    }
    return status;
}

/* Places among the last `last` tokens, rising. */
static gqa_status check_kept(const int32_t *kept, int32_t n, int32_t last, gqa_error *err)
{
    if (n < 0 || n > last) {
        return gqa__fail(err, GQA_ERR_ARG, "n", "is %d; it must be 0 .. %d, last", (int)n,
                         (int)last);
    }
    if (kept == NULL && n > 0) {
        return gqa__fail(err, GQA_ERR_ARG, "kept", "is NULL; n is %d", (int)n);
    }
    for (int32_t i = 0; i < n; i++) {
        if (kept[i] < 0 || kept[i] >= last) {
            return gqa__fail(err, GQA_ERR_ARG, "kept", "[%d] is %d; it must be 0 .. %d", (int)i,
                             (int)kept[i], (int)last - 1);
        }
        if (i > 0 && kept[i] <= kept[i - 1]) {
            return gqa__fail(err, GQA_ERR_ARG, "kept", "[%d] is %d after %d; they must rise",
                             (int)i, (int)kept[i], (int)kept[i - 1]);
        }
    }
    return GQA_OK;
}

gqa_status gqa__check_keep(const gqa_cache *cache, int32_t sequence, int32_t last,
                           const int32_t *kept, int32_t n, gqa_error *err)
{
    gqa_status status = gqa__check_sequence(cache, "sequence", sequence, err);
    if (status != GQA_OK) {
        return status;
    }
    const int32_t length = cache->sequences[sequence].length;
    const int32_t held = length - cache->sequences[sequence].first;
    if (last < 0 || last > held) {
        return gqa__fail(err, GQA_ERR_ARG, "last",
                         "is %d; it must be 0 .. %d, the tokens that sequence %d holds", (int)last,
                         (int)held, (int)sequence);
    }
    status = check_kept(kept, n, last, err);
    if (status == GQA_OK && n < last && length - last + n > 0) {
        const int32_t end = length - last + (n > 0 ? kept[n - 1] : -1);
        status = gqa__check_last(cache, sequence, end, "n", n, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const int64_t pages = gqa__cache_keep_pages(cache, sequence, length - last, kept, n);
    if (pages > cache->free_count) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "tokens of sequence %d move within %lld pages that others share; %lld of "
                         "%lld are free",
                         (int)sequence, (long long)pages, (long long)cache->free_count,
                         (long long)cache->num_pages);
    }
    return GQA_OK;
}

gqa_status gqa_cache_keep(gqa_cache *cache, int32_t sequence, int32_t last, const int32_t *kept,
                          int32_t n, gqa_error *err)
{
    const gqa_status status = gqa__check_keep(cache, sequence, last, kept, n, err);
    if (status == GQA_OK) {
        gqa__cache_keep(cache, sequence, cache->sequences[sequence].length - last, kept, n);
    }
    return status;
}

/* Which tokens are asked for: an id of a sequence, each once, and no negative count. */
static gqa_status check_asked(const gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                              int32_t count, gqa_error *err)
{
    if (count < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "count", "is %d; it must be at least 0", (int)count);
    }
    if (count > 0 && (sequences == NULL || n == NULL)) {
        return gqa__fail(err, GQA_ERR_ARG, sequences == NULL ? "sequences" : "n",
                         "is NULL; count is %d", (int)count);
    }
    for (int32_t i = 0; i < count; i++) {
        const gqa_status status = gqa__check_sequence(cache, "sequences", sequences[i], err);
        if (status != GQA_OK) {
            return status;
        }
        if (n[i] < 0) {
            return gqa__fail(err, GQA_ERR_ARG, "n", "[%d] is %d; it must be at least 0", (int)i,
                             (int)n[i]);
        }
        for (int32_t j = 0; j < i; j++) {
            if (sequences[j] == sequences[i]) {
                return gqa__fail(err, GQA_ERR_ARG, "sequences",
                                 "[%d] and [%d] are both %d; no two may be equal", (int)j, (int)i,
                                 (int)sequences[i]);
            }
        }
    }
    return GQA_OK;
}

/* New pages for all of them, less those that they give back first. */
static int64_t count_new_pages(gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                               int32_t count)
{
    int64_t pages = 0;
    for (int32_t i = 0; i < count; i++) {
        const int64_t next = (int64_t)cache->sequences[sequences[i]].last + 1;
        pages -= n[i] > 0 ? gqa__ring_claim(cache, sequences[i], next) : 0;
    }
    for (int32_t i = 0; i < count; i++) {
        pages += gqa__cache_claim(cache, sequences[i], n[i]);
    }
    for (int32_t i = 0; i < count; i++) {
        gqa__cache_unclaim(cache, sequences[i], n[i]);
        if (n[i] > 0) {
            gqa__ring_unclaim(cache, sequences[i],
                              (int64_t)cache->sequences[sequences[i]].last + 1);
        }
    }
    return pages;
}

gqa_status gqa__check_room(gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                           int32_t count, gqa_error *err)
{
    gqa_status status = check_asked(cache, sequences, n, count, err);
    for (int32_t i = 0; i < count && status == GQA_OK; i++) {
        status = gqa__cache_fits(cache, sequences[i], n[i], n[i], err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const int64_t pages = count_new_pages(cache, sequences, n, count);
    if (pages > cache->free_count) {
        return gqa__fail(err, GQA_ERR_CACHE_FULL, "cache",
                         "these tokens need %lld pages; %lld of %lld are free", (long long)pages,
                         (long long)cache->free_count, (long long)cache->num_pages);
    }
    return GQA_OK;
}

gqa_status gqa_cache_room(gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                          int32_t count, gqa_error *err)
{
    return cache == NULL ? gqa__fail(err, GQA_ERR_ARG, "cache", "is NULL")
                         : gqa__check_room(cache, sequences, n, count, err);
}

gqa_status gqa__check_copy(const gqa_cache *to, int32_t to_sequence, const gqa_cache *from,
                           int32_t from_sequence, int32_t convert, gqa_error *err)
{
    gqa_status status = gqa__check_sequence(from, "from_sequence", from_sequence, err);
    if (status == GQA_OK) {
        status = gqa__check_empty(to, "to_sequence", to_sequence, err);
    }
    if (status == GQA_OK && to == from && to_sequence == from_sequence) {
        status = gqa__fail(err, GQA_ERR_ARG, "to_sequence",
                           "is %d, and from_sequence too, of one cache; they must differ",
                           (int)to_sequence);
    }
    if (status == GQA_OK) {
        status = gqa__check_convert(convert, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const struct gqa__saved form = gqa__saved_form(from, from_sequence);
    status = gqa__saved_fits(to, &form, convert != 0, "from", err);
    return status == GQA_OK ? gqa__cache_room_for(to, to_sequence, form.past.first,
                                                  form.past.first + form.tokens, err)
                            : status;
}

gqa_status gqa_cache_copy(gqa_cache *to, int32_t to_sequence, const gqa_cache *from,
                          int32_t from_sequence, int32_t convert, gqa_error *err)
{
    if (to == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "to", "is NULL");
    }
    if (from == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "from", "is NULL");
    }
    const gqa_status status = gqa__check_copy(to, to_sequence, from, from_sequence, convert, err);
    if (status == GQA_OK) {
        const gqa__fpmode mode = gqa__fpmode_enter();
        gqa__cache_copy(to, to_sequence, from, from_sequence);
        gqa__fpmode_leave(mode);
    }
    return status;
}
