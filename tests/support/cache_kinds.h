/* SPDX-License-Identifier: Apache-2.0 */
/* cache_kinds.h - what the tests of cache and views share: layers whose caches lie in different
 * ways, values for them, and what a page gives back. */
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
    bool rotate_k, rotate_v;
};

extern const struct cache_kind cache_kinds[];
extern const int cache_kind_count;

/* A layer that has all a cache asks for. kernels is the caller's memory. */
void cache_kind_layer(struct gqa_layer *layer, struct gqa__kernels *kernels,
                      const struct cache_kind *kind, int32_t hkv, int32_t dk, int32_t dv);

/* Mostly plain numbers, some zeros of both signs, denormals and bf16 ties; with odd also NaN of any
 * payload and infinities. */
float cache_value(uint64_t *state, bool odd);

/* What a page gives back for x: NaN canonical, bf16 and f16 rounded to nearest even. Shares no code
 * with src. */
float cache_stored(float x, gqa_dtype storage);
uint32_t float_bits(float x);

#endif
