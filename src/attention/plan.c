/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - see plan.h. */
#include "attention/plan.h"

#include "base/fold.h"
#include "base/memory.h"

static int64_t tiles_of(int64_t tokens, const struct gqa__shape *shape, int32_t tile_rows)
{
    return shape->hkv * ((tokens * shape->group + tile_rows - 1) / tile_rows);
}

static int64_t blocks_of(int64_t keys)
{
    return (keys + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
}

int64_t gqa__plan_max_tiles(const struct gqa__params *params, int32_t tokens, int32_t segments)
{
    return tiles_of(tokens, &params->shape, params->kernels->tile_rows) +
           (int64_t)segments * params->shape.hkv;
}

int64_t gqa__plan_max_parts(const struct gqa__params *params, int32_t tokens, int32_t segments,
                            int32_t keys, int32_t threads)
{
    if (params->knobs.force_key_cut) {
        return gqa__plan_max_tiles(params, tokens, segments) * gqa__min(blocks_of(keys), 4);
    }
    return threads > 1 ? 4 * (int64_t)threads : 0;
}

static int64_t tiles_of_segment(const struct gqa__plan *plan, int32_t s)
{
    return plan->first_tile[s + 1] - plan->first_tile[s];
}

static int32_t segment_blocks(const struct gqa__plan *plan, int32_t s)
{
    return plan->block_end[s] - plan->block_begin[s];
}

/* Nodes of a level that hold the segment's fold blocks; 0 if one node, or none, does. */
static int32_t nodes_of(const struct gqa__plan *plan, int32_t s, int32_t level)
{
    const int32_t first = plan->block_begin[s] >> level;

    if (segment_blocks(plan, s) <= 1 << level) {
        return 0;
    }
    return ((plan->block_end[s] - 1) >> level) - first + 1;
}

static int64_t parts_of_level(const struct gqa__plan *plan, int32_t level)
{
    int64_t parts = 0;

    for (int32_t s = 0; s < plan->n; s++) {
        parts += tiles_of_segment(plan, s) * nodes_of(plan, s, level);
    }
    return parts;
}

/* Fold blocks that a part should have: half a thread's share of the run. 0 = nothing is cut: no
 * tile is longer than a share. */
static int64_t part_wanted(const struct gqa__plan *plan, const struct gqa__params *params,
                           int32_t threads)
{
    int64_t all = 0;
    int32_t longest = 0;

    for (int32_t s = 0; s < plan->n; s++) {
        all += tiles_of_segment(plan, s) * segment_blocks(plan, s);
        longest = (int32_t)gqa__max(longest, segment_blocks(plan, s));
    }
    if (params->knobs.force_key_cut) {
        return 1;
    }
    return longest * (int64_t)threads > all ? gqa__max(1, all / (2 * (int64_t)threads)) : 0;
}

/* The finest level that is wanted and there is room for. */
static void cut_keys(struct gqa__plan *plan, int64_t wanted, int64_t max_parts)
{
    int32_t level = 0;

    while (level < 30 &&
           ((int64_t)1 << level < wanted || parts_of_level(plan, level) > max_parts)) {
        level++;
    }
    plan->part_level = level;
    plan->parts = 0;
    for (int32_t s = 0; s < plan->n; s++) {
        plan->first_part[s] = plan->parts;
        plan->parts += wanted > 0 ? tiles_of_segment(plan, s) * nodes_of(plan, s, level) : 0;
    }
    plan->first_part[plan->n] = plan->parts;
    plan->cut = plan->parts > 0 ? GQA_CUT_KEYS : GQA_CUT_ROWS;
}

void gqa__plan_make(struct gqa__plan *plan, const struct gqa__params *params, int32_t threads,
                    int64_t max_parts)
{
    plan->group = params->shape.group;
    plan->hkv = params->shape.hkv;
    plan->tile_rows = params->kernels->tile_rows;
    plan->tiles = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        plan->first_tile[i] = plan->tiles;
        plan->tiles += tiles_of(plan->segments[i].n, &params->shape, plan->tile_rows);
    }
    plan->first_tile[plan->n] = plan->tiles;
    cut_keys(plan, max_parts > 0 ? part_wanted(plan, params, threads) : 0, max_parts);
}

/* The last segment whose items begin at or before the item. */
static int32_t segment_of(const int64_t *first, int32_t n, int64_t item)
{
    int32_t lo = 0;
    int32_t hi = n - 1;

    while (lo < hi) {
        const int32_t mid = lo + (hi - lo + 1) / 2;
        if (first[mid] <= item) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

struct gqa__plan_part gqa__plan_part(const struct gqa__plan *plan, int64_t part)
{
    const int32_t s = segment_of(plan->first_part, plan->n, part);
    const int32_t count = nodes_of(plan, s, plan->part_level);
    const int64_t local = part - plan->first_part[s];
    struct gqa__plan_part own = {.tile = plan->first_tile[s] + local / count,
                                 .index = (int32_t)(local % count),
                                 .count = count};

    own.node = (plan->block_begin[s] >> plan->part_level) + own.index;
    own.block_begin = own.node << plan->part_level;
    own.block_end =
        (int32_t)gqa__min(((int64_t)own.node + 1) << plan->part_level, plan->block_end[s]);
    return own;
}

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile)
{
    const int32_t s = segment_of(plan->first_tile, plan->n, tile);
    struct gqa__tile_id id;
    const int32_t rows = plan->segments[s].n * plan->group;
    const int64_t per_head = (rows + plan->tile_rows - 1) / plan->tile_rows;
    const int64_t local = tile - plan->first_tile[s];
    const int64_t from_end = local % per_head; /* the last rows of every head first */

    id.segment = s;
    id.head = (int32_t)(local / per_head);
    id.first = (int32_t)(per_head - 1 - from_end) * plan->tile_rows;
    id.count = (int32_t)gqa__min(plan->tile_rows, rows - id.first);
    return id;
}
