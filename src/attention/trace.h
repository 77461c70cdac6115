/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - tells the host what became of each tile (gqa/trace.h). Only traced calls come here:
 * they are cut by rows and run on one thread, so a walk has all keys of its tile. */
#ifndef GQA__TILE_TRACE_H
#define GQA__TILE_TRACE_H

#include "attention/tile.h"
#include "gqa/trace.h"

/* The trace of a call. */
struct gqa__trace {
    gqa_trace tell;
    void *user;
    int64_t order; /* tiles so far */
};

/* Tell of the fold blocks that the walk leaves out, all on one side: SKIPPED_LEFT or _RIGHT. */
void gqa__trace_outside(const struct gqa__tile *tile, gqa_tile_fate side);

/* ... of the fold block of key `first`, of which no row sees a key. */
void gqa__trace_hidden(const struct gqa__tile *tile, int32_t first);

/* ... of keys [first, end), which have been computed: sight is what the rows see of them, by the
 * scratch, whose lo_rel and hi_rel are overwritten; state is that of these keys alone. */
void gqa__trace_computed(const struct gqa__tile *tile, int32_t first, int32_t end,
                         enum gqa__sight sight, const struct gqa__state *state);

#endif
