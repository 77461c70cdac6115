/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c - GridTileScheduler of chunked prefill (modules/chunked_prefill/scheduler.py, 2.26).
 *
 * Two axes, one of new tokens and one of cached tokens, are cut into tiles. A tile touches a range
 * of requests; a pair of tiles is needed if their ranges meet. The released code finds ranges by
 * binary search in the running sums of the lengths; here a cursor runs along the sums, so that no
 * memory is needed.
 */
#include "neuron/schedule.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Requests side by side, each from a multiple of unit on, cut into tiles. */
struct axis {
    const int32_t *lens; /* [requests] */
    int32_t requests;
    int32_t unit;
    int32_t tile;
    int64_t total; /* where the last request ends */
};

/* The requests that a tile touches: [first, end), and where these two begin on the axis. */
struct touched {
    int32_t first, end;
    int64_t first_at, end_at;
};

static int64_t axis_tiles(const struct axis *axis)
{
    return (axis->total + axis->tile - 1) / axis->tile;
}

static struct axis axis_of(const int32_t *lens, int32_t requests, int32_t unit, int32_t tile)
{
    struct axis axis = {lens, requests, unit, tile, 0};

    for (int32_t i = 0; i < requests; i++) {
        axis.total += gqa__round_up(lens[i], unit);
    }
    return axis;
}

static struct axis query_axis(const gqa_neuron_schedule_input *in)
{
    return axis_of(in->query_lens, in->requests, 1, in->q_tile);
}

static struct axis key_axis(const gqa_neuron_schedule_input *in)
{
    return axis_of(in->context_lens, in->requests, in->block_size, in->kv_tile);
}

/* Go on to tile t, not below the last one: all requests before first end at or before its first
 * token, all from end on begin at or behind its last. */
static void advance(const struct axis *axis, struct touched *at, int64_t t)
{
    const int64_t start = t * axis->tile;

    while (at->first < axis->requests && at->first_at + axis->lens[at->first] <= start) {
        at->first_at += gqa__round_up(axis->lens[at->first++], axis->unit);
    }
    while (at->end < axis->requests && at->end_at < start + axis->tile) {
        at->end_at += gqa__round_up(axis->lens[at->end++], axis->unit);
    }
}

/* Request of each token of tile t; padding where there is none. */
static void seq_ids(const struct axis *axis, int64_t t, int32_t padding, int32_t *ids)
{
    struct touched at = {0};

    advance(axis, &at, t);
    for (int32_t i = 0; i < axis->tile; i++) {
        const int64_t token = t * axis->tile + i;
        while (at.first < axis->requests && at.first_at + axis->lens[at.first] <= token) {
            at.first_at += gqa__round_up(axis->lens[at.first++], axis->unit);
        }
        ids[i] = at.first < axis->requests && token >= at.first_at ? at.first : padding;
    }
}

/* --- the walk over pairs of tiles ---------------------------------------------------------------
 */

/* The pairs in scheduled order: outer is the axis whose tiles change last. */
struct walk {
    struct axis outer, inner;
    struct touched outer_at, inner_at;
    int64_t outer_tile, inner_tile;
};

static struct walk walk_of(const gqa_neuron_schedule_input *in)
{
    struct walk walk = {.inner_tile = -1};

    walk.outer = in->row_order != 0 ? query_axis(in) : key_axis(in);
    walk.inner = in->row_order != 0 ? key_axis(in) : query_axis(in);
    advance(&walk.outer, &walk.outer_at, 0);
    return walk;
}

/* Step to the next pair; false at the end. */
static bool next_pair(struct walk *walk)
{
    if (++walk->inner_tile >= axis_tiles(&walk->inner)) {
        walk->inner_tile = 0;
        walk->inner_at = (struct touched){0};
        walk->outer_tile++;
        advance(&walk->outer, &walk->outer_at, walk->outer_tile);
    }
    return axis_tiles(&walk->inner) > 0 && walk->outer_tile < axis_tiles(&walk->outer);
}

