/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_schedule.c - the schedule of tiles over a paged cache: the worked example, and random
 * requests whose tiles together must show each row its cached tokens, once, from the block that is
 * loaded then; every argument out of its range. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/neuron_maps.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"

/* --- the worked example -------------------------------------------------------------------------
 */

static const int32_t example_queries[3] = {10, 1, 3}, example_contexts[3] = {3, 6, 5};
static const int32_t example_blocks[5] = {40, 41, 42, 43, 44};

static gqa_neuron_schedule_input example(void)
{
    const gqa_neuron_schedule_input in = {.requests = 3,
                                          .query_lens = example_queries,
                                          .context_lens = example_contexts,
                                          .q_tile = 6,
                                          .kv_tile = 8,
                                          .block_size = 4,
                                          .partitions = 4,
                                          .active_table = example_blocks,
                                          .active_blocks = 5,
                                          .skip_value = 9000};

    return in;
}

/* Prompts 10, 1, 3; contexts 3, 6, 5, which fill 4, 8 and 8 tokens of blocks. */
static void worked_example(void **state)
{
    static const int32_t q_indices[6] = {0, 1, 1, 2, 1, 2}, offsets[6] = {0, 0, 2, 2, 4, 4};
    static const int32_t q_ids[3][6] = {{0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 1, 2}, {2, 2, 3, 3, 3, 3}};
    static const int32_t kv_ids[3][8] = {
        {0, 0, 0, 4, 1, 1, 1, 1}, {1, 1, 4, 4, 2, 2, 2, 2}, {2, 4, 4, 4, 4, 4, 4, 4}};
    static const int32_t skipped[3] = {1, 3, 5}, order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    static const int32_t tables[6][2] = {{40, 41},     {9000, 9000}, {42, 43},
                                         {9000, 9000}, {44, 40},     {9000, 9000}};
    const gqa_neuron_schedule_input in = example();
    int32_t got[6][6], ids[6][6], keys[6][8], table[6][2], skips[3], places[8];
    gqa_neuron_schedule schedule = {.tile_q_indices = got[0],
                                    .tile_block_table_offsets = got[1],
                                    .tile_q_seq_ids = ids[0],
                                    .tile_kv_seq_ids = keys[0],
                                    .tile_kv_skip_indices = skips,
                                    .tile_block_tables = table[0],
                                    .key_order = places};

    (void)state;
    assert_int_equal(gqa_neuron_schedule_size(&in, &schedule, NULL), GQA_OK);
    assert_int_equal(schedule.tiles, 6);
    assert_int_equal(schedule.skips, 3);
    assert_int_equal(gqa_neuron_schedule_fill(&in, &schedule, NULL), GQA_OK);
    assert_memory_equal(got[0], q_indices, sizeof q_indices);
    assert_memory_equal(got[1], offsets, sizeof offsets);
    assert_memory_equal(skips, skipped, sizeof skipped);
    assert_memory_equal(table, tables, sizeof tables);
    assert_memory_equal(places, order, sizeof order);
    for (int32_t t = 0; t < 6; t++) {
        assert_memory_equal(ids[t], q_ids[q_indices[t]], sizeof ids[t]);
        assert_memory_equal(keys[t], kv_ids[offsets[t] / 2], sizeof keys[t]);
    }
}

/* Padding: nothing is loaded or seen. */
static void padding(void **state)
{
    gqa_neuron_schedule_input in = example();
    int32_t got[2][9], ids[9][6], keys[9][8], table[9][2], skips[6];
    uint8_t masks[9][48];
    gqa_neuron_schedule schedule = {.tile_q_indices = got[0],
                                    .tile_block_table_offsets = got[1],
                                    .tile_q_seq_ids = ids[0],
                                    .tile_kv_seq_ids = keys[0],
                                    .tile_kv_skip_indices = skips,
                                    .tile_block_tables = table[0],
                                    .tile_masks = masks[0]};

    (void)state;
    in.padded_tiles = 9;
    memset(masks, 0x5a, sizeof masks);
    assert_int_equal(gqa_neuron_schedule_size(&in, &schedule, NULL), GQA_OK);
    assert_int_equal(schedule.tiles, 9);
    assert_int_equal(schedule.skips, 6);
    assert_int_equal(gqa_neuron_schedule_fill(&in, &schedule, NULL), GQA_OK);
    for (int32_t t = 6; t < 9; t++) {
        assert_int_equal(skips[t - 3], t);
        assert_int_equal(got[0][t] + got[1][t], 0);
        assert_int_equal(table[t][0], 9000);
        assert_int_equal(table[t][1], 9000);
        for (int32_t i = 0; i < 48; i++) {
            assert_int_equal(ids[t][i / 8], 0);
            assert_int_equal(keys[t][i % 8], 1);
            assert_int_equal(masks[t][i], 0);
        }
    }
    in.padded_tiles = 6;
    assert_int_equal(gqa_neuron_schedule_size(&in, &schedule, NULL), GQA_OK);
    assert_int_equal(schedule.tiles, 6);
    in.padded_tiles = INT32_MAX;
    assert_int_equal(gqa_neuron_schedule_size(&in, &schedule, NULL), GQA_OK);
    assert_int_equal(schedule.skips, INT32_MAX - 3);
}

