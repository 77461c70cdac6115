/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c - see attention.h. */
#include "attention/attention.h"

#include "attention/run.h"
#include "base/fold.h"
#include "base/memory.h"
#include "stage/span.h"

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
    own.first_tile = gqa__arena_take(arena, 3 * ((int64_t)limits->segments + 1), sizeof(int64_t));
    own.block_begin = gqa__arena_take(arena, limits->segments, sizeof(int32_t));
    own.block_end = gqa__arena_take(arena, limits->segments, sizeof(int32_t));
    gqa__bundles_carve(&own.bundles, arena, limits->segments);
    own.parts = gqa__arena_take(arena, own.max_parts * floats, sizeof(float));
    own.scratch = gqa__arena_take(arena, limits->threads, sizeof *own.scratch);
    for (int32_t i = 0; i < limits->threads; i++) {
        gqa__tile_scratch_carve(arena, own.scratch != NULL ? &own.scratch[i] : NULL, params,
                                limits);
    }
    if (attention == NULL || arena->failed) {
        return NULL;
    }
    *attention = own;
    return attention;
}

/* The index range that each token of segment s sees, cut to the segment's part of the keys; and the
 * fold blocks of which some token sees a key. at: of its first token in span_lo. */
static void find_span(struct gqa__run *run, int32_t s, int64_t at)
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

static void find_spans(struct gqa__run *run, int32_t n)
{
    int64_t at = 0;

    for (int32_t s = 0; s < n; s++) {
        find_span(run, s, at);
        at += run->plan.segments[s].n;
    }
}

/* A traced call tells of tiles of one batch entry each: its segments walk apart. */
static void find_bundles(struct gqa__run *run, int32_t n)
{
    const struct gqa__attention *const attention = run->attention;
    const struct gqa__bundle_source source = {.params = run->params,
                                              .segments = run->plan.segments,
                                              .n = n,
                                              .span_lo = attention->span_lo,
                                              .span_hi = attention->span_hi,
                                              .first_token = attention->first_token,
                                              .block_begin = attention->block_begin};

    run->plan.bundles = attention->bundles;
    gqa__bundle_segments(&run->plan.bundles, &source, run->trace != NULL);
}

/* --- the record of work ---------------------------------------------------------------------- */

static void clear_counts(const struct gqa__run *run)
{
    for (int32_t i = 0; i < run->threads; i++) {
        run->attention->scratch[i].work = (gqa_work){0};
        gqa__health_clear(&run->attention->scratch[i].health);
    }
}

/* Fold blocks of the segment's key range that none of its rows sees. */
static int64_t unseen_blocks(const struct gqa__run *run, int32_t s)
{
    const struct gqa__segment *const segment = &run->plan.segments[s];
    const int64_t end = gqa__segment_end(segment);
    const int64_t blocks =
        (end + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK - segment->range_begin / GQA__FOLD_BLOCK;

    return gqa__max(blocks, 0) - (run->plan.block_end[s] - run->plan.block_begin[s]);
}

/* Tiles of a bundle's whole grid: its tiles of rows against the fold blocks of its key ranges, of
 * which those that it shares count once. */
static int64_t grid_of(const struct gqa__run *run, int32_t bundle)
{
    const struct gqa__bundles *const bundles = &run->plan.bundles;
    int64_t blocks = gqa__plan_tile_blocks(&run->plan, bundle);

    for (int32_t i = bundles->first_member[bundle]; i < bundles->first_member[bundle + 1]; i++) {
        blocks += unseen_blocks(run, bundles->member[i]);
    }
    return (run->plan.first_tile[bundle + 1] - run->plan.first_tile[bundle]) * blocks;
}

static void add_counts(const struct gqa__run *run, gqa_work *work)
{
    int64_t skipped = 0;

    for (int32_t b = 0; b < run->plan.bundles.n; b++) {
        skipped += grid_of(run, b);
    }
    for (int32_t i = 0; i < run->threads; i++) {
        const gqa_work *const own = &run->attention->scratch[i].work;
        skipped -= own->tiles;
        work->tiles += own->tiles;
        work->tiles_masked += own->tiles_masked;
        work->tiles_shared += own->tiles_shared;
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
    struct gqa__run run;

    if (record->trace != NULL) {
        runtime = &alone;
    }
    run.attention = attention;
    run.params = params;
    run.plan.segments = segments;
    run.plan.first_tile = attention->first_tile;
    run.plan.first_part = attention->first_tile + attention->limits.segments + 1;
    run.plan.first_join = run.plan.first_part + attention->limits.segments + 1;
    run.plan.block_begin = attention->block_begin;
    run.plan.block_end = attention->block_end;
    run.trace = record->trace;
    find_spans(&run, n);
    find_bundles(&run, n);
    run.threads = gqa__thread_count(runtime);
    run.counted = record->work != NULL;
    run.watched = record->health != NULL;
    if (run.counted || run.watched) {
        clear_counts(&run);
    }
    gqa__plan_make(&run.plan, params, run.threads, run.trace != NULL ? 0 : attention->max_parts);

    gqa__run_items(&run, runtime);
    if (run.counted) {
        add_counts(&run, record->work);
    }
    for (int32_t i = 0; i < run.threads && run.watched; i++) {
        gqa__health_add(record->health, &attention->scratch[i].health);
    }
    return run.plan.cut;
}