/* Step to the next pair that shares a request; false if there is none. */
static bool next_needed(struct walk *walk)
{
    while (next_pair(walk)) {
        const struct touched *const a = &walk->outer_at;
        const struct touched *const b = &walk->inner_at;
        advance(&walk->inner, &walk->inner_at, walk->inner_tile);
        if (gqa__max(a->first, b->first) < gqa__min(a->end, b->end)) {
            return true;
        }
    }
    return false;
}

/* --- checks -------------------------------------------------------------------------------------
 */

static gqa_status check_lens(const int32_t *lens, int32_t requests, const char *field,
                             gqa_error *err)
{
    if (lens == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
    }
    for (int32_t i = 0; i < requests; i++) {
        if (lens[i] < 0) {
            return gqa__fail(err, GQA_ERR_ARG, field, "[%d] is %d; it must be at least 0", (int)i,
                             (int)lens[i]);
        }
    }
    return GQA_OK;
}

static gqa_status check_at_least(int32_t value, int32_t least, const char *field, gqa_error *err)
{
    if (value < least) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is %d; it must be at least %d", (int)value,
                         (int)least);
    }
    return GQA_OK;
}

static int32_t partitions_of(const gqa_neuron_schedule_input *in)
{
    return in->partitions == 0 ? GQA_NEURON_PARTITIONS : in->partitions;
}

/* Pieces of a key tile that are loaded as one row each: its blocks, or parts of blocks if the
 * blocks are fewer than the partitions. */
static int32_t load_pieces(const gqa_neuron_schedule_input *in)
{
    return (int32_t)gqa__max(partitions_of(in), in->kv_tile / in->block_size);
}

static gqa_status check_tiles(const gqa_neuron_schedule_input *in, gqa_error *err)
{
    gqa_status status = check_at_least(in->q_tile, 1, "q_tile", err);

    if (status == GQA_OK) {
        status = check_at_least(in->kv_tile, 1, "kv_tile", err);
    }
    if (status == GQA_OK) {
        status = check_at_least(in->block_size, 1, "block_size", err);
    }
    if (status == GQA_OK) {
        status = check_at_least(in->partitions, 0, "partitions", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (in->kv_tile % in->block_size != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "kv_tile",
                         "is %d; it must be a multiple of block_size %d", (int)in->kv_tile,
                         (int)in->block_size);
    }
    if (in->kv_tile % load_pieces(in) != 0 || load_pieces(in) % partitions_of(in) != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "kv_tile",
                         "is %d in blocks of %d; its rows must fill %d partitions evenly",
                         (int)in->kv_tile, (int)in->block_size, (int)partitions_of(in));
    }
    return GQA_OK;
}

static gqa_status check_input(const gqa_neuron_schedule_input *in, gqa_error *err)
{
    gqa_status status = check_at_least(in->requests, 1, "requests", err);

    if (status == GQA_OK) {
        status = check_lens(in->query_lens, in->requests, "query_lens", err);
    }
    if (status == GQA_OK) {
        status = check_lens(in->context_lens, in->requests, "context_lens", err);
    }
    if (status == GQA_OK) {
        status = check_tiles(in, err);
    }
    if (status == GQA_OK && (in->row_order < 0 || in->row_order > 1)) {
        status =
            gqa__fail(err, GQA_ERR_ARG, "row_order", "is %d; it must be 0..1", (int)in->row_order);
    }
    if (status == GQA_OK) {
        status = check_at_least(in->padded_tiles, 0, "padded_tiles", err);
    }
    return status;
}

