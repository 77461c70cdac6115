/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - which work items a run has, by arithmetic alone.
 *
 * An item is one tile of rows of one KV head of one segment, or of a bundle of segments (bundle.h)
 * with what its segments go on with alone; or a part of its keys. Items are numbered head by head,
 * so that a head's keys and values stay in a core's cache from tile to tile; within a head long
 * ones come first (under a causal mask the last tile is the longest).
 *
 * The tiles of a bundle are cut by keys where one of them would keep a thread busy for longer than
 * its share of the run: one sequence's decode on many threads, or a long sequence among short ones.
 * Parts come before all whole tiles; what they give is joined in a second pass.
 */
#ifndef GQA__PLAN_H
#define GQA__PLAN_H

#include "attention/bundle.h"
#include "gqa/forward.h"

struct gqa__tile_id {
    int32_t bundle;
    int32_t segment;      /* of the bundle's first one, if the tile has rows of several */
    int32_t head;         /* KV head */
    int32_t first, count; /* rows of the segment and head: row = token * group + query head. Of
                             several segments: all of them, one after the other */
};

struct gqa__plan {
    const struct gqa__segment *segments;
    int32_t group, hkv, tile_rows;
    struct gqa__bundles bundles;
    int64_t *first_tile; /* [bundles + 1] tiles of the bundles before each one */
    int64_t tiles;
    /* [segments] Fold blocks of which some row of a segment sees a key. */
    int32_t *block_begin, *block_end;
    gqa_cut cut; /* KEYS: of some bundle */
    /* A part is a node of the fold tree of at most this level, 2^part_level fold blocks. A tile of
     * more is cut. */
    int32_t part_level;
    int64_t *first_part; /* [bundles + 1] parts of the tiles of the bundles before each one */
    int64_t parts;
    int64_t *first_join; /* [bundles + 1] joins likewise */
    int64_t joins;
};

/* One part of a tile: its fold blocks, a node of the fold tree. */
struct gqa__plan_part {
    struct gqa__tile_id id; /* whose rows: of the tile, or, of keys that are not shared, of one
                               segment of a bundle */
    bool shared;            /* the tile has rows of several segments */
    int32_t level, node;
    int32_t block_begin, block_end;
};

/* Rows of one segment whose tile is cut: what they have in parts. */
struct gqa__plan_join {
    struct gqa__tile_id id;
    int64_t shared; /* the first part of shared keys, shared_parts in all: their lanes begin at
                       `lane`, of rows `of` */
    int32_t shared_parts, lane, of;
    int64_t own; /* the first part of the segment's own keys; own_parts 0: not cut, they are */
    int32_t own_parts; /* walked when the shared ones are joined */
};

/* Most tiles of a run with these limits, and most states that a cut by keys keeps. */
int64_t gqa__plan_max_tiles(const struct gqa__params *params, int32_t tokens, int32_t segments);
int64_t gqa__plan_max_parts(const struct gqa__params *params, int32_t tokens, int32_t segments,
                            int32_t keys, int32_t threads);

/* plan->segments, bundles, block_begin, block_end, and memory for first_tile, first_part and
 * first_join (bundles + 1 each) are set. max_parts: states there is room for. */
void gqa__plan_make(struct gqa__plan *plan, const struct gqa__params *params, int32_t threads,
                    int64_t max_parts);

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile);
struct gqa__plan_part gqa__plan_part(const struct gqa__plan *plan, int64_t part);
struct gqa__plan_join gqa__plan_join(const struct gqa__plan *plan, int64_t join);

/* The rows that member i of a bundle has of a KV head. */
struct gqa__tile_id gqa__plan_member(const struct gqa__plan *plan, int32_t bundle, int32_t i,
                                     int32_t head);

/* Fold blocks that a tile of the bundle walks, those of its segments alone included. */
int64_t gqa__plan_tile_blocks(const struct gqa__plan *plan, int32_t bundle);

/* Are the tiles of a bundle cut by keys? */
static inline bool gqa__plan_is_cut(const struct gqa__plan *plan, int32_t bundle)
{
    return plan->first_part[bundle + 1] > plan->first_part[bundle];
}

static inline bool gqa__plan_is_shared(const struct gqa__plan *plan, int32_t bundle)
{
    return gqa__bundle_members(&plan->bundles, bundle) > 1;
}

#endif
