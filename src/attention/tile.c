/* SPDX-License-Identifier: Apache-2.0 */
/* tile.c - see tile.h. */
#include "attention/tile.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "attention/attention.h"
#include "attention/runs.h"
#include "attention/trace.h"
#include "base/fold.h"
#include "base/hadamard.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/storage.h"
#include "base/tensor.h"
#include "base/units.h"

void gqa__tile_scratch_carve(struct gqa__arena *arena, struct gqa__tile_scratch *scratch,
                             const struct gqa__params *params,
                             const struct gqa__attention_limits *limits)
{
    const struct gqa__kernels *const kernels = params->kernels;
    const struct gqa__integer_kernels *const integer = params->integer;
    const int64_t lanes = kernels->tile_rows;
    const int32_t dv = params->shape.dv;
    const int32_t capacity = gqa__fold_capacity(limits->keys);
    struct gqa__tile_scratch own;

    own.q =
        gqa__arena_take(arena, (int64_t)kernels->q_bytes(params->shape.dk, kernels->tile_rows), 1);
    own.integer_q =
        gqa__arena_take(arena, (int64_t)integer->q_bytes(params->shape.dk, kernels->tile_rows), 1);
    own.s = gqa__arena_take(arena, GQA__FOLD_BLOCK * lanes, sizeof(float));
    own.p = gqa__arena_take(arena, GQA__FOLD_BLOCK * lanes, sizeof(float));
    own.bias = gqa__arena_take(arena, GQA__FOLD_BLOCK * lanes, sizeof(float));
    own.line_bias = gqa__arena_take(arena, GQA__FOLD_BLOCK * lanes, sizeof(float));
    own.lane_bias = gqa__arena_take(arena, lanes, sizeof *own.lane_bias);
    own.visible = gqa__arena_take(arena, GQA__FOLD_BLOCK * lanes, 1);
    own.seen = gqa__arena_take(arena, lanes, sizeof *own.seen);
    own.gathered = limits->segments > 1 || limits->rotated
                       ? gqa__arena_take(arena, lanes * params->shape.dk, sizeof(float))
                       : NULL;
    own.panel =
        gqa__arena_take(arena, (int64_t)gqa__view_scratch_bytes(kernels, params->shape.dk, dv), 1);
    own.lists = gqa__arena_take(arena, 1, sizeof *own.lists);
    own.kernel = gqa__arena_take(arena,
                                 gqa__max((int64_t)kernels->scratch_bytes,
                                          (int64_t)integer->scratch_bytes(params->shape.dk, dv)),
                                 1);
    own.prefetch = gqa__arena_take(arena, GQA__BLOCK_PREFETCHES, sizeof *own.prefetch);
    own.k_pos = gqa__arena_take(arena, GQA__FOLD_BLOCK, sizeof(int32_t));
    own.columns = gqa__arena_take(arena, GQA__FOLD_BLOCK, sizeof(int32_t));
    own.lo = gqa__arena_take(arena, lanes, sizeof(int32_t));
    own.hi = gqa__arena_take(arena, lanes, sizeof(int32_t));
    own.lo_rel = gqa__arena_take(arena, lanes, sizeof(int32_t));
    own.hi_rel = gqa__arena_take(arena, lanes, sizeof(int32_t));
    own.q_pos = gqa__arena_take(arena, lanes, sizeof(int32_t));
    own.slope = gqa__arena_take(arena, lanes, sizeof(float));
    own.sink = gqa__arena_take(arena, lanes, sizeof(float));
    own.fold.kernels = kernels;
    own.fold.dv = dv;
    own.fold.state_floats = gqa__state_floats(kernels->tile_rows, dv);
    own.fold.states = gqa__arena_take(arena, capacity * own.fold.state_floats, sizeof(float));
    own.fold.tree.depth = 0;
    own.other_states = limits->segments > 1
                           ? gqa__arena_take(arena, capacity * own.fold.state_floats, sizeof(float))
                           : NULL;
    if (scratch != NULL) {
        *scratch = own;
    }
}

