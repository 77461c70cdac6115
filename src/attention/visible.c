/* SPDX-License-Identifier: Apache-2.0 */
/* visible.c - the explicit restrictions and the bias of a segment, for one tile and key block.
 *
 * They are worked out once per line: for a token, or, where mask or bias differ from head to head,
 * for a row. A line's keys lie one after the other; then it is copied to the lanes of its rows.
 * Where each line sees one run of the keys, as under a mask that spells out causal order or a
 * window, the runs say all and nothing is copied.
 */
#include "attention/tile.h"

#include <math.h>
#include <string.h>

#include "base/fold.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "kernel/contract/convert.h"
#include "stage/span.h"

/* Offset of [batch][head][row][0] in a [1|B, 1|Hq, T, K] tensor. */
static int64_t mask_row(const gqa_tensor *t, int32_t batch, int32_t head, int32_t row)
{
    const int64_t b = t->shape[0] == 1 ? 0 : batch;
    const int64_t h = t->shape[1] == 1 ? 0 : head;

    return b * t->stride[0] + h * t->stride[1] + row * t->stride[2];
}

/* A line: rows [row, row + rows) of the tile, of one token, against keys [first, first + keys). */
struct key_line {
    const struct gqa__tile *tile;
    int32_t token, head; /* of the segment; the query head of its first row */
    int32_t row, rows;
    int32_t first, keys;
    int32_t begin, end; /* what the rows' range leaves of the keys, counted from first */
    bool together;      /* the columns of [begin, end) lie one after the other */
};

/* May the line's token see key k at its column and position, by all but mask and bias? */
static bool token_sees(const struct key_line *line, int32_t k)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const struct gqa__tile_scratch *const scratch = line->tile->scratch;
    const int32_t column = scratch->columns[k], i = line->token;

    if (segment->key_begin != NULL &&
        (column < segment->key_begin[i] || column >= segment->key_end[i])) {
        return false;
    }
    if (gqa__present(&segment->active_mask) && column >= segment->active_column) {
        const gqa_tensor *const t = &segment->active_mask;
        const int64_t b = t->shape[0] == 1 ? 0 : segment->batch;
        const int64_t at =
            b * t->stride[0] + (segment->row0 + i) * t->stride[1] + column - segment->active_column;
        if (!gqa__mask_at(t, at)) {
            return false;
        }
    }
    if (!segment->view.ordered) {
        const struct gqa__span span =
            gqa__span_of(&line->tile->params->shape, segment->view.origin, segment->positions[i]);
        return scratch->k_pos[k] >= span.first && scratch->k_pos[k] <= span.last;
    }
    return true;
}

/* seen [n] stays 1 where the mask's n elements from `at` on allow it. */
static void keep_masked(uint8_t *restrict seen, const gqa_tensor *mask, int64_t at, int32_t n)
{
    const uint8_t *restrict const bytes = mask->data;

    if (mask->dtype == GQA_BITS) {
        int32_t i = 0;
        for (; i < n && (at + i) % 8 != 0; i++) {
            seen[i] &= gqa__mask_at(mask, at + i) ? 1u : 0u;
        }
        for (; i + 8 <= n; i += 8) {
            const unsigned eight = bytes[(at + i) / 8];
            for (int32_t j = 0; j < 8; j++) {
                seen[i + j] &= (uint8_t)((eight >> j) & 1u);
            }
        }
        for (; i < n; i++) {
            seen[i] &= gqa__mask_at(mask, at + i) ? 1u : 0u;
        }
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        seen[i] &= bytes[at + i] != 0 ? 1u : 0u;
    }
}

/* The same for the keys [begin, end) of the line whatever their columns. */
static void keep_mask(const struct key_line *line, uint8_t *seen)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const int32_t *const columns = line->tile->scratch->columns;
    const gqa_tensor *const mask = &segment->mask;
    const int64_t at = mask_row(mask, segment->batch, line->head, segment->row0 + line->token);

    if (line->together && line->begin < line->end) {
        keep_masked(seen + line->begin, mask, at + columns[line->begin], line->end - line->begin);
        return;
    }
    for (int32_t k = line->begin; k < line->end; k++) {
        seen[k] &= gqa__mask_at(mask, at + columns[k]) ? 1u : 0u;
    }
}

/* bias [keys]: the line's, 0 outside of its range. A key whose bias is -inf is hidden, by select:
 * NaN - inf would not mask. */
static void load_bias(const struct key_line *line, float *bias, uint8_t *seen)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const struct gqa__kernels *const kernels = line->tile->params->kernels;
    const int32_t *const columns = line->tile->scratch->columns;
    const gqa_tensor *const t = &segment->bias;
    const int64_t at = mask_row(t, segment->batch, line->head, segment->row0 + line->token);

    memset(bias, 0, (size_t)line->keys * sizeof *bias);
    if (line->together && line->begin < line->end) {
        gqa__load(kernels, bias + line->begin, t, at + columns[line->begin],
                  line->end - line->begin);
    }
    for (int32_t k = line->begin; k < line->end && !line->together; k++) {
        gqa__load(kernels, bias + k, t, at + columns[k], 1);
    }
    for (int32_t k = line->begin; k < line->end; k++) {
        seen[k] = bias[k] == -INFINITY ? 0u : seen[k];
    }
}

