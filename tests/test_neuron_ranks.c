/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_ranks.c - backend neuron over ranks: context parallelism by attention_cte, contiguous
 * and strided, and flash decoding. What a layer computes is, bit by bit, what the profile computes
 * of the same numbers for each rank or group of ranks; which way Neuron goes; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/host.h"
#include "support/neuron_scene.h"
#include "support/program.h"

enum { HQ = SCENE_HQ, HKV = SCENE_HKV, D = SCENE_DIM, GROUP = HQ / HKV, MOST = SCENE_TOKENS };

/* --- the profile by itself ---------------------------------------------------------------------
 */

/* The scene's numbers in bf16, and results of gqa_neuron_attention. */
struct plain {
    uint16_t q[MOST * HQ * D], k[(MOST + 64) * HKV * D], v[(MOST + 64) * HKV * D];
    uint16_t out[MOST * HQ * D];
    float wide[MOST * HQ * D];
    int64_t tiles, madds;
};
static struct plain plain;

static void to_bf16(const float *from, int64_t n, uint16_t *to)
{
    const gqa_tensor a = gqa_tensor_1d(from, GQA_F32, n), b = gqa_tensor_1d(to, GQA_BF16, n);
    assert_int_equal(gqa_convert(&a, &b, NULL), GQA_OK);
}

static void plain_open(const struct scene *scene)
{
    memset(&plain, 0, sizeof plain);
    to_bf16(scene->q, (int64_t)MOST * HQ * D, plain.q);
    to_bf16(scene->k, (int64_t)MOST * HKV * D, plain.k);
    to_bf16(scene->v, (int64_t)MOST * HKV * D, plain.v);
}

static void plain_call(const gqa_neuron_call *call, gqa_neuron_output *output)
{
    gqa_error err;

    if (gqa_neuron_attention(call, output, NULL, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    plain.tiles += output->tiles;
    plain.madds += output->madds;
}

static void same_as_plain(const struct scene *scene, int n, const char *what)
{
    const gqa_tensor from = gqa_tensor_1d(plain.out, GQA_BF16, (int64_t)n * HQ * D);
    const gqa_tensor to = gqa_tensor_1d(plain.wide, GQA_F32, (int64_t)n * HQ * D);

    assert_int_equal(gqa_convert(&from, &to, NULL), GQA_OK);
    if (memcmp(plain.wide, scene->out, (size_t)(n * HQ * D) * sizeof(float)) != 0) {
        fail_msg("%s: other bits than the profile's", what);
    }
    assert_int_equal(scene->report.tiles, plain.tiles);
    assert_int_equal(scene->report.madds, plain.madds);
}

/* --- context parallelism -----------------------------------------------------------------------
 */

/* Rank by rank: its rows are copied out, and its results back. */
static void ranks_of_cte(const struct scene *scene, int n)
{
    static uint16_t q[MOST * HQ * D], out[MOST * HQ * D];
    const int degree = scene->config.neuron_cp_degree, share = n / degree;
    const bool strided = scene->config.neuron_cp_strided != 0;
    const size_t row = HQ * D * sizeof(uint16_t);

    for (int rank = 0; rank < degree; rank++) {
        gqa_neuron_call call;
        gqa_neuron_output output;
        gqa_neuron_call_init(&call);
        gqa_neuron_output_init(&output);
        for (int t = 0; t < share; t++) {
            const int from = strided ? t * degree + rank : rank * share + t;
            memcpy(q + t * HQ * D, plain.q + from * HQ * D, row);
        }
        call.profile = GQA_NEURON_CTE;
        call.window = scene->config.sliding_window;
        call.cp_degree = degree;
        call.cp_strided = strided;
        call.cp_offset = strided ? rank : rank * share;
        call.q = gqa_tensor_4d(q, GQA_BF16, 1, share, HQ, D);
        call.k = gqa_tensor_4d(plain.k, GQA_BF16, 1, n, HKV, D);
        call.v = gqa_tensor_4d(plain.v, GQA_BF16, 1, n, HKV, D);
        call.sinks = gqa_tensor_1d(scene->sinks, GQA_F32, HQ);
        output.out = gqa_tensor_4d(out, GQA_BF16, 1, share, HQ, D);
        plain_call(&call, &output);
        for (int t = 0; t < share; t++) {
            const int to = strided ? t * degree + rank : rank * share + t;
            memcpy(plain.out + to * HQ * D, out + t * HQ * D, row);
        }
    }
}

static const struct {
    const char *name;
    int degree, strided, window, tokens;
} prefills[] = {
    {"two pieces", 2, 0, 0, 256},
    {"three pieces, odd", 3, 0, 0, 411},
    {"four pieces, a window", 4, 0, 50, 712},
    {"two pieces, a wide window", 2, 0, 300, 1030},
    {"two strides", 2, 1, 0, 256},
    {"five strides, odd", 5, 1, 0, 655},
};

static void prefill_over_ranks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof prefills / sizeof prefills[0]; i++) {
        for (int named = 0; named < 2; named++) {
            struct scene scene;
            scene_init(&scene);
            scene.config.learned_sinks_size = 1;
            scene.config.neuron_profile = named ? GQA_NEURON_CTE : GQA_NEURON_NO_PROFILE;
            scene.config.neuron_logical_nc_config = named ? 0 : 2;
            scene.config.neuron_cp_degree = prefills[i].degree;
            scene.config.neuron_cp_strided = prefills[i].strided;
            scene.config.sliding_window = prefills[i].window;
            assert_int_equal(scene_create(&scene), GQA_OK);
            if (scene_run(&scene, 0, prefills[i].tokens) != GQA_OK) {
                fail_msg("%s: %s", prefills[i].name, scene.err.message);
            }
            assert_int_equal(scene.output.path.neuron_profile, GQA_NEURON_CTE);
            assert_int_equal(scene.output.path.neuron_strategy,
                             named ? GQA_NEURON_STRATEGY_NONE
                             : prefills[i].strided
                                 ? GQA_NEURON_STRATEGY_STRIDED_CONTEXT_PARALLEL_KERNEL
                                 : GQA_NEURON_STRATEGY_CONTEXT_PARALLEL_KERNEL);
            plain_open(&scene);
            ranks_of_cte(&scene, prefills[i].tokens);
            same_as_plain(&scene, prefills[i].tokens, prefills[i].name);
            scene_close(&scene);
        }
    }
}

