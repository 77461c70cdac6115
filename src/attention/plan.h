/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - which work items a run has, by arithmetic alone.
 *
 * An item is one tile of rows of one KV head of one segment, or a part of its keys. Items are
 * numbered head by head, so that a head's keys and values stay in a core's cache from tile to tile;
 * within a head long ones come first (under a causal mask the last tile is the longest).
 *
 * The tiles of a segment are cut by keys where one of them would keep a thread busy for longer than
 * its share of the run: one sequence's decode on many threads, or a long sequence among short ones.
 * Parts come before all whole tiles.
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
    /* [n] Fold blocks of which some row of a segment sees a key. */
    int32_t *block_begin, *block_end;
    gqa_cut cut; /* KEYS: of some segment */
    /* A part is 2^part_level fold blocks, aligned: a node of the fold tree. A segment of more is
     * cut. */
    int32_t part_level;
    int64_t *first_part; /* [n + 1] parts of the tiles of the segments before each one */
    int64_t parts;
};

/* One part of a tile: its fold blocks, a node of the fold tree. */
struct gqa__plan_part {
    int64_t tile;
    int32_t node; /* of level part_level */
    int32_t block_begin, block_end;
    int32_t index, count; /* among the tile's parts */
};

/* Most tiles of a run with these limits, and most states that a cut by keys keeps. */
int64_t gqa__plan_max_tiles(const struct gqa__params *params, int32_t tokens, int32_t segments);
int64_t gqa__plan_max_parts(const struct gqa__params *params, int32_t tokens, int32_t segments,
                            int32_t keys, int32_t threads);

/* plan->segments, n, block_begin, block_end, and memory for first_tile and first_part (n + 1 each)
 * are set. max_parts: states there is room for. */
void gqa__plan_make(struct gqa__plan *plan, const struct gqa__params *params, int32_t threads,
                    int64_t max_parts);

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile);
struct gqa__plan_part gqa__plan_part(const struct gqa__plan *plan, int64_t part);

/* Are the tiles of segment s cut by keys? */
static inline bool gqa__plan_is_cut(const struct gqa__plan *plan, int32_t s)
{
    return plan->first_part[s + 1] > plan->first_part[s];
}

#endif
