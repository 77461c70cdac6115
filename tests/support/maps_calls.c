/* SPDX-License-Identifier: Apache-2.0 */
/* maps_calls.c - see maps_calls.h. */
#include "support/maps_calls.h"

typedef void *(*room_function)(size_t size);
typedef void (*done_function)(gqa_status status);

const char *const maps_calls[] = {
    "gqa_neuron_schedule_size",
    "gqa_neuron_schedule_fill",
};
const int maps_call_count = sizeof maps_calls / sizeof maps_calls[0];

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
    schedule.tile_block_tables = room((size_t)schedule.tiles * 2 * sizeof(int32_t));
    done(gqa_neuron_schedule_fill(&in, &schedule, NULL));
}

void maps_calls_run(room_function room, done_function done)
{
    run_schedule(room, done);
}
