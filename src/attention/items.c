/* SPDX-License-Identifier: Apache-2.0 */
/* items.c - see run.h: the work items of a run, in two passes. The first walks parts and whole
 * tiles; the second joins the parts. */
#include <string.h>

#include "attention/run.h"
#include "attention/trace.h"
#include "base/memory.h"

static void enter(const struct gqa__run *run)
{
    if (run->params->kernels->enter != NULL) {
        run->params->kernels->enter();
    }
}

static void leave(const struct gqa__run *run)
{
    if (run->params->kernels->leave != NULL) {
        run->params->kernels->leave();
    }
}

/* --- tiles -------------------------------------------------------------------------------------
 */

/* A tile that is not begun. */
static void set_tile(const struct gqa__run *run, struct gqa__tile_id id, int32_t slot,
                     struct gqa__tile *tile)
{
    const int64_t at = run->attention->first_token[id.segment];

    *tile = (struct gqa__tile){.params = run->params,
                               .segment = &run->plan.segments[id.segment],
                               .span_lo = run->attention->span_lo + at,
                               .span_hi = run->attention->span_hi + at,
                               .id = id,
                               .trace = run->trace,
                               .scratch = &run->attention->scratch[slot]};
    tile->work = run->counted ? &tile->scratch->work : NULL;
    tile->health = run->watched ? &tile->scratch->health : NULL;
}

/* Rows of one segment. */
static void begin_tile(const struct gqa__run *run, struct gqa__tile_id id, int32_t slot,
                       struct gqa__tile *tile)
{
    set_tile(run, id, slot, tile);
    gqa__tile_begin(tile);
}

/* The rows of a bundle, over the fold blocks that it shares. */
static void begin_shared(const struct gqa__run *run, struct gqa__tile_id id, int32_t slot,
                         struct gqa__shared_rows *rows, struct gqa__tile *tile)
{
    const struct gqa__bundles *const bundles = &run->plan.bundles;

    *rows = (struct gqa__shared_rows){
        run->plan.segments, bundles->member + bundles->first_member[id.bundle],
        gqa__bundle_members(bundles, id.bundle), run->plan.block_begin[id.segment],
        bundles->shared_end[id.bundle]};
    set_tile(run, id, slot, tile);
    tile->shared = rows;
    gqa__tile_begin_shared(tile);
}

/* The tile's last keys, from fold block `begin` on, and the end of its rows. */
static void end_tile(const struct gqa__run *run, struct gqa__tile *tile, int32_t begin)
{
    tile->whole = true;
    gqa__tile_walk(tile, begin, run->plan.block_end[tile->id.segment]);
    if (tile->trace != NULL) {
        gqa__trace_outside(tile, GQA_TILE_SKIPPED_RIGHT);
    }
    if (!tile->finished) {
        gqa__tile_end(tile, gqa__fold_end(&tile->scratch->fold));
    }
}

/* A bundle's tile: what is shared, once for all; then each segment alone goes on from the states of
 * its rows. */
static void shared_tile(const struct gqa__run *run, struct gqa__tile_id id, int32_t slot)
{
    struct gqa__tile_scratch *const scratch = &run->attention->scratch[slot];
    struct gqa__shared_rows rows;
    struct gqa__fold shared;
    struct gqa__tile tile;
    int32_t lane = 0;

    begin_shared(run, id, slot, &rows, &tile);
    gqa__tile_walk(&tile, rows.block_begin, rows.block_end);
    shared = scratch->fold;
    scratch->fold.states = scratch->other_states;
    for (int32_t i = 0; i < rows.members; i++) {
        begin_tile(run, gqa__plan_member(&run->plan, id.bundle, i, id.head), slot, &tile);
        gqa__fold_take_lanes(&scratch->fold, &shared, lane, tile.id.count);
        end_tile(run, &tile, rows.block_end);
        lane += tile.id.count;
    }
    scratch->fold.states = shared.states;
}

