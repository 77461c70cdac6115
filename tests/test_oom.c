/* SPDX-License-Identifier: Apache-2.0 */
/* test_oom.c - every allocation failing in turn: GQA_ERR_NOMEM, no leak, nothing changed. And every
 * allocation returning misaligned memory in turn: GQA_ERR_ARG, which names the allocator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/host.h"
#include "support/program.h"
#include "support/small_layer.h"
#include "support/sweep.h"

enum { T = 5, PAST = 3, H = SMALL_HIDDEN };

/* --- gqa_create --------------------------------------------------------------------------------
 */

static void plain(gqa_config *config)
{
    (void)config;
}

static void attention_only(gqa_config *config)
{
    config->hidden_size = 0;
    config->rope = GQA_ROPE_NONE;
}

static void everything(gqa_config *config)
{
    static const float slopes[SMALL_HQ] = {0.5f, 0.25f, 0.125f, 0.0625f};
    config->input_norm = GQA_NORM_LAYER;
    config->post_norm = GQA_NORM_RMS;
    config->qkv_layout = GQA_QKV_GROUPED;
    config->qkv_bias = 1;
    config->o_bias = 1;
    config->qk_norm_scope = GQA_QK_NORM_WHOLE;
    config->qk_norm = GQA_NORM_RMS;
    config->gate = GQA_GATE_ELEMENT;
    config->learned_sinks_size = 1;
    config->alibi_slopes = slopes;
}

static void longrope(gqa_config *config)
{
    static const double factors[SMALL_DK / 2] = {1.0, 1.5, 2.0, 4.0, 8.0};
    config->rope_scaling = GQA_ROPE_SCALING_LONGROPE;
    config->rope_original_context = 64;
    config->rope_factor = 8.0;
    config->rope_short_factors = factors;
    config->rope_long_factors = factors;
}

static void reference(gqa_config *config)
{
    everything(config);
    config->backend = GQA_BACKEND_REFERENCE;
}

static void bf16(gqa_config *config)
{
    everything(config);
    config->numerics = GQA_NUMERICS_BF16;
}

static const struct {
    const char *name;
    void (*edit)(gqa_config *config);
} configs[] = {{"plain", plain},           {"attention only", attention_only},
               {"everything", everything}, {"longrope", longrope},
               {"reference", reference},   {"bf16", bf16}};
enum { CONFIGS = sizeof configs / sizeof configs[0] };

/* Does GQA_ISA force a kernel set that does not serve config i? */
static bool refused(size_t i)
{
    gqa_config config;
    gqa_config_init(&config);
    configs[i].edit(&config);
    return config.isa == GQA_ISA_AUTO && forced_isa_refuses(config.numerics);
}

static void create_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * CONFIGS; i++) {
        struct weight_set model;
        if (refused(i / 2)) {
            continue;
        }
        small_set_init(&model);
        configs[i / 2].edit(&model.config);
        weight_set_fill(&model);
        model.weights.in_place = i % 2 == 1 && model.config.hidden_size > 0;
        print_message("gqa_create, %s, in place %d: %d allocations\n", configs[i / 2].name,
                      (int)model.weights.in_place, (int)sweep_create(configs[i / 2].name, &model));
        weight_set_free(&model);
    }
}

/* --- what works on a layer and a cache ---------------------------------------------------------
 */

/* A layer and a cache with PAST tokens in sequence 0, all from one host. */
struct bench {
    struct host host;
    struct weight_set model;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_cache *second;
    gqa_inputs in;
    gqa_output out, out_before;
    gqa_attend_inputs attend_in;
    gqa_attend_output attend_out, attend_before;
    uint64_t hash;
    float x[T * H], y[T * H];
    float a[T * 128], b[T * 128], c[T * 128], d[T * 128];
};

static void set_calls(struct bench *bench)
{
    const gqa_config *config = &bench->model.config;
    int64_t hidden = config->hidden_size;
    gqa_inputs_init(&bench->in);
    gqa_output_init(&bench->out);
    if (hidden > 0) {
        bench->in.hidden_states = gqa_tensor_3d(bench->x, GQA_F32, 1, T, hidden);
        bench->out.hidden_states = gqa_tensor_3d(bench->y, GQA_F32, 1, T, hidden);
    } else {
        bench->in.q_proj = gqa_tensor_4d(bench->a, GQA_F32, 1, T, SMALL_HQ, SMALL_DK);
        bench->in.k_proj = gqa_tensor_4d(bench->b, GQA_F32, 1, T, SMALL_HKV, SMALL_DK);
        bench->in.v_proj = gqa_tensor_4d(bench->b, GQA_F32, 1, T, SMALL_HKV, SMALL_DV);
    }
    bench->out.attn = gqa_tensor_4d(bench->c, GQA_F32, 1, T, SMALL_HQ, SMALL_DV);
    gqa_attend_inputs_init(&bench->attend_in);
    gqa_attend_output_init(&bench->attend_out);
    bench->attend_in.query = gqa_tensor_4d(bench->a, GQA_F32, 1, 2, SMALL_HQ, SMALL_DK);
    bench->attend_out.output = gqa_tensor_4d(bench->d, GQA_F32, 1, 2, SMALL_HQ, SMALL_DV);
    bench->out_before = bench->out;
    bench->attend_before = bench->attend_out;
}

