/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_backend.c - backend neuron: which profile and strategy a call takes, what it computes
 * then, what it refuses and what it leaves out with a warning; threads, workspace, gqa_attend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/host.h"
#include "support/neuron_scene.h"
#include "support/program.h"
#include "support/small_layer.h"

/* --- which way ---------------------------------------------------------------------------------
 */

enum {
    NONE = GQA_NEURON_STRATEGY_NONE,
    SHARDED = GQA_NEURON_STRATEGY_SHARDED_KERNEL,
    UNSHARDED = GQA_NEURON_STRATEGY_UNSHARDED_KERNEL,
    SLIDING = GQA_NEURON_STRATEGY_SLIDING_WINDOW_KERNEL
};

struct choice {
    int release, lnc, attn_kernel, window, chunk, sinks, prefix_caching;
    int past, tokens;
    int profile, strategy; /* profile 0: refused */
    const char *field;     /* of the refusal */
    uint32_t warnings;     /* bits of the codes */
};

#define BIT(code) (1u << GQA_NEURON_WARN_##code)

static const struct choice choices[] = {
    /* 2.29, one core: the framework below 4096, or 512 if asked for the kernel. */
    {0, 0, 0, 0, 0, 0, 0, 0, 512, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    {0, 0, 2, 0, 0, 1, 0, 0, 512, GQA_NEURON_CTE, UNSHARDED, NULL, 0},
    {0, 0, 2, 0, 0, 0, 0, 0, 511, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    /* Two cores: whole steps of 256, from 1024 on of 512. */
    {0, 2, 0, 0, 0, 1, 0, 0, 256, GQA_NEURON_CTE, SHARDED, NULL, 0},
    {0, 2, 0, 0, 0, 1, 0, 0, 257, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    {0, 2, 0, 0, 0, 1, 0, 0, 1024, GQA_NEURON_CTE, SHARDED, NULL, 0},
    {0, 2, 1, 0, 0, 1, 0, 0, 256, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    {0, 2, 0, 100, 0, 1, 0, 0, 256, GQA_NEURON_CTE, SHARDED, NULL, 0},
    /* 2.26 and its window kernel, which drops sinks; the others are in machine form. */
    {226, 2, 0, 100, 0, 1, 0, 0, 512, GQA_NEURON_FLASH_FWD, SLIDING, NULL, BIT(SINKS_DROPPED)},
    {226, 2, 0, 100, 0, 1, 0, 0, 500, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    {226, 2, 0, 100, 0, 0, 0, 0, 700, 0, 0, "call.k", 0},
    {226, 2, 0, 0, 0, 0, 0, 0, 256, 0, 0, "config.neuron_release", 0},
    {227, 2, 0, 100, 0, 0, 0, 0, 512, 0, 0, "config.neuron_release", 0},
    /* After a past: token generation, whatever the length; from 128 on a prefix if that is cached.
     */
    {0, 2, 0, 0, 0, 1, 0, 40, 1, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    {0, 2, 0, 50, 0, 1, 0, 70, 3, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    {0, 2, 0, 0, 0, 1, 0, 40, 300, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    {0, 2, 0, 0, 0, 1, 1, 40, 127, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    {0, 2, 0, 0, 0, 1, 1, 40, 128, GQA_NEURON_CTE, SHARDED, NULL, BIT(SINKS_DROPPED)},
    {0, 0, 0, 0, 0, 1, 1, 40, 128, GQA_NEURON_NATIVE_PREFIX, NONE, NULL, BIT(SINKS_DROPPED)},
    {226, 2, 0, 0, 0, 1, 1, 40, 128, 0, 0, "config.neuron_release", 0},
    /* The windowed path lacks the rule of 128. */
    {0, 2, 0, 60, 0, 0, 1, 40, 200, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    /* Chunks: the framework in 2.29, no sinks, one new token; a window beside them is ignored. */
    {0, 2, 0, 0, 64, 0, 0, 0, 256, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, 0},
    {0, 2, 0, 16, 64, 0, 0, 0, 256, GQA_NEURON_NATIVE_PREFILL, NONE, NULL, BIT(WINDOW_IGNORED)},
    {0, 2, 0, 0, 64, 1, 0, 0, 256, 0, 0, "config.learned_sinks_size", 0},
    {0, 0, 0, 0, 64, 0, 0, 70, 1, GQA_NEURON_NATIVE_TKG, NONE, NULL, 0},
    {0, 0, 0, 0, 64, 0, 0, 70, 2, 0, 0, "config.attention_chunk_size", 0},
    {226, 2, 0, 0, 64, 0, 0, 0, 256, 0, 0, "config.attention_chunk_size", 0},
};

static void set_choice(gqa_config *config, const struct choice *choice)
{
    config->neuron_release = (gqa_neuron_release)choice->release;
    config->neuron_logical_nc_config = choice->lnc;
    config->neuron_attn_kernel = (gqa_neuron_attn_kernel)choice->attn_kernel;
    config->sliding_window = choice->window;
    config->attention_chunk_size = choice->chunk;
    config->learned_sinks_size = choice->sinks;
    config->neuron_prefix_caching = choice->prefix_caching;
}

static uint32_t warning_bits(const gqa_neuron_report *report)
{
    uint32_t bits = 0;
    for (int32_t i = 0; i < report->warning_count; i++) {
        assert_true(report->warnings[i].field != NULL && report->warnings[i].text != NULL);
        bits |= 1u << report->warnings[i].code;
    }
    return bits;
}

static void check_choice(const struct choice *choice, int row)
{
    struct scene scene;
    gqa_status status;

    scene_init(&scene);
    set_choice(&scene.config, choice);
    assert_int_equal(scene_create(&scene), GQA_OK);
    for (int t = 0; t < choice->past; t++) { /* tokens one by one: always served */
        assert_int_equal(scene_run(&scene, t, 1), GQA_OK);
    }
    status = scene_run(&scene, choice->past, choice->tokens);
    if (choice->profile == 0) {
        if (status != GQA_ERR_UNSUPPORTED || strcmp(scene.err.field, choice->field) != 0) {
            fail_msg("row %d: status %d, %s", row, (int)status, scene.err.message);
        }
        assert_int_equal(gqa_cache_length(scene.cache, 0), choice->past);
    } else {
        const gqa_path *const path = &scene.output.path;
        if (status != GQA_OK || (int)path->neuron_profile != choice->profile ||
            (int)path->neuron_strategy != choice->strategy ||
            warning_bits(&scene.report) != choice->warnings) {
            fail_msg("row %d: status %d %s, profile %s, strategy %s, warnings %x", row, (int)status,
                     status == GQA_OK ? "" : scene.err.message,
                     gqa_neuron_profile_name(path->neuron_profile),
                     gqa_neuron_strategy_name(path->neuron_strategy),
                     (unsigned)warning_bits(&scene.report));
        }
        assert_true(scene.report.tiles > 0 && scene.report.madds > 0);
    }
    scene_close(&scene);
}

static void choices_as_neuron(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        check_choice(&choices[i], (int)i);
    }
}

/* --- what it computes --------------------------------------------------------------------------
 */

static void to_bf16(const float *from, int64_t n, uint16_t *to)
{
    const gqa_tensor a = gqa_tensor_1d(from, GQA_F32, n), b = gqa_tensor_1d(to, GQA_BF16, n);
    assert_int_equal(gqa_convert(&a, &b, NULL), GQA_OK);
}

/* A kernel's call through the layer gives the bits of gqa_neuron_attention. */
static void check_kernel(gqa_neuron_profile profile, int window, int past, int n)
{
    static uint16_t q[SCENE_TOKENS * SCENE_HQ * SCENE_DIM], k[SCENE_TOKENS * SCENE_HKV * SCENE_DIM],
        v[SCENE_TOKENS * SCENE_HKV * SCENE_DIM], out[SCENE_TOKENS * SCENE_HQ * SCENE_DIM];
    static float wide[SCENE_TOKENS * SCENE_HQ * SCENE_DIM];
    struct scene scene;
    gqa_neuron_call call;
    gqa_neuron_output output;

    scene_init(&scene);
    scene.config.neuron_profile = profile;
    scene.config.sliding_window = window;
    scene.config.learned_sinks_size = 1;
    scene.config.neuron_lift_limits = 1;
    assert_int_equal(scene_create(&scene), GQA_OK);
    if (past > 0) {
        assert_int_equal(scene_run(&scene, 0, past), GQA_OK);
    }
    if (scene_run(&scene, past, n) != GQA_OK) {
        fail_msg("%s", scene.err.message);
    }
    to_bf16(scene.q, (int64_t)SCENE_TOKENS * SCENE_HQ * SCENE_DIM, q);
    to_bf16(scene.k, (int64_t)SCENE_TOKENS * SCENE_HKV * SCENE_DIM, k);
    to_bf16(scene.v, (int64_t)SCENE_TOKENS * SCENE_HKV * SCENE_DIM, v);
    memset(out, 0, sizeof out);
    gqa_neuron_call_init(&call);
    gqa_neuron_output_init(&output);
    call.profile = profile;
    call.window = window;
    call.lift_limits = 1;
    call.q = gqa_tensor_4d(q + (ptrdiff_t)past * SCENE_HQ * SCENE_DIM, GQA_BF16, 1, n, SCENE_HQ,
                           SCENE_DIM);
    call.k = gqa_tensor_4d(k + (ptrdiff_t)past * SCENE_HKV * SCENE_DIM, GQA_BF16, 1, n, SCENE_HKV,
                           SCENE_DIM);
    call.v = gqa_tensor_4d(v + (ptrdiff_t)past * SCENE_HKV * SCENE_DIM, GQA_BF16, 1, n, SCENE_HKV,
                           SCENE_DIM);
    if (past > 0) {
        call.k_prior = gqa_tensor_4d(k, GQA_BF16, 1, past, SCENE_HKV, SCENE_DIM);
        call.v_prior = gqa_tensor_4d(v, GQA_BF16, 1, past, SCENE_HKV, SCENE_DIM);
        call.prior_used = past;
    }
    call.sinks = gqa_tensor_1d(scene.sinks, GQA_F32, SCENE_HQ);
    output.out = gqa_tensor_4d(out, GQA_BF16, 1, n, SCENE_HQ, SCENE_DIM);
    if (gqa_neuron_attention(&call, &output, NULL, NULL, 0, &scene.err) != GQA_OK) {
        fail_msg("%s", scene.err.message);
    }
    const gqa_tensor from = gqa_tensor_1d(out, GQA_BF16, (int64_t)n * SCENE_HQ * SCENE_DIM);
    const gqa_tensor to = gqa_tensor_1d(wide, GQA_F32, (int64_t)n * SCENE_HQ * SCENE_DIM);
    assert_int_equal(gqa_convert(&from, &to, NULL), GQA_OK);
    assert_memory_equal(wide, scene.out, (size_t)n * SCENE_HQ * SCENE_DIM * sizeof(float));
    assert_int_equal(scene.report.tiles, output.tiles);
    assert_int_equal(scene.report.madds, output.madds);
    scene_close(&scene);
}

static void kernels_through_a_layer(void **state)
{
    (void)state;
    check_kernel(GQA_NEURON_CTE, 0, 0, 300);
    check_kernel(GQA_NEURON_CTE, 50, 0, 131);
    check_kernel(GQA_NEURON_CTE, 0, 77, 60);
    check_kernel(GQA_NEURON_FLASH_FWD, 0, 0, 512);
    check_kernel(GQA_NEURON_FLASH_FWD, 130, 0, 301);
}

static void threads_change_no_bit(void **state)
{
    static const gqa_neuron_profile profiles[] = {GQA_NEURON_CTE, GQA_NEURON_NATIVE_PREFILL};
    static float first[300 * SCENE_HQ * SCENE_DIM];

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct scene scene;
        struct host host;
        scene_init(&scene);
        scene.runtime = host_start(&host, i % 2 == 0 ? 1 : 3);
        scene.config.neuron_profile = profiles[i / 2];
        scene.config.sliding_window = 40;
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

/* Keys of the caller give the bits of the cache. */
static void attend_alone(void **state)
{
    static float plain[300 * SCENE_HQ * SCENE_DIM];
    struct scene scene;
    gqa_attend_inputs in;
    gqa_attend_output out;

    (void)state;
    for (int past = 0; past <= 250; past += 125) {
        const int n = past == 0 ? 300 : 5;
        scene_init(&scene);
        scene.config.sliding_window = 60;
        scene.config.learned_sinks_size = 1;
        assert_int_equal(scene_create(&scene), GQA_OK);
        if (past > 0) {
            assert_int_equal(scene_run(&scene, 0, past), GQA_OK);
        }
        assert_int_equal(scene_run(&scene, past, n), GQA_OK);
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        gqa_neuron_report_init(&scene.report);
        in.query = gqa_tensor_4d(scene.q + (ptrdiff_t)past * SCENE_HQ * SCENE_DIM, GQA_F32, 1, n,
                                 SCENE_HQ, SCENE_DIM);
        in.key = gqa_tensor_4d(scene.k, GQA_F32, 1, past + n, SCENE_HKV, SCENE_DIM);
        in.value = gqa_tensor_4d(scene.v, GQA_F32, 1, past + n, SCENE_HKV, SCENE_DIM);
        out.output = gqa_tensor_4d(plain, GQA_F32, 1, n, SCENE_HQ, SCENE_DIM);
        out.neuron = &scene.report;
        if (gqa_attend(scene.layer, NULL, &in, &out, NULL, 0, &scene.err) != GQA_OK) {
            fail_msg("%s", scene.err.message);
        }
        assert_int_equal(out.path.neuron_profile, scene.output.path.neuron_profile);
        assert_memory_equal(plain, scene.out, (size_t)n * SCENE_HQ * SCENE_DIM * sizeof(float));
        scene_close(&scene);
    }
}

/* --- what it refuses and warns of ---------------------------------------------------------------
 */

struct refusal {
    gqa_neuron_profile profile;
    const char *field;
    void (*set)(struct scene *scene);
    int past;
};

static int32_t gaps[8] = {0, 1, 2, 3, 5, 6, 7, 8};
static int32_t two = 2, begin[8] = {0}, end[8] = {8, 8, 8, 8, 8, 8, 8, 8};
static uint8_t ones[8 * 8 * SCENE_HQ] = {1};
static float zeros[8 * 8];

static void positions(struct scene *scene)
{
    scene->in.position_ids = gaps;
}

static void left(struct scene *scene)
{
    scene->in.first_valid = &two;
}

static void bounds(struct scene *scene)
{
    scene->in.key_begin = begin;
    scene->in.key_end = end;
}

static void bias(struct scene *scene)
{
    scene->in.bias = gqa_tensor_4d(zeros, GQA_F32, 1, 1, 8, 8);
}

static void head_masks(struct scene *scene)
{
    scene->in.mask = gqa_tensor_4d(ones, GQA_U8, 1, SCENE_HQ, 8, 8);
}

static void mask(struct scene *scene)
{
    scene->in.mask = gqa_tensor_4d(ones, GQA_U8, 1, 1, 8, 8);
}

static void nothing(struct scene *scene)
{
    (void)scene;
}

static void encode(struct scene *scene)
{
    scene->in.phase = GQA_PHASE_CTE;
    scene->config.sliding_window = 16;
}

static void two_ways(struct scene *scene)
{
    scene->config.bidirectional = 1;
}

static void two_ways_right(struct scene *scene)
{
    scene->config.bidirectional = 1;
    scene->config.right_window = 2;
}

static const struct refusal refusals[] = {
    {GQA_NEURON_CTE, "inputs.position_ids", positions, 0},
    {GQA_NEURON_CTE, "inputs.first_valid", left, 0},
    {GQA_NEURON_CTE, "inputs.key_begin", bounds, 0},
    {GQA_NEURON_CTE, "config.right_window", two_ways_right, 0},
    {GQA_NEURON_NATIVE_PREFIX, "config.bidirectional", two_ways, 0},
    {GQA_NEURON_NATIVE_PREFILL, "inputs.bias", bias, 0},
    {GQA_NEURON_NATIVE_PREFILL, "inputs.mask", head_masks, 0},
    {GQA_NEURON_NATIVE_PREFILL, "config.neuron_profile", nothing, 3},
    {GQA_NEURON_FLASH_FWD, "call.k", nothing, 0},
    {GQA_NEURON_NO_PROFILE, "inputs.phase", encode, 3},
};

static void refusals_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *const refusal = &refusals[i];
        struct scene scene;
        gqa_status status;

        scene_init(&scene);
        scene.config.neuron_profile = refusal->profile;
        refusal->set(&scene);
        const gqa_inputs in = scene.in;
        gqa_inputs_init(&scene.in);
        assert_int_equal(scene_create(&scene), GQA_OK);
        status = GQA_OK;
        for (int t = 0; t < refusal->past && status == GQA_OK; t++) {
            scene.in.phase = GQA_PHASE_AUTO;
            status = scene_run(&scene, t, 1);
        }
        if (status == GQA_OK) {
            scene.in = in;
            status = scene_run(&scene, refusal->past, 8);
        }
        if (status != GQA_ERR_UNSUPPORTED || strcmp(scene.err.field, refusal->field) != 0) {
            fail_msg("refusal %d: status %d, %s", (int)i, (int)status, scene.err.message);
        }
        scene_close(&scene);
    }
}

/* Spec of the silent losses: what each profile does with a mask and with sinks. */
static void silent_losses(void **state)
{
    static const struct {
        gqa_neuron_profile profile;
        void (*set)(struct scene *scene);
        uint32_t warnings;
    } losses[] = {
        {GQA_NEURON_NATIVE_PREFILL, nothing, 0},
        {GQA_NEURON_NATIVE_PREFILL, mask, 0},
        {GQA_NEURON_NATIVE_TKG, nothing, 0},
        {GQA_NEURON_NATIVE_PREFIX, nothing, BIT(SINKS_DROPPED)},
        {GQA_NEURON_NATIVE_PREFIX, mask, BIT(SINKS_DROPPED) | BIT(MASK_IGNORED)},
        {GQA_NEURON_CTE, nothing, 0},
        {GQA_NEURON_CTE, mask, BIT(MASK_IGNORED)},
        {GQA_NEURON_FLASH_FWD, nothing, BIT(SINKS_DROPPED) | BIT(LIMIT_LIFTED)},
        {GQA_NEURON_FLASH_FWD, mask, BIT(SINKS_DROPPED) | BIT(LIMIT_LIFTED) | BIT(MASK_IGNORED)},
        {GQA_NEURON_FLASH_DECODING, nothing, BIT(SINKS_DROPPED)},
        {GQA_NEURON_FLASH_DECODING, mask, BIT(SINKS_DROPPED) | BIT(MASK_IGNORED)},
        {GQA_NEURON_PAGED_SCHEDULE, nothing, BIT(SINKS_DROPPED)},
        {GQA_NEURON_PAGED_SCHEDULE, mask, BIT(SINKS_DROPPED) | BIT(MASK_IGNORED)},
    };

    (void)state;
    memset(ones, 1, sizeof ones);
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        struct scene scene;
        scene_init(&scene);
        scene.config.neuron_profile = losses[i].profile;
        scene.config.neuron_kv_ranks = losses[i].profile == GQA_NEURON_FLASH_DECODING ? 2 : 0;
        scene.config.learned_sinks_size = 1;
        scene.config.neuron_lift_limits = 1;
        losses[i].set(&scene);
        assert_int_equal(scene_create(&scene), GQA_OK);
        if (scene_run(&scene, 0, 8) != GQA_OK) {
            fail_msg("loss %d: %s", (int)i, scene.err.message);
        }
        if (warning_bits(&scene.report) != losses[i].warnings) {
            fail_msg("loss %d: warnings %x", (int)i, (unsigned)warning_bits(&scene.report));
        }
        scene_close(&scene);
    }
}

static gqa_status create_and_run(struct scene *scene)
{
    gqa_status status = scene_create(scene);

    if (status == GQA_OK) {
        status = scene_run(scene, 0, 5);
    }
    gqa_cache_destroy(&scene->cache);
    gqa_destroy(&scene->layer);
    return status;
}

/* Every allocation fails once. */
static void no_memory(void **state)
{
    struct scene scene;
    struct host host;
    int64_t k = 0;
    gqa_status status = GQA_ERR_NOMEM;

    (void)state;
    scene_init(&scene);
    scene.runtime = host_start(&host, 1);
    for (; status != GQA_OK; k++) {
        host.calls = 0;
        host.fail_at = k;
        status = create_and_run(&scene);
        host.fail_at = -1;
        assert_true(status == GQA_OK || status == GQA_ERR_NOMEM);
        assert_int_equal(host.live, 0);
    }
    assert_true(k > 3);
    scene_close(&scene);
}

/* output.neuron is of this backend, lse and health of the others. */
static void outputs_of_backends(void **state)
{
    struct scene scene;
    gqa_health health;

    (void)state;
    scene_init(&scene);
    scene.config.backend = GQA_BACKEND_CPU;
    assert_int_equal(scene_create(&scene), GQA_OK);
    assert_int_equal(scene_run(&scene, 0, 5), GQA_ERR_ARG);
    assert_string_equal(scene.err.field, "output.neuron");
    scene_close(&scene);
    scene_init(&scene);
    assert_int_equal(scene_create(&scene), GQA_OK);
    assert_int_equal(scene_run(&scene, 0, 5), GQA_OK);
    scene.output.lse = gqa_tensor_3d(scene.out, GQA_F32, 1, 5, SCENE_HQ);
    assert_int_equal(gqa_forward(scene.layer, NULL, &scene.in, &scene.output, NULL, 0, &scene.err),
                     GQA_ERR_UNSUPPORTED);
    assert_string_equal(scene.err.field, "output.lse");
    scene.output.lse.data = NULL;
    scene.output.health = &health;
    gqa_health_init(&health);
    assert_int_equal(gqa_forward(scene.layer, NULL, &scene.in, &scene.output, NULL, 0, &scene.err),
                     GQA_ERR_UNSUPPORTED);
    assert_string_equal(scene.err.field, "output.health");
    scene_close(&scene);
}

/* A gap among the cached positions, which a kernel would not see. */
static void gap_in_the_past(void **state)
{
    struct scene scene;

    (void)state;
    scene_init(&scene);
    scene.config.neuron_logical_nc_config = 2;
    scene.config.neuron_prefix_caching = 1;
    assert_int_equal(scene_create(&scene), GQA_OK);
    gqa_inputs_init(&scene.in);
    scene.in.position_ids = gaps;
    assert_int_equal(scene_run(&scene, 0, 8), GQA_OK);
    scene.in.position_ids = NULL;
    assert_int_equal(scene_run(&scene, 8, 128), GQA_ERR_UNSUPPORTED);
    assert_string_equal(scene.err.field, "inputs.position_ids");
    assert_int_equal(gqa_cache_length(scene.cache, 0), 8);
    scene_close(&scene);
}

/* 2.27 has the window's kernel on trn1 alone. */
static void platform(void **state)
{
    (void)state;
    for (int trn1 = 0; trn1 < 2; trn1++) {
        struct scene scene;
        scene_init(&scene);
        scene.config.neuron_release = GQA_NEURON_2_27;
        scene.config.neuron_trn1 = trn1;
        scene.config.sliding_window = 100;
        assert_int_equal(scene_create(&scene), GQA_OK);
        assert_int_equal(scene_run(&scene, 0, 512), GQA_OK);
        assert_int_equal(scene.output.path.neuron_profile,
                         trn1 != 0 ? GQA_NEURON_FLASH_FWD : GQA_NEURON_NATIVE_PREFILL);
        scene_close(&scene);
    }
}

/* For every profile and past. */
static void workspace_is_enough(void **state)
{
    static const int tokens[] = {1, 127, 128, 129, 512};
    (void)state;
    for (int p = GQA_NEURON_FLASH_FWD; p <= GQA_NEURON_NATIVE_TKG; p++) {
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
            struct scene scene;
            scene_init(&scene);
            scene.config.neuron_profile = (gqa_neuron_profile)p;
            scene.config.neuron_lift_limits = 1;
            assert_int_equal(scene_create(&scene), GQA_OK);
            assert_int_equal(scene_run(&scene, 0, tokens[i]), GQA_OK);
            if (p != GQA_NEURON_FLASH_FWD && p != GQA_NEURON_NATIVE_PREFILL) {
                assert_int_equal(scene_run(&scene, tokens[i], tokens[i]), GQA_OK);
            }
            scene_close(&scene);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_as_neuron),
        cmocka_unit_test(kernels_through_a_layer),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(attend_alone),
        cmocka_unit_test(refusals_by_name),
        cmocka_unit_test(silent_losses),
        cmocka_unit_test(workspace_is_enough),

        cmocka_unit_test(no_memory),
        cmocka_unit_test(gap_in_the_past),
        cmocka_unit_test(platform),
        cmocka_unit_test(outputs_of_backends),
    };
    return RUN_TESTS(argc, argv, tests);
}
