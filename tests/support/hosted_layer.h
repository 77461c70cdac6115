/* SPDX-License-Identifier: Apache-2.0 */
/* hosted_layer.h - a layer that was lent something (a pool, an allocator), and one round of calls
 * on it: a prefill of two sequences that spans two fold blocks, and steps of decode. */
#ifndef TEST_HOSTED_LAYER_H
#define TEST_HOSTED_LAYER_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "support/small_layer.h"

enum {
    HOSTED_BATCH = 2,
    HOSTED_TOKENS = 261, /* odd, and beyond one fold block */
    HOSTED_STEPS = 2,
    HOSTED_ALL = HOSTED_BATCH * (HOSTED_TOKENS + HOSTED_STEPS)
};

enum hosted_kind {
    HOSTED_PLAIN,
    HOSTED_RICH,    /* all stages: norms, clip, gate, temperature, residuals */
    HOSTED_IN_PLACE /* the same with weights in place */
};

struct hosted_layer {
    struct weight_set model;
    gqa_layer *layer;
    gqa_cache *cache;
    float *x;        /* [HOSTED_ALL][hidden] */
    float *residual; /* [HOSTED_ALL][hidden] */
    float *result;   /* [floats]: all outputs of all calls of a round */
    size_t floats;
    void *workspace; /* enough for each call */
    size_t size;
    gqa_error err;
};

/* False, and err, if something is refused; hosted_close in any case. */
bool hosted_open(struct hosted_layer *hosted, const gqa_runtime *runtime, gqa_isa isa,
                 gqa_numerics numerics, enum hosted_kind kind);
void hosted_close(struct hosted_layer *hosted);

/* One round from an empty cache into result. Uses nothing of cmocka: any thread may call it. */
bool hosted_round(struct hosted_layer *hosted);

#endif
