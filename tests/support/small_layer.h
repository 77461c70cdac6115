/* SPDX-License-Identifier: Apache-2.0 */
/* small_layer.h - a small layer with weights for its config, a cache, and calls on them. */
#ifndef TEST_SMALL_LAYER_H
#define TEST_SMALL_LAYER_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum {
    SMALL_HIDDEN = 24,
    SMALL_HQ = 4,
    SMALL_HKV = 2,
    SMALL_DK = 10,
    SMALL_DV = 9,
    SMALL_TOKENS = 64,
    SMALL_SEQUENCES = 4
};

/* A config and all the weights that it calls for, random from a fixed seed. */
struct model {
    gqa_config config;
    gqa_weights weights;
    float *pool; /* the weights' memory */
    size_t used;
};

/* hidden 24, heads 4/2, head_dim 10, v_head_dim 9, rope HALF, no norm. */
void model_init(struct model *model);
/* Fill the weights for the config as it is now. */
void model_fill(struct model *model);
void model_free(struct model *model);

struct small_layer {
    struct model model;
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
