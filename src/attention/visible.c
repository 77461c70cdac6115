/* SPDX-License-Identifier: Apache-2.0 */
/* visible.c - the explicit restrictions and the bias of a segment, for one tile and key block.
 *
 * They are worked out once per line: for a token, or, where mask or bias differ from head to head,
 * for a row. A line's keys are a set of bits; then they are copied to the lanes of its rows. Where
 * each line sees one run of the keys, as under a mask that spells out causal order or a window, the
 * runs say all and nothing is copied.
 */
#include "attention/tile.h"

#include <math.h>
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "kernel/contract/convert.h"
#include "stage/span.h"

/* A line: rows [row, row + rows) of the tile, of one token, against `keys` keys of a block. */
struct key_line {
    const struct gqa__tile *tile;
    int32_t token, head; /* of the segment; the query head of its first row */
    int32_t row, rows;
    int32_t keys;
    int32_t begin, end; /* what the rows' range leaves of the keys */
    bool together;      /* the columns of [begin, end) lie one after the other */
};

/* Offset of the line's element of column 0 in a mask or bias [1|B, 1|Hq, T, K]. */
static int64_t line_row(const struct key_line *line, const gqa_tensor *t)
{
    return gqa__mask_row(line->tile->segment, t, line->head, line->token);
}

/* Offset of the line's first element in the active mask [1|B, T, C]. */
static int64_t active_row(const struct key_line *line)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const gqa_tensor *const t = &segment->active_mask;
    const int64_t b = t->shape[0] == 1 ? 0 : segment->batch;

    return b * t->stride[0] + (segment->row0 + line->token) * t->stride[1];
}

/* k as a limit of the line's keys. */
static int32_t key_within(const struct key_line *line, int64_t k)
{
    return (int32_t)gqa__min(gqa__max(k, line->begin), line->end);
}

/* Does the line's token see a key in this column, by key bounds, active mask and mask? */
static bool column_seen(const struct key_line *line, int32_t column)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const int32_t i = line->token;

    if (segment->key_begin != NULL &&
        (column < segment->key_begin[i] || column >= segment->key_end[i])) {
        return false;
    }
    if (gqa__present(&segment->active_mask) && column >= segment->active_column &&
        !gqa__mask_at(&segment->active_mask, active_row(line) + column - segment->active_column)) {
        return false;
    }
    return !gqa__present(&segment->mask) ||
           gqa__mask_at(&segment->mask, line_row(line, &segment->mask) + column);
}

/* The same for all keys of the line, whose columns lie together. */
static void see_together(const struct key_line *line, struct gqa__key_bits *seen)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const int64_t column = line->tile->scratch->columns[line->begin]; /* of key begin */
    const int64_t to_key = line->begin - column;

    if (segment->key_begin != NULL) {
        gqa__key_bits_keep(seen, key_within(line, segment->key_begin[line->token] + to_key),
                           key_within(line, segment->key_end[line->token] + to_key));
    }
    if (gqa__present(&segment->active_mask)) {
        const int32_t first = key_within(line, segment->active_column + to_key);
        gqa__key_bits_mask(seen, first, line->end, &segment->active_mask,
                           active_row(line) + first - to_key - segment->active_column);
    }
    if (gqa__present(&segment->mask)) {
        gqa__key_bits_mask(seen, line->begin, line->end, &segment->mask,
                           line_row(line, &segment->mask) + column);
    }
}

/* Takes away the keys that the config's rules hide from the line's token, where positions do not
 * rise with the index. */
static void see_positions(const struct key_line *line, struct gqa__key_bits *seen)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const int32_t *const k_pos = line->tile->scratch->k_pos;
    const struct gqa__span span = gqa__span_of(&line->tile->params->shape, segment->view.origin,
                                               segment->positions[line->token]);

    for (int32_t k = line->begin; k < line->end; k++) {
        if (k_pos[k] < span.first || k_pos[k] > span.last) {
            gqa__key_bits_drop(seen, k);
        }
    }
}

/* The keys that the line sees. */
static void see(const struct key_line *line, struct gqa__key_bits *seen)
{
    const int32_t *const columns = line->tile->scratch->columns;

    gqa__key_bits_set(seen, line->begin, line->end);
    if (line->together && line->begin < line->end) {
        see_together(line, seen);
    }
    for (int32_t k = line->begin; k < line->end && !line->together; k++) {
        if (!column_seen(line, columns[k])) {
            gqa__key_bits_drop(seen, k);
        }
    }
    if (!line->tile->segment->view.ordered) {
        see_positions(line, seen);
    }
}

/* Takes away the keys whose bias is -inf: they are hidden, by select, for NaN - inf would not mask.
 */
static void see_biases(const struct key_line *line, const float *bias, struct gqa__key_bits *seen)
{
    int32_t hidden = 0;

    for (int32_t k = line->begin; k < line->end; k++) {
        hidden += bias[k] == -INFINITY;
    }
    for (int32_t k = line->begin; k < line->end && hidden > 0; k++) {
        if (bias[k] == -INFINITY) {
            gqa__key_bits_drop(seen, k);
        }
    }
}

