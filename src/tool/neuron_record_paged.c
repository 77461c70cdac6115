/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_record_paged.c - the tensors that files of the paged kernel expect. */
#include "tool/neuron_record.h"

#include <stdlib.h>

#include "gqa/neuron_maps.h"

enum { PARTITIONS = 128 };

/* --- the schedule ------------------------------------------------------------------------------
 */

/* One array of a schedule: the tensor that expects it, its numbers, how many. */
struct array {
    const char *name;
    int32_t **numbers;
    int64_t count;
};

/* Record an array, if the file expects as many numbers. */
static void put_array(struct tool_neuron_record *record, const struct array *array)
{
    const struct tool_neuron_value *const value = tool_neuron_value_of(record, array->name);

    if (value == NULL || value->expected->count != array->count) {
        return;
    }
    for (int64_t i = 0; i < array->count; i++) {
        tool_neuron_put_int(record, array->name, i, (*array->numbers)[i]);
    }
}

/* Blocks of the contexts, request by request. */
static int32_t *active_table(const gqa_neuron_call *call, int32_t block_size, int32_t *count)
{
    int32_t *const table =
        calloc((size_t)call->requests * (size_t)call->block_table_width + 1, sizeof *table);

    *count = 0;
    for (int32_t r = 0; r < call->requests && table != NULL; r++) {
        const int32_t blocks = (call->context_lens[r] + block_size - 1) / block_size;
        for (int32_t b = 0; b < blocks; b++) {
            table[(*count)++] = call->block_table[(int64_t)r * call->block_table_width + b];
        }
    }
    return table;
}

/* in: the call's, complete. */
static bool put_schedule(struct tool_neuron_record *record, const gqa_neuron_schedule_input *in)
{
    gqa_neuron_schedule s = {0};
    gqa_error err;
    bool good = gqa_neuron_schedule_size(in, &s, &err) == GQA_OK;
    const int64_t tiles = s.tiles;
    const struct array arrays[] = {
        {"exp.tile_q_indices", &s.tile_q_indices, tiles},
        {"exp.tile_block_table_offsets", &s.tile_block_table_offsets, tiles},
        {"exp.tile_q_seq_ids", &s.tile_q_seq_ids, tiles * in->q_tile},
        {"exp.tile_kv_seq_ids", &s.tile_kv_seq_ids, tiles * in->kv_tile},
        {"exp.tile_kv_skip_indices", &s.tile_kv_skip_indices, s.skips},
        {"exp.tile_block_tables", &s.tile_block_tables, tiles * in->kv_tile / in->block_size},
        {"exp.key_order", &s.key_order, in->kv_tile},
    };
    const size_t n = sizeof arrays / sizeof arrays[0];

    for (size_t i = 0; i < n && good; i++) {
        *arrays[i].numbers = calloc((size_t)arrays[i].count + 1, sizeof(int32_t));
        good = *arrays[i].numbers != NULL;
    }
    good = good && gqa_neuron_schedule_fill(in, &s, &err) == GQA_OK;
    for (size_t i = 0; i < n; i++) {
        if (good) {
            put_array(record, &arrays[i]);
        }
        free(*arrays[i].numbers);
    }
    return good;
}

bool tool_neuron_record_schedule(struct tool_neuron_record *record, struct tool_fault *fault)
{
    const gqa_neuron_call *const call = &record->c->call;
    const int32_t block_size = (int32_t)call->k_cache.shape[2];
    gqa_neuron_schedule_input in = {0};
    int32_t *table = active_table(call, block_size, &in.active_blocks);
    const struct array blocks = {"exp.active_block_table", &table, in.active_blocks};
    bool good;

    in.requests = call->requests;
    in.query_lens = call->query_lens;
    in.context_lens = call->context_lens;
    in.q_tile = call->q_tile;
    in.kv_tile = call->kv_tile;
    in.block_size = block_size;
    in.row_order = call->row_order;
    in.padded_tiles = call->tiles_padded;
    in.skip_value = call->skip_value;
    in.active_table = table;
    good = table != NULL && put_schedule(record, &in);
    if (good) {
        put_array(record, &blocks);
    }
    free(table);
    return good || tool_fault_set(fault, record->c->path, "no schedule, or no memory for it");
}

