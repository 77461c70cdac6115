/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_blocks.c - slots and blocks of paged caches, and requests side by side: worked
 * examples, rules word by word, and every argument out of its range. */
#include <string.h>

#include "gqa/neuron_maps.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"

static uint64_t seed = 7;

static int32_t draw(int32_t below)
{
    return random_between(&seed, 0, below - 1);
}

static void active_blocks(void **state)
{
    static const int32_t table[8] = {149, 143, 148, 0, 147, 146, 145, 0};
    static const int32_t lens[4] = {6, 16, 170, 6}, full[4] = {256, 128, 129, 0}, none[4] = {0};
    static const int32_t want[5] = {149, 148, 147, 146, 145},
                         want_full[5] = {149, 143, 148, 147, 146};
    const gqa_neuron_block_table blocks = {4, 2, 128, table};
    int32_t got[5], count = -1;

    (void)state;
    assert_int_equal(gqa_neuron_active_blocks(&blocks, lens, NULL, 0, &count, NULL), GQA_OK);
    assert_int_equal(count, 5);
    assert_int_equal(gqa_neuron_active_blocks(&blocks, lens, got, 5, &count, NULL), GQA_OK);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(gqa_neuron_active_blocks(&blocks, full, got, 5, &count, NULL), GQA_OK);
    assert_memory_equal(got, want_full, sizeof want_full);
    assert_int_equal(gqa_neuron_active_blocks(&blocks, none, got, 0, &count, NULL), GQA_OK);
    assert_int_equal(count, 0);
    refused(gqa_neuron_active_blocks(&blocks, lens, got, 4, &count, &refusal), GQA_ERR_SHAPE,
            "room", "is 4; the contexts fill 5 blocks");
    assert_int_equal(count, 5);
}

static void token_slots(void **state)
{
    static const int32_t table[16] = {0, 0, 0, 0, 1, 0, 0, 0, 2, 3, 4, 5, -7, -7, -7, -7};
    static const int32_t positions[4] = {6, 8, 126, -9}, given[4] = {6, 40, 70, -1};
    static const int32_t want[4] = {6, 40, 190, -1};
    static const int32_t drafts[6] = {-1, 5, -1, -1, -3, -2}, at[2] = {62, -9};
    static const int32_t want_drafts[6] = {126, 127, 128, -1, -1, -1}, row[6] = {2, 3, 4, 9, 9, 9};
    int32_t got[6];

    (void)state;
    assert_int_equal(gqa_neuron_token_slots(&(gqa_neuron_block_table){4, 4, 32, table}, 1,
                                            positions, given, got, NULL),
                     GQA_OK);
    assert_memory_equal(got, want, sizeof want);
    /* One live slot makes a request active. */
    assert_int_equal(
        gqa_neuron_token_slots(&(gqa_neuron_block_table){2, 3, 32, row}, 3, at, drafts, got, NULL),
        GQA_OK);
    assert_memory_equal(got, want_drafts, sizeof want_drafts);
}

/* A pool in which every slot is live; what tokens without a slot then overwrite. */
static void lost_tokens(void **state)
{
    enum { N = 6, SLOTS = 12 };
    static const int32_t slots[N] = {3, -1, 0, -1, 11, -5};
    int32_t written[N];

    (void)state;
    for (int32_t layout = 0; layout < 2; layout++) {
        int32_t owner[SLOTS + 1], hit = 0;
        for (int32_t s = 0; s <= SLOTS; s++) {
            owner[s] = s;
        }
        assert_int_equal(
            gqa_neuron_write_slots((gqa_neuron_paged_layout)layout, 3, 4, slots, written, N, NULL),
            GQA_OK);
        for (int32_t i = 0; i < N; i++) {
            assert_true(slots[i] < 0 || written[i] == slots[i]);
            owner[written[i]] = slots[i] < 0 ? -1 : owner[written[i]];
        }
        for (int32_t s = 0; s < SLOTS; s++) {
            hit += owner[s] != s;
        }
        assert_int_equal(hit, layout); /* the defect: the last slot of the pool */
        assert_int_equal(owner[layout == 0 ? SLOTS : SLOTS - 1], -1);
    }
}

/* A block of one token, and one request. */
static void smallest(void **state)
{
    static const int32_t table[3] = {5, 0, 7}, two[1] = {2}, five[1] = {5};
    const gqa_neuron_block_table blocks = {1, 3, 1, table};
    const gqa_neuron_block_diagonal one = {1, two, five, 2, 5, 0};
    const gqa_neuron_block_diagonal least = {1, &(int32_t){1}, &(int32_t){1}, 1, 1, 0};
    int32_t got[3], count = -1;
    uint8_t mask[10];

    (void)state;
    assert_int_equal(gqa_neuron_active_blocks(&blocks, two, got, 3, &count, NULL), GQA_OK);
    assert_int_equal(count, 2);
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 0);
    assert_int_equal(gqa_neuron_token_slots(&blocks, 1, two, five, got, NULL), GQA_OK);
    assert_int_equal(got[0], 7);
    assert_int_equal(
        gqa_neuron_write_slots(GQA_NEURON_CHUNKED_PREFILL, 1, 1, &(int32_t){-1}, got, 1, NULL),
        GQA_OK);
    assert_int_equal(got[0], 0);
    assert_int_equal(gqa_neuron_block_diagonal_mask(&one, mask, NULL), GQA_OK);
    for (int32_t i = 0; i < 10; i++) {
        assert_int_equal(mask[i], i != 4);
    }
    assert_int_equal(gqa_neuron_block_diagonal_mask(&least, mask, NULL), GQA_OK);
    assert_int_equal(mask[0], 1);
}