/* The line's bias [keys], 0 outside of its range; where it lies, or in room. */
static const float *load_bias(const struct key_line *line, float *room)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const struct gqa__kernels *const kernels = line->tile->params->kernels;
    const int32_t *const columns = line->tile->scratch->columns;
    const gqa_tensor *const t = &segment->bias;
    const int64_t at = line_row(line, t);
    const int32_t n = line->end - line->begin;

    if (line->together && n == line->keys && t->dtype == GQA_F32) {
        return (const float *)t->data + at + columns[line->begin];
    }
    memset(room, 0, (size_t)line->begin * sizeof *room);
    memset(room + line->end, 0, (size_t)(line->keys - line->end) * sizeof *room);
    if (line->together && n > 0) {
        gqa__load(kernels, room + line->begin, t, at + columns[line->begin], n);
    }
    for (int32_t k = line->begin; k < line->end && !line->together; k++) {
        gqa__load(kernels, room + k, t, at + columns[k], 1);
    }
    return room;
}

/* The line's flags of keys [begin, end) to the lanes of its rows. */
static void to_lanes(const struct key_line *line, const struct gqa__key_bits *seen, int32_t begin,
                     int32_t end)
{
    const int32_t ld = line->tile->ld;
    uint8_t *to = line->tile->scratch->visible + line->row; /* [end - begin][ld] */

    for (int32_t k = begin; k < end; k++, to += ld) {
        memset(to, gqa__key_bits_has(seen, k), (size_t)line->rows);
    }
}

/* bias [keys] to `rows` lanes; to [keys][ld] */
static inline void copy_to_lanes(float *to, int32_t ld, const float *bias, int32_t keys,
                                 const int32_t rows)
{
    for (int32_t k = 0; k < keys; k++, to += ld) {
        for (int32_t r = 0; r < rows; r++) {
            to[r] = bias[k];
        }
    }
}

void gqa__tile_spread_bias(struct gqa__tile *tile, struct gqa__score_rules *rules)
{
    const float *const *const from = rules->lane_bias;
    float *const to = tile->scratch->bias; /* [keys][ld] */
    int32_t rows;

    for (int32_t r = 0; r < rules->ld; r += rows) {
        for (rows = 1; r + rows < rules->ld && from[r + rows] == from[r]; rows++) {
        }
        if (rows == 8) { /* as a constant: whole vectors */
            copy_to_lanes(to + r, rules->ld, from[r], rules->keys, 8);
        } else if (rows == 4) {
            copy_to_lanes(to + r, rules->ld, from[r], rules->keys, 4);
        } else {
            copy_to_lanes(to + r, rules->ld, from[r], rules->keys, rows);
        }
    }
    rules->bias = to;
    rules->lane_bias = NULL;
}

static bool lie_together(const int32_t *columns, int32_t n)
{
    for (int32_t k = 1; k < n; k++) {
        if (columns[k] != columns[k - 1] + 1) {
            return false;
        }
    }
    return true;
}

/* Keys [first, first + keys) of a tile. */
struct key_block {
    const struct gqa__tile *tile;
    int32_t first, keys;
    bool together; /* the columns of those that exist lie one after the other */
};

/* The line that begins with row r: as many rows of its token as share mask and bias. */
static struct key_line line_at(const struct key_block *block, int32_t r)
{
    const struct gqa__tile *const tile = block->tile;
    const struct gqa__segment *const segment = tile->segment;
    const struct gqa__tile_scratch *const scratch = tile->scratch;
    const int32_t group = tile->map.group, at = tile->id.first + r;
    const bool by_head = (gqa__present(&segment->mask) && segment->mask.shape[1] != 1) ||
                         (gqa__present(&segment->bias) && segment->bias.shape[1] != 1);
    struct key_line line = {.tile = tile,
                            .token = at / group,
                            .head = tile->id.head * group + at % group,
                            .row = r,
                            .rows = by_head ? 1 : group - at % group,
                            .keys = block->keys};
    const int64_t begin = gqa__max(0, (int64_t)scratch->lo[r] - block->first);
    const int64_t end = gqa__min(block->keys, (int64_t)scratch->hi[r] - block->first);

    line.rows = (int32_t)gqa__min(line.rows, tile->id.count - r);
    line.begin = (int32_t)gqa__min(begin, block->keys);
    line.end = (int32_t)gqa__max(end, line.begin);
    line.together =
        block->together || lie_together(scratch->columns + line.begin, line.end - line.begin);
    return line;
}

