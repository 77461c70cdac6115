/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - a run of attention while it is worked on: attention.c prepares it and adds up, items.c
 * does the work. */
#ifndef GQA__ATTENTION_RUN_H
#define GQA__ATTENTION_RUN_H

#include "attention/attention.h"
#include "attention/tile.h"

struct gqa__attention {
    struct gqa__attention_limits limits;
    int64_t max_parts;
    int32_t *span_lo, *span_hi; /* [tokens] index ranges, segment after segment */
    int64_t *first_token;       /* [segments] of each segment in span_lo */
    int64_t *first_tile; /* [3][segments + 1] of the plan: first_tile, first_part, first_join */
    int32_t *block_begin, *block_end;  /* [segments] */
    struct gqa__bundles bundles;       /* room for [segments] */
    float *parts;                      /* [max_parts][state_floats] states of a cut by keys */
    struct gqa__tile_scratch *scratch; /* [threads] */
};

/* What all tasks of a run read; none writes it. */
struct gqa__run {
    const struct gqa__attention *attention;
    const struct gqa__params *params;
    struct gqa__plan plan;
    int32_t threads;
    bool counted;             /* tasks count what they do, each in its own scratch, ... */
    bool watched;             /* ... and what they see */
    struct gqa__trace *trace; /* NULL = none */
};

/* All items of the run. */
void gqa__run_items(struct gqa__run *run, const gqa_runtime *runtime);

#endif