/* The order of keys on the device: 128 partitions. */
static void key_orders(void **state)
{
    static const struct {
        int32_t kv_tile, block_size, column, place;
    } rows[] = {
        {512, 32, 1, 4},     {512, 32, 128, 1},   {512, 32, 511, 511}, /* pieces of 4 tokens */
        {512, 4, 1, 4},      {512, 4, 130, 9},                         /* a block a partition */
        {1024, 4, 1, 4},     {1024, 4, 128, 1},   {1024, 4, 511, 511}, /* two rounds of loads */
        {1024, 4, 512, 512}, {1024, 4, 513, 516}, {2048, 16, 3, 48},
        {512, 1, 77, 77}, /* a token a piece: linear */
    };
    static const int32_t none[1] = {0};
    int32_t order[2048];
    gqa_neuron_schedule schedule = {.key_order = order};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gqa_neuron_schedule_input in = {.requests = 1,
                                              .query_lens = none,
                                              .context_lens = none,
                                              .q_tile = 128,
                                              .kv_tile = rows[i].kv_tile,
                                              .block_size = rows[i].block_size};
        assert_int_equal(gqa_neuron_schedule_size(&in, &schedule, NULL), GQA_OK);
        assert_int_equal(schedule.tiles, 0);
        assert_int_equal(gqa_neuron_schedule_fill(&in, &schedule, NULL), GQA_OK);
        assert_int_equal(order[rows[i].column], rows[i].place);
    }
}

/* --- random requests ----------------------------------------------------------------------------
 */

static uint64_t seed = 7;

static int32_t draw(int32_t below)
{
    return random_between(&seed, 0, below - 1);
}

enum { REQUESTS = 7, TOKENS = 256, BLOCKS = 256 };

/* How often query row r was shown slot s of the pool, all tiles together. */
static int32_t shown[TOKENS][BLOCKS * 8];

/* Run one tile as the kernel would: load its blocks, look at its mask. */
static void show(const gqa_neuron_schedule_input *in, const gqa_neuron_schedule *s, int32_t t,
                 int32_t *loaded)
{
    const int32_t blocks = in->kv_tile / in->block_size;
    const int32_t *const table = s->tile_block_tables + (size_t)t * (size_t)blocks;

    for (int32_t b = 0; b < blocks; b++) {
        loaded[b] = table[b] == in->skip_value ? loaded[b] : table[b];
    }
    for (int32_t r = 0; r < in->q_tile; r++) {
        for (int32_t c = 0; c < in->kv_tile; c++) {
            const size_t at = ((size_t)t * (size_t)in->q_tile + (size_t)r) * (size_t)in->kv_tile;
            const int32_t key = s->key_order[c];
            const int32_t row = s->tile_q_indices[t] * in->q_tile + r;
            if (s->tile_masks[at + (size_t)c] != 0) {
                assert_true(row < TOKENS && loaded[key / in->block_size] >= 0);
                shown[row][loaded[key / in->block_size] * in->block_size + key % in->block_size]++;
            }
        }
    }
}

/* Each row was shown the cached tokens of its request once, and nothing else. */
static void check_shown(const gqa_neuron_schedule_input *in)
{
    int32_t row = 0, block = 0;

    for (int32_t i = 0; i < in->requests; i++) {
        const int32_t n = in->context_lens[i];
        for (int32_t end = row + in->query_lens[i]; row < end; row++) {
            int32_t sum = 0;
            for (int32_t s = 0; s < BLOCKS * 8; s++) {
                sum += shown[row][s];
            }
            assert_int_equal(sum, n);
            for (int32_t k = 0; k < n; k++) {
                const int32_t b = in->active_table[block + k / in->block_size];
                assert_int_equal(shown[row][b * in->block_size + k % in->block_size], 1);
            }
        }
        block += (n + in->block_size - 1) / in->block_size;
    }
    for (; row < TOKENS; row++) {
        for (int32_t s = 0; s < BLOCKS * 8; s++) {
            assert_int_equal(shown[row][s], 0);
        }
    }
}

/* Does a tile touch request i of an axis? The released rule, by running sums: not before the first
 * request that ends behind the tile's start, and begun before the tile's end. */
