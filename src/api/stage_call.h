/* SPDX-License-Identifier: Apache-2.0 */
/* stage_call.h - the checks that the public stage functions share. */
#ifndef GQA__STAGE_CALL_H
#define GQA__STAGE_CALL_H

#include "layer/layer.h"

/* One call's checks. The first fault is kept; later checks then do nothing. */
struct gqa__stage_call {
    const struct gqa__params *params;
    gqa_error *err;
    gqa_status status;
    int64_t n; /* tokens; -1 = not known yet: the first tensor decides */
};

struct gqa__stage_call gqa__stage_begin(const gqa_layer *layer, gqa_error *err);
/* Of a stage in f32: layers of backend neuron, which round in between, are refused. */
struct gqa__stage_call gqa__stage_begin_f32(const gqa_layer *layer, gqa_error *err);

/* Attention-only layers have no hidden dimension. */
void gqa__need_hidden(struct gqa__stage_call *call);
void gqa__need_pointer(struct gqa__stage_call *call, const void *pointer, const char *field);

/* A packed f32 tensor [n, heads, dim], or [n, dim] with heads 0. NULL if it is absent or bad. */
float *gqa__floats(struct gqa__stage_call *call, const gqa_tensor *t, const char *field,
                   int64_t heads, int64_t dim);
/* The same; an absent one is a fault. */
float *gqa__need_floats(struct gqa__stage_call *call, const gqa_tensor *t, const char *field,
                        int64_t heads, int64_t dim);

/* Scratch from the layer's allocator, to be released by the caller; NULL after a fault. */
void *gqa__stage_memory(struct gqa__stage_call *call, const gqa_layer *layer, size_t size);

#endif
