/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_heads.c - heads on ranks: worked examples, and for many sizes that each rank finds
 * the KV heads that its query heads and its cache need; every argument out of its range. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/neuron_maps.h"
#include "support/program.h"
#include "support/refusal.h"

enum { ROOM = 512 };

static void same(const int32_t *got, const int32_t *want, int32_t n, const char *what)
{
    for (int32_t i = 0; i < n; i++) {
        if (got[i] != want[i]) {
            fail_msg("%s[%d] is %d; it must be %d", what, (int)i, (int)got[i], (int)want[i]);
        }
    }
}

/* --- padded heads -------------------------------------------------------------------------------
 */

static void counts(void **state)
{
    static const struct {
        int32_t q, kv, tp;
        gqa_neuron_heads want;
    } rows[] = {
        /* Repeated to tp, zero heads spread. */
        {56, 8, 32, {GQA_NEURON_REPLICATE_TO_TP_DEGREE, 64, 32, 32}},
        {28, 4, 8, {GQA_NEURON_REPLICATE_TO_TP_DEGREE, 32, 8, 8}},
        {64, 8, 8, {GQA_NEURON_REPLICATE_TO_TP_DEGREE, 64, 8, 8}},
        {8, 1, 4, {GQA_NEURON_REPLICATE_TO_TP_DEGREE, 8, 4, 4}},
        /* tp does not fit the KV heads: as many as query heads; the loader makes too many. */
        {28, 4, 14, {GQA_NEURON_CONVERT_TO_MHA, 28, 28, 196}},
        {28, 4, 6, {GQA_NEURON_CONVERT_TO_MHA, 30, 30, 210}},
        {64, 8, 3, {GQA_NEURON_CONVERT_TO_MHA, 66, 66, 528}},
        /* Called CONVERT, but nothing is converted: tp divides the KV heads. */
        {64, 8, 1, {GQA_NEURON_CONVERT_TO_MHA, 64, 8, 8}},
        {64, 8, 4, {GQA_NEURON_CONVERT_TO_MHA, 64, 8, 8}},
        /* As many KV heads as query heads. */
        {8, 8, 16, {GQA_NEURON_REPLICATE_TO_TP_DEGREE, 16, 16, 16}},
        {8, 8, 4, {GQA_NEURON_CONVERT_TO_MHA, 8, 8, 8}},
        {6, 6, 4, {GQA_NEURON_CONVERT_TO_MHA, 8, 8, 8}},
        {6, 6, 8, {GQA_NEURON_CONVERT_TO_MHA, 8, 8, 8}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gqa_neuron_heads got;
        assert_int_equal(gqa_neuron_count_heads(rows[i].q, rows[i].kv, rows[i].tp, &got, NULL),
                         GQA_OK);
        if (memcmp(&got, &rows[i].want, sizeof got) != 0) {
            fail_msg("%d/%d heads on %d ranks: %d %d %d %d", (int)rows[i].q, (int)rows[i].kv,
                     (int)rows[i].tp, (int)got.sharding, (int)got.query_heads, (int)got.kv_heads,
                     (int)got.kv_heads_loaded);
        }
    }
}

static void maps(void **state)
{
    static const int32_t q28[32] = {0,  1,  2,  3,  4,  5,  6,  -1, 7,  8,  9,  10, 11, 12, 13, -1,
                                    14, 15, 16, 17, 18, 19, 20, -1, 21, 22, 23, 24, 25, 26, 27, -1};
    static const int32_t kv28[8] = {0, 0, 1, 1, 2, 2, 3, 3};
    static const int32_t q6[8] = {0, 1, 2, 3, 4, 5, -1, -1};
    static const int32_t q8[16] = {0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1};
    int32_t q[ROOM], kv[ROOM];

    (void)state;
    assert_int_equal(gqa_neuron_map_heads(28, 4, 8, q, kv, NULL), GQA_OK);
    same(q, q28, 32, "q");
    same(kv, kv28, 8, "kv");
    assert_int_equal(gqa_neuron_map_heads(6, 6, 4, q, kv, NULL), GQA_OK);
    same(q, q6, 8, "q");
    same(kv, q6, 8, "kv");
    assert_int_equal(gqa_neuron_map_heads(8, 8, 16, q, NULL, NULL), GQA_OK);
    same(q, q8, 16, "q");
    assert_int_equal(gqa_neuron_map_heads(8, 8, 16, NULL, kv, NULL), GQA_OK);
    for (int32_t i = 0; i < 16; i++) {
        assert_int_equal(kv[i], i / 2);
    }
}

/* On its rank a query head reads the KV head that it had. */
static void check_ranks_read(int32_t query_heads, int32_t kv_heads, int32_t tp)
{
    int32_t q[ROOM], kv[ROOM], seen[ROOM] = {0};
    gqa_neuron_heads heads;

    assert_int_equal(gqa_neuron_count_heads(query_heads, kv_heads, tp, &heads, NULL), GQA_OK);
    assert_int_equal(heads.query_heads % tp + heads.kv_heads % tp, 0);
    assert_true(heads.query_heads >= query_heads && heads.query_heads < query_heads + tp);
    assert_int_equal(gqa_neuron_map_heads(query_heads, kv_heads, tp, q, kv, NULL), GQA_OK);
    for (int32_t i = 0; i < heads.query_heads; i++) {
        const int32_t own = heads.query_heads / tp, held = heads.kv_heads / tp;
        const int32_t slot = i / own * held + i % own / (own / held);
        if (q[i] >= 0) {
            seen[q[i]]++;
        }
        if (q[i] >= 0 && kv[slot] != q[i] / (query_heads / kv_heads)) {
            fail_msg("%d/%d heads on %d ranks: head %d finds KV head %d", (int)query_heads,
                     (int)kv_heads, (int)tp, (int)q[i], (int)kv[slot]);
        }
    }
    for (int32_t h = 0; h < query_heads; h++) {
        assert_int_equal(seen[h], 1);
    }
}

static void ranks_read(void **state)
{
    int32_t done = 0, defects = 0;

    (void)state;
    for (int32_t kv = 1; kv <= 9; kv++) {
        for (int32_t group = 1; group <= 8; group++) {
            for (int32_t tp = 1; tp <= 33; tp++) {
                gqa_neuron_heads heads;
                assert_int_equal(gqa_neuron_count_heads(kv * group, kv, tp, &heads, NULL), GQA_OK);
                if (heads.query_heads / tp % (heads.kv_heads / tp) == 0) {
                    check_ranks_read(kv * group, kv, tp);
                    done++;
                }
                defects += heads.kv_heads_loaded != heads.kv_heads;
            }
        }
    }
    assert_int_equal(done, 9 * 8 * 33);
    assert_true(defects > 0);
}

/* --- meshes -------------------------------------------------------------------------------------
 */

static void meshes(void **state)
{
    static const int32_t fold[16] = {0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 8, 9, 10, 11};
    int32_t mesh[ROOM], place[ROOM];

    (void)state;
    assert_int_equal(gqa_neuron_mesh(64, 8, mesh, place, NULL), GQA_OK);
    for (int32_t i = 0; i < 64; i++) {
        assert_int_equal(mesh[i], i / 16 * 16 + fold[i % 16]);
        assert_int_equal(place[mesh[i]], i);
    }
    /* Any other is contiguous: so is 64 in 16 rows of 4, and 72 in 8 of 9. */
    for (int32_t world = 8; world <= 128; world += 8) {
        for (int32_t groups = 1; groups <= 16; groups *= 2) {
            if (world % groups == 0 && !(world == 64 && groups == 8)) {
                assert_int_equal(gqa_neuron_mesh(world, groups, mesh, place, NULL), GQA_OK);
                for (int32_t i = 0; i < world; i++) {
                    assert_int_equal(mesh[i], i);
                    assert_int_equal(place[i], i);
                }
            }
        }
    }
}

/* --- from context encoding to token generation --------------------------------------------------
 */

static void orders(void **state)
{
    static const int32_t tp8[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    static const int32_t heads4[4] = {0, 0, 1, 1};
    static const int32_t heads16[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    int32_t got[ROOM];

    (void)state;
    assert_int_equal(gqa_neuron_rank_order(&(gqa_neuron_ranks){8, 4, 0, 8, 0}, got, NULL), GQA_OK);
    same(got, tp8, 8, "tp 8, cp 4, kv 8");
    assert_int_equal(gqa_neuron_rank_order(&(gqa_neuron_ranks){16, 2, 1, 8, 0}, got, NULL), GQA_OK);
    for (int32_t i = 0; i < 16; i++) {
        assert_int_equal(got[i], i < 8 ? 2 * i : 2 * (i - 8) + 1);
    }
    assert_int_equal(gqa_neuron_rank_order(&(gqa_neuron_ranks){8, 1, 0, 8, 0}, got, NULL), GQA_OK);
    for (int32_t i = 0; i < 8; i++) { /* the same in both phases */
        assert_int_equal(got[i], i);
    }
    /* The docstring prints [0, 1, 0, 1]; the function returns this. */
    assert_int_equal(gqa_neuron_rank_heads(&(gqa_neuron_ranks){4, 2, 0, 4, 0}, got, NULL), GQA_OK);
    same(got, heads4, 4, "tp 4, cp 2, kv 4");
    assert_int_equal(gqa_neuron_rank_heads(&(gqa_neuron_ranks){16, 4, 0, 16, 0}, got, NULL),
                     GQA_OK);
    same(got, heads16, 16, "tp 16, cp 4, kv 16");
}

/* The released search, word by word: each rank takes the first of the ranks of token generation
 * that is left and whose head it wrote. place: of rank r in the mesh of context encoding. */
static void search(const gqa_neuron_ranks *ranks, const int32_t *place, int32_t *order)
{
    const int32_t dp = ranks->dp_degree == 0 ? 1 : ranks->dp_degree;
    const int32_t group = ranks->world / dp, shards = ranks->world / ranks->cp_degree;
    bool used[ROOM] = {false};

    for (int32_t r = 0; r < group; r++) {
        const int32_t shard = place[r] % shards;
        order[r] = -1;
        for (int32_t i = 0; i < group && order[r] < 0; i++) {
            const int32_t head = i * ranks->kv_heads / group;
            const bool wrote = shards >= ranks->kv_heads ? shard * ranks->kv_heads / shards == head
                                                         : head * shards / ranks->kv_heads == shard;
            if (!used[i] && wrote) {
                used[i] = true;
                order[r] = i;
            }
        }
        assert_true(order[r] >= 0);
    }
    for (int32_t r = group; r < ranks->world; r++) {
        order[r] = order[r - group] + group;
    }
}

/* The head that index names is the one whose shard of token generation the rank is given. */
static void check_index(const gqa_neuron_ranks *ranks, const int32_t *order)
{
    const int32_t dp = ranks->dp_degree == 0 ? 1 : ranks->dp_degree;
    const int32_t group = ranks->world / dp, shards = ranks->world / ranks->cp_degree;
    int32_t index[ROOM];

    assert_int_equal(gqa_neuron_rank_heads(ranks, index, NULL), GQA_OK);
    for (int32_t r = 0; r < ranks->world; r++) {
        const int32_t first = r % shards * ranks->kv_heads / shards;
        const int32_t head = order[r] % group * ranks->kv_heads / group;
        if (first + index[r] != head) {
            fail_msg("world %d, cp %d, dp %d, kv %d: rank %d writes head %d; it must be %d",
                     (int)ranks->world, (int)ranks->cp_degree, (int)dp, (int)ranks->kv_heads,
                     (int)r, (int)(first + index[r]), (int)head);
        }
    }
}

static void check_order(const gqa_neuron_ranks *ranks)
{
    int32_t got[ROOM], want[ROOM], place[ROOM], mesh[ROOM];
    const int32_t dp = ranks->dp_degree == 0 ? 1 : ranks->dp_degree;

    assert_int_equal(
        gqa_neuron_mesh(ranks->world, ranks->order_8x8 != 0 ? 8 : 1, NULL, place, NULL), GQA_OK);
    search(ranks, place, want);
    assert_int_equal(gqa_neuron_mesh(ranks->world, dp, mesh, NULL, NULL), GQA_OK);
    assert_int_equal(gqa_neuron_rank_order(ranks, got, NULL), GQA_OK);
    for (int32_t i = 0; i < ranks->world; i++) {
        assert_int_equal(got[mesh[i]], want[i]);
    }
    if (ranks->order_8x8 == 0) {
        check_index(ranks, got);
    }
}

static void all_orders(void **state)
{
    int32_t done = 0;

    (void)state;
    for (int32_t world = 1; world <= 128; world++) {
        for (int32_t cp = 1; cp <= world; cp++) {
            for (int32_t dp = 0; dp <= cp; dp++) {
                for (int32_t kv = 1; kv <= 32; kv++) {
                    const gqa_neuron_ranks ranks = {world, cp, dp, kv, 0};
                    int32_t got[ROOM];
                    if (gqa_neuron_rank_order(&ranks, got, NULL) == GQA_OK) {
                        check_order(&ranks);
                        done++;
                    }
                }
            }
        }
    }
    assert_true(done > 2000);
    for (int32_t kv = 1; kv <= 64; kv *= 2) {
        check_order(&(gqa_neuron_ranks){64, 8, 0, kv, 1});
    }
    for (int32_t kv = 1; kv <= 16; kv *= 2) {
        check_order(&(gqa_neuron_ranks){64, 8, 4, kv, 1});
    }
}

static void data_parallel(void **state)
{
    static const int32_t rows[][4] = {{8, 32, 4, 1}, {16, 32, 4, 0}, {8, 64, 16, 0},
                                      {4, 32, 4, 1}, {8, 64, 4, 1},  {8, 8, 1, 1},
                                      {64, 8, 1, 1}, {64, 8, 2, 0},  {1, 8, 8, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t got = -1;
        assert_int_equal(gqa_neuron_dp_supported(rows[i][0], rows[i][1], rows[i][2], &got, NULL),
                         GQA_OK);
        assert_int_equal(got, rows[i][3]);
    }
}

static void strides(void **state)
{
    static const int32_t two[6] = {0, 2, 4, 1, 3, 5};
    int32_t order[ROOM], inverse[ROOM];

    (void)state;
    assert_int_equal(gqa_neuron_stride_order(6, 2, order, NULL, NULL), GQA_OK);
    same(order, two, 6, "order");
    for (int32_t length = 1; length <= 120; length++) {
        for (int32_t stride = 1; stride <= length; stride++) {
            if (length % stride != 0) {
                continue;
            }
            assert_int_equal(gqa_neuron_stride_order(length, stride, order, inverse, NULL), GQA_OK);
            for (int32_t i = 0; i < length; i++) {
                assert_int_equal(inverse[order[i]], i);
                /* Rank r of stride ranks then holds tokens r, stride + r, .. */
                assert_int_equal(order[i] % stride, i / (length / stride));
            }
        }
    }
}

/* --- arguments ----------------------------------------------------------------------------------
 */

static void head_arguments(void **state)
{
    const gqa_status arg = GQA_ERR_ARG;
    gqa_neuron_heads heads;
    int32_t got[ROOM];

    (void)state;
    refused(gqa_neuron_count_heads(0, 1, 1, &heads, &refusal), arg, "query_heads", "is 0");
    refused(gqa_neuron_count_heads(8, 0, 1, &heads, &refusal), arg, "kv_heads", "is 0");
    refused(gqa_neuron_count_heads(8, 3, 1, &heads, &refusal), arg, "query_heads",
            "is 8; it must be a multiple of kv_heads 3");
    refused(gqa_neuron_count_heads(8, 8, 0, &heads, &refusal), arg, "tp_degree", "is 0");
    refused(gqa_neuron_count_heads(8, 8, 4097, &heads, &refusal), arg, "tp_degree", "4097");
    refused(gqa_neuron_count_heads(40000, 8, 8, &heads, &refusal), arg, "query_heads", "32768");
    refused(gqa_neuron_count_heads(8, 8, 8, NULL, &refusal), arg, "heads", "NULL");
    refused(gqa_neuron_map_heads(8, 3, 1, got, got, &refusal), arg, "query_heads", "multiple");
    refused(gqa_neuron_mesh(0, 1, got, got, &refusal), arg, "world", "is 0");
    refused(gqa_neuron_mesh(8, 0, got, got, &refusal), arg, "groups", "is 0");
    refused(gqa_neuron_mesh(8, 3, got, got, &refusal), arg, "world", "multiple of groups 3");
    refused(gqa_neuron_dp_supported(0, 8, 1, got, &refusal), arg, "kv_heads", "is 0");
    refused(gqa_neuron_dp_supported(8, 0, 1, got, &refusal), arg, "world", "is 0");
    assert_int_equal(gqa_neuron_dp_supported(8, 1, 1, got, &refusal), GQA_OK);
    refused(gqa_neuron_dp_supported(8, 8, 0, got, &refusal), arg, "dp_degree", "is 0");
    refused(gqa_neuron_dp_supported(8, 8, 3, got, &refusal), arg, "world",
            "multiple of dp_degree 3");
    refused(gqa_neuron_dp_supported(8, 8, 1, NULL, &refusal), arg, "supported", "NULL");
    refused(gqa_neuron_stride_order(0, 1, got, got, &refusal), arg, "length", "is 0");
    refused(gqa_neuron_stride_order(8, 0, got, got, &refusal), arg, "stride", "is 0");
    refused(gqa_neuron_stride_order(8, 3, got, got, &refusal), arg, "length",
            "multiple of stride 3");
}

static void rank_arguments(void **state)
{
    static const struct {
        gqa_neuron_ranks ranks;
        gqa_status status;
        const char *field, *text;
    } rows[] = {
        {{0, 1, 0, 1, 0}, GQA_ERR_ARG, "world", "is 0"},
        {{4097, 1, 0, 1, 0}, GQA_ERR_ARG, "world", "1..4096"},
        {{8, 0, 0, 8, 0}, GQA_ERR_ARG, "cp_degree", "is 0"},
        {{8, 3, 0, 8, 0}, GQA_ERR_ARG, "world", "multiple of cp_degree 3"},
        {{8, 4, -1, 8, 0}, GQA_ERR_ARG, "dp_degree", "is -1"},
        {{8, 2, 4, 2, 0}, GQA_ERR_ARG, "cp_degree", "multiple of dp_degree 4"},
        {{8, 4, 0, 0, 0}, GQA_ERR_ARG, "kv_heads", "is 0"},
        {{8, 4, 0, 16, 0}, GQA_ERR_UNSUPPORTED, "kv_heads", "has 8 ranks"},
        {{8, 4, 2, 8, 0}, GQA_ERR_UNSUPPORTED, "kv_heads", "has 4 ranks"},
        {{8, 4, 0, 3, 0}, GQA_ERR_ARG, "kv_heads", "must divide the 8 ranks"},
        {{24, 6, 0, 6, 0}, GQA_ERR_ARG, "kv_heads", "divide the 4 ranks"},
        {{8, 4, 0, 8, 2}, GQA_ERR_ARG, "order_8x8", "is 2"},
        {{32, 8, 0, 8, 1}, GQA_ERR_ARG, "order_8x8", "world (32) 64"},
        {{64, 4, 0, 8, 1}, GQA_ERR_ARG, "order_8x8", "cp_degree (4) 8"},
        {{64, 8, 8, 8, 1}, GQA_ERR_UNSUPPORTED, "dp_degree", "nothing to reorder"},
        {{64, 8, 8, 2, 0}, GQA_ERR_UNSUPPORTED, "dp_degree", "nothing to reorder"},
    };
    const gqa_neuron_ranks good = {64, 8, 4, 8, 1};
    int32_t got[ROOM];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refused(gqa_neuron_rank_order(&rows[i].ranks, got, &refusal), rows[i].status, rows[i].field,
                rows[i].text);
        refused(gqa_neuron_rank_heads(&rows[i].ranks, got, &refusal), rows[i].status, rows[i].field,
                rows[i].text);
    }
    refused(gqa_neuron_rank_order(NULL, got, &refusal), GQA_ERR_ARG, "ranks", "NULL");
    refused(gqa_neuron_rank_order(&good, NULL, &refusal), GQA_ERR_ARG, "order", "NULL");
    refused(gqa_neuron_rank_heads(NULL, got, &refusal), GQA_ERR_ARG, "ranks", "NULL");
    refused(gqa_neuron_rank_heads(&good, NULL, &refusal), GQA_ERR_ARG, "index", "NULL");
    refused(gqa_neuron_rank_heads(&good, got, &refusal), GQA_ERR_ARG, "order_8x8", "is 1");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),         cmocka_unit_test(maps),
        cmocka_unit_test(ranks_read),     cmocka_unit_test(meshes),
        cmocka_unit_test(orders),         cmocka_unit_test(all_orders),
        cmocka_unit_test(data_parallel),  cmocka_unit_test(strides),
        cmocka_unit_test(head_arguments), cmocka_unit_test(rank_arguments),
    };
    return RUN_TESTS(argc, argv, tests);
}
