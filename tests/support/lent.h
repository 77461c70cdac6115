/* SPDX-License-Identifier: Apache-2.0 */
/* lent.h - a layer that was lent something (a pool, an allocator), and one round of calls on it:
 * a prefill of two sequences that spans two fold blocks, and steps of decode. */
#ifndef TEST_LENT_H
#define TEST_LENT_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "support/rig.h"

enum {
    LENT_BATCH = 2,
    LENT_TOKENS = 261, /* odd, and beyond one fold block */
    LENT_STEPS = 2,
    LENT_ALL = LENT_BATCH * (LENT_TOKENS + LENT_STEPS)
};

enum lent_kind {
    LENT_PLAIN,
    LENT_RICH,    /* all stages: norms, clip, gate, temperature, residuals */
    LENT_IN_PLACE /* the same with weights in place */
};

struct lent {
    struct model model;
    gqa_layer *layer;
    gqa_cache *cache;
    float *x;        /* [LENT_ALL][hidden] */
    float *residual; /* [LENT_ALL][hidden] */
    float *result;   /* [floats]: all outputs of all calls of a round */
    size_t floats;
    void *workspace; /* enough for each call */
    size_t size;
    gqa_error err;
};

/* False, and err, if something is refused; lent_close in any case. */
bool lent_open(struct lent *lent, const gqa_runtime *runtime, gqa_isa isa, gqa_numerics numerics,
               enum lent_kind kind);
void lent_close(struct lent *lent);

/* One round from an empty cache into result. Uses nothing of cmocka: any thread may call it. */
bool lent_round(struct lent *lent);

#endif