/* Slopes and positions of the rows, where there are slopes. */
static void set_slopes(const struct gqa__tile *tile)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const float *const slopes = tile->params->slopes;
    const int32_t group = tile->map.group;

    for (int32_t r = 0; r < tile->ld && slopes != NULL; r++) {
        const bool real = r < tile->id.count;
        const int32_t at = real ? tile->id.first + r : 0;
        const double slope = (double)slopes[tile->id.head * group + at % group];

        scratch->q_pos[r] = real ? tile->segment->positions[at / group] : 0;
        scratch->slope[r] = real ? (float)(slope * GQA__LOG2E) : 0.0f;
    }
}

/* What the rows of one token see, [lo, hi), beside those that the tile has already. */
static void add_range(struct gqa__tile *tile, int32_t lo, int32_t hi)
{
    if (lo < hi) {
        tile->key_begin = (int32_t)gqa__min(tile->key_begin, lo);
        tile->key_end = (int32_t)gqa__max(tile->key_end, hi);
    }
    tile->last_lo = (int32_t)gqa__max(tile->last_lo, lo);
    tile->first_hi = (int32_t)gqa__min(tile->first_hi, hi);
}

/* Ranges of the rows, token by token; lanes beyond the rows see nothing. */
static void set_ranges_of_rows(struct gqa__tile *tile)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const int32_t group = tile->map.group, count = tile->id.count;
    int32_t r = 0;

    tile->key_begin = INT32_MAX;
    tile->key_end = 0;
    tile->last_lo = 0;
    tile->first_hi = INT32_MAX;
    for (int32_t i = tile->id.first / group; r < count; i++) {
        const int32_t end = (int32_t)gqa__min(count, (i + 1) * group - tile->id.first);
        const int32_t lo = tile->span_lo[i], hi = tile->span_hi[i];

        add_range(tile, lo, hi);
        for (; r < end; r++) {
            scratch->lo[r] = lo;
            scratch->hi[r] = hi;
        }
    }
    for (; r < tile->ld; r++) {
        scratch->lo[r] = scratch->hi[r] = 0;
    }
    if (tile->key_end == 0) {
        tile->key_begin = 0;
    }
    if (tile->params->knobs.mask_all_blocks) {
        tile->key_begin = tile->segment->view.first;
        tile->key_end = tile->segment->view.length;
    }
}

/* Are the rows of K, or of V with value, that the tile reads stored rotated? */
static bool keys_rotated(const struct gqa__tile *tile, bool value)
{
    const struct gqa_cache *const cache = tile->segment->view.cache;

    return cache != NULL && (value ? cache->layout.rotate_v : cache->layout.rotate_k);
}

/* The tile's queries, which may lie there already, into scratch->gathered, rotated. */
static void rotate_queries(struct gqa__tile *tile, const void *q, gqa_dtype type)
{
    const struct gqa__kernels *const kernels = tile->params->kernels;
    const int32_t dk = tile->params->shape.dk;

    for (int32_t r = 0; r < tile->id.count; r++) {
        float *const row = tile->scratch->gathered + (int64_t)r * dk; /* [dk] */
        if (q != tile->scratch->gathered) {
            kernels->load(row, gqa__values_at(q, gqa__row_offset(&tile->map, r), type), dk, type);
        }
        if (tile->params->shape.flush) {
            kernels->flush(row, dk);
        }
        gqa__hadamard(row, dk, 1);
    }
}

void gqa__tile_pack(struct gqa__tile *tile, const void *q, gqa_dtype type)
{
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kernels *const kernels = tile->params->kernels;
    const struct gqa__kv_view *const view = &tile->segment->view;
    const struct gqa__row_map gathered = {
        .token_stride = shape->dk, .group = 1, .count = tile->id.count};
    const bool integer = gqa__integer(gqa__view_dtype(view, false));
    struct gqa__pack_q_args pack = {.dst = integer ? tile->scratch->integer_q : tile->scratch->q,
                                    .q = q,
                                    .q_type = type,
                                    .map = &tile->map,
                                    .ld = tile->ld,
                                    .dk = shape->dk,
                                    .scale = (float)((double)shape->score_scale * GQA__LOG2E),
                                    .flush = shape->flush};

    tile->integer_k = integer;
    tile->integer_v = gqa__integer(gqa__view_dtype(view, true));
    if (keys_rotated(tile, false)) {
        rotate_queries(tile, q, type);
        pack.q = tile->scratch->gathered;
        pack.q_type = GQA_F32;
        pack.map = &gathered;
    }
    (integer ? tile->params->integer->pack_q : kernels->pack_q)(&pack);
    gqa__fold_begin(&tile->scratch->fold, tile->ld);
}

