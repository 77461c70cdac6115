/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c - see attention.h. */
#include "attention/attention.h"

#include <string.h>

#include "attention/trace.h"
#include "base/fold.h"
#include "base/memory.h"
#include "stage/span.h"

struct gqa__attention {
    struct gqa__attention_limits limits;
    int64_t max_parts;
    int32_t *span_lo, *span_hi;        /* [tokens] index ranges, segment after segment */
    int64_t *first_token;              /* [segments] of each segment in span_lo */
    int64_t *first_tile, *first_part;  /* [segments + 1] */
    int32_t *block_begin, *block_end;  /* [segments] */
    float *parts;                      /* [max_parts][state_floats] states of a cut by keys */
    struct gqa__tile_scratch *scratch; /* [threads] */
};

struct gqa__attention *gqa__attention_carve(struct gqa__arena *arena,
                                            const struct gqa__params *params,
                                            const struct gqa__attention_limits *limits)
{
    struct gqa__attention *attention = gqa__arena_take(arena, 1, sizeof *attention);
    struct gqa__attention own;
    const int64_t floats = gqa__state_floats(params->kernels->tile_rows, params->shape.dv);

    own.limits = *limits;
    own.max_parts = gqa__plan_max_parts(params, limits->tokens, limits->segments, limits->keys,
                                        limits->threads);
    own.span_lo = gqa__arena_take(arena, limits->tokens, sizeof(int32_t));
    own.span_hi = gqa__arena_take(arena, limits->tokens, sizeof(int32_t));
    own.first_token = gqa__arena_take(arena, limits->segments, sizeof(int64_t));
    own.first_tile = gqa__arena_take(arena, (int64_t)limits->segments + 1, sizeof(int64_t));
    own.first_part = gqa__arena_take(arena, (int64_t)limits->segments + 1, sizeof(int64_t));
    own.block_begin = gqa__arena_take(arena, limits->segments, sizeof(int32_t));
    own.block_end = gqa__arena_take(arena, limits->segments, sizeof(int32_t));
    own.parts = gqa__arena_take(arena, own.max_parts * floats, sizeof(float));
    own.scratch = gqa__arena_take(arena, limits->threads, sizeof *own.scratch);
    for (int32_t i = 0; i < limits->threads; i++) {
        gqa__tile_scratch_carve(arena, own.scratch != NULL ? &own.scratch[i] : NULL, params,
                                limits->keys);
    }
    if (attention == NULL || arena->failed) {
        return NULL;
    }
    *attention = own;
    return attention;
}

/* What all tasks of a run read; none writes it. */
struct run {
    const struct gqa__attention *attention;
    const struct gqa__params *params;
    struct gqa__plan plan;
    int32_t threads;
    bool counted;             /* tasks count what they do, each in its own scratch, ... */
    bool watched;             /* ... and what they see */
    struct gqa__trace *trace; /* NULL = none */
};

/* The index range that each token of segment s sees, cut to the segment's part of the keys; and the
 * fold blocks of which some token sees a key. at: of its first token in span_lo. */
