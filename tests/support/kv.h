/* SPDX-License-Identifier: Apache-2.0 */
/* kv.h - what the tests of cache and views share: rows of several geometries, an allocator that
 * counts, fills with garbage and can refuse, and numbers. */
#ifndef TEST_KV_H
#define TEST_KV_H

#include <stdbool.h>

#include "cache/cache.h"
#include "layer/layer.h"

/* A scalar kernels, some of its geometry replaced (0 = the row's own), and storage types. */
struct kv_case {
    const char *name;
    gqa_numerics numerics;
    gqa_dtype dtype_k, dtype_v;
    int32_t panel_keys, depth_step, value_step;
};

extern const struct kv_case kv_cases[];
extern const int kv_case_count;

/* A layer that has all a cache asks for. kernels is the caller's memory. */
void kv_layer(struct gqa_layer *layer, struct gqa__kernels *kernels, const struct kv_case *kv,
              int32_t hkv, int32_t dk, int32_t dv);

/* One block at a time is enough for a cache. New memory is full of 0xa5. */
struct kv_host {
    void *block;
    size_t size; /* of the block */
    int allocated, released;
    int refuse; /* the allocation, counted from 1, that gets NULL; 0 = none */
};
void kv_host_runtime(struct kv_host *host, gqa_runtime *runtime);

uint32_t kv_random(uint64_t *state);                            /* splitmix64, upper half */
int32_t kv_between(uint64_t *state, int32_t low, int32_t high); /* both included */

/* Mostly plain numbers, some zeros of both signs, denormals and bf16 ties; with odd also NaN of any
 * payload and infinities. */
float kv_value(uint64_t *state, bool odd);

/* What a page gives back for x: NaN canonical, bf16 rounded to nearest even. Shares no code with
 * src. */
float kv_stored(float x, gqa_dtype storage);
uint32_t kv_bits(float x);

#endif