/* So few pairs that they can be looked at one by one. */
static gqa_status check_extent(const gqa_neuron_schedule_input *in, gqa_error *err)
{
    const struct axis queries = query_axis(in);
    const struct axis keys = key_axis(in);
    const int64_t rows = axis_tiles(&queries);
    const int64_t columns = axis_tiles(&keys);

    if (queries.total > INT32_MAX || keys.total > INT32_MAX) {
        return gqa__fail(err, GQA_ERR_ARG,
                         queries.total > INT32_MAX ? "query_lens" : "context_lens",
                         "make %lld tokens in all; the limit is %d",
                         (long long)gqa__max(queries.total, keys.total), (int)INT32_MAX);
    }
    if (rows > 0 && columns > GQA_NEURON_TILES_MAX / rows) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "query_lens",
                         "make %lld tiles, and context_lens %lld; the limit is %d pairs",
                         (long long)rows, (long long)columns, (int)GQA_NEURON_TILES_MAX);
    }
    return GQA_OK;
}

static gqa_status check_padding(const gqa_neuron_schedule_input *in, int32_t tiles, gqa_error *err)
{
    if (in->padded_tiles > 0 && tiles == 0) {
        return gqa__fail(err, GQA_ERR_ARG, "padded_tiles",
                         "is %d, and no tile is needed; the first tile's keys cannot be skipped",
                         (int)in->padded_tiles);
    }
    if (in->padded_tiles > 0 && in->padded_tiles < tiles) {
        return gqa__fail(err, GQA_ERR_ARG, "padded_tiles",
                         "is %d; it must be 0, or at least the %d tiles that are needed",
                         (int)in->padded_tiles, (int)tiles);
    }
    return GQA_OK;
}

