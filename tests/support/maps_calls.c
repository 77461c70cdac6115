/* SPDX-License-Identifier: Apache-2.0 */
/* maps_calls.c - see maps_calls.h. */
#include "support/maps_calls.h"

#include <string.h>

typedef void *(*room_function)(size_t size);
typedef void (*done_function)(gqa_status status);

const char *const maps_calls[] = {
    "gqa_neuron_strategy",
    "gqa_neuron_strategy_name",
    "gqa_neuron_find_route",
    "gqa_neuron_path_name",
    "gqa_neuron_operation_name",
    "gqa_neuron_count_heads",
    "gqa_neuron_map_heads",
    "gqa_neuron_mesh",
    "gqa_neuron_rank_order",
    "gqa_neuron_rank_heads",
    "gqa_neuron_dp_supported",
    "gqa_neuron_stride_order",
    "gqa_neuron_window_size",
    "gqa_neuron_window_slots",
    "gqa_neuron_window_decode",
    "gqa_neuron_window_speculate",
    "gqa_neuron_chunk_slots",
    "gqa_neuron_chunk_decode",
    "gqa_neuron_flash_decoding_masks",
    "gqa_neuron_range_mask",
    "gqa_neuron_medusa_slots",
    "gqa_neuron_active_blocks",
    "gqa_neuron_token_slots",
    "gqa_neuron_write_slots",
    "gqa_neuron_block_diagonal_mask",
    "gqa_neuron_schedule_size",
    "gqa_neuron_schedule_fill",
};
const int maps_call_count = sizeof maps_calls / sizeof maps_calls[0];

static int32_t *numbers(room_function room, size_t n)
{
    return room(n * sizeof(int32_t));
}

static void name_into(room_function room, const char *name)
{
    strncpy(room(64), name, 63);
}

static void run_choices(room_function room, done_function done)
{
    const gqa_neuron_strategy_input in = {
        .logical_nc_config = 2, .head_dim = 64, .q_len = 1280, .has_attention_mask = 1};
    const gqa_neuron_route_input call = {.sliding_window = 128, .input_len = 7, .has_past = 1};
    gqa_neuron_flash_strategy *const strategy = room(sizeof *strategy);
    gqa_neuron_route *const route = room(sizeof *route);

    done(gqa_neuron_strategy(&in, strategy, NULL));
    name_into(room, gqa_neuron_strategy_name(*strategy));
    done(gqa_neuron_find_route(&call, route, NULL));
    name_into(room, gqa_neuron_path_name(route->path));
    name_into(room, gqa_neuron_operation_name(route->operation));
}

static void run_heads(room_function room, done_function done)
{
    const gqa_neuron_ranks ranks = {.world = 16, .cp_degree = 4, .dp_degree = 2, .kv_heads = 8};

    done(gqa_neuron_count_heads(28, 4, 8, room(sizeof(gqa_neuron_heads)), NULL));
    done(gqa_neuron_map_heads(28, 4, 8, numbers(room, 32), numbers(room, 8), NULL));
    done(gqa_neuron_mesh(64, 8, numbers(room, 64), numbers(room, 64), NULL));
    done(gqa_neuron_rank_order(&ranks, numbers(room, 16), NULL));
    done(gqa_neuron_rank_heads(&ranks, numbers(room, 16), NULL));
    done(gqa_neuron_dp_supported(8, 32, 4, numbers(room, 1), NULL));
    done(gqa_neuron_stride_order(6, 3, numbers(room, 6), numbers(room, 6), NULL));
}

static void run_caches(room_function room, done_function done)
{
    static const int32_t accepted[2] = {6, 8}, current[2] = {5, 6};
    const gqa_neuron_window window = {.window = 7}, drafts = {.window = 7, .speculation_length = 3};
    const gqa_neuron_flash_decoding shared = {
        .first_position = 19, .tokens = 3, .rank = 1, .ranks = 4, .slots = 8};

    done(gqa_neuron_window_size(&window, numbers(room, 1), numbers(room, 1), NULL));
    done(gqa_neuron_window_slots(&window, 20, numbers(room, 6), NULL));
    done(gqa_neuron_window_decode(&window, 20, room(7), numbers(room, 1), NULL));
    done(gqa_neuron_window_speculate(&drafts, 20, numbers(room, 8), room(3 * 128), NULL));
    done(gqa_neuron_chunk_slots(5, 11, 12, numbers(room, 5), NULL));
    done(gqa_neuron_chunk_decode(5, 11, room(5), numbers(room, 1), NULL));
    done(gqa_neuron_flash_decoding_masks(&shared, room(9), room(8), NULL));
    done(gqa_neuron_range_mask(9, 3, 11, room(11), NULL));
    done(gqa_neuron_medusa_slots(accepted, current, 2, numbers(room, 11), 11, NULL));
}

static void run_blocks(room_function room, done_function done)
{
    static const int32_t table[6] = {3, 1, 4, 0, 5, 2}, lens[2] = {9, 4}, given[4] = {0, 1, -1, -1};
    static const int32_t queries[2] = {2, 3};
    const gqa_neuron_block_table blocks = {
        .requests = 2, .width = 3, .block_size = 4, .table = table};
    const gqa_neuron_block_diagonal diagonal = {
        .requests = 2, .query_lens = queries, .key_lens = lens, .queries = 5, .keys = 13};

    done(gqa_neuron_active_blocks(&blocks, lens, numbers(room, 4), 4, numbers(room, 1), NULL));
    done(gqa_neuron_token_slots(&blocks, 2, lens, given, numbers(room, 4), NULL));
    done(gqa_neuron_write_slots(GQA_NEURON_PREFIX_CACHING, 6, 4, given, numbers(room, 4), 4, NULL));
    done(gqa_neuron_block_diagonal_mask(&diagonal, room(5 * 13), NULL));
}

static void run_schedule(room_function room, done_function done)
{
    static const int32_t queries[3] = {10, 1, 3}, contexts[3] = {3, 6, 5};
    static const int32_t blocks[5] = {7, 3, 9, 0, 4};
    const gqa_neuron_schedule_input in = {.requests = 3,
                                          .query_lens = queries,
                                          .context_lens = contexts,
                                          .q_tile = 6,
                                          .kv_tile = 8,
                                          .block_size = 4,
                                          .partitions = 4,
                                          .active_table = blocks,
                                          .active_blocks = 5,
                                          .skip_value = 5000};
    gqa_neuron_schedule schedule = {0};

    done(gqa_neuron_schedule_size(&in, &schedule, NULL));
    schedule.tile_masks = room((size_t)schedule.tiles * 6 * 8);
    schedule.tile_block_tables = numbers(room, (size_t)schedule.tiles * 2);
    done(gqa_neuron_schedule_fill(&in, &schedule, NULL));
}

void maps_calls_run(room_function room, done_function done)
{
    run_choices(room, done);
    run_heads(room, done);
    run_caches(room, done);
    run_blocks(room, done);
    run_schedule(room, done);
}