/* As in the docstring, and by the rule word by word on random lengths. */
static void block_diagonal(void **state)
{
    static const int32_t q[4] = {2, 3, 1, 0}, k[4] = {4, 5, 4, 0};
    static const char *const want[8] = {"###.............", "####............", "....###.........",
                                        "....####........", "....#####.......", ".........####...",
                                        "................", "................"};
    gqa_neuron_block_diagonal in = {4, q, k, 8, 16, 0};
    uint8_t got[64 * 128];

    (void)state;
    assert_int_equal(gqa_neuron_block_diagonal_mask(&in, got, NULL), GQA_OK);
    for (int32_t i = 0; i < 8 * 16; i++) {
        assert_int_equal(got[i], want[i / 16][i % 16] == '#');
    }
    for (int32_t round = 0; round < 100; round++) {
        int32_t ql[4], kl[4], queries = 0, keys = 0;
        uint8_t rule[64 * 128] = {0};
        for (int32_t i = 0; i < 4; i++) {
            ql[i] = draw(9);
            kl[i] = ql[i] + draw(3) * draw(9);
            queries += ql[i];
            keys += kl[i];
        }
        in = (gqa_neuron_block_diagonal){
            4, ql, kl, queries + 1 + draw(5), keys + 1 + draw(5), round % 2};
        for (int32_t i = 0, ri = 0, ci = 0; i < 4; ri += ql[i], ci += kl[i], i++) {
            for (int32_t at = 0; at < in.queries * in.keys; at++) {
                const int32_t r = at / in.keys, c = at % in.keys;
                rule[at] |= r >= ri && r < ri + ql[i] && c >= ci &&
                            r - c + (ci + kl[i] - ri - ql[i]) >= 0 &&
                            (in.is_prior == 0 || c < ci + kl[i] - ql[i]);
            }
        }
        assert_int_equal(gqa_neuron_block_diagonal_mask(&in, got, NULL), GQA_OK);
        assert_memory_equal(got, rule, (size_t)in.queries * (size_t)in.keys);
    }
}

static void active_arguments(void **state)
{
    static const int32_t table[4] = {0, 1, 2, 3}, lens[2] = {3, 9}, negative[2] = {1, -1};
    static const struct {
        gqa_neuron_block_table blocks;
        const char *field, *text;
    } rows[] = {
        {{0, 2, 4, table}, "blocks.requests", "is 0"},
        {{2, 0, 4, table}, "blocks.width", "is 0"},
        {{2, 2, 0, table}, "blocks.block_size", "is 0"},
        {{2, 2, 4, NULL}, "blocks.table", "NULL"},
        {{2, 2, 4, table}, "context_lens", "[1] is 9; a row of the table has 2 blocks of 4"},
    };
    const gqa_neuron_block_table *const good = &rows[4].blocks;
    const gqa_status arg = GQA_ERR_ARG;
    int32_t got[4], n;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(gqa_neuron_active_blocks(&rows[i].blocks, lens, got, 4, &n, &refusal), arg,
                rows[i].field, rows[i].text);
    }
    refused(gqa_neuron_active_blocks(NULL, lens, got, 4, &n, &refusal), arg, "blocks", "NULL");
    refused(gqa_neuron_active_blocks(good, NULL, got, 4, &n, &refusal), arg, "context_lens",
            "NULL");
    refused(gqa_neuron_active_blocks(good, negative, got, 4, &n, &refusal), arg, "context_lens",
            "[1] is -1");
    refused(gqa_neuron_active_blocks(good, lens, got, 4, NULL, &refusal), arg, "count", "NULL");
}