/* --- events ------------------------------------------------------------------------------------
 */

/* Who sees whom, as the scores tell it, 8 columns a byte, most significant bit first. */
static void put_mask(struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                     const char *name, int64_t first_byte)
{
    const int64_t width = tool_neuron_extent(record, name, tile->schedule >= 0 ? 2 : 1);
    const float masked = -9984.0f;

    for (int32_t r = 0; r < tile->rows; r++) {
        for (int32_t c = 0; c + 8 <= tile->keys; c += 8) {
            const float *const s = tile->s + r * tile->score_step + c;
            int32_t byte = 0;
            for (int bit = 0; bit < 8; bit++) {
                byte = 2 * byte + (s[bit] != masked);
            }
            tool_neuron_put_int(record, name, (first_byte + r * width) + c / 8, byte);
        }
    }
}

static void scores(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t sub_tiles = tool_neuron_extent(record, "trace.active_subtiles", 1);
    const int64_t rows = tool_neuron_extent(record, "exp.tile_masks", 1);
    const int64_t width = tool_neuron_extent(record, "exp.tile_masks", 2);
    const int64_t column = (int64_t)tile->tile * 512 / 8;

    if (tile->head != 0) {
        return;
    }
    if (tile->schedule >= 0 && rows > 0) {
        put_mask(record, tile, "exp.tile_masks",
                 (tile->schedule * rows + tile->query % rows) * width + column);
    } else if (tile->schedule < 0) {
        put_mask(record, tile, "exp.active_mask",
                 tile->query * tool_neuron_extent(record, "exp.active_mask", 1) + column);
        tool_neuron_put_int(record, "trace.active_subtiles",
                            tile->query / PARTITIONS * sub_tiles + tile->tile,
                            tile->fate != GQA_NEURON_FILLED);
    }
}

/* The state of rows, [..][heads][128]: at is the index of the tile of 128 rows. */
struct state {
    const char *m, *l, *alpha, *o;
    int64_t at;
};

static void put_state(struct tool_neuron_record *record, const gqa_neuron_tile *tile,
                      const struct state *state)
{
    const int64_t heads = tool_neuron_extent(record, "exp.out", 1);
    const int64_t at = (state->at * heads + tile->head) * PARTITIONS;

    tool_neuron_put(record, state->m, at, tile->m, tile->rows);
    tool_neuron_put(record, state->l, at, tile->l, tile->rows);
    if (state->alpha != NULL) {
        tool_neuron_put(record, state->alpha, at, tile->alpha, tile->rows);
    }
    if (state->o != NULL) {
        tool_neuron_put(record, state->o, at * tile->dim, tile->o, (int64_t)tile->rows * tile->dim);
    }
}

void tool_neuron_record_paged(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t small_tiles = tool_neuron_extent(record, "trace.tile_m", 1);
    const int64_t row_tile = tile->query / PARTITIONS;
    const struct state prior = {"trace.prior_m", "trace.prior_l", NULL, "trace.prior_o", row_tile};
    const struct state last = {"trace.m", "trace.l", NULL, NULL, row_tile};

    if (tile->event == GQA_NEURON_MM1) {
        scores(record, tile);
    } else if (tile->event == GQA_NEURON_SECTION) {
        put_state(record, tile, &prior);
    } else if (tile->event == GQA_NEURON_ROWS) {
        put_state(record, tile, &last);
    } else if (tile->event == GQA_NEURON_LARGE && tile->schedule >= 0 && small_tiles > 0) {
        const struct state state = {"trace.tile_m", "trace.tile_l", "trace.tile_alpha",
                                    "trace.tile_o",
                                    tile->schedule * small_tiles + row_tile % small_tiles};
        put_state(record, tile, &state);
        for (int32_t i = 0; i < tile->blocks_count; i++) {
            tool_neuron_put_int(record, "trace.loaded_blocks",
                                (int64_t)tile->schedule * tile->blocks_count + i, tile->blocks[i]);
        }
    }
}