void gqa__tile_begin(struct gqa__tile *tile)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kernels *const kernels = tile->params->kernels;
    const int64_t q_at = (int64_t)tile->id.head * shape->group * shape->dk;

    tile->map.token_stride = segment->q_stride;
    tile->map.head_stride = shape->dk;
    tile->map.group = shape->group;
    tile->map.first = tile->id.first;
    tile->map.count = tile->id.count;
    tile->ld = (int32_t)gqa__round_up(tile->id.count, kernels->lanes);
    tile->explicit_mask = gqa__present(&segment->mask) || gqa__present(&segment->active_mask) ||
                          gqa__present(&segment->bias) || segment->key_begin != NULL ||
                          !segment->view.ordered;
    set_ranges_of_rows(tile);
    set_slopes(tile);
    gqa__tile_pack(tile, gqa__values_at(segment->q, q_at, segment->q_type), segment->q_type);
}

/* Positions and columns of the keys, 0 for those that a panel is filled up with. */
static void set_keys(struct gqa__tile *tile, int32_t first, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const struct gqa__kv_view *const view = &tile->segment->view;
    const int32_t exist = (int32_t)gqa__min(keys, view->length - first);

    memset(scratch->columns + exist, 0, (size_t)(keys - exist) * sizeof(int32_t));
    memset(scratch->k_pos + exist, 0, (size_t)(keys - exist) * sizeof(int32_t));
    gqa__view_positions(view, first, exist, scratch->k_pos);
    gqa__view_columns(view, first, exist, scratch->columns);
}

/* A key index, from `first` on, as one of 0 .. keys. */
static inline int32_t within(int32_t key, int32_t first, int32_t keys)
{
    const int32_t at = key - first;

    return at < 0 ? 0 : at < keys ? at : keys;
}

/* The rows' ranges within keys [first, first + keys). */
static void set_ranges(struct gqa__tile *tile, int32_t first, int32_t keys)
{
    const int32_t *const lo = tile->scratch->lo, *const hi = tile->scratch->hi; /* [ld] */
    int32_t *const restrict lo_rel = tile->scratch->lo_rel;
    int32_t *const restrict hi_rel = tile->scratch->hi_rel;

    for (int32_t r = 0; r < tile->ld; r++) {
        lo_rel[r] = within(lo[r], first, keys);
        hi_rel[r] = within(hi[r], first, keys);
    }
}

/* Does every row see every key of [first, first + keys) by index arithmetic alone? */
static bool all_see(const struct gqa__tile *tile, int32_t first, int32_t keys)
{
    return tile->last_lo <= first && tile->first_hi >= first + keys;
}

/* Do lo_rel and hi_rel leave every key to every row? */
static bool ranges_whole(const struct gqa__tile *tile, int32_t keys)
{
    for (int32_t r = 0; r < tile->id.count; r++) {
        if (tile->scratch->lo_rel[r] > 0 || tile->scratch->hi_rel[r] < keys) {
            return false;
        }
    }
    return true;
}

/* What the rows see, into *rules where it is not everything; cuts the keys as gqa__tile_visible. */
static enum gqa__sight set_sight(struct gqa__tile *tile, int32_t *first, int32_t *keys,
                                 struct gqa__score_rules *rules)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const bool look = !tile->params->knobs.mask_all_blocks;
    enum gqa__sight sight = GQA__SEE_RUNS;

    if (tile->explicit_mask) {
        sight = gqa__tile_visible(tile, first, keys);
        rules->visible = sight == GQA__SEE_SOME ? scratch->visible : NULL;
        if (look && sight == GQA__SEE_RUNS && ranges_whole(tile, *keys)) {
            return GQA__SEE_ALL;
        }
    } else if (look && all_see(tile, *first, *keys)) {
        return GQA__SEE_ALL;
    }
    if (!tile->explicit_mask || sight == GQA__SEE_SOME) {
        set_ranges(tile, *first, *keys);
    }
    rules->lo = scratch->lo_rel;
    rules->hi = scratch->hi_rel;
    return sight;
}