/* Without a kernel ranks change no bit: rows do not depend on one another. */
static void native_over_ranks(void **state)
{
    static float alone[96 * HQ * D];

    (void)state;
    for (int degree = 0; degree <= 3; degree += 3) {
        struct scene scene;
        scene_init(&scene);
        scene.config.neuron_cp_degree = degree;
        scene.config.sliding_window = 20;
        assert_int_equal(scene_create(&scene), GQA_OK);
        assert_int_equal(scene_run(&scene, 0, 96), GQA_OK);
        assert_int_equal(scene.output.path.neuron_profile, GQA_NEURON_NATIVE_PREFILL);
        if (degree == 0) {
            memcpy(alone, scene.out, sizeof alone);
        }
        assert_memory_equal(alone, scene.out, sizeof alone);
        assert_int_equal(scene_run(&scene, 96, 1), GQA_OK); /* a decode has no such ranks */
        assert_int_equal(scene.output.path.neuron_profile, GQA_NEURON_NATIVE_TKG);
        scene_close(&scene);
    }
}

/* Behind a prefix nothing is divided: without a kernel the same rows, whatever the degree. */
static void prefix_is_whole(void **state)
{
    static float alone[131 * HQ * D];

    (void)state;
    for (int degree = 0; degree <= 4; degree++) {
        struct scene scene;
        scene_init(&scene);
        scene.config.neuron_prefix_caching = 1;
        scene.config.neuron_cp_degree = degree;
        scene.config.neuron_cp_strided = degree > 3;
        scene.config.neuron_attn_kernel =
            degree > 3 ? GQA_NEURON_ATTN_KERNEL_FALSE : GQA_NEURON_ATTN_KERNEL_AUTO;
        assert_int_equal(scene_create(&scene), GQA_OK);
        assert_int_equal(scene_run(&scene, 0, 12), GQA_OK);
        if (scene_run(&scene, 12, 131) != GQA_OK) {
            fail_msg("degree %d: %s", degree, scene.err.message);
        }
        assert_int_equal(scene.output.path.neuron_profile, GQA_NEURON_NATIVE_PREFIX);
        assert_int_equal(scene.output.path.neuron_strategy, GQA_NEURON_STRATEGY_NONE);
        if (degree == 0) {
            memcpy(alone, scene.out, sizeof alone);
        }
        assert_memory_equal(alone, scene.out, sizeof alone);
        scene_close(&scene);
    }
}

