/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_maps.c - strategy, head maps, cache maps and schedules against the golden files n22
 * to n25 (tests/golden_neuron), every row to the last bit. */
#include "golden_maps.h"
#include "gqa/neuron_maps.h"
#include "support/program.h"

enum { ROOM = 1 << 17 }; /* elements: more than any result here */

/* --- n25: schedules, and that of n21 -------------------------------------------------------------
 */

/* Bytes 0 and 1 to bits, most significant first; 0x5a behind them. */
static void pack(uint8_t *bytes, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const int value = bytes[i];
        bytes[i / 8] = (uint8_t)(i % 8 == 0 ? value << 7 : bytes[i / 8] | value << (7 - i % 8));
    }
    bytes[n / 8] = 0x5a;
}

/* Compare n elements of 4 bytes with tensor exp.<prefix><name>. */
static void same_numbers(const struct tool_file *file, const char *prefix, const char *name,
                         const void *got, int64_t n)
{
    int64_t count;
    const void *const want = maps_tensor(file, TOOL_I32, &count, "exp.%s%s", prefix, name);

    assert_int_equal(count, n);
    maps_same(got, want, (size_t)n * 4, "%s%s", prefix, name);
}

/* A schedule and its arrays against the tensors of a prefix. */
static void check_schedule(const struct tool_file *file, const char *prefix,
                           const gqa_neuron_schedule_input *in)
{
    static int32_t numbers[7][ROOM];
    static uint8_t masks[8 * ROOM];
    gqa_neuron_schedule s = {0};
    const bool bits = in->kv_tile > 64; /* the file then has the masks as bits */
    const void *want;
    int64_t n, count;

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
    assert_int_equal(gqa_neuron_schedule_size(in, &s, NULL), GQA_OK);
    assert_int_equal(s.tiles, in->padded_tiles);
    assert_int_equal(gqa_neuron_schedule_fill(in, &s, NULL), GQA_OK);
    same_numbers(file, prefix, "tile_q_indices", numbers[0], s.tiles);
    same_numbers(file, prefix, "tile_block_table_offsets", numbers[1], s.tiles);
    same_numbers(file, prefix, "tile_q_seq_ids", numbers[2], (int64_t)s.tiles * in->q_tile);
    same_numbers(file, prefix, "tile_kv_seq_ids", numbers[3], (int64_t)s.tiles * in->kv_tile);
    same_numbers(file, prefix, "tile_kv_skip_indices", numbers[4], s.skips);
    same_numbers(file, prefix, "tile_block_tables", numbers[5],
                 (int64_t)s.tiles * in->kv_tile / in->block_size);
    same_numbers(file, prefix, "key_order", numbers[6], in->kv_tile);
    n = (int64_t)s.tiles * in->q_tile * in->kv_tile;
    want = maps_tensor(file, TOOL_U8, &count, "exp.%stile_masks", prefix);
    if (bits) {
        pack(masks, n);
    }
    assert_int_equal(count, bits ? n / 8 : n);
    maps_same(masks, want, (size_t)count, "%stile_masks", prefix);
}