/* What happens to the scores of keys [*first, *first + *keys), softcap, ALiBi, bias and masks,
 * unless no row sees any of them; rules->keys is 0 if nothing does. Keys are cut to those that rows
 * see. */
static enum gqa__sight make_rules(struct gqa__tile *tile, int32_t *first, int32_t *keys,
                                  struct gqa__score_rules *rules)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const gqa_config *const config = &tile->params->config;
    const bool slopes = tile->params->slopes != NULL;
    const bool biased = gqa__present(&tile->segment->bias);
    const int32_t before = *first;
    enum gqa__sight sight;

    *rules = (struct gqa__score_rules){.ld = tile->ld};
    if (tile->explicit_mask || slopes) {
        set_keys(tile, *first, *keys);
    }
    sight = set_sight(tile, first, keys, rules);
    rules->lane_bias = biased ? scratch->lane_bias : NULL;
    if (slopes) {
        rules->slope = scratch->slope;
        rules->q_pos = scratch->q_pos;
        rules->k_pos = scratch->k_pos + (*first - before);
    }
    rules->softcap = (float)((double)config->softcap * GQA__LOG2E);
    if (sight != GQA__SEE_ALL || biased || slopes || config->softcap != 0.0f) {
        rules->keys = *keys;
    }
    return sight;
}

/* Merges the block's state into those of lower keys, as block->merge_into says. */
static void merge_block(const struct gqa__kernels *kernels, const struct gqa__block *block)
{
    const struct gqa__state *from = &block->state;

    for (int32_t i = 0; i < block->merges; i++) {
        kernels->merge(&block->merge_into[i], from, block->dv, block->ld);
        from = &block->merge_into[i];
    }
}

/* How the tile's rows end, from the state. (A block that ends them itself does not read the state
 * from there.) */
static void make_finish(struct gqa__tile *tile, struct gqa__state state, struct gqa__finish *finish)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__shape *const shape = &tile->params->shape;
    float *const sink = tile->scratch->sink; /* [ld] */
    const int64_t head0 = (int64_t)tile->id.head * shape->group;

    for (int32_t r = 0, g = tile->id.first % shape->group; r < tile->ld && segment->sinks != NULL;
         r++, g = g + 1 < shape->group ? g + 1 : 0) {
        sink[r] = gqa__to_units((double)segment->sinks[head0 + g]);
    }
    *finish = (struct gqa__finish){
        .m = state.m,
        .l = state.l,
        .o = state.o,
        .ld = tile->ld,
        .dv = shape->dv,
        .sink = segment->sinks != NULL ? sink : NULL,
        .out = gqa__values_at(segment->out, head0 * shape->dv, segment->out_type),
        .out_type = segment->out_type,
        .out_map = tile->map,
        .stream = segment->stream,
        .lse = segment->lse != NULL ? segment->lse + head0 : NULL,
        .lse_map = tile->map};
    finish->out_map.token_stride = segment->out_stride;
    finish->out_map.head_stride = shape->dv;
    finish->lse_map.token_stride = shape->hq;
    finish->lse_map.head_stride = 1;
}

/* May the kernel finish the rows with their last block? */
static bool ends_in_block(const struct gqa__tile *tile)
{
    const struct gqa__segment *const segment = tile->segment;

    return tile->whole && tile->params->kernels->block_ends && !keys_rotated(tile, true) &&
           segment->prior_m == NULL && segment->m == NULL &&
           (segment->out != NULL || segment->lse != NULL);
}

/* Counts the work of keys [first, end) of the tile. */
static void count_block(const struct gqa__tile *tile, int32_t first, int32_t end,
                        enum gqa__sight sight)
{
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kv_view *const view = &tile->segment->view;
    const int64_t keys = gqa__min(end, view->length) - first;

    tile->work->tiles++;
    tile->work->tiles_shared += tile->shared != NULL ? 1 : 0;
    tile->work->tiles_masked += sight == GQA__SEE_ALL ? 0 : 1;
    tile->work->keys_read += keys;
    tile->work->kv_bytes += keys * gqa__view_key_bytes(view);
    tile->work->score_madds += keys * tile->id.count * shape->dk;
    tile->work->value_madds += keys * tile->id.count * shape->dv;
}

