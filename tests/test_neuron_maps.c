/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_maps.c - strategy, head maps, cache maps and schedules against the golden files n22
 * to n25 (tests/golden_neuron), every row to the last bit. */
#ifndef GQA_TOOL_PATH
#include <stdio.h>

int main(void)
{
    puts("skipped: the command gqa is not built");
    return 0;
}
#else
#include "golden_maps.h"
#include "gqa/neuron_maps.h"

enum { ROOM = 1 << 17 }; /* elements: more than any result here */

/* --- n25: schedules -----------------------------------------------------------------------------
 */

static void read_set(const struct tool_file *file, int set, gqa_neuron_schedule_input *in)
{
    char entry[16];
    int64_t count;
    const int32_t *lens;

    snprintf(entry, sizeof entry, "set_%d", set);
    lens = maps_tensor(file, TOOL_I32, &count, "%s.lens", entry);
    memset(in, 0, sizeof *in);
    in->requests = (int32_t)count / 2;
    in->query_lens = lens;
    in->context_lens = lens + in->requests;
    in->active_table = maps_tensor(file, TOOL_I32, &count, "%s.active_table", entry);
    in->active_blocks = (int32_t)count;
    in->q_tile = maps_number(file, entry, "q_tile");
    in->kv_tile = maps_number(file, entry, "kv_tile");
    in->block_size = maps_number(file, entry, "block_size");
    in->row_order = 1 - maps_number(file, entry, "column_order");
    in->partitions = maps_number(file, entry, "partition");
    in->padded_tiles = maps_number(file, entry, "padded");
    in->skip_value = 2937;
}

/* Compare n elements of 4 bytes with a tensor of the set. */
static void same_numbers(const struct tool_file *file, int set, const char *name, const void *got,
                         int64_t n)
{
    int64_t count;
    const void *const want = maps_tensor(file, TOOL_I32, &count, "exp.set_%d.%s", set, name);

    assert_int_equal(count, n);
    maps_same(got, want, (size_t)n * 4, "set %d: %s", set, name);
}

/* The masks, in the file as bytes, or as bits (most significant first) from 65 keys on. */
static void same_masks(const struct tool_file *file, int set, uint8_t *got, int64_t n, bool bits)
{
    int64_t count;
    const void *const want = maps_tensor(file, TOOL_U8, &count, "exp.set_%d.tile_masks", set);

    for (int64_t i = 0; i < n && bits; i++) {
        const int value = got[i];
        got[i / 8] = (uint8_t)(i % 8 == 0 ? value << 7 : got[i / 8] | value << (7 - i % 8));
    }
    if (bits) {
        got[n / 8] = 0x5a;
    }
    assert_int_equal(count, bits ? n / 8 : n);
    maps_same(got, want, (size_t)count, "set %d: masks", set);
}

static void check_set(const struct tool_file *file, int set)
{
    static int32_t numbers[7][ROOM];
    static uint8_t masks[ROOM];
    gqa_neuron_schedule_input in;
    gqa_neuron_schedule s = {0};
    char entry[16];

    read_set(file, set, &in);
    snprintf(entry, sizeof entry, "set_%d", set);
    maps_fill(numbers, sizeof numbers);
    maps_fill(masks, sizeof masks);
    s.tile_q_indices = numbers[0];
    s.tile_block_table_offsets = numbers[1];
    s.tile_q_seq_ids = numbers[2];
    s.tile_kv_seq_ids = numbers[3];
    s.tile_kv_skip_indices = numbers[4];
    s.tile_block_tables = numbers[5];
    s.key_order = numbers[6];
    s.tile_masks = masks;
    assert_int_equal(gqa_neuron_schedule_size(&in, &s, NULL), GQA_OK);
    assert_int_equal(s.tiles, maps_number(file, entry, "padded"));
    assert_int_equal(gqa_neuron_schedule_fill(&in, &s, NULL), GQA_OK);
    same_numbers(file, set, "tile_q_indices", numbers[0], s.tiles);
    same_numbers(file, set, "tile_block_table_offsets", numbers[1], s.tiles);
    same_numbers(file, set, "tile_q_seq_ids", numbers[2], (int64_t)s.tiles * in.q_tile);
    same_numbers(file, set, "tile_kv_seq_ids", numbers[3], (int64_t)s.tiles * in.kv_tile);
    same_numbers(file, set, "tile_kv_skip_indices", numbers[4], s.skips);
    same_numbers(file, set, "tile_block_tables", numbers[5],
                 (int64_t)s.tiles * in.kv_tile / in.block_size);
    same_numbers(file, set, "key_order", numbers[6], in.kv_tile);
    same_masks(file, set, masks, (int64_t)s.tiles * in.q_tile * in.kv_tile, in.kv_tile > 64);
    in.padded_tiles = 0;
    assert_int_equal(gqa_neuron_schedule_size(&in, &s, NULL), GQA_OK);
    assert_int_equal(s.tiles, maps_number(file, entry, "tiles"));
}

static void schedules(void **state)
{
    struct tool_file file;

    (void)state;
    maps_open(&file, "n25_maps_schedule");
    assert_int_equal(atoi(tool_file_text(&file, "sets")), 4);
    for (int set = 0; set < 4; set++) {
        check_set(&file, set);
    }
    tool_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules),
    };
    return cmocka_run_group_tests_name("neuron_maps", tests, NULL, NULL);
}
#endif
