/* SPDX-License-Identifier: Apache-2.0 */
/* small_layer.h - a small layer with weights for its config, a cache, and calls on them. */
#ifndef TEST_SMALL_LAYER_H
#define TEST_SMALL_LAYER_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "support/weight_set.h"

enum {
    SMALL_HIDDEN = 24,
    SMALL_HQ = 4,
    SMALL_HKV = 2,
    SMALL_DK = 10,
    SMALL_DV = 9,
    SMALL_TOKENS = 64,
    SMALL_SEQUENCES = 4
};

/* A set of hidden 24, heads 4/2, head_dim 10, v_head_dim 9, rope HALF, no norm; any kernel set. */
void small_set_init(struct weight_set *set);

/* Attention alone: no hidden states, so no weights, and no rope. v_head_dim 0 = head_dim. */
gqa_config attention_config(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t v_head_dim);
/* A layer that needs no weights; must succeed. runtime may be NULL. */
gqa_layer *attention_layer(const gqa_config *config, const gqa_runtime *runtime);

struct small_layer {
    struct weight_set model;
    gqa_layer *layer;
    gqa_cache *cache; /* SMALL_SEQUENCES of SMALL_TOKENS tokens, pages of 16 */
    float x[SMALL_SEQUENCES * SMALL_TOKENS * SMALL_HIDDEN]; /* random hidden states */
    gqa_error err;
};

/* edit (may be NULL) changes the config before weights, layer and cache are made; must succeed. */
void small_layer_open(struct small_layer *small, void (*edit)(gqa_config *config));
void small_layer_close(struct small_layer *small);

/* gqa_forward of b x t tokens of x (f32), with in's other fields (NULL = none), into out
 * [b][t][hidden]. cache NULL = none. */
gqa_status small_layer_forward(struct small_layer *small, gqa_cache *cache, const gqa_inputs *in,
                               int b, int t, const float *x, float *out);

/* Everything a cache holds, as one hash: lengths, positions, keys, values and free pages. */
uint64_t small_layer_cache_hash(const gqa_cache *cache, int sequences);

#endif