/* --- flash decoding ----------------------------------------------------------------------------
 */

/* One KV head at a time, its query heads copied out; prior keys by position, zeros up to a whole
 * multiple of the ranks. */
static void groups_of_decoding(const struct scene *scene, int past, int n)
{
    static uint16_t q[64 * GROUP * D], k[(MOST + 64) * D], v[(MOST + 64) * D], out[64 * GROUP * D];
    static int32_t positions[64];
    const int ranks = scene->config.neuron_kv_ranks;
    const int slots = (past + ranks - 1) / ranks * ranks;
    const size_t vector = D * sizeof(uint16_t);

    for (int g = 0; g < HKV; g++) {
        gqa_neuron_call call;
        gqa_neuron_output output;
        gqa_neuron_call_init(&call);
        gqa_neuron_output_init(&output);
        memset(k, 0, sizeof k);
        memset(v, 0, sizeof v);
        for (int j = 0; j < past + n; j++) {
            const int to = j < past ? j : slots + j - past;
            memcpy(k + to * D, plain.k + (j * HKV + g) * D, vector);
            memcpy(v + to * D, plain.v + (j * HKV + g) * D, vector);
        }
        for (int t = 0; t < n; t++) {
            positions[t] = past + t;
            memcpy(q + t * GROUP * D, plain.q + ((past + t) * HQ + g * GROUP) * D, GROUP * vector);
        }
        call.profile = GQA_NEURON_FLASH_DECODING;
        call.ranks = ranks;
        call.positions = positions;
        call.q = gqa_tensor_4d(q, GQA_BF16, 1, n, GROUP, D);
        call.k_prior = gqa_tensor_4d(k, GQA_BF16, 1, slots, 1, D);
        call.v_prior = gqa_tensor_4d(v, GQA_BF16, 1, slots, 1, D);
        call.k = gqa_tensor_4d(k + slots * D, GQA_BF16, 1, n, 1, D);
        call.v = gqa_tensor_4d(v + slots * D, GQA_BF16, 1, n, 1, D);
        output.out = gqa_tensor_4d(out, GQA_BF16, 1, n, GROUP, D);
        plain_call(&call, &output);
        for (int t = 0; t < n; t++) {
            memcpy(plain.out + (t * HQ + g * GROUP) * D, out + t * GROUP * D, GROUP * vector);
        }
    }
}

static void decode_over_ranks(void **state)
{
    static const struct {
        int ranks, past, tokens;
    } steps[] = {{1, 33, 1}, {4, 33, 1}, {4, 32, 1}, {8, 3, 1}, {3, 130, 5}, {7, 257, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (int named = 0; named < 2; named++) {
            struct scene scene;
            scene_init(&scene);
            scene.config.learned_sinks_size = 1;
            scene.config.neuron_profile = named ? GQA_NEURON_FLASH_DECODING : GQA_NEURON_NO_PROFILE;
            scene.config.neuron_kv_ranks = steps[i].ranks;
            assert_int_equal(scene_create(&scene), GQA_OK);
            assert_int_equal(scene_run(&scene, 0, steps[i].past), GQA_OK);
            assert_int_equal(scene.output.path.neuron_profile,
                             named ? GQA_NEURON_FLASH_DECODING : GQA_NEURON_NATIVE_PREFILL);
            if (scene_run(&scene, steps[i].past, steps[i].tokens) != GQA_OK) {
                fail_msg("step %d: %s", (int)i, scene.err.message);
            }
            assert_int_equal(scene.output.path.neuron_profile, GQA_NEURON_FLASH_DECODING);
            assert_int_equal(scene.report.warning_count, 1);
            assert_int_equal(scene.report.warnings[0].code, GQA_NEURON_WARN_SINKS_DROPPED);
            plain_open(&scene);
            groups_of_decoding(&scene, steps[i].past, steps[i].tokens);
            same_as_plain(&scene, steps[i].tokens, "flash decoding");
            scene_close(&scene);
        }
    }
}

static void threads_change_nothing(void **state)
{
    static float first[300 * HQ * D];

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct scene scene;
        struct host host;
        scene_init(&scene);
        scene.runtime = host_start(&host, i % 2 == 0 ? 1 : 3);
        scene.config.neuron_profile = i / 2 == 0 ? GQA_NEURON_CTE : GQA_NEURON_FLASH_DECODING;
        scene.config.neuron_cp_degree = i / 2 == 0 ? 3 : 0;
        scene.config.neuron_kv_ranks = i / 2 == 0 ? 0 : 3;
        assert_int_equal(scene_create(&scene), GQA_OK);
        assert_int_equal(scene_run(&scene, 0, 300), GQA_OK);
        if (i % 2 == 0) {
            memcpy(first, scene.out, sizeof first);
        }
        assert_memory_equal(first, scene.out, sizeof first);
        scene_close(&scene);
        assert_int_equal(host.live, 0);
    }
}

