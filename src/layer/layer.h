/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - what a gqa_layer holds: immutable after gqa_create. */
#ifndef GQA__LAYER_H
#define GQA__LAYER_H

#include "cache/cache.h"
#include "config/shape.h"
#include "gqa/layer.h"
#include "stage/params.h"

struct gqa_layer {
    struct gqa__params params; /* config, shape, kernel set, weights: all that the stages need */
    gqa_runtime runtime;
    void *memory[8]; /* blocks to release */
    int32_t blocks;
};

/* What a cache of the layer has in common with every other one of it. */
static inline struct gqa__cache_layout gqa__layer_cache_layout(const struct gqa__params *params)
{
    return (struct gqa__cache_layout){.kernels = params->kernels,
                                      .hkv = params->shape.hkv,
                                      .dk = params->shape.dk,
                                      .dv = params->shape.dv,
                                      .flush = params->shape.flush};
}

/* weights.c: check the caller's weights against a checked config. Absent tensors keep data NULL;
 * the others get explicit strides, in place. */
gqa_status gqa__weights_check(const struct gqa__params *params, gqa_weights *weights,
                              gqa_error *err);

/* weights_in_place.c: may the checked weights be used in place, if they ask for it? */
gqa_status gqa__in_place_check(const struct gqa__params *params, const gqa_weights *weights,
                               gqa_error *err);
/* The strips of a linear (its out is set) in the caller's memory, into strips; NULL = count. */
int32_t gqa__in_place_strips(const struct gqa__params *params, const gqa_weights *weights,
                             const struct gqa__linear *linear, struct gqa__strip *strips);

/* load.c: check the weights (NULL = none) and pack them into layer->params. params.config, shape,
 * kernels, backend and runtime are set; the config's pointers are replaced by copies. */
gqa_status gqa__layer_load(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err);

/* Release every block of the layer, not the struct. */
void gqa__layer_unload(struct gqa_layer *layer);

#endif