static bool touches(const int32_t *lens, int32_t unit, int32_t i, int32_t start, int32_t end)
{
    int32_t begins = 0;
    bool reached = false; /* request i, or one before it, ends behind start */

    for (int32_t r = 0; r <= i; r++) {
        begins += r == 0 ? 0 : (lens[r - 1] + unit - 1) / unit * unit;
        reached = reached || begins + lens[r] > start;
    }
    return reached && begins < end;
}

/* A pair of tiles is needed if some request is touched by both. */
static int32_t count_needed(const gqa_neuron_schedule_input *in)
{
    int32_t queries = 0, keys = 0, needed = 0;

    for (int32_t i = 0; i < in->requests; i++) {
        queries += in->query_lens[i];
        keys += (in->context_lens[i] + in->block_size - 1) / in->block_size * in->block_size;
    }
    for (int32_t q = 0; q < queries; q += in->q_tile) {
        for (int32_t k = 0; k < keys; k += in->kv_tile) {
            bool both = false;
            for (int32_t i = 0; i < in->requests; i++) {
                both = both || (touches(in->query_lens, 1, i, q, q + in->q_tile) &&
                                touches(in->context_lens, in->block_size, i, k, k + in->kv_tile));
            }
            needed += both;
        }
    }
    return needed;
}

static void run_schedule(const gqa_neuron_schedule_input *in)
{
    gqa_neuron_schedule s = {0};
    int32_t loaded[BLOCKS], last = 0;
    size_t tiles;

    assert_int_equal(gqa_neuron_schedule_size(in, &s, NULL), GQA_OK);
    assert_int_equal(s.tiles, count_needed(in));
    tiles = (size_t)s.tiles;
    s.tile_q_indices = calloc(tiles + 1, sizeof(int32_t));
    s.tile_block_table_offsets = calloc(tiles + 1, sizeof(int32_t));
    s.tile_kv_skip_indices = calloc(tiles + 1, sizeof(int32_t));
    s.tile_block_tables = calloc(tiles * (size_t)in->kv_tile + 1, sizeof(int32_t));
    s.tile_masks = calloc(tiles * (size_t)(in->q_tile * in->kv_tile) + 64, 1);
    s.key_order = calloc((size_t)in->kv_tile, sizeof(int32_t));
    assert_int_equal(gqa_neuron_schedule_fill(in, &s, NULL), GQA_OK);
    for (size_t i = 0; i < 64; i++) { /* behind the masks nothing was written */
        assert_int_equal(s.tile_masks[tiles * (size_t)(in->q_tile * in->kv_tile) + i], 0);
    }
    memset(shown, 0, sizeof shown);
    memset(loaded, 0xff, sizeof loaded);
    for (int32_t t = 0; t < s.tiles; t++) {
        /* In order: the one axis rises, and within it the other. */
        const int32_t outer =
            in->row_order != 0 ? s.tile_q_indices[t] : s.tile_block_table_offsets[t];
        assert_true(outer >= last);
        last = outer;
        show(in, &s, t, loaded);
    }
    assert_true(s.skips == 0 || s.tile_kv_skip_indices[0] > 0);
    check_shown(in);
    free(s.tile_q_indices);
    free(s.tile_block_table_offsets);
    free(s.tile_kv_skip_indices);
    free(s.tile_block_tables);
    free(s.tile_masks);
    free(s.key_order);
}

static void random_requests(void **state)
{
    static const int32_t shapes[][4] = {/* kv_tile, block_size, partitions, q_tile */
                                        {8, 4, 4, 6},  {16, 2, 4, 5}, {24, 8, 6, 7},
                                        {12, 3, 4, 1}, {16, 1, 4, 9}, {8, 8, 8, 16}};

    (void)state;
    for (int32_t round = 0; round < 120; round++) {
        const int32_t *const shape = shapes[round % 6];
        int32_t queries[REQUESTS], contexts[REQUESTS], table[BLOCKS];
        gqa_neuron_schedule_input in = {.requests = 1 + draw(REQUESTS),
                                        .query_lens = queries,
                                        .context_lens = contexts,
                                        .kv_tile = shape[0],
                                        .block_size = shape[1],
                                        .partitions = shape[2],
                                        .q_tile = shape[3],
                                        .row_order = draw(2),
                                        .active_table = table,
                                        .active_blocks = BLOCKS,
                                        .skip_value = 1000 * BLOCKS};
        for (int32_t i = 0; i < BLOCKS; i++) { /* any order */
            table[i] = (i * 37 + round) % BLOCKS;
        }
        for (int32_t i = 0; i < in.requests; i++) {
            queries[i] = draw(4) == 0 ? draw(2) : draw(19);
            contexts[i] = draw(3) == 0 ? draw(2) : draw(30);
        }
        run_schedule(&in);
    }
}