static void bench_open(struct bench *bench, void (*edit)(gqa_config *))
{
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_tensor key, value;
    memset(bench, 0, sizeof *bench);
    host_init(&bench->host);
    runtime = host_runtime(&bench->host);
    small_set_init(&bench->model);
    edit(&bench->model.config);
    weight_set_fill(&bench->model);
    assert_int_equal(
        gqa_create(&bench->layer, &bench->model.config, &bench->model.weights, &runtime, NULL),
        GQA_OK);
    gqa_cache_options_init(&options, bench->layer);
    options.max_tokens = SMALL_TOKENS;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&bench->cache, bench->layer, &options, NULL), GQA_OK);
    for (int i = 0; i < T * H; i++) {
        bench->x[i] = 0.01f * (float)(i % 97 - 48);
    }
    for (int i = 0; i < T * 128; i++) {
        bench->a[i] = bench->b[i] = 0.01f * (float)(i % 89 - 44);
    }
    key = gqa_tensor_3d(bench->a, GQA_F32, PAST, SMALL_HKV, SMALL_DK);
    value = gqa_tensor_3d(bench->b, GQA_F32, PAST, SMALL_HKV, SMALL_DV);
    assert_int_equal(gqa_cache_append(bench->cache, 0, &key, &value, NULL, NULL), GQA_OK);
    bench->hash = small_layer_cache_hash(bench->cache, 1);
    set_calls(bench);
}

static void bench_close(struct bench *bench)
{
    gqa_cache_destroy(&bench->cache);
    gqa_destroy(&bench->layer);
    weight_set_free(&bench->model);
    assert_int_equal(bench->host.live, 0);
}

static void bench_unchanged(void *arg)
{
    struct bench *bench = arg;
    assert_true(small_layer_cache_hash(bench->cache, 1) == bench->hash);
    assert_memory_equal(&bench->out, &bench->out_before, sizeof bench->out);
    assert_memory_equal(&bench->attend_out, &bench->attend_before, sizeof bench->attend_out);
    assert_null(bench->second);
}

static gqa_status run_cache(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_cache_options options;
    gqa_status status;
    gqa_cache_options_init(&options, bench->layer);
    options.max_tokens = 100;
    options.max_sequences = 7;
    bench->second = bench->cache; /* must become NULL */
    status = gqa_cache_create(&bench->second, bench->layer, &options, err);
    if (status == GQA_OK) {
        gqa_cache_destroy(&bench->second);
    }
    return status;
}

static gqa_status run_forward(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_status status =
        gqa_forward(bench->layer, bench->cache, &bench->in, &bench->out, NULL, 0, err);
    if (status == GQA_OK) {
        status = gqa_cache_truncate(bench->cache, 0, PAST, err);
        bench->out = bench->out_before;
    }
    return status;
}

static gqa_status run_forward_alone(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_status status = gqa_forward(bench->layer, NULL, &bench->in, &bench->out, NULL, 0, err);
    if (status == GQA_OK) {
        bench->out = bench->out_before;
    }
    return status;
}

static gqa_status run_attend(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_status status =
        gqa_attend(bench->layer, bench->cache, &bench->attend_in, &bench->attend_out, NULL, 0, err);
    if (status == GQA_OK) {
        bench->attend_out = bench->attend_before;
    }
    return status;
}

static gqa_status run_finish(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_states states = {0};
    gqa_tensor output = gqa_tensor_4d(bench->d, GQA_F32, 1, 1, SMALL_HQ, SMALL_DV);
    states.m = gqa_tensor_3d(bench->a, GQA_F32, 1, 1, SMALL_HQ);
    states.l = gqa_tensor_3d(bench->b, GQA_F32, 1, 1, SMALL_HQ);
    states.o = gqa_tensor_4d(bench->c, GQA_F32, 1, 1, SMALL_HQ, SMALL_DV);
    return gqa_finish_states(bench->layer, &states, GQA_PHASE_CTE, 0, &output, NULL, err);
}

