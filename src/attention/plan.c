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

/* Parts per tile that would keep all threads busy; 1 = cut by rows. */
static int64_t parts_wanted(const struct gqa__plan *plan, const struct gqa__params *params,
                            int32_t threads, int64_t max_parts)
{
    const int64_t room = plan->tiles > 0 ? max_parts / plan->tiles : 0;

    if (room < 2) {
        return 1;
    }
    if (params->knobs.force_key_cut) {
        return room;
    }
    if (plan->tiles >= threads) {
        return 1;
    }
    return gqa__min(room, (2 * (int64_t)threads + plan->tiles - 1) / plan->tiles);
}

/* The finest aligned cut into at most wanted parts. */
static void cut_keys(struct gqa__plan *plan, int64_t wanted)
{
    int32_t level = 0;
    const int32_t first = plan->block_begin;
    const int32_t last = plan->block_end > first ? plan->block_end - 1 : first;

    while ((last >> level) - (first >> level) + 1 > wanted) {
        level++;
    }
    plan->part_level = level;
    plan->first_part = first >> level;
    plan->parts = (last >> level) - plan->first_part + 1;
    plan->cut = plan->parts > 1 ? GQA_CUT_KEYS : GQA_CUT_ROWS;
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
    cut_keys(plan, parts_wanted(plan, params, threads, max_parts));
}

struct gqa__tile_id gqa__plan_tile(const struct gqa__plan *plan, int64_t tile)
{
    struct gqa__tile_id id;
    int32_t lo = 0;
    int32_t hi = plan->n - 1;

    while (lo < hi) { /* the last segment that starts at or before the tile */
        const int32_t mid = lo + (hi - lo + 1) / 2;
        if (plan->first_tile[mid] <= tile) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    const int32_t rows = plan->segments[lo].n * plan->group;
    const int64_t per_head = (rows + plan->tile_rows - 1) / plan->tile_rows;
    const int64_t local = tile - plan->first_tile[lo];
    const int64_t from_end = local % per_head; /* the last rows of every head first */

    id.segment = lo;
    id.head = (int32_t)(local / per_head);
    id.first = (int32_t)(per_head - 1 - from_end) * plan->tile_rows;
    id.count = (int32_t)gqa__min(plan->tile_rows, rows - id.first);
    return id;
}