/* --- arguments of the schedule ------------------------------------------------------------------
 */

#define IN(member) offsetof(gqa_neuron_schedule_input, member)

static void schedule_numbers(void **state)
{
    static const struct {
        size_t at;
        int32_t bad;
        const char *field, *text;
    } rows[] = {
        {IN(requests), 0, "requests", "is 0; it must be at least 1"},
        {IN(q_tile), 0, "q_tile", "is 0"},
        {IN(kv_tile), 0, "kv_tile", "is 0"},
        {IN(block_size), 0, "block_size", "is 0"},
        {IN(kv_tile), 10, "kv_tile", "is 10; it must be a multiple of block_size 4"},
        {IN(partitions), -1, "partitions", "is -1"},
        {IN(partitions), 0, "kv_tile", "is 8 in blocks of 4; its rows must fill 128 partitions"},
        {IN(partitions), 3, "kv_tile", "3 partitions"},
        {IN(row_order), 2, "row_order", "is 2; it must be 0..1"},
        {IN(row_order), -1, "row_order", "is -1"},
        {IN(padded_tiles), -1, "padded_tiles", "is -1"},
        {IN(padded_tiles), 1, "padded_tiles", "is 1; it must be 0, or at least the 6 tiles"},
        {IN(padded_tiles), 5, "padded_tiles", "is 5; it must be 0, or at least the 6 tiles"},
    };
    gqa_neuron_schedule schedule = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gqa_neuron_schedule_input in = example();
        memcpy((char *)&in + rows[i].at, &rows[i].bad, sizeof rows[i].bad);
        refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, rows[i].field,
                rows[i].text);
        refused(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_ERR_ARG, rows[i].field,
                rows[i].text);
    }
}

static void schedule_arguments(void **state)
{
    static const int32_t negative[3] = {1, -2, 3}, zero[3] = {0, 0, 0};
    static const int32_t most[3] = {INT32_MAX, 1, 0}, long_ones[3] = {1 << 29, 1 << 28, 0};
    gqa_neuron_schedule schedule = {.tiles = 6, .skips = 3};
    gqa_neuron_schedule_input in = example();
    int32_t table[12];

    (void)state;
    refused(gqa_neuron_schedule_size(NULL, &schedule, &refusal), GQA_ERR_ARG, "input", "NULL");
    refused(gqa_neuron_schedule_size(&in, NULL, &refusal), GQA_ERR_ARG, "schedule", "NULL");
    refused(gqa_neuron_schedule_fill(NULL, &schedule, &refusal), GQA_ERR_ARG, "input", "NULL");
    refused(gqa_neuron_schedule_fill(&in, NULL, &refusal), GQA_ERR_ARG, "schedule", "NULL");
    in.query_lens = NULL;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "query_lens", "NULL");
    in.query_lens = negative;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "query_lens",
            "[1] is -2");
    in.query_lens = most;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "query_lens",
            "2147483648 tokens");
    in = example();
    in.context_lens = NULL;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "context_lens",
            "NULL");
    in.context_lens = negative;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "context_lens",
            "[1] is -2");
    in.context_lens = most;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "context_lens",
            "limit");
    in.context_lens = long_ones;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_UNSUPPORTED, "query_lens",
            "67108864 pairs");
    in.context_lens = zero;
    in.padded_tiles = 4;
    refused(gqa_neuron_schedule_size(&in, &schedule, &refusal), GQA_ERR_ARG, "padded_tiles",
            "no tile is needed");
    in = example();
    schedule.tile_block_tables = table;
    assert_int_equal(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_OK);
    in.active_table = NULL;
    refused(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_ERR_ARG, "active_table",
            "NULL");
    in = example();
    in.active_blocks = 4;
    refused(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_ERR_ARG, "active_blocks",
            "is 4; the contexts fill 5 blocks of 4");
    schedule.tile_block_tables = NULL;
    in.active_table = NULL;
    assert_int_equal(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_OK);
    schedule.tiles = 7;
    refused(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_ERR_SHAPE, "schedule.tiles",
            "is 7; it must be 6");
    schedule.tiles = 6;
    schedule.skips = 2;
    refused(gqa_neuron_schedule_fill(&in, &schedule, &refusal), GQA_ERR_SHAPE, "schedule.skips",
            "is 2; it must be 3");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example),   cmocka_unit_test(padding),
        cmocka_unit_test(key_orders),       cmocka_unit_test(random_requests),
        cmocka_unit_test(schedule_numbers), cmocka_unit_test(schedule_arguments),
    };
    return RUN_TESTS(argc, argv, tests);
}