static void calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIGS; i++) {
        struct bench bench;
        struct attempt attempts[] = {
            {"gqa_cache_create", run_cache, bench_unchanged, &bench},
            {"gqa_forward", run_forward, bench_unchanged, &bench},
            {"gqa_forward without cache", run_forward_alone, bench_unchanged, &bench},
            {"gqa_attend", run_attend, bench_unchanged, &bench},
            {"gqa_finish_states", run_finish, bench_unchanged, &bench},
        };
        if (refused(i)) {
            continue;
        }
        bench_open(&bench, configs[i].edit);
        for (size_t j = 0; j < sizeof attempts / sizeof attempts[0]; j++) {
            int64_t n = sweep(&bench.host, &attempts[j]);
            print_message("%s, %s: %d allocations\n", attempts[j].name, configs[i].name, (int)n);
            assert_true(n >= 1 && n <= 2);
        }
        bench_close(&bench);
    }
}

static gqa_status run_pool(void *arg, gqa_error *err)
{
    gqa_pool *pool = (gqa_pool *)arg; /* must become NULL */
    const gqa_runtime runtime = host_runtime(arg);
    const gqa_status status = gqa_pool_create(&pool, 2, &runtime, err);
    if (status != GQA_OK) {
        assert_null(pool);
    }
    gqa_pool_destroy(&pool);
    return status;
}

static void create_pool(void **state)
{
    struct host host;
    const struct attempt attempt = {"gqa_pool_create", run_pool, NULL, &host};
    (void)state;
    host_init(&host);
    assert_int_equal(sweep(&host, &attempt), 1);
    assert_int_equal(host.live, 0);
}

/* After all failures the same call gives the same bits as on a host that never failed. */
static void bits_after_failures(void **state)
{
    struct bench failed, lucky;
    struct attempt attempt = {"gqa_forward", run_forward, bench_unchanged, &failed};
    gqa_error err;
    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    bench_open(&failed, everything);
    bench_open(&lucky, everything);
    sweep(&failed.host, &attempt);
    memset(failed.y, 0, sizeof failed.y);
    assert_int_equal(run_forward(&failed, &err), GQA_OK);
    assert_int_equal(run_forward(&lucky, &err), GQA_OK);
    assert_memory_equal(failed.y, lucky.y, sizeof lucky.y);
    bench_close(&failed);
    bench_close(&lucky);
}

/* --- the stages --------------------------------------------------------------------------------
 */

static gqa_tensor rows(float *data, int64_t width)
{
    return gqa_tensor_2d(data, GQA_F32, T, width);
}

static gqa_tensor heads(float *data, int64_t n, int64_t dim)
{
    return gqa_tensor_3d(data, GQA_F32, T, n, dim);
}

static gqa_status run_input_norm(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_tensor x = rows(bench->x, H), out = rows(bench->y, H);
    return gqa_stage_input_norm(bench->layer, &x, NULL, NULL, &out, err);
}

static gqa_status run_qkv(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_tensor x = rows(bench->x, H), q = heads(bench->a, SMALL_HQ, SMALL_DK);
    gqa_tensor k = heads(bench->b, SMALL_HKV, SMALL_DK), v = heads(bench->c, SMALL_HKV, SMALL_DV);
    gqa_tensor gate = heads(bench->d, SMALL_HQ, SMALL_DV);
    return gqa_stage_qkv(bench->layer, &x, &q, &k, &v,
                         bench->model.config.gate != GQA_GATE_NONE ? &gate : NULL, err);
}

static gqa_status run_small_stages(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_tensor q = heads(bench->a, SMALL_HQ, SMALL_DK), k = heads(bench->b, SMALL_HKV, SMALL_DK);
    gqa_tensor v = heads(bench->c, SMALL_HKV, SMALL_DV), gate = heads(bench->d, SMALL_HQ, SMALL_DV);
    gqa_tensor attn = heads(bench->c, SMALL_HQ, SMALL_DV);
    const int32_t positions[T] = {0, 1, 2, 3, 4};
    gqa_status status = gqa_stage_clip(bench->layer, &q, &k, &v, err);
    if (status == GQA_OK) {
        status = gqa_stage_qk_norm(bench->layer, GQA_QK_NORM_PRE_ROPE, &q, &k, err);
    }
    if (status == GQA_OK) {
        status = gqa_stage_query_temperature(bench->layer, positions, &q, err);
    }
    if (status == GQA_OK && bench->model.config.gate != GQA_GATE_NONE) {
        status = gqa_stage_gate(bench->layer, &gate, &attn, err);
    }
    return status;
}

