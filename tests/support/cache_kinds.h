/* SPDX-License-Identifier: Apache-2.0 */
/* cache_kinds.h - what the tests of cache and views share: rows of several geometries, an allocator
 * that counts, fills with garbage and can refuse, and numbers. */
#ifndef TEST_CACHE_KINDS_H
#define TEST_CACHE_KINDS_H

#include <stdbool.h>

#include "cache/cache.h"
#include "layer/layer.h"

/* A scalar kernel set, some of its geometry replaced (0 = its own), and storage types. */
struct cache_kind {
    const char *name;
    gqa_numerics numerics;
    gqa_dtype dtype_k, dtype_v;
    int32_t panel_keys, depth_step, value_step;
};

extern const struct cache_kind cache_kinds[];
extern const int cache_kind_count;

/* A layer that has all a cache asks for. kernels is the caller's memory. */
void cache_kind_layer(struct gqa_layer *layer, struct gqa__kernels *kernels,
                      const struct cache_kind *kind, int32_t hkv, int32_t dk, int32_t dv);

/* One block at a time is enough for a cache. New memory is full of 0xa5. */
struct cache_host {
    void *block;
    size_t size; /* of the block */
    int allocated, released;
    int refuse; /* the allocation, counted from 1, that gets NULL; 0 = none */
};
void cache_host_runtime(struct cache_host *host, gqa_runtime *runtime);

uint32_t random_u32(uint64_t *state);                               /* splitmix64, upper half */
int32_t random_between(uint64_t *state, int32_t low, int32_t high); /* both included */

/* Mostly plain numbers, some zeros of both signs, denormals and bf16 ties; with odd also NaN of any
 * payload and infinities. */
float cache_value(uint64_t *state, bool odd);

/* What a page gives back for x: NaN canonical, bf16 rounded to nearest even. Shares no code with
 * src. */
float cache_stored(float x, gqa_dtype storage);
uint32_t float_bits(float x);

#endif
