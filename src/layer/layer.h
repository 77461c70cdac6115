/* layer.h - what a gqa_layer holds: immutable after gqa_create. */
#ifndef GQA__LAYER_H
#define GQA__LAYER_H

#include "config/shape.h"
#include "gqa/layer.h"
#include "stage/params.h"

struct gqa_layer {
    struct gqa__params params; /* config, shape, row, weights: all that the stages need */
    gqa_runtime runtime;
    void *memory[8]; /* blocks to release */
    int32_t blocks;
};

/* weights.c: check the weights against the config and pack them into layer->params. */
gqa_status gqa__layer_load(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err);

#endif
