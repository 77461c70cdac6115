/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - which work items a run has, by arithmetic alone.
 *
 * An item is one tile of rows of one KV head of one segment, or a part of its keys. Items are
 * numbered head by head, so that a head's keys and values stay in a core's cache from tile to tile;
 * within a head long ones come first (under a causal mask the last tile is the longest).
 */
#ifndef GQA__PLAN_H
#define GQA__PLAN_H

#include "gqa/forward.h"
#include "stage/segment.h"

struct gqa__tile_id {
    int32_t segment, head; /* KV head */
    int32_t first, count;  /* rows of the segment and head: row = token * group + query head */
};

struct gqa__plan {
    const struct gqa__segment *segments;
    int32_t n;
    int32_t group, hkv, tile_rows;
    int64_t *first_tile; /* [n + 1] tiles of the segments before each one */
    int64_t tiles;
    /* Fold blocks that some row sees. Cut by keys: they are walked in parts of 2^part_level blocks,
     * aligned, so that each part is a node (part_level, first_part + i) of the fold tree. */
    int32_t block_begin, block_end;
    gqa_cut cut;
    int32_t part_level;
    int32_t first_part;
    int32_t parts; /* per tile; 1 when cut by rows */
};

/* Most tiles of a run with these limits, and most states that a cut by keys keeps. */
int64_t gqa__plan_max_tiles(const struct gqa__params *params, int32_t tokens, int32_t segments);
int64_t gqa__plan_max_parts(const struct gqa__params *params, int32_t tokens, int32_t segments,
                            int32_t keys, int32_t threads);

/* plan->segments, n, first_tile (memory for n + 1), block_begin and block_end are set. max_parts:
 * states there is room for. */
void gqa__plan_make(struct gqa__plan *plan, const struct gqa__params *params, int32_t threads,
                    int64_t max_parts);

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile);

#endif