/* --- what is refused, and what is warned of ----------------------------------------------------
 */

static const struct refused {
    const char *what, *field;
    gqa_config config; /* of backend neuron, as far as it is not 0 */
    int past, tokens;
    int shifted; /* positions begin at 5 */
} refusals[] = {
    {"tokens that the ranks do not divide",
     "config.neuron_cp_degree",
     {.neuron_profile = GQA_NEURON_CTE, .neuron_cp_degree = 3},
     0,
     256,
     0},
    {"the same, as Neuron chooses", "config.neuron_cp_degree", {.neuron_cp_degree = 3}, 0, 256, 0},
    {"a kernel for all tokens, none for a share",
     "config.neuron_cp_degree",
     {.neuron_cp_degree = 4, .neuron_logical_nc_config = 2},
     0,
     4 * SCENE_DIM,
     0},
    {"strides on one core",
     "config.neuron_cp_strided",
     {.neuron_cp_degree = 2, .neuron_cp_strided = 1},
     0,
     256,
     0},
    {"strides with a window",
     "config.neuron_cp_strided",
     {.neuron_cp_degree = 2,
      .neuron_cp_strided = 1,
      .neuron_logical_nc_config = 2,
      .sliding_window = 9},
     0,
     256,
     0},
    {"ranks in 2.26",
     "config.neuron_release",
     {.neuron_cp_degree = 2, .neuron_logical_nc_config = 2, .neuron_release = GQA_NEURON_2_26},
     0,
     256,
     0},
    {"a kernel of ranks behind a prefix",
     "config.neuron_cp_degree",
     {.neuron_cp_degree = 2, .neuron_logical_nc_config = 2, .neuron_prefix_caching = 1},
     4,
     128,
     0},
    {"a chunk that the ranks do not divide",
     "config.neuron_cp_degree",
     {.neuron_cp_degree = 2, .attention_chunk_size = 31},
     0,
     128,
     0},
    {"more ranks than the kernel has",
     "call.cp_degree",
     {.neuron_profile = GQA_NEURON_CTE, .neuron_cp_degree = 64},
     0,
     128,
     0},
    {"two ways over ranks",
     "call.bidirectional",
     {.neuron_profile = GQA_NEURON_CTE, .neuron_cp_degree = 2, .bidirectional = 1},
     0,
     128,
     0},
    {"flash decoding from another position",
     "inputs.position_ids",
     {.neuron_profile = GQA_NEURON_FLASH_DECODING, .neuron_kv_ranks = 4},
     0,
     8,
     1},
    {"flash decoding two ways",
     "config.bidirectional",
     {.neuron_profile = GQA_NEURON_FLASH_DECODING, .neuron_kv_ranks = 4, .bidirectional = 1},
     0,
     8,
     0},
    {"flash decoding with chunks",
     "config.neuron_kv_ranks",
     {.neuron_kv_ranks = 4, .attention_chunk_size = 16},
     0,
     8,
     0},
};