/* A tile with all its keys. */
static void whole_tile(const struct gqa__run *run, int64_t item, int32_t slot)
{
    const struct gqa__plan *const plan = &run->plan;
    const struct gqa__tile_id id = gqa__plan_tile(plan, item);
    struct gqa__tile tile;

    if (gqa__plan_is_cut(plan, id.bundle)) {
        return; /* in parts */
    }
    enter(run);
    if (gqa__plan_is_shared(plan, id.bundle)) {
        shared_tile(run, id, slot);
        leave(run);
        return;
    }
    begin_tile(run, id, slot, &tile);
    if (item + run->threads < plan->tiles) {
        tile.next = gqa__plan_tile(plan, item + run->threads);
    }
    if (tile.trace != NULL) {
        gqa__trace_outside(&tile, GQA_TILE_SKIPPED_LEFT);
    }
    end_tile(run, &tile, plan->block_begin[id.segment]);
    leave(run);
}

/* --- parts -------------------------------------------------------------------------------------
 */

/* The state of a part. */
static struct gqa__state part_state(const struct gqa__run *run, int64_t part)
{
    const int32_t tile_rows = run->params->kernels->tile_rows;

    return gqa__state_at(run->attention->parts +
                             part * gqa__state_floats(tile_rows, run->params->shape.dv),
                         tile_rows);
}

static void copy_state(const struct gqa__tile *tile, struct gqa__state to, struct gqa__state from)
{
    const size_t lanes = (size_t)tile->ld * sizeof(float);

    memcpy(to.m, from.m, lanes);
    memcpy(to.l, from.l, lanes);
    memcpy(to.o, from.o, lanes * (size_t)tile->params->shape.dv);
}

/* A part of a tile's keys: of a bundle's those that it shares, or those of one segment. */
static void part_of_tile(const struct gqa__run *run, int64_t item, int32_t slot)
{
    const struct gqa__plan_part part = gqa__plan_part(&run->plan, item);
    struct gqa__shared_rows rows;
    struct gqa__tile tile;

    enter(run);
    if (part.shared) {
        begin_shared(run, part.id, slot, &rows, &tile);
    } else {
        begin_tile(run, part.id, slot, &tile);
    }
    gqa__tile_walk(&tile, part.block_begin, part.block_end);
    copy_state(&tile, part_state(run, item), gqa__fold_end(&tile.scratch->fold));
    leave(run);
}

/* First pass: the parts of the tiles that are cut by keys, then all other tiles. */
static void part_or_tile(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__run *const run = arg;

    if (item < run->plan.parts) {
        part_of_tile(run, item, slot);
    } else {
        whole_tile(run, item - run->plan.parts, slot);
    }
}

/* Second pass: the parts of a segment's rows, over the fold tree. */
static void join_parts(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__run *const run = arg;
    const struct gqa__plan_join join = gqa__plan_join(&run->plan, item);
    struct gqa__tile tile;
    struct gqa__fold *fold;

    enter(run);
    begin_tile(run, join.id, slot, &tile);
    fold = &tile.scratch->fold;
    for (int32_t i = 0; i < join.shared_parts; i++) {
        const struct gqa__plan_part part = gqa__plan_part(&run->plan, join.shared + i);
        const struct gqa__state state = part_state(run, join.shared + i);
        const struct gqa__lanes lanes = {
            .from = &state,
            .ld = (int32_t)gqa__round_up(join.of, run->params->kernels->lanes),
            .first = join.lane,
            .count = join.id.count};
        gqa__fold_copy_lanes(fold, gqa__fold_next(fold), &lanes);
        gqa__fold_push(fold, part.level, part.node);
    }
    for (int32_t i = 0; i < join.own_parts; i++) {
        const struct gqa__plan_part part = gqa__plan_part(&run->plan, join.own + i);
        copy_state(&tile, gqa__fold_next(fold), part_state(run, join.own + i));
        gqa__fold_push(fold, part.level, part.node);
    }
    if (join.own_parts == 0) {
        end_tile(run, &tile, run->plan.bundles.shared_end[join.id.bundle]);
    } else {
        gqa__tile_end(&tile, gqa__fold_end(fold));
    }
    leave(run);
}

void gqa__run_items(struct gqa__run *run, const gqa_runtime *runtime)
{
    struct gqa__tasks tasks = {part_or_tile, run, run->plan.parts + run->plan.tiles};

    gqa__run_tasks(runtime, &tasks);
    if (run->plan.joins > 0) {
        tasks = (struct gqa__tasks){join_parts, run, run->plan.joins};
        gqa__run_tasks(runtime, &tasks);
    }
}