gqa_status gqa__neuron_schedule_size(const gqa_neuron_schedule_input *in, gqa_neuron_schedule *out,
                                     gqa_error *err)
{
    int32_t tiles = 0;
    int32_t skips = 0;
    int64_t last = -1;
    struct walk walk;
    gqa_status status = check_input(in, err);

    if (status == GQA_OK) {
        status = check_extent(in, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    walk = walk_of(in);
    while (next_needed(&walk)) {
        const int64_t keys = in->row_order != 0 ? walk.inner_tile : walk.outer_tile;
        tiles++;
        skips += keys == last;
        last = keys;
    }
    status = check_padding(in, tiles, err);
    if (status != GQA_OK) {
        return status;
    }
    out->tiles = in->padded_tiles > 0 ? in->padded_tiles : tiles;
    out->skips = skips + (out->tiles - tiles);
    return GQA_OK;
}

int64_t gqa__neuron_context_blocks(const gqa_neuron_schedule_input *in)
{
    return key_axis(in).total / in->block_size;
}

/* --- the arrays ---------------------------------------------------------------------------------
 */

/* The tile is loaded in rounds of one piece for each partition; its columns lie round by round,
 * then token by token of the pieces, then partition by partition. */
static int32_t linear_place(const gqa_neuron_schedule_input *in, int32_t column)
{
    const int32_t partitions = partitions_of(in);
    const int32_t piece = in->kv_tile / load_pieces(in); /* tokens */
    const int32_t round = partitions * piece;

    return column / round * round + column % partitions * piece + column % round / partitions;
}

/* A tile of the schedule. */
struct scheduled {
    int64_t q_tile, kv_tile;
    bool skip;    /* the keys of the tile before stay */
    bool padding; /* nothing of it is visible */
};

static void fill_ids(const gqa_neuron_schedule_input *in, const struct scheduled *tile,
                     int32_t *q_ids, int32_t *kv_ids)
{
    const struct axis queries = query_axis(in);
    const struct axis keys = key_axis(in);

    for (int32_t i = 0; i < in->q_tile && q_ids != NULL && tile->padding; i++) {
        q_ids[i] = 0;
    }
    for (int32_t i = 0; i < in->kv_tile && kv_ids != NULL && tile->padding; i++) {
        kv_ids[i] = 1;
    }
    if (q_ids != NULL && !tile->padding) {
        seq_ids(&queries, tile->q_tile, in->requests, q_ids);
    }
    if (kv_ids != NULL && !tile->padding) {
        seq_ids(&keys, tile->kv_tile, in->requests + 1, kv_ids);
    }
}

static void fill_table(const gqa_neuron_schedule_input *in, const struct scheduled *tile,
                       int32_t *table)
{
    const int32_t n = in->kv_tile / in->block_size;

    for (int32_t i = 0; i < n; i++) {
        const int64_t block = tile->kv_tile * n + i;
        table[i] =
            tile->skip ? in->skip_value : in->active_table[block < in->active_blocks ? block : 0];
    }
}

/* A row sees the cached tokens of its own request, all of which are older. */
static void fill_tile_mask(const gqa_neuron_schedule_input *in, const struct scheduled *tile,
                           uint8_t *mask)
{
    int32_t request = 0;
    int64_t query_at = 0; /* where the request's new tokens begin */
    int64_t key_at = 0;   /* and its cached ones */

    memset(mask, 0, (size_t)in->q_tile * (size_t)in->kv_tile);
    for (int32_t r = 0; r < in->q_tile && !tile->padding; r++) {
        const int64_t row = tile->q_tile * in->q_tile + r;
        while (request < in->requests && query_at + in->query_lens[request] <= row) {
            query_at += in->query_lens[request];
            key_at += gqa__round_up(in->context_lens[request++], in->block_size);
        }
        for (int32_t c = 0; c < in->kv_tile && request < in->requests; c++) {
            const int64_t key = tile->kv_tile * in->kv_tile + linear_place(in, c) - key_at;
            mask[(size_t)r * (size_t)in->kv_tile + (size_t)c] =
                key >= 0 && key < in->context_lens[request];
        }
    }
}

/* Everything of tile i. */
static void fill_tile(const gqa_neuron_schedule_input *in, const struct scheduled *tile, int32_t i,
                      const gqa_neuron_schedule *out)
{
    const size_t t = (size_t)i;
    const size_t rows = (size_t)in->q_tile;
    const size_t columns = (size_t)in->kv_tile;
    const size_t blocks = (size_t)(in->kv_tile / in->block_size);

    if (out->tile_q_indices != NULL) {
        out->tile_q_indices[t] = (int32_t)tile->q_tile;
    }
    if (out->tile_block_table_offsets != NULL) {
        out->tile_block_table_offsets[t] = (int32_t)(tile->kv_tile * (int64_t)blocks);
    }
    fill_ids(in, tile, out->tile_q_seq_ids == NULL ? NULL : out->tile_q_seq_ids + t * rows,
             out->tile_kv_seq_ids == NULL ? NULL : out->tile_kv_seq_ids + t * columns);
    if (out->tile_block_tables != NULL) {
        fill_table(in, tile, out->tile_block_tables + t * blocks);
    }
    if (out->tile_masks != NULL) {
        fill_tile_mask(in, tile, out->tile_masks + t * rows * columns);
    }
}

void gqa__neuron_schedule_fill(const gqa_neuron_schedule_input *in, const gqa_neuron_schedule *out)
{
    struct walk walk = walk_of(in);
    int64_t last = -1;
    int32_t skips = 0;

    for (int32_t i = 0; i < out->tiles; i++) {
        struct scheduled tile = {0, 0, true, true};
        if (next_needed(&walk)) {
            tile.q_tile = in->row_order != 0 ? walk.outer_tile : walk.inner_tile;
            tile.kv_tile = in->row_order != 0 ? walk.inner_tile : walk.outer_tile;
            tile.skip = tile.kv_tile == last;
            tile.padding = false;
            last = tile.kv_tile;
        }
        if (tile.skip && out->tile_kv_skip_indices != NULL) {
            out->tile_kv_skip_indices[skips++] = i;
        }
        fill_tile(in, &tile, i, out);
    }
    for (int32_t c = 0; c < in->kv_tile && out->key_order != NULL; c++) {
        out->key_order[c] = linear_place(in, c);
    }
}
