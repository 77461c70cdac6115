/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h - backend cpu: attention of query rows in tiles of rows, streaming keys and values.
 *
 * A row is a (token, query head) pair; the rows of the heads that share a KV head are folded
 * together, so that each K and V element is read once per tile. One walk serves prefill, decode,
 * windows and chunks. How work is cut changes no bit (fold.h).
 */
#ifndef GQA__ATTENTION_H
#define GQA__ATTENTION_H

#include "base/arena.h"
#include "gqa/forward.h"
#include "parallel/tasks.h"
#include "stage/segment.h"

/* Upper bounds that the workspace is made for. */
struct gqa__attention_limits {
    int32_t tokens; /* query tokens of one run, all segments together */
    int32_t segments;
    int32_t keys; /* of one segment */
    int32_t threads;
    bool rotated; /* some K is stored rotated */
};

struct gqa__attention; /* the carved workspace of a run */

/* NULL in counting mode. */
struct gqa__attention *gqa__attention_carve(struct gqa__arena *arena,
                                            const struct gqa__params *params,
                                            const struct gqa__attention_limits *limits);

struct gqa__trace;  /* trace.h */
struct gqa__health; /* stage/health.h */

/* What a run says of itself. */
struct gqa__attention_record {
    gqa_work *work;             /* what was done is added to it; NULL: not counted */
    struct gqa__trace *trace;   /* told of each tile, on the calling thread alone; NULL: nobody */
    struct gqa__health *health; /* what was seen is added to it; NULL: nobody looks */
};

/* Attention of n segments within the limits. Returns how the work was cut. */
gqa_cut gqa__attention_run(struct gqa__attention *attention, const struct gqa__params *params,
                           const struct gqa__segment *segments, int32_t n,
                           const gqa_runtime *runtime, const struct gqa__attention_record *record);

#endif
