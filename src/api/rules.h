/* SPDX-License-Identifier: Apache-2.0 */
/* rules.h - the checks of one call, and rules that say what its tensors must be. */
#ifndef GQA__RULES_H
#define GQA__RULES_H

#include "base/tensor.h"
#include "layer/call.h"

/* One call's checks. The first fault is kept; later checks then do nothing. */
struct gqa__call_check {
    struct gqa__call *call;
    gqa_error *err;
    gqa_status status;
};

/* What one tensor of the call must be. */
struct gqa__rule {
    const char *field;
    gqa_tensor *tensor;   /* the call's own copy; gets its full rank and explicit strides */
    const char *required; /* why it must be there; NULL = it need not */
    const char *refused;  /* why it must not be there; NULL = it may */
    int formats;          /* GQA__FLOATS, ... */
    int32_t rank;         /* 3 or 4 */
    int64_t shape[4];     /* -1 = any; [rank] */
};

/* Apply n rules, one after the other. */
void gqa__check_rules(struct gqa__call_check *check, const struct gqa__rule *rules, size_t n);

/* A tensor of rank 4 whose first two extents are the call's batch and tokens: any up to a limit. */
void gqa__check_extent(struct gqa__call_check *check, const struct gqa__rule *rule);

/* Layer, inputs and output are there. */
void gqa__check_pointers(struct gqa__call_check *check, const gqa_layer *layer, const void *inputs,
                         const void *output);

/* Set the call's layer and cache (or NULL); the cache is made for this layer. */
void gqa__check_layer(struct gqa__call_check *check, const gqa_layer *layer,
                      const gqa_cache *cache);

/* Does a cache that keeps so much hold all that the layer can see? field: what keeps it. */
gqa_status gqa__check_retention(const struct gqa__params *params,
                                const struct gqa__retention *retention, const char *field,
                                gqa_error *err);

/* Mask and bias [1|B, 1|Hq, T, K], both bounds or neither, the phase. */
void gqa__check_view(struct gqa__call_check *check);

gqa_status gqa__check_phase(gqa_phase phase, gqa_error *err);

/* A number that is 0 or 1. */
void gqa__check_flag(struct gqa__call_check *check, const char *field, int32_t value);

#endif
