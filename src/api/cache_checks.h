/* SPDX-License-Identifier: Apache-2.0 */
/* cache_checks.h - what a change of one sequence needs: checked before anything is changed, for one
 * cache by its public functions, and for all caches of a model by those of gqa/model_cache.h. */
#ifndef GQA__CACHE_CHECKS_H
#define GQA__CACHE_CHECKS_H

#include "cache/saved.h"

gqa_status gqa__check_truncate(const gqa_cache *cache, int32_t sequence, int32_t length,
                               gqa_error *err);
gqa_status gqa__check_fork(const gqa_cache *cache, int32_t from, int32_t to, gqa_error *err);
gqa_status gqa__check_keep(const gqa_cache *cache, int32_t sequence, int32_t last,
                           const int32_t *kept, int32_t n, gqa_error *err);
/* to and from are not NULL. */
gqa_status gqa__check_copy(const gqa_cache *to, int32_t to_sequence, const gqa_cache *from,
                           int32_t from_sequence, int32_t convert, gqa_error *err);

/* The form of a sequence that is to be saved, placed. */
gqa_status gqa__check_save(const gqa_cache *cache, int32_t sequence, struct gqa__saved *saved,
                           gqa_error *err);
/* bytes is not NULL. Fills *saved. */
gqa_status gqa__check_load(const gqa_cache *cache, int32_t sequence, const void *bytes, size_t size,
                           int32_t convert, struct gqa__saved *saved, gqa_error *err);

/* Room for n[i] more tokens of each of these sequences, whose positions follow; the cache is the
 * same afterwards. */
gqa_status gqa__check_room(gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                           int32_t count, gqa_error *err);

#endif
