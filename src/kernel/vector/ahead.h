/* SPDX-License-Identifier: Apache-2.0 */
/* ahead.h - what is read soon, a block's prefetches, in shares: one for each step of the work, so
 * that no step waits for many lines at once. */
#ifndef GQA__KERNEL_VECTOR_AHEAD_H
#define GQA__KERNEL_VECTOR_AHEAD_H

#include "kernel/contract/kernel.h"
#include "kernel/vector/words.h"

struct ahead {
    const struct gqa__prefetch *at; /* [rest] */
    int32_t rest;
    size_t done;   /* bytes of the first */
    int64_t share; /* lines */
};

enum { LINE = 64 }; /* bytes of a cache line */

/* All of list [n] in so many steps. */
static inline struct ahead look_ahead(const struct gqa__prefetch *list, int32_t n, int64_t steps)
{
    struct ahead ahead = {list, n, 0, 0};
    int64_t lines = 0;

    for (int32_t i = 0; i < n; i++) {
        lines += (int64_t)((list[i].bytes + LINE - 1) / LINE);
    }
    ahead.share = (lines + steps - 1) / steps;
    return ahead;
}

INLINE void prefetch_share(struct ahead *ahead)
{
    for (int64_t i = 0; i < ahead->share && ahead->rest > 0; i++) {
        v_prefetch((uintptr_t)ahead->at->at + ahead->done);
        ahead->done += LINE;
        if (ahead->done >= ahead->at->bytes) {
            ahead->done = 0;
            ahead->at++;
            ahead->rest--;
        }
    }
}

#endif
