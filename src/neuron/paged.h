/* SPDX-License-Identifier: Apache-2.0 */
/* paged.h - what the files of the profile paged_schedule share: paged_schedule.c, which tells what
 * the kernel does, paged_check.c and paged_step.c. */
#ifndef GQA__NEURON_PAGED_H
#define GQA__NEURON_PAGED_H

#include "neuron/neuron.h"
#include "neuron/schedule.h"

/* The tokens of a block, and the blocks of a key tile. */
int32_t gqa__paged_block_size(const struct gqa__neuron *call);
int32_t gqa__paged_blocks(const struct gqa__neuron *call);

/* The blocks of a request's context. */
int64_t gqa__paged_context_blocks(const struct gqa__neuron *call, int32_t request);

/* The call's input of GridTileScheduler, without its table of blocks. */
gqa_neuron_schedule_input gqa__paged_input(const struct gqa__neuron *call);

/* Fields that are 0 take the kernel's defaults. */
void gqa__paged_defaults(struct gqa__neuron *call);

/* Limits, defaults and warnings of the profile. */
gqa_status gqa__paged_check(struct gqa__neuron *call, gqa_error *err);

/* What all items read. */
struct gqa__paged_plan {
    gqa_neuron_schedule schedule; /* tile_block_tables: blocks that lie in the buffers */
    uint8_t *loads;   /* [tiles] 1: the tile loads its blocks, 0: it keeps the last ones */
    int32_t *request; /* [tokens] of each row; -1 = padding */
    int64_t context;  /* keys in the blocks of all contexts */
};

/* What one item writes. */
struct gqa__paged_scratch {
    float *q;               /* [128][dim] bf16 values, scaled */
    float *k;               /* [dim][columns] bf16 values */
    float *v;               /* [columns][dim] bf16 values */
    float *s;               /* [128][columns] masked scores */
    float *p;               /* [128][columns] exponentials, then rounded to bf16 */
    float *pv;              /* [128][dim] */
    float *sums;            /* [columns / 512] of one row */
    float *alpha, *row_sum; /* [128] */
    float *m, *l;           /* [heads][tokens] */
    float *o;               /* [heads][tokens][dim] */
};

/* Up to 128 rows of a query head against one tile of keys. */
struct gqa__paged_step {
    const struct gqa__neuron_worker *worker;
    const struct gqa__neuron *call;
    const struct gqa__paged_plan *plan;
    const struct gqa__paged_scratch *x;
    int32_t kv_head;
    int32_t first_head, head; /* of the item; of this step */
    int32_t schedule;         /* the tile of the schedule; -1 = active phase */
    int32_t first, rows;      /* first row, and how many */
    int32_t keys;             /* columns of the tile */
    float *m, *l, *o;         /* state of the rows: [rows], [rows], [rows][dim] */
};

/* The keys of the tile lie in the scratch; loaded_bytes is what it took to get them there. */
void gqa__paged_step_run(const struct gqa__paged_step *step, int64_t loaded_bytes);

/* An event of these rows and this tile. */
gqa_neuron_tile gqa__paged_event(const struct gqa__paged_step *step, gqa_neuron_event event);

#endif
