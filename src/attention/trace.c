/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - see trace.h. */
#include "attention/trace.h"

#include "base/fold.h"
#include "base/memory.h"

/* What a tile has whatever became of it. */
static gqa_tile describe(const struct gqa__tile *tile, gqa_tile_fate fate, int32_t first,
                         int32_t keys)
{
    const struct gqa__segment *const segment = tile->segment;
    const gqa_tile event = {.struct_size = sizeof event,
                            .fate = fate,
                            .order = tile->trace->order++,
                            .batch = segment->entry,
                            .head = tile->id.head,
                            .row = segment->column * tile->map.group + tile->id.first,
                            .rows = tile->id.count,
                            .block = first / GQA__FOLD_BLOCK,
                            .key = first,
                            .keys = keys,
                            .rows_without_keys = tile->id.count};

    return event;
}

/* The kernels give back what they hold of the processor meanwhile: the host may need it. */
static void tell(const struct gqa__tile *tile, const gqa_tile *event)
{
    const struct gqa__kernels *const kernels = tile->params->kernels;

    if (kernels->leave != NULL) {
        kernels->leave();
    }
    tile->trace->tell(tile->trace->user, event);
    if (kernels->enter != NULL) {
        kernels->enter();
    }
}

/* Fold block `block`, of the keys there will be, is not computed. */
static void tell_skipped(const struct gqa__tile *tile, int32_t block, gqa_tile_fate fate)
{
    const int32_t first = block * GQA__FOLD_BLOCK;
    const int64_t end = gqa__min((int64_t)first + GQA__FOLD_BLOCK, gqa__segment_end(tile->segment));
    const gqa_tile event = describe(tile, fate, first, (int32_t)(end - first));

    tell(tile, &event);
}

/* On which side of all that the rows see keys [first, end) lie; WHOLE: on neither, they are walked.
 * Rows that see nothing stand where their ranges are empty. */
static gqa_tile_fate side_of(const struct gqa__tile *tile, int64_t first, int64_t end)
{
    const bool empty = tile->key_begin >= tile->key_end;
    const int32_t begin = empty ? tile->scratch->lo[0] : tile->key_begin;

    if (end <= begin) {
        return GQA_TILE_SKIPPED_LEFT;
    }
    return empty || first >= tile->key_end ? GQA_TILE_SKIPPED_RIGHT : GQA_TILE_WHOLE;
}

void gqa__trace_outside(const struct gqa__tile *tile, gqa_tile_fate side)
{
    const int64_t end = gqa__segment_end(tile->segment);
    int32_t block = tile->segment->range_begin / GQA__FOLD_BLOCK;

    for (int64_t first = (int64_t)block * GQA__FOLD_BLOCK; first < end;
         first += GQA__FOLD_BLOCK, block++) {
        if (side_of(tile, first, gqa__min(first + GQA__FOLD_BLOCK, end)) == side) {
            tell_skipped(tile, block, side);
        }
    }
}

void gqa__trace_hidden(const struct gqa__tile *tile, int32_t first)
{
    tell_skipped(tile, first / GQA__FOLD_BLOCK, GQA_TILE_SKIPPED_HIDDEN);
}

/* Which keys, from the first to one past the last, each row sees, into lo_rel and hi_rel. */
static void set_seen(const struct gqa__tile *tile, int32_t keys, enum gqa__sight sight)
{
    const struct gqa__tile_scratch *const scratch = tile->scratch;

    for (int32_t r = 0; r < tile->id.count; r++) {
        int32_t begin = sight == GQA__SEE_ALL ? 0 : scratch->lo_rel[r];
        int32_t end = sight == GQA__SEE_ALL ? keys : scratch->hi_rel[r];

        if (sight == GQA__SEE_SOME) {
            const uint8_t *const visible = scratch->visible + r; /* [keys][ld] */
            for (; begin < end && visible[(int64_t)begin * tile->ld] == 0; begin++) {
            }
            for (; begin < end && visible[(int64_t)(end - 1) * tile->ld] == 0; end--) {
            }
        }
        scratch->lo_rel[r] = begin < end ? begin : 0;
        scratch->hi_rel[r] = begin < end ? end : 0;
    }
}

void gqa__trace_computed(const struct gqa__tile *tile, int32_t first, int32_t end,
                         enum gqa__sight sight, const struct gqa__state *state)
{
    const struct gqa__shape *const shape = &tile->params->shape;
    const struct gqa__kv_view *const view = &tile->segment->view;
    const int64_t keys = gqa__min(end, view->length) - first;
    gqa_tile event = describe(tile, sight == GQA__SEE_ALL ? GQA_TILE_WHOLE : GQA_TILE_MASKED, first,
                              (int32_t)keys);

    set_seen(tile, (int32_t)keys, sight);
    event.seen_begin = tile->scratch->lo_rel;
    event.seen_end = tile->scratch->hi_rel;
    event.rows_without_keys = 0;
    for (int32_t r = 0; r < event.rows; r++) {
        event.rows_without_keys += event.seen_begin[r] == event.seen_end[r] ? 1 : 0;
    }
    event.m = state->m;
    event.l = state->l;
    event.kv_bytes = keys * gqa__view_key_bytes(view);
    event.score_madds = keys * event.rows * shape->dk;
    event.value_madds = keys * event.rows * shape->dv;
    tell(tile, &event);
}