/* A block of which no row sees a key: its state is neutral. */
static void skip_block(const struct gqa__kernels *kernels, const struct gqa__block *block)
{
    for (int32_t r = 0; r < block->ld; r++) {
        block->state.m[r] = -INFINITY;
        block->state.l[r] = 0.0f;
    }
    memset(block->state.o, 0, (size_t)block->dv * (size_t)block->ld * sizeof *block->state.o);
    merge_block(kernels, block);
}

/* Are scores and values asked one after the other, not by the entry `block`? */
static bool in_parts(const struct gqa__tile *tile)
{
    return tile->params->kernels->block == NULL || tile->trace != NULL || tile->health != NULL ||
           tile->integer_k || tile->integer_v;
}

/* One fold block, cut to `keys` keys from `first` on: its state is computed and put on the stack of
 * the fold. The last block's is merged with all that wait there, and its kernel may finish the rows
 * too. */
static void walk_block(struct gqa__tile *tile, int32_t index, int32_t first, int32_t keys,
                       bool last)
{
    const struct gqa__kernels *const kernels = tile->params->kernels;
    struct gqa__tile_scratch *const scratch = tile->scratch;
    struct gqa__block_lists *const lists = scratch->lists;
    struct gqa__score_rules rules;
    struct gqa__finish finish;
    const int32_t end = first + keys; /* before they are cut further */
    const enum gqa__sight sight = make_rules(tile, &first, &keys, &rules);
    bool special; /* some V of the block may be */
    bool parts;   /* one after the other */
    struct gqa__block block = {.q = scratch->q,
                               .ld = tile->ld,
                               .rows = tile->id.count,
                               .dk = tile->params->shape.dk,
                               .dv = tile->params->shape.dv,
                               .keys = keys,
                               .s = scratch->s,
                               .p = scratch->p,
                               .scratch = scratch->kernel,
                               .state = gqa__fold_next(&scratch->fold),
                               .merge_into = lists->merge_into,
                               .prefetch = scratch->prefetch};

    block.merges = gqa__fold_list_merges(&scratch->fold, index, last, lists->merge_into);
    if (sight == GQA__SEE_NONE) {
        skip_block(kernels, &block);
        if (tile->trace != NULL) {
            gqa__trace_hidden(tile, first);
        }
        return;
    }
    if (tile->work != NULL) {
        count_block(tile, first, first + keys, sight);
    }
    block.prefetches = gqa__tile_prefetch(tile, end, scratch->prefetch);
    block.rules = rules.keys > 0 ? &rules : NULL;
    special = !(tile->integer_k && tile->integer_v) &&
              gqa__tile_find_runs(tile, first, first + keys, &block, lists->mark);
    parts = special || in_parts(tile);
    if (rules.lane_bias != NULL && (parts || !kernels->lane_bias)) {
        gqa__tile_spread_bias(tile, &rules);
    }
    if (parts) {
        gqa__tile_walk_runs(tile, first, &block, special ? lists->mark : NULL);
        if (tile->trace != NULL) {
            gqa__trace_computed(tile, first, first + keys, sight, &block.state);
        }
        merge_block(kernels, &block);
        return;
    }
    if (last && ends_in_block(tile)) {
        make_finish(tile, block.state, &finish);
        block.finish = &finish;
        tile->finished = true;
    }
    kernels->block(&block);
    if (!kernels->block_ends) {
        merge_block(kernels, &block);
    }
}

static bool hidden(struct gqa__tile *tile, int64_t first, int64_t end)
{
    const int32_t keys = (int32_t)(end - first);

    set_keys(tile, (int32_t)first, keys);
    return gqa__tile_hidden(tile, (int32_t)first, keys);
}

/* Leaves out the fold blocks at either end of keys [*begin, *end) that masks and the like hide from
 * all rows. (Those between are neutral.) A traced tile tells of all of them, one by one. */
