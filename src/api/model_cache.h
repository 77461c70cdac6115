/* SPDX-License-Identifier: Apache-2.0 */
/* model_cache.h - what a gqa_model_cache consists of. */
#ifndef GQA__MODEL_CACHE_H
#define GQA__MODEL_CACHE_H

#include "cache/saved.h"
#include "gqa/model_cache.h"

struct gqa_model_cache {
    int32_t layers, owners;   /* layers, and those that have a cache of their own */
    struct gqa_cache **cache; /* [owners] */
    int32_t *layer_of;        /* [owners] the layer whose cache it is */
    int32_t *owner_of;        /* [layers] the cache that a layer uses */
    struct gqa__saved *saved; /* [owners] while bytes are loaded */
    gqa_runtime runtime;      /* allocator of a block made by gqa_model_cache_create */
    bool lent;                /* the block is the caller's */
};

/* The same status; the message says which cache refused: " (layer N)". */
gqa_status gqa__model_in_layer(const gqa_model_cache *model, int32_t owner, gqa_status status,
                               gqa_error *err);

/* The model is there, and its layers agree on how many tokens the sequence has. */
gqa_status gqa__model_agrees(const gqa_model_cache *model, const char *field, int32_t sequence,
                             gqa_error *err);

#endif