static void find_span(struct run *run, int32_t s, int64_t at)
{
    const struct gqa__attention *const attention = run->attention;
    const struct gqa__segment *const segment = &run->plan.segments[s];
    const int32_t end = segment->range_end > 0
                            ? (int32_t)gqa__min(segment->range_end, segment->view.length)
                            : segment->view.length;
    int32_t first = INT32_MAX;
    int32_t last = 0;

    attention->first_token[s] = at;
    for (int32_t i = 0; i < segment->n; i++, at++) {
        int32_t lo = segment->view.first;
        int32_t hi = segment->view.length;
        if (segment->view.ordered) {
            gqa__span_range(&run->params->shape, &segment->view, segment->positions[i], &lo, &hi);
        }
        lo = (int32_t)gqa__max(lo, segment->range_begin);
        hi = (int32_t)gqa__max(lo, gqa__min(hi, end));
        attention->span_lo[at] = lo;
        attention->span_hi[at] = hi;
        if (lo < hi) {
            first = (int32_t)gqa__min(first, lo);
            last = (int32_t)gqa__max(last, hi);
        }
    }
    if (run->params->knobs.mask_all_blocks) {
        first = segment->view.first;
        last = (int32_t)gqa__max(last, segment->view.length);
    }
    attention->block_begin[s] = last > 0 ? first / GQA__FOLD_BLOCK : 0;
    attention->block_end[s] = (int32_t)(((int64_t)last + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK);
}

static void find_spans(struct run *run)
{
    int64_t at = 0;

    for (int32_t s = 0; s < run->plan.n; s++) {
        find_span(run, s, at);
        at += run->plan.segments[s].n;
    }
}

static void begin_tile(const struct run *run, struct gqa__tile_id id, int32_t slot,
                       struct gqa__tile *tile)
{
    tile->params = run->params;
    tile->id = id;
    tile->segment = &run->plan.segments[tile->id.segment];
    tile->span_lo = run->attention->span_lo + run->attention->first_token[tile->id.segment];
    tile->span_hi = run->attention->span_hi + run->attention->first_token[tile->id.segment];
    tile->scratch = &run->attention->scratch[slot];
    tile->next.count = 0;
    tile->whole = false;
    tile->work = run->counted ? &tile->scratch->work : NULL;
    tile->trace = run->trace;
    tile->health = run->watched ? &tile->scratch->health : NULL;
    gqa__tile_begin(tile);
}

static void enter(const struct run *run)
{
    if (run->params->kernels->enter != NULL) {
        run->params->kernels->enter();
    }
}

static void leave(const struct run *run)
{
    if (run->params->kernels->leave != NULL) {
        run->params->kernels->leave();
    }
}

/* A tile with all its keys. */
static void whole_tile(const struct run *run, int64_t item, int32_t slot)
{
    const struct gqa__plan *const plan = &run->plan;
    const struct gqa__tile_id id = gqa__plan_tile(plan, item);
    struct gqa__tile tile;

    if (gqa__plan_is_cut(plan, id.segment)) {
        return; /* in parts */
    }
    enter(run);
    begin_tile(run, id, slot, &tile);
    if (item + run->threads < plan->tiles) {
        tile.next = gqa__plan_tile(plan, item + run->threads);
    }
    tile.whole = true;
    if (tile.trace != NULL) {
        gqa__trace_outside(&tile, GQA_TILE_SKIPPED_LEFT);
    }
    gqa__tile_walk(&tile, plan->block_begin[id.segment], plan->block_end[id.segment]);
    if (tile.trace != NULL) {
        gqa__trace_outside(&tile, GQA_TILE_SKIPPED_RIGHT);
    }
    if (!tile.finished) {
        gqa__tile_end(&tile, gqa__fold_end(&tile.scratch->fold));
    }
    leave(run);
}

static float *part_memory(const struct run *run, int64_t item)
{
    return run->attention->parts +
           item * gqa__state_floats(run->params->kernels->tile_rows, run->params->shape.dv);
}

static void copy_state(const struct gqa__tile *tile, struct gqa__state to, struct gqa__state from)
{
    const size_t lanes = (size_t)tile->ld * sizeof(float);

    memcpy(to.m, from.m, lanes);
    memcpy(to.l, from.l, lanes);
    memcpy(to.o, from.o, lanes * (size_t)tile->params->shape.dv);
}

/* A part of a tile's keys. */
static void part_of_tile(const struct run *run, int64_t item, int32_t slot)
{
    const struct gqa__plan_part part = gqa__plan_part(&run->plan, item);
    struct gqa__tile tile;

    enter(run);
    begin_tile(run, gqa__plan_tile(&run->plan, part.tile), slot, &tile);
    gqa__tile_walk(&tile, part.block_begin, part.block_end);
    copy_state(&tile, gqa__state_at(part_memory(run, item), run->params->kernels->tile_rows),
               gqa__fold_end(&tile.scratch->fold));
    leave(run);
}

/* First pass: the parts of the tiles that are cut by keys, then all other tiles. */
static void part_or_tile(void *arg, int64_t item, int32_t slot)
{
    const struct run *const run = arg;

    if (item < run->plan.parts) {
        part_of_tile(run, item, slot);
    } else {
        whole_tile(run, item - run->plan.parts, slot);
    }
}

/* Second pass: the first part of a tile merges all of them over the fold tree. */
static void merge_parts(void *arg, int64_t item, int32_t slot)
{
    const struct run *const run = arg;
    const struct gqa__plan_part part = gqa__plan_part(&run->plan, item);
    struct gqa__tile tile;

    if (part.index != 0) {
        return;
    }
    enter(run);
    begin_tile(run, gqa__plan_tile(&run->plan, part.tile), slot, &tile);
    for (int32_t i = 0; i < part.count; i++) {
        copy_state(&tile, gqa__fold_next(&tile.scratch->fold),
                   gqa__state_at(part_memory(run, item + i), run->params->kernels->tile_rows));
        gqa__fold_push(&tile.scratch->fold, run->plan.part_level, part.node + i);
    }
    gqa__tile_end(&tile, gqa__fold_end(&tile.scratch->fold));
    leave(run);
}

/* --- the record of work ---------------------------------------------------------------------- */

static void clear_counts(const struct run *run)
{
    for (int32_t i = 0; i < run->threads; i++) {
        run->attention->scratch[i].work = (gqa_work){0};
        gqa__health_clear(&run->attention->scratch[i].health);
    }
}

/* Tiles of the segment's whole grid: its tiles of rows against the fold blocks of its key range. */
static int64_t grid_of(const struct run *run, int32_t s)
{
    const struct gqa__segment *const segment = &run->plan.segments[s];
    const int64_t end = gqa__segment_end(segment);
    const int64_t blocks =
        (end + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK - segment->range_begin / GQA__FOLD_BLOCK;

    return (run->plan.first_tile[s + 1] - run->plan.first_tile[s]) * gqa__max(blocks, 0);
}

static void add_counts(const struct run *run, gqa_work *work)
{
    int64_t skipped = 0;

    for (int32_t s = 0; s < run->plan.n; s++) {
        skipped += grid_of(run, s);
    }
    for (int32_t i = 0; i < run->threads; i++) {
        const gqa_work *const own = &run->attention->scratch[i].work;
        skipped -= own->tiles;
        work->tiles += own->tiles;
        work->tiles_masked += own->tiles_masked;
        work->keys_read += own->keys_read;
        work->kv_bytes += own->kv_bytes;
        work->score_madds += own->score_madds;
        work->value_madds += own->value_madds;
    }
    work->tiles_skipped += skipped;
    work->tile_rows = run->params->kernels->tile_rows;
}

gqa_cut gqa__attention_run(struct gqa__attention *attention, const struct gqa__params *params,
                           const struct gqa__segment *segments, int32_t n,
                           const gqa_runtime *runtime, const struct gqa__attention_record *record)
{
    const gqa_runtime alone = {0};
    struct run run;
    struct gqa__tasks tasks;

    if (record->trace != NULL) {
        runtime = &alone;
    }
    run.attention = attention;
    run.params = params;
    run.plan.segments = segments;
    run.plan.n = n;
    run.plan.first_tile = attention->first_tile;
    run.plan.first_part = attention->first_part;
    run.plan.block_begin = attention->block_begin;
    run.plan.block_end = attention->block_end;
    find_spans(&run);
    run.threads = gqa__thread_count(runtime);
    run.counted = record->work != NULL;
    run.watched = record->health != NULL;
    run.trace = record->trace;
    if (run.counted || run.watched) {
        clear_counts(&run);
    }
    gqa__plan_make(&run.plan, params, run.threads, run.trace != NULL ? 0 : attention->max_parts);

    tasks = (struct gqa__tasks){part_or_tile, &run, run.plan.parts + run.plan.tiles};
    gqa__run_tasks(runtime, &tasks);
    if (run.plan.parts > 0) {
        tasks = (struct gqa__tasks){merge_parts, &run, run.plan.parts};
        gqa__run_tasks(runtime, &tasks);
    }
    if (run.counted) {
        add_counts(&run, record->work);
    }
    for (int32_t i = 0; i < run.threads && run.watched; i++) {
        gqa__health_add(record->health, &attention->scratch[i].health);
    }
    return run.plan.cut;
}