/* seen [keys]: 1 where the line sees the key. */
static void see(const struct key_line *line, uint8_t *seen)
{
    const struct gqa__segment *const segment = line->tile->segment;
    const bool by_token =
        segment->key_begin != NULL || gqa__present(&segment->active_mask) || !segment->view.ordered;

    memset(seen, 0, (size_t)line->keys);
    memset(seen + line->begin, 1, (size_t)(line->end - line->begin));
    for (int32_t k = line->begin; k < line->end && by_token; k++) {
        seen[k] = token_sees(line, k) ? 1u : 0u;
    }
    if (gqa__present(&segment->mask)) {
        keep_mask(line, seen);
    }
}

/* The line's flags to the lanes of its rows. */
static void to_lanes(const struct key_line *line, const uint8_t *seen)
{
    const int32_t ld = line->tile->ld;
    uint8_t *to = line->tile->scratch->visible + line->row; /* [keys][ld] */

    for (int32_t k = 0; k < line->keys; k++, to += ld) {
        for (int32_t r = 0; r < line->rows; r++) {
            to[r] = seen[k];
        }
    }
}

static void bias_to_lanes(const struct key_line *line, const float *bias)
{
    const int32_t ld = line->tile->ld;
    float *to = line->tile->scratch->bias + line->row; /* [keys][ld] */

    for (int32_t k = 0; k < line->keys; k++, to += ld) {
        for (int32_t r = 0; r < line->rows; r++) {
            to[r] = bias[k];
        }
    }
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

/* The line that begins with row r: as many rows of its token as share mask and bias. */
static struct key_line line_at(const struct gqa__tile *tile, int32_t r, int32_t first, int32_t keys)
{
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
                            .first = first,
                            .keys = keys};
    const int64_t begin = gqa__max(0, (int64_t)scratch->lo[r] - first);
    const int64_t end = gqa__min(keys, (int64_t)scratch->hi[r] - first);

    line.rows = (int32_t)gqa__min(line.rows, tile->id.count - r);
    line.begin = (int32_t)gqa__min(begin, keys);
    line.end = (int32_t)gqa__max(end, line.begin);
    line.together = lie_together(scratch->columns + line.begin, line.end - line.begin);
    return line;
}

/* The keys [*low, *high) from the first to the last that the line sees (both 0 if it sees none).
 * True if it sees all of them. */
static bool seen_run(const struct key_line *line, const uint8_t *seen, int32_t *low, int32_t *high)
{
    const int32_t n = line->end - line->begin;
    const uint8_t *const first = n > 0 ? memchr(seen + line->begin, 1, (size_t)n) : NULL;
    int32_t count = 0;

    *low = *high = 0;
    if (first == NULL) {
        return true;
    }
    *low = (int32_t)(first - seen);
    for (*high = line->end; seen[*high - 1] == 0; --*high) {
    }
    for (int32_t k = *low; k < *high; k++) {
        count += seen[k];
    }
    return count == *high - *low;
}

/* Lanes beyond the rows see nothing, with a bias of 0. */
static void clear_idle_lanes(const struct gqa__tile *tile, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const int32_t count = tile->id.count, rest = tile->ld - count;

    for (int32_t r = count; r < tile->ld; r++) {
        scratch->lo_rel[r] = scratch->hi_rel[r] = 0;
    }
    for (int32_t k = 0; k < keys && rest > 0; k++) {
        const int64_t at = (int64_t)k * tile->ld + count;
        memset(scratch->visible + at, 0, (size_t)rest);
        if (gqa__present(&tile->segment->bias)) {
            memset(scratch->bias + at, 0, (size_t)rest * sizeof *scratch->bias);
        }
    }
}

enum gqa__sight gqa__tile_visible(struct gqa__tile *tile, int32_t first, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const bool biased = gqa__present(&tile->segment->bias);
    float bias[GQA__FOLD_BLOCK];
    bool runs = true, none = true;
    struct key_line line;
    uint8_t *seen = scratch->seen; /* [lines][keys] */

    for (int32_t r = 0; r < tile->id.count; r += line.rows, seen += keys) {
        int32_t low, high;

        line = line_at(tile, r, first, keys);
        see(&line, seen);
        if (biased) {
            load_bias(&line, bias, seen);
            bias_to_lanes(&line, bias);
        }
        runs = seen_run(&line, seen, &low, &high) && runs;
        none = none && low == high;
        for (int32_t i = r; i < r + line.rows; i++) {
            scratch->lo_rel[i] = low;
            scratch->hi_rel[i] = high;
        }
    }
    if (tile->params->knobs.mask_all_blocks) {
        runs = none = false;
    }
    if (none) {
        return GQA__SEE_NONE;
    }
    clear_idle_lanes(tile, keys);
    seen = scratch->seen;
    for (int32_t r = 0; r < tile->id.count && !runs; r += line.rows, seen += keys) {
        line = line_at(tile, r, first, keys);
        to_lanes(&line, seen);
    }
    return runs ? GQA__SEE_RUNS : GQA__SEE_SOME;
}