static void slot_arguments(void **state)
{
    static const int32_t table[4] = {0, -1, 0, 1 << 30}, given[4] = {0, 0, 0, 0};
    static const struct {
        int32_t tokens, positions[2];
        const char *field, *text;
    } rows[] = {
        {0, {3, 3}, "tokens", "is 0"},
        {1, {3, -1}, "positions", "[1] is -1"},
        {1, {3, 8}, "positions", "[1] is 8 with 1 tokens; its blocks have room for 8"},
        {2, {7, 0}, "positions", "[0] is 7 with 2 tokens"},
        {1, {0, 4}, "blocks.table", "position 4 of request 1 into slot 4294967296"},
        {1, {4, 0}, "blocks.table", "position 4 of request 0 into slot -4"},
        {2, {3, 0}, "blocks.table", "position 4 of request 0 into slot -4"},
        {2, {0, 3}, "blocks.table", "position 4 of request 1 into slot 4294967296"},
    };
    static const int32_t last[1] = {INT32_MAX};
    const gqa_neuron_block_table good = {2, 2, 4, table}, long_blocks = {1, 4, 1 << 30, table};
    const gqa_status arg = GQA_ERR_ARG;
    int32_t got[4];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(
            gqa_neuron_token_slots(&good, rows[i].tokens, rows[i].positions, given, got, &refusal),
            arg, rows[i].field, rows[i].text);
    }
    refused(gqa_neuron_token_slots(&long_blocks, 2, last, given, got, &refusal), arg, "positions",
            "[0] is 2147483647 with 2 tokens; its blocks have room for 2147483647");
    refused(gqa_neuron_token_slots(NULL, 1, given, given, got, &refusal), arg, "blocks", "NULL");
    refused(gqa_neuron_token_slots(&good, 1, NULL, given, got, &refusal), arg, "positions", "NULL");
    refused(gqa_neuron_token_slots(&good, 1, given, NULL, got, &refusal), arg, "given", "NULL");
    refused(gqa_neuron_token_slots(&good, 1, given, given, NULL, &refusal), arg, "slots", "NULL");
}

static void write_arguments(void **state)
{
    static const int32_t slots[2] = {3, 8};
    static const struct {
        int32_t layout, blocks, block_size, count;
        const char *field, *text;
    } rows[] = {
        {2, 3, 4, 1, "layout", "is 2"},
        {-1, 3, 4, 1, "layout", "is -1"},
        {0, 0, 4, 1, "blocks", "is 0"},
        {0, 3, 0, 1, "block_size", "is 0"},
        {0, 1 << 20, 1 << 12, 1, "blocks", "4294967296"},
        {0, 3, 4, 0, "count", "is 0"},
        {0, 2, 4, 2, "slots", "[1] is 8; there are 8 slots"},
    };
    const gqa_status arg = GQA_ERR_ARG;
    int32_t got[2];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(gqa_neuron_write_slots((gqa_neuron_paged_layout)rows[i].layout, rows[i].blocks,
                                       rows[i].block_size, slots, got, rows[i].count, &refusal),
                arg, rows[i].field, rows[i].text);
    }
    refused(gqa_neuron_write_slots(GQA_NEURON_PREFIX_CACHING, 3, 4, NULL, got, 1, &refusal), arg,
            "slots", "NULL");
    refused(gqa_neuron_write_slots(GQA_NEURON_PREFIX_CACHING, 3, 4, slots, NULL, 1, &refusal), arg,
            "written", "NULL");
}

static void diagonal_arguments(void **state)
{
    static const int32_t q[2] = {1, 4}, k[2] = {2, 5}, short_keys[2] = {2, 3},
                         negative[2] = {-1, 4};
    static const struct {
        gqa_neuron_block_diagonal in;
        const char *field, *text;
    } rows[] = {
        {{0, q, k, 5, 7, 0}, "requests", "is 0"},
        {{2, NULL, k, 5, 7, 0}, "query_lens", "NULL"},
        {{2, q, NULL, 5, 7, 0}, "key_lens", "NULL"},
        {{2, negative, k, 5, 7, 0}, "query_lens", "[0] is -1"},
        {{2, q, short_keys, 5, 7, 0}, "key_lens", "[1] is 3; it must be at least query_lens[1] 4"},
        {{2, q, k, 4, 7, 0}, "queries", "is 4; it must be 5"},
        {{2, q, k, 5, 6, 0}, "keys", "is 6; it must be 7"},
        {{2, q, k, 5, 0, 0}, "keys", "is 0; it must be 1.."},
        {{2, q, k, 5, 7, 2}, "is_prior", "is 2"},
    };
    uint8_t got[64];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(gqa_neuron_block_diagonal_mask(&rows[i].in, got, &refusal), GQA_ERR_ARG,
                rows[i].field, rows[i].text);
    }
    refused(gqa_neuron_block_diagonal_mask(NULL, got, &refusal), GQA_ERR_ARG, "input", "NULL");
    refused(gqa_neuron_block_diagonal_mask(&rows[0].in, NULL, &refusal), GQA_ERR_ARG, "mask",
            "NULL");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(active_blocks),      cmocka_unit_test(token_slots),
        cmocka_unit_test(lost_tokens),        cmocka_unit_test(block_diagonal),
        cmocka_unit_test(smallest),           cmocka_unit_test(active_arguments),
        cmocka_unit_test(slot_arguments),     cmocka_unit_test(write_arguments),
        cmocka_unit_test(diagonal_arguments),
    };
    return RUN_TESTS(argc, argv, tests);
}