static gqa_status run_rope(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    const int32_t positions[T] = {0, 1, 2, 3, 4};
    gqa_tensor c = rows(bench->c, SMALL_DK / 2), s = rows(bench->d, SMALL_DK / 2);
    gqa_tensor q = heads(bench->a, SMALL_HQ, SMALL_DK);
    double frequencies[SMALL_DK / 2];
    gqa_status status = gqa_stage_rope_table(bench->layer, positions, 1, 0, &c, &s, err);
    if (status == GQA_OK) {
        status = gqa_stage_rope(bench->layer, &c, &s, &q, err);
    }
    if (status == GQA_OK) {
        status = gqa_rope_frequencies(bench->layer, 0, frequencies, NULL, err);
    }
    return status;
}

static gqa_status run_output(void *arg, gqa_error *err)
{
    struct bench *bench = arg;
    gqa_tensor attn = heads(bench->c, SMALL_HQ, SMALL_DV), o = rows(bench->y, H);
    gqa_status status = gqa_stage_output_projection(bench->layer, &attn, &o, err);
    if (status == GQA_OK) {
        status = gqa_stage_output(bench->layer, &o, NULL, &o, err);
    }
    return status;
}

static void stages(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIGS; i++) {
        struct bench bench;
        struct attempt attempts[] = {
            {"gqa_stage_input_norm", run_input_norm, bench_unchanged, &bench},
            {"gqa_stage_qkv", run_qkv, bench_unchanged, &bench},
            {"gqa_stage_clip and others", run_small_stages, bench_unchanged, &bench},
            {"gqa_stage_rope", run_rope, bench_unchanged, &bench},
            {"gqa_stage_output", run_output, bench_unchanged, &bench},
        };
        if (configs[i].edit == attention_only || refused(i)) {
            continue;
        }
        bench_open(&bench, configs[i].edit);
        for (size_t j = 0; j < sizeof attempts / sizeof attempts[0]; j++) {
            print_message("%s, %s: %d allocations\n", attempts[j].name, configs[i].name,
                          (int)sweep(&bench.host, &attempts[j]));
        }
        bench_close(&bench);
    }
}

/* --- what must not allocate --------------------------------------------------------------------
 */

/* With a workspace of the caller no call allocates; nor do append, read, truncate and merge. */
static void calls_without_allocations(void **state)
{
    static _Alignas(64) unsigned char workspace[1 << 22];
    (void)state;
    for (size_t i = 0; i < CONFIGS; i++) {
        struct bench bench;
        gqa_tensor key, value;
        gqa_error err;
        size_t size;
        if (refused(i)) {
            continue;
        }
        bench_open(&bench, configs[i].edit);
        key = gqa_tensor_3d(bench.a, GQA_F32, 1, SMALL_HKV, SMALL_DK);
        value = gqa_tensor_3d(bench.b, GQA_F32, 1, SMALL_HKV, SMALL_DV);
        bench.host.calls = 0;
        bench.host.fail_from = 0;
        assert_int_equal(
            gqa_workspace_size(bench.layer, bench.cache, &bench.in, &bench.out, &size, NULL),
            GQA_OK);
        assert_true(size <= sizeof workspace);
        if (gqa_forward(bench.layer, bench.cache, &bench.in, &bench.out, workspace, size, &err) !=
            GQA_OK) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(gqa_attend_workspace_size(bench.layer, bench.cache, &bench.attend_in,
                                                   &bench.attend_out, &size, NULL),
                         GQA_OK);
        assert_int_equal(gqa_attend(bench.layer, bench.cache, &bench.attend_in, &bench.attend_out,
                                    workspace, size, NULL),
                         GQA_OK);
        assert_int_equal(gqa_cache_append(bench.cache, 0, &key, &value, NULL, NULL), GQA_OK);
        assert_int_equal(gqa_cache_truncate(bench.cache, 0, PAST, NULL), GQA_OK);
        assert_true(small_layer_cache_hash(bench.cache, 1) == bench.hash);
        assert_int_equal(bench.host.calls, 0);
        bench_close(&bench);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_layer), cmocka_unit_test(calls),
        cmocka_unit_test(create_pool),  cmocka_unit_test(bits_after_failures),
        cmocka_unit_test(stages),       cmocka_unit_test(calls_without_allocations),
    };
    return RUN_TESTS(argc, argv, tests);
}