/* Lanes beyond the rows see nothing; any bias will do. */
static void clear_idle_lanes(const struct gqa__tile *tile, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const int32_t count = tile->id.count, rest = tile->ld - count;

    for (int32_t r = count; r < tile->ld; r++) {
        scratch->lo_rel[r] = scratch->hi_rel[r] = 0;
        scratch->lane_bias[r] = scratch->lane_bias[count - 1];
    }
    for (int32_t k = 0; k < keys && rest > 0; k++) {
        memset(scratch->visible + (int64_t)k * tile->ld + count, 0, (size_t)rest);
    }
}

/* What lines see of a block. */
struct lines_seen {
    int32_t low, high; /* from the first key to the last that a line sees; both 0 if none does */
    bool runs;         /* each line sees one run of keys, or none */
};

/* Looks at the lines one after the other, into scratch->seen; their runs into lo_rel and hi_rel,
 * and where their biases are into lane_bias. */
static struct lines_seen see_lines(const struct key_block *block)
{
    struct gqa__tile_scratch *const scratch = block->tile->scratch;
    const bool biased = gqa__present(&block->tile->segment->bias);
    struct lines_seen all = {INT32_MAX, 0, true};
    struct gqa__key_bits *seen = scratch->seen; /* [lines] */
    float *room = scratch->line_bias;           /* [lines][F] */
    const float *bias = NULL;
    struct key_line line;

    for (int32_t r = 0; r < block->tile->id.count;
         r += line.rows, seen++, room += GQA__FOLD_BLOCK) {
        int32_t low, high;

        line = line_at(block, r);
        see(&line, seen);
        if (biased) {
            bias = load_bias(&line, room);
            see_biases(&line, bias, seen);
        }
        all.runs = gqa__key_bits_run(seen, &low, &high) && all.runs;
        if (low < high) {
            all.low = (int32_t)gqa__min(all.low, low);
            all.high = (int32_t)gqa__max(all.high, high);
        }
        for (int32_t i = r; i < r + line.rows; i++) {
            scratch->lo_rel[i] = low;
            scratch->hi_rel[i] = high;
            scratch->lane_bias[i] = bias;
        }
    }
    all.low = (int32_t)gqa__min(all.low, all.high);
    return all;
}

/* The runs of the rows, and their biases, from key `begin` of the block on. */
static void move_rows(const struct gqa__tile *tile, int32_t begin)
{
    const bool biased = gqa__present(&tile->segment->bias);
    struct gqa__tile_scratch *const scratch = tile->scratch;

    for (int32_t r = 0; r < tile->id.count; r++) {
        const bool empty = scratch->lo_rel[r] == scratch->hi_rel[r];
        scratch->lo_rel[r] = empty ? 0 : scratch->lo_rel[r] - begin;
        scratch->hi_rel[r] = empty ? 0 : scratch->hi_rel[r] - begin;
        scratch->lane_bias[r] = biased ? scratch->lane_bias[r] + begin : NULL;
    }
}

enum gqa__sight gqa__tile_visible(struct gqa__tile *tile, int32_t *first, int32_t *keys)
{
    const int32_t step = tile->params->kernels->panel_keys;
    const int32_t exist = (int32_t)gqa__min(*keys, tile->segment->view.length - *first);
    const struct key_block block = {tile, *first, *keys,
                                    lie_together(tile->scratch->columns, exist)};
    const struct gqa__key_bits *seen = tile->scratch->seen;
    struct lines_seen all = see_lines(&block);
    int32_t begin, end; /* the panels of those keys */
    struct key_line line;

    if (tile->params->knobs.mask_all_blocks) {
        all = (struct lines_seen){0, *keys, false};
    }
    if (all.low == all.high) {
        return GQA__SEE_NONE;
    }
    begin = all.low - all.low % step;
    end = (int32_t)gqa__min(*keys, gqa__round_up(all.high, step));
    for (int32_t r = 0; r < tile->id.count && !all.runs; r += line.rows, seen++) {
        line = line_at(&block, r);
        to_lanes(&line, seen, begin, end);
    }
    move_rows(tile, begin);
    *first += begin;
    *keys = end - begin;
    clear_idle_lanes(tile, *keys);
    return all.runs ? GQA__SEE_RUNS : GQA__SEE_SOME;
}

bool gqa__tile_hidden(const struct gqa__tile *tile, int32_t first, int32_t keys)
{
    const bool biased = gqa__present(&tile->segment->bias);
    const int32_t exist = (int32_t)gqa__min(keys, tile->segment->view.length - first);
    const struct key_block block = {tile, first, keys, lie_together(tile->scratch->columns, exist)};
    float room[GQA__FOLD_BLOCK];
    struct gqa__key_bits seen;
    struct key_line line;

    for (int32_t r = 0; r < tile->id.count; r += line.rows) {
        int32_t low, high;

        line = line_at(&block, r);
        see(&line, &seen);
        if (biased) {
            see_biases(&line, load_bias(&line, room), &seen);
        }
        (void)gqa__key_bits_run(&seen, &low, &high);
        if (low < high) {
            return false;
        }
    }
    return true;
}
