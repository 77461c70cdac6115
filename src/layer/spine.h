/* SPDX-License-Identifier: Apache-2.0 */
/* spine.h - the spine: walks a call through the layer in blocks of tokens, so that the workspace
 * does not grow with the call. */
#ifndef GQA__SPINE_H
#define GQA__SPINE_H

#include "attention/attention.h"
#include "attention/trace.h"
#include "layer/place.h"
#include "neuron/entry.h"

/* Working buffers of a block of tokens, and the state of the call. [n]: block tokens. */
struct gqa__spine {
    const struct gqa__call *call;
    int32_t block;                        /* most tokens of a block */
    bool tkg;                             /* phase of the block, where it chooses matrices */
    struct gqa__token_run *runs;          /* [block] */
    struct gqa__segment *segments;        /* [block] */
    struct gqa_cache *cache;              /* the caller's or the call's own */
    int32_t *positions;                   /* [block] */
    int32_t *rotary;                      /* [axes][block] */
    int32_t *columns;                     /* [block] */
    double *freq;                         /* [threads][pairs] */
    struct gqa__places at;                /* q, k, v, attn, ...: where they lie */
    void *scratch;                        /* of the projections */
    void *reference;                      /* of backend reference */
    struct gqa__attention *attention;     /* of backend cpu */
    struct gqa__neuron_attention *neuron; /* of backend neuron */
    struct gqa__neuron_choice choice;     /* of the first entry */
    gqa_cut cut;
    gqa_work work;              /* so far, if output.work asks for it */
    struct gqa__health *health; /* so far, in the workspace, if output.health asks for it */
    struct gqa__trace trace;    /* of backend cpu */
};

/* Carve everything from the arena, entries and views of the call too; in counting mode only the
 * size is meant. False if it does not fit. */
bool gqa__spine_carve(struct gqa__spine *spine, struct gqa__call *call, struct gqa__arena *arena);

/* What backend neuron refuses of a call whose entries and views are filled. */
gqa_status gqa__spine_check(struct gqa__spine *spine, gqa_error *err);

/* Run the call: its entries and views are filled and checked. Cannot fail. */
void gqa__spine_run(struct gqa__spine *spine);

#endif