static void leave_hidden(struct gqa__tile *tile, int64_t *begin, int64_t *end)
{
    if (!tile->explicit_mask || !tile->whole || tile->shared != NULL || tile->trace != NULL ||
        tile->params->knobs.mask_all_blocks) {
        return;
    }
    while (*begin < *end) {
        const int64_t first = gqa__max(*begin, (*end - 1) / GQA__FOLD_BLOCK * GQA__FOLD_BLOCK);
        if (!hidden(tile, first, *end)) {
            break;
        }
        *end = first;
    }
    while (*begin < *end) {
        const int64_t stop = gqa__min(*end, (*begin / GQA__FOLD_BLOCK + 1) * GQA__FOLD_BLOCK);
        if (!hidden(tile, *begin, stop)) {
            break;
        }
        *begin = stop;
    }
    tile->key_end = (int32_t)gqa__min(tile->key_end, *end);
}

void gqa__tile_walk(struct gqa__tile *tile, int32_t block_begin, int32_t block_end)
{
    const int32_t step = tile->params->kernels->panel_keys;
    const bool last = tile->shared == NULL; /* segments of a bundle go on from what waits */
    int64_t begin = gqa__max(tile->key_begin, (int64_t)block_begin * GQA__FOLD_BLOCK);
    int64_t end = gqa__min(tile->key_end, (int64_t)block_end * GQA__FOLD_BLOCK);

    begin -= begin % step;
    end = gqa__round_up(end, step);
    leave_hidden(tile, &begin, &end);
    for (int64_t k = begin; k < end;) {
        const int64_t block = k / GQA__FOLD_BLOCK;
        const int64_t stop = gqa__min(end, (block + 1) * GQA__FOLD_BLOCK);
        walk_block(tile, (int32_t)block, (int32_t)k, (int32_t)(stop - k), last && stop == end);
        k = stop;
    }
}

/* The caller's prior states [row] into a state of ld lanes. store_states is the way back. */
static void load_prior(struct gqa__tile *tile, struct gqa__state to)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__shape *const shape = &tile->params->shape;
    const int32_t ld = tile->ld;

    for (int32_t r = 0; r < ld; r++) {
        const bool real = r < tile->id.count;
        const int32_t at = tile->id.first + r;
        const int64_t row = (int64_t)(at / shape->group) * shape->hq +
                            tile->id.head * shape->group + at % shape->group;
        to.m[r] = real ? segment->prior_m[row] : -INFINITY;
        to.l[r] = real ? segment->prior_l[row] : 0.0f;
        for (int32_t d = 0; d < shape->dv; d++) {
            to.o[(int64_t)d * ld + r] = real ? segment->prior_o[row * shape->dv + d] : 0.0f;
        }
    }
}

static void store_states(const struct gqa__tile *tile, struct gqa__state from)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__shape *const shape = &tile->params->shape;

    for (int32_t r = 0; r < tile->id.count; r++) {
        const int32_t at = tile->id.first + r;
        const int64_t row = (int64_t)(at / shape->group) * shape->hq +
                            tile->id.head * shape->group + at % shape->group;
        segment->m[row] = from.m[r];
        segment->l[row] = gqa__canonical(from.l[r]);
        for (int32_t d = 0; d < shape->dv; d++) {
            segment->o[row * shape->dv + d] =
                gqa__canonical(from.o[(int64_t)d * tile->ld + r] + 0.0f);
        }
    }
}

void gqa__tile_end(struct gqa__tile *tile, struct gqa__state state)
{
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kernels *const kernels = tile->params->kernels;
    struct gqa__tile_scratch *const scratch = tile->scratch;
    struct gqa__finish finish;

    if (keys_rotated(tile, true)) {
        gqa__hadamard(state.o, shape->dv, tile->ld);
    }
    if (segment->prior_m != NULL) { /* lower keys: the prior states are on the left */
        const struct gqa__state prior = gqa__fold_next(&scratch->fold);
        load_prior(tile, prior);
        kernels->merge(&prior, &state, shape->dv, tile->ld);
        state = prior;
    }
    if (tile->health != NULL) {
        gqa__tile_note_rows(tile, &state);
    }
    if (segment->m != NULL) {
        store_states(tile, state);
    }
    if (segment->out == NULL && segment->lse == NULL) {
        return;
    }
    make_finish(tile, state, &finish);
    kernels->finish(&finish);
}
