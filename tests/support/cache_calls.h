/* SPDX-License-Identifier: Apache-2.0 */
/* cache_calls.h - every function of gqa/cache.h and gqa/model_cache.h that works on a cache, called
 * with good arguments. */
#ifndef SUPPORT_CACHE_CALLS_H
#define SUPPORT_CACHE_CALLS_H

#include "gqa/cache.h"

/* The names of the functions that cache_calls_run calls, each once. */
extern const char *const cache_calls[];
extern const int cache_call_count;

enum { CACHE_CALLS_TOKENS = 3 };

/* A layer, and keys and values for CACHE_CALLS_TOKENS tokens of it: k as f16, v as f32. */
struct cache_calls_input {
    const gqa_layer *layer;
    int32_t kv_heads, head_dim, v_head_dim;
    const uint16_t *k;
    const float *v;
};

/* Call all of them. Results go to memory that room returns for so many bytes, zeroed; done hears
 * each status. */
void cache_calls_run(const struct cache_calls_input *input, void *(*room)(size_t size),
                     void (*done)(gqa_status status));

#endif