static void refused_by_name(void **state)
{
    static int32_t positions[MOST];

    (void)state;
    for (int t = 0; t < MOST; t++) {
        positions[t] = 5 + t;
    }
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const gqa_config *const bent = &refusals[i].config;
        struct scene scene;
        gqa_status status;
        scene_init(&scene);
        scene.config.neuron_profile = bent->neuron_profile;
        scene.config.neuron_release = bent->neuron_release;
        scene.config.neuron_cp_degree = bent->neuron_cp_degree;
        scene.config.neuron_cp_strided = bent->neuron_cp_strided;
        scene.config.neuron_kv_ranks = bent->neuron_kv_ranks;
        scene.config.neuron_logical_nc_config = bent->neuron_logical_nc_config;
        scene.config.neuron_prefix_caching = bent->neuron_prefix_caching;
        scene.config.sliding_window = bent->sliding_window;
        scene.config.attention_chunk_size = bent->attention_chunk_size;
        scene.config.bidirectional = bent->bidirectional;
        assert_int_equal(scene_create(&scene), GQA_OK);
        for (int t = 0; t < refusals[i].past; t++) {
            assert_int_equal(scene_run(&scene, t, t == 0 ? 2 : 1), GQA_OK);
            t += t == 0;
        }
        scene.in.position_ids = refusals[i].shifted ? positions : NULL;
        status = scene_run(&scene, refusals[i].past, refusals[i].tokens);
        if (status != GQA_ERR_UNSUPPORTED || strcmp(scene.err.field, refusals[i].field) != 0) {
            fail_msg("%s: status %d, %s", refusals[i].what, (int)status, scene.err.message);
        }
        assert_int_equal(gqa_cache_length(scene.cache, 0), refusals[i].past);
        scene_close(&scene);
    }
}

/* Strides behind a prefix: two cores have made the first tokens; on one there is no such kernel. */
static void strides_behind_a_prefix(void **state)
{
    static const char *const fields[] = {"config.neuron_cp_strided", "config.neuron_cp_degree"};
    struct scene scene;
    gqa_layer *layer = NULL;

    (void)state;
    scene_init(&scene);
    scene.config.neuron_prefix_caching = 1;
    scene.config.neuron_cp_degree = 2;
    scene.config.neuron_cp_strided = 1;
    scene.config.neuron_logical_nc_config = 2;
    assert_int_equal(scene_create(&scene), GQA_OK);
    assert_int_equal(scene_run(&scene, 0, 128), GQA_OK);
    layer = scene.layer;
    for (int cores = 2; cores >= 1; cores--) {
        scene.config.neuron_logical_nc_config = cores;
        assert_int_equal(gqa_create(&scene.layer, &scene.config, &scene.weights, NULL, NULL),
                         GQA_OK);
        assert_int_equal(scene_run(&scene, 128, 128), GQA_ERR_UNSUPPORTED);
        assert_string_equal(scene.err.field, fields[cores - 1]);
        assert_non_null(strstr(scene.err.message, "ValueError"));
        gqa_destroy(&scene.layer);
    }
    scene.layer = layer;
    scene_close(&scene);
}

/* Masks are made of positions, and a window is not heard of. */
static void decoding_ignores(void **state)
{
    static uint8_t ones[8 * 8];

    (void)state;
    memset(ones, 1, sizeof ones);
    for (int window = 0; window <= 4; window += 4) {
        struct scene scene;
        scene_init(&scene);
        scene.config.neuron_profile = GQA_NEURON_FLASH_DECODING;
        scene.config.neuron_kv_ranks = 2;
        scene.config.sliding_window = window;
        scene.in.mask = gqa_tensor_4d(ones, GQA_U8, 1, 1, 8, 8);
        assert_int_equal(scene_create(&scene), GQA_OK);
        assert_int_equal(scene_run(&scene, 0, 8), GQA_OK);
        assert_int_equal(scene.report.warning_count, window > 0 ? 2 : 1);
        assert_int_equal(scene.report.warnings[window > 0].code, GQA_NEURON_WARN_MASK_IGNORED);
        if (window > 0) {
            assert_int_equal(scene.report.warnings[0].code, GQA_NEURON_WARN_WINDOW_IGNORED);
        }
        scene_close(&scene);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefill_over_ranks),      cmocka_unit_test(native_over_ranks),
        cmocka_unit_test(prefix_is_whole),         cmocka_unit_test(decode_over_ranks),
        cmocka_unit_test(threads_change_nothing),  cmocka_unit_test(refused_by_name),
        cmocka_unit_test(strides_behind_a_prefix), cmocka_unit_test(decoding_ignores),
    };
    return RUN_TESTS(argc, argv, tests);
}
