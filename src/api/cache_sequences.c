/* SPDX-License-Identifier: Apache-2.0 */
/* cache_sequences.c - public functions that make a sequence of another one. */
#include "api/sequences.h"
#include "base/error.h"
#include "cache/cache.h"
#include "gqa/cache.h"

gqa_status gqa_cache_fork(gqa_cache *cache, int32_t from, int32_t to, gqa_error *err)
{
    gqa_status status = gqa__check_sequence(cache, "from", from, err);
    if (status == GQA_OK && from == to) {
        status =
            gqa__fail(err, GQA_ERR_ARG, "to", "is %d, and from too; they must differ", (int)to);
    }
    if (status == GQA_OK) {
        status = gqa__check_empty(cache, "to", to, err);
    }
    if (status == GQA_OK) {
        gqa__cache_fork(cache, from, to);
    }
    return status;
}