static void check_set(const struct tool_file *file, int set)
{
    gqa_neuron_schedule_input in = {0};
    gqa_neuron_schedule s;
    char entry[24], prefix[24];
    int64_t count;
    const int32_t *lens;

    snprintf(entry, sizeof entry, "set_%d", set);
    snprintf(prefix, sizeof prefix, "set_%d.", set);
    lens = maps_tensor(file, TOOL_I32, &count, "%s.lens", entry);
    in.requests = (int32_t)count / 2;
    in.query_lens = lens;
    in.context_lens = lens + in.requests;
    in.active_table = maps_tensor(file, TOOL_I32, &count, "%s.active_table", entry);
    in.active_blocks = (int32_t)count;
    in.q_tile = maps_number(file, entry, "q_tile");
    in.kv_tile = maps_number(file, entry, "kv_tile");
    in.block_size = maps_number(file, entry, "block_size");
    in.row_order = 1 - maps_number(file, entry, "column_order");
    in.partitions = maps_number(file, entry, "partition");
    in.padded_tiles = maps_number(file, entry, "padded");
    in.skip_value = 2937;
    check_schedule(file, prefix, &in);
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

/* Three requests on the device's own tile sizes, and the mask of their new tokens. */
static void paged_schedule(void **state)
{
    enum { TOKENS = 256 };
    static uint8_t active[TOKENS * TOKENS];
    static int32_t blocks[ROOM];
    struct tool_file file;
    gqa_neuron_block_table table = {0};
    gqa_neuron_schedule_input in = {0};
    gqa_neuron_block_diagonal diagonal = {0};
    int64_t n, width;

    (void)state;
    maps_open(&file, "n21_paged_mixed");
    in.query_lens = maps_tensor(&file, TOOL_I32, &n, "query_lens");
    in.context_lens = maps_tensor(&file, TOOL_I32, NULL, "context_lens");
    in.requests = (int32_t)n;
    in.q_tile = atoi(tool_file_text(&file, "q_tile"));
    in.kv_tile = atoi(tool_file_text(&file, "kv_tile"));
    in.block_size = atoi(tool_file_text(&file, "block_size"));
    in.skip_value = atoi(tool_file_text(&file, "skip_value"));
    table.table = maps_tensor(&file, TOOL_I32, &width, "block_table");
    table.requests = in.requests;
    table.width = (int32_t)(width / n);
    table.block_size = in.block_size;
    assert_int_equal(
        gqa_neuron_active_blocks(&table, in.context_lens, blocks, ROOM, &in.active_blocks, NULL),
        GQA_OK);
    in.active_table = blocks;
    maps_tensor(&file, TOOL_I32, &n, "exp.tile_q_indices");
    in.padded_tiles = (int32_t)n;
    check_schedule(&file, "", &in);
    diagonal.requests = in.requests;
    diagonal.query_lens = diagonal.key_lens = in.query_lens;
    diagonal.queries = diagonal.keys = TOKENS;
    assert_int_equal(gqa_neuron_block_diagonal_mask(&diagonal, active, NULL), GQA_OK);
    pack(active, TOKENS * TOKENS);
    maps_same(active, maps_tensor(&file, TOOL_U8, NULL, "exp.active_mask"), TOKENS * TOKENS / 8,
              "active_mask");
    tool_file_close(&file);
}

/* --- n22: strategy ------------------------------------------------------------------------------
 */

static void strategies(void **state)
{
    static const gqa_neuron_attn_kernel enabled[3] = {
        GQA_NEURON_ATTN_KERNEL_AUTO, GQA_NEURON_ATTN_KERNEL_FALSE, GQA_NEURON_ATTN_KERNEL_TRUE};
    struct tool_file file;
    int64_t n;
    const int32_t *rows, *want;

    (void)state;
    maps_open(&file, "n22_maps_strategy");
    rows = maps_tensor(&file, TOOL_I32, NULL, "rows");
    want = maps_tensor(&file, TOOL_I32, &n, "exp.strategy");
    assert_int_equal(n, 5184);
    for (int64_t i = 0; i < n; i++, rows += 10) {
        const gqa_neuron_strategy_input in = {(gqa_neuron_release)(200 + rows[0]),
                                              enabled[rows[1] + 1],
                                              rows[2],
                                              rows[3],
                                              rows[4],
                                              rows[5],
                                              rows[6],
                                              rows[7],
                                              rows[8],
                                              rows[9]};
        gqa_neuron_flash_strategy got = GQA_NEURON_STRATEGY_NONE;
        const gqa_status status = gqa_neuron_strategy(&in, &got, NULL);
        const int32_t code = status == GQA_ERR_UNSUPPORTED ? -1 : (int32_t)got;

        if (code != want[i] || (code >= 0 && status != GQA_OK)) {
            fail_msg("row %d: status %d, strategy %d; it must be %d", (int)i, (int)status,
                     (int)code, (int)want[i]);
        }
    }
    tool_file_close(&file);
}

/* --- ragged results: row r is [offsets[r], offsets[r + 1]) ---------------------------------------
 */

/* One row as bytes, and that it has n elements. */
static const void *ragged(const struct tool_file *file, enum tool_dtype dtype, const char *name,
                          int64_t r, int64_t n)
{
    const int32_t *const offsets = maps_tensor(file, TOOL_I32, NULL, "exp.%s_offsets", name);
    const unsigned char *const data = maps_tensor(file, dtype, NULL, "exp.%s", name);

    if (offsets[r + 1] - offsets[r] != n) {
        fail_msg("exp.%s: row %d has %d elements, not %d", name, (int)r,
                 (int)(offsets[r + 1] - offsets[r]), (int)n);
    }
    return data + (size_t)offsets[r] * tool_dtype_size(dtype);
}

static void same_row(const struct tool_file *file, const char *name, int64_t r, const int32_t *got,
                     int64_t n)
{
    maps_same(got, ragged(file, TOOL_I32, name, r, n), (size_t)n * 4, "exp.%s, row %d", name,
              (int)r);
}

static void same_bytes(const struct tool_file *file, const char *name, int64_t r,
                       const uint8_t *got, int64_t n)
{
    maps_same(got, ragged(file, TOOL_U8, name, r, n), (size_t)n, "exp.%s, row %d", name, (int)r);
}

/* The rows of an input table of so many columns. */
static const int32_t *table(const struct tool_file *file, const char *name, int64_t columns,
                            int64_t *rows)
{
    const int32_t *const data = maps_tensor(file, TOOL_I32, rows, "%s", name);

    assert_int_equal(*rows % columns, 0);
    *rows /= columns;
    return data;
}

/* --- n23: heads and ranks -----------------------------------------------------------------------
 */

static void heads(void **state)
{
    static int32_t q_map[ROOM], kv_map[ROOM];
    struct tool_file file;
    int64_t n;
    const int32_t *row, *want;

    (void)state;
    maps_open(&file, "n23_maps_heads");
    row = table(&file, "heads", 3, &n);
    want = maps_tensor(&file, TOOL_I32, NULL, "exp.counts");
    assert_int_equal(n, 14);
    for (int64_t i = 0; i < n; i++, row += 3, want += 4) {
        gqa_neuron_heads got;

        assert_int_equal(gqa_neuron_count_heads(row[0], row[1], row[2], &got, NULL), GQA_OK);
        assert_int_equal(got.sharding, want[0]);
        assert_int_equal(got.query_heads, want[1]);
        assert_int_equal(got.kv_heads, want[2]);
        assert_int_equal(got.kv_heads_loaded, want[3]);
        maps_fill(q_map, sizeof q_map);
        maps_fill(kv_map, sizeof kv_map);
        assert_int_equal(gqa_neuron_map_heads(row[0], row[1], row[2], q_map, kv_map, NULL), GQA_OK);
        same_row(&file, "q_map", i, q_map, got.query_heads);
        same_row(&file, "kv_map", i, kv_map, got.kv_heads);
    }
    tool_file_close(&file);
}

static void check_ranks(const struct tool_file *file, const char *order_name,
                        const char *heads_name, int64_t i, gqa_neuron_ranks *ranks)
{
    static int32_t got[ROOM];
    const int32_t *const offsets = maps_tensor(file, TOOL_I32, NULL, "exp.%s_offsets", order_name);
    const int32_t *const heads_at = maps_tensor(file, TOOL_I32, NULL, "exp.%s", heads_name);

    maps_fill(got, sizeof got);
    assert_int_equal(gqa_neuron_rank_order(ranks, got, NULL), GQA_OK);
    same_row(file, order_name, i, got, ranks->world);
    ranks->order_8x8 = 0; /* the heads are stored without it */
    maps_fill(got, sizeof got);
    assert_int_equal(gqa_neuron_rank_heads(ranks, got, NULL), GQA_OK);
    maps_same(got, heads_at + offsets[i], (size_t)ranks->world * 4, "exp.%s, row %d", heads_name,
              (int)i);
}

static void rank_orders(void **state)
{
    struct tool_file file;
    int64_t n;
    const int32_t *row;

    (void)state;
    maps_open(&file, "n23_maps_heads");
    row = table(&file, "tp_order", 4, &n);
    assert_int_equal(n, 8);
    for (int64_t i = 0; i < n; i++, row += 4) {
        gqa_neuron_ranks ranks = {row[0], row[1], 0, row[2], row[3]};
        check_ranks(&file, "tp_order", "kv_head_index", i, &ranks);
    }
    row = table(&file, "dp_order", 5, &n);
    assert_int_equal(n, 5);
    for (int64_t i = 0; i < n; i++, row += 5) {
        gqa_neuron_ranks ranks = {row[0], row[1], row[2], row[3], row[4]};
        check_ranks(&file, "dp_order", "dp_kv_head_index", i, &ranks);
    }
    tool_file_close(&file);
}

static void meshes_and_strides(void **state)
{
    static int32_t mesh[ROOM], place[ROOM];
    struct tool_file file;
    int64_t n;
    const int32_t *row;
    const uint8_t *supported;

    (void)state;
    maps_open(&file, "n23_maps_heads");
    maps_fill(mesh, sizeof mesh);
    maps_fill(place, sizeof place);
    assert_int_equal(gqa_neuron_mesh(64, 8, mesh, place, NULL), GQA_OK);
    maps_same(mesh, maps_tensor(&file, TOOL_I32, NULL, "exp.mesh_8x8"), 64 * 4, "mesh");
    maps_same(place, maps_tensor(&file, TOOL_I32, NULL, "exp.cte_order_8x8"), 64 * 4, "place");
    row = table(&file, "stride", 2, &n);
    assert_int_equal(n, 5);
    for (int64_t i = 0; i < n; i++, row += 2) {
        const int32_t *const offsets =
            maps_tensor(&file, TOOL_I32, NULL, "exp.stride_order_offsets");
        const int32_t *const inverse = maps_tensor(&file, TOOL_I32, NULL, "exp.unstride_order");
        maps_fill(mesh, sizeof mesh);
        maps_fill(place, sizeof place);
        assert_int_equal(gqa_neuron_stride_order(row[0], row[1], mesh, place, NULL), GQA_OK);
        same_row(&file, "stride_order", i, mesh, row[0]);
        maps_same(place, inverse + offsets[i], (size_t)row[0] * 4, "unstride, row %d", (int)i);
    }
    row = table(&file, "dp_supported", 3, &n);
    supported = maps_tensor(&file, TOOL_U8, NULL, "exp.dp_supported");
    for (int64_t i = 0; i < n; i++, row += 3) {
        int32_t got = -1;
        assert_int_equal(gqa_neuron_dp_supported(row[0], row[1], row[2], &got, NULL), GQA_OK);
        assert_int_equal(got, supported[i]);
    }
    tool_file_close(&file);
}

/* --- n24: caches --------------------------------------------------------------------------------
 */

static int32_t numbers[ROOM];
static uint8_t masks[ROOM];

static void clear(void)
{
    maps_fill(numbers, sizeof numbers);
    maps_fill(masks, sizeof masks);
}

static void windows(void **state)
{
    struct tool_file file;
    int64_t n;
    const int32_t *row, *write_slots;

    (void)state;
    maps_open(&file, "n24_maps_caches");
    row = table(&file, "window", 4, &n);
    assert_int_equal(n, 13);
    for (int64_t i = 0; i < n; i++, row += 4) {
        const gqa_neuron_window window = {(gqa_neuron_release)(200 + row[0]), row[1], row[2]};
        int32_t slots;
        clear();
        assert_int_equal(gqa_neuron_window_size(&window, &slots, NULL, NULL), GQA_OK);
        assert_int_equal(gqa_neuron_window_slots(&window, row[3], numbers, NULL), GQA_OK);
        same_row(&file, "window_slots", i, numbers, slots);
    }
    row = table(&file, "window_decode", 3, &n);
    write_slots = maps_tensor(&file, TOOL_I32, NULL, "exp.window_write_slot");
    assert_int_equal(n, 16);
    for (int64_t i = 0; i < n; i++, row += 3) {
        const gqa_neuron_window window = {(gqa_neuron_release)(200 + row[0]), row[1], 0};
        int32_t slot = -1;
        clear();
        assert_int_equal(gqa_neuron_window_decode(&window, row[2], masks, &slot, NULL), GQA_OK);
        same_bytes(&file, "window_mask", i, masks, row[1]);
        assert_int_equal(slot, write_slots[i]);
    }
    tool_file_close(&file);
}

static void speculation(void **state)
{
    struct tool_file file;
    int64_t n;
    const int32_t *row;

    (void)state;
    maps_open(&file, "n24_maps_caches");
    row = table(&file, "spec_window", 3, &n);
    assert_int_equal(n, 4);
    for (int64_t i = 0; i < n; i++, row += 3) {
        const gqa_neuron_window window = {229, row[0], row[1]};
        int32_t slots, width;
        clear();
        assert_int_equal(gqa_neuron_window_size(&window, &slots, &width, NULL), GQA_OK);
        assert_int_equal(gqa_neuron_window_speculate(&window, row[2], numbers, masks, NULL),
                         GQA_OK);
        same_row(&file, "spec_window_logical", i, numbers, slots);
        same_bytes(&file, "spec_window_mask", i, masks, (int64_t)width * row[1]);
    }
    tool_file_close(&file);
}

static void chunks(void **state)
{
    struct tool_file file;
    int64_t n;
    const int32_t *row, *slots;
    const uint8_t *mask;

    (void)state;
    maps_open(&file, "n24_maps_caches");
    row = table(&file, "chunk", 3, &n);
    slots = maps_tensor(&file, TOOL_I32, NULL, "exp.chunk_slots");
    mask = maps_tensor(&file, TOOL_U8, NULL, "exp.chunk_mask");
    assert_int_equal(n, 4);
    for (int64_t i = 0; i < n; i++, row += 3) {
        int32_t slot = -1;
        clear();
        assert_int_equal(gqa_neuron_chunk_slots(row[0], row[1], row[2], numbers, NULL), GQA_OK);
        maps_same(numbers, slots, (size_t)row[0] * 4, "chunk slots, row %d", (int)i);
        assert_int_equal(gqa_neuron_chunk_decode(row[0], row[1], masks, &slot, NULL), GQA_OK);
        maps_same(masks, mask, (size_t)row[0], "chunk mask, row %d", (int)i);
        assert_int_equal(slot, row[1] % row[0]);
        slots += row[0];
        mask += row[0];
    }
    tool_file_close(&file);
}

static void flash_decoding(void **state)
{
    struct tool_file file;
    int64_t n;
    const int32_t *row;

    (void)state;
    maps_open(&file, "n24_maps_caches");
    row = table(&file, "flash_decoding", 5, &n);
    assert_int_equal(n, 10);
    for (int64_t i = 0; i < n; i++, row += 5) {
        const gqa_neuron_flash_decoding in = {row[0], row[1], row[2], row[3], row[4]};
        clear();
        assert_int_equal(gqa_neuron_flash_decoding_masks(&in, masks, NULL, NULL), GQA_OK);
        same_bytes(&file, "fd_active", i, masks, (int64_t)row[1] * row[1]);
        clear();
        assert_int_equal(gqa_neuron_flash_decoding_masks(&in, NULL, masks, NULL), GQA_OK);
        same_bytes(&file, "fd_prior", i, masks, row[4]);
    }
    tool_file_close(&file);
}

/* slot_* and spec_slot_*: tokens for each of four requests. */
static void check_slots(const struct tool_file *file, const char *prefix, int32_t tokens)
{
    gqa_neuron_block_table blocks = {4, 0, atoi(tool_file_text(file, "slot_block_size")), NULL};
    int64_t n, want_count;
    const int32_t *const positions = maps_tensor(file, TOOL_I32, &n, "%sslot_positions", prefix);
    const int32_t *const given = maps_tensor(file, TOOL_I32, NULL, "%sslot_in", prefix);
    const int32_t *const want = maps_tensor(file, TOOL_I32, &want_count, "exp.%sslots", prefix);

    assert_int_equal(n, 4);
    assert_int_equal(want_count, 4 * tokens);
    blocks.table = maps_tensor(file, TOOL_I32, &n, "%sslot_table", prefix);
    blocks.width = (int32_t)n / 4;
    clear();
    assert_int_equal(gqa_neuron_token_slots(&blocks, tokens, positions, given, numbers, NULL),
                     GQA_OK);
    maps_same(numbers, want, (size_t)want_count * 4, "%sslots", prefix);
}

static void check_active_table(const struct tool_file *file, int i)
{
    char entry[48];
    int64_t requests, entries, want_count;
    int32_t count = -1;
    gqa_neuron_block_table blocks = {0};
    const int32_t *const lens = maps_tensor(file, TOOL_I32, &requests, "active_table_lens_%d", i);
    const int32_t *const want = maps_tensor(file, TOOL_I32, &want_count, "exp.active_table_%d", i);

    snprintf(entry, sizeof entry, "active_table_%d_block_size", i);
    blocks.table = maps_tensor(file, TOOL_I32, &entries, "active_table_%d", i);
    blocks.requests = (int32_t)requests;
    blocks.width = (int32_t)(entries / requests);
    blocks.block_size = atoi(tool_file_text(file, entry));
    clear();
    assert_int_equal(gqa_neuron_active_blocks(&blocks, lens, NULL, 0, &count, NULL), GQA_OK);
    assert_int_equal(count, want_count);
    assert_int_equal(gqa_neuron_active_blocks(&blocks, lens, numbers, count, &count, NULL), GQA_OK);
    maps_same(numbers, want, (size_t)want_count * 4, "active table %d", i);
}

static void check_diagonal(const struct tool_file *file, int i)
{
    char entry[32];
    int64_t requests, want_count;
    gqa_neuron_block_diagonal in = {0};
    const int32_t *const lens = maps_tensor(file, TOOL_I32, &requests, "block_diagonal_%d", i);
    const void *const want = maps_tensor(file, TOOL_U8, &want_count, "exp.block_diagonal_%d", i);

    snprintf(entry, sizeof entry, "block_diagonal_%d", i);
    in.requests = (int32_t)requests / 2;
    in.query_lens = lens;
    in.key_lens = lens + in.requests;
    in.queries = maps_number(file, entry, "queries");
    in.keys = maps_number(file, entry, "keys");
    in.is_prior = maps_number(file, entry, "prior");
    assert_int_equal(want_count, (int64_t)in.queries * in.keys);
    clear();
    assert_int_equal(gqa_neuron_block_diagonal_mask(&in, masks, NULL), GQA_OK);
    maps_same(masks, want, (size_t)want_count, "%s", entry);
}

static void paged(void **state)
{
    struct tool_file file;

    (void)state;
    maps_open(&file, "n24_maps_caches");
    check_slots(&file, "", 1);
    check_slots(&file, "spec_", 5);
    for (int i = 0; i < 3; i++) {
        check_active_table(&file, i);
        check_diagonal(&file, i);
    }
    tool_file_close(&file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strategies),     cmocka_unit_test(heads),
        cmocka_unit_test(rank_orders),    cmocka_unit_test(meshes_and_strides),
        cmocka_unit_test(windows),        cmocka_unit_test(speculation),
        cmocka_unit_test(chunks),         cmocka_unit_test(flash_decoding),
        cmocka_unit_test(paged),          cmocka_unit_test(schedules),
        cmocka_unit_test(paged_schedule),
    };
    return RUN_TESTS(argc, argv, tests);
}
