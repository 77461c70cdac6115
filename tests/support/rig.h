/* SPDX-License-Identifier: Apache-2.0 */
/* rig.h - a small layer with weights for its config, a cache, and calls on them. */
#ifndef TEST_RIG_H
#define TEST_RIG_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum {
    RIG_HIDDEN = 24,
    RIG_HQ = 4,
    RIG_HKV = 2,
    RIG_DK = 10,
    RIG_DV = 9,
    RIG_TOKENS = 64,
    RIG_SEQUENCES = 4
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

struct rig {
    struct model model;
    gqa_layer *layer;
    gqa_cache *cache; /* RIG_SEQUENCES of RIG_TOKENS tokens, pages of 16 */
    float x[RIG_SEQUENCES * RIG_TOKENS * RIG_HIDDEN]; /* random hidden states */
    gqa_error err;
};

/* edit (may be NULL) changes the config before weights, layer and cache are made; must succeed. */
void rig_open(struct rig *rig, void (*edit)(gqa_config *config));
void rig_close(struct rig *rig);

/* gqa_forward of b x t tokens of x (f32), with in's other fields (NULL = none), into out
 * [b][t][hidden]. cache NULL = none. */
gqa_status rig_forward(struct rig *rig, gqa_cache *cache, const gqa_inputs *in, int b, int t,
                       const float *x, float *out);

/* Everything a cache holds, as one hash: lengths, positions, keys, values and free pages. */
uint64_t rig_cache_hash(const gqa_cache *cache, int sequences);

#endif
