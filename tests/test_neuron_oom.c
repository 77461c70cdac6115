/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_oom.c - backend neuron and the profiles with every allocation failing in turn, as
 * test_oom.c has it for the others: GQA_ERR_NOMEM, no leak, nothing changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/neuron_calls.h"
#include "support/program.h"
#include "support/small_layer.h"
#include "support/sweep.h"

/* --- the profiles ------------------------------------------------------------------------------
 */

static _Alignas(64) unsigned char memory[1 << 16];
static size_t used;

static void *room(size_t size)
{
    unsigned char *const at = memory + used;

    used += (size + 63) / 64 * 64;
    assert_true(used <= sizeof memory);
    return at;
}

struct profile_call {
    gqa_neuron_call call;
    gqa_neuron_output out, before;
    gqa_runtime runtime;
};

static gqa_status run_profile(void *arg, gqa_error *err)
{
    struct profile_call *const c = arg;
    const gqa_status status = gqa_neuron_attention(&c->call, &c->out, &c->runtime, NULL, 0, err);

    if (status == GQA_OK) {
        c->out = c->before;
    }
    return status;
}

/* Neither the output struct nor the rows that it points to. */
static void output_unchanged(void *arg)
{
    const struct profile_call *const c = arg;
    const unsigned char *const rows = c->out.out.data;

    assert_memory_equal(&c->out, &c->before, sizeof c->out);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(rows[i], 0x5a);
    }
}

static void profiles(void **state)
{
    (void)state;
    for (int i = 2 * GQA_NEURON_FLASH_FWD; i < 2 * GQA_NEURON_PAGED_SCHEDULE + 2; i++) {
        const gqa_neuron_profile profile = (gqa_neuron_profile)(i / 2);
        struct profile_call c;
        struct host host;
        const struct attempt attempt = {gqa_neuron_profile_name(profile), run_profile,
                                        output_unchanged, &c};
        int64_t n;

        used = 0;
        memset(&c, 0, sizeof c);
        neuron_call_make(profile, room, &c.call, &c.out);
        memset(c.out.out.data, 0x5a, 4);
        c.before = c.out;
        c.runtime = host_start(&host, i % 2 == 0 ? 1 : 3);
        n = sweep(&host, &attempt);
        print_message("%s: %d allocations\n", attempt.name, (int)n);
        assert_int_equal(n, 1); /* the workspace */
        assert_int_equal(host.live, 0);
    }
}

/* With a workspace of the caller nothing is allocated; with a smaller one nothing is done. */
static void lent_workspaces(void **state)
{
    (void)state;
    for (int p = GQA_NEURON_FLASH_FWD; p <= GQA_NEURON_PAGED_SCHEDULE; p++) {
        struct profile_call c;
        struct host host;
        size_t size = 0;
        void *workspace;
        gqa_error err;

        used = 0;
        memset(&c, 0, sizeof c);
        neuron_call_make((gqa_neuron_profile)p, room, &c.call, &c.out);
        memset(c.out.out.data, 0x5a, 4);
        c.before = c.out;
        c.runtime = host_start(&host, 3);
        assert_int_equal(gqa_neuron_workspace_size(&c.call, &c.out, &c.runtime, &size, NULL),
                         GQA_OK);
        workspace = aligned_alloc(64, (size + 63) / 64 * 64);
        assert_non_null(workspace);
        assert_int_equal(
            gqa_neuron_attention(&c.call, &c.out, &c.runtime, workspace, size - 64, &err),
            GQA_ERR_WORKSPACE);
        output_unchanged(&c);
        assert_int_equal(gqa_neuron_attention(&c.call, &c.out, &c.runtime, workspace, size, NULL),
                         GQA_OK);
        assert_int_equal(host.calls, 0);
        free(workspace);
    }
}

/* --- layers ------------------------------------------------------------------------------------
 */

static void neuron_plain(gqa_config *config)
{
    config->backend = GQA_BACKEND_NEURON;
    config->v_head_dim = 0;
    config->neuron_lift_limits = 1;
}

/* All that Neuron's layer has. */
static void neuron_all(gqa_config *config)
{
    neuron_plain(config);
    config->neuron_io = GQA_NEURON_IO_F32;
    config->input_norm = GQA_NORM_RMS;
    config->post_norm = GQA_NORM_RMS;
    config->qkv_bias = 1;
    config->o_bias = 1;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->learned_sinks_size = 1;
    config->add_residual = 1;
    config->sliding_window = 9;
}

static void neuron_kernel(gqa_config *config)
{
    neuron_plain(config);
    config->neuron_profile = GQA_NEURON_CTE;
}

static void neuron_paged(gqa_config *config)
{
    neuron_plain(config);
    config->neuron_profile = GQA_NEURON_PAGED_SCHEDULE;
}

static const struct {
    const char *name;
    void (*edit)(gqa_config *config);
} layers[] = {{"plain", neuron_plain},
              {"everything", neuron_all},
              {"cte", neuron_kernel},
              {"paged", neuron_paged}};
enum { LAYERS = sizeof layers / sizeof layers[0], T = 5, PAST = 3 };

static void create_layer(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        struct weight_set model;

        small_set_init(&model);
        layers[i].edit(&model.config);
        weight_set_fill(&model);
        print_message("gqa_create, %s: %d allocations\n", layers[i].name,
                      (int)sweep_create(layers[i].name, &model));
        weight_set_free(&model);
    }
}

/* A layer, a cache with PAST tokens, and its calls, which must leave the cache as it was. */
struct scene {
    struct host host;
    struct weight_set model;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_inputs in;
    gqa_output out, out_before;
    gqa_attend_inputs attend_in;
    gqa_attend_output attend_out, attend_before;
    gqa_neuron_report report, report_before;
    float held[2][PAST * SMALL_HKV * SMALL_DK]; /* by the cache */
    float x[T * SMALL_HIDDEN], y[T * SMALL_HIDDEN], q[T * SMALL_HQ * SMALL_DK],
        o[T * SMALL_HQ * SMALL_DK];
};

static void read_cache(const struct scene *s, float held[2][PAST * SMALL_HKV * SMALL_DK])
{
    const gqa_tensor k = gqa_tensor_3d(held[0], GQA_F32, SMALL_HKV, PAST, SMALL_DK);
    const gqa_tensor v = gqa_tensor_3d(held[1], GQA_F32, SMALL_HKV, PAST, SMALL_DK);

    assert_int_equal(gqa_cache_length(s->cache, 0), PAST);
    assert_int_equal(gqa_cache_read(s->cache, 0, 0, &k, &v, NULL, NULL), GQA_OK);
}

static void scene_open(struct scene *s, void (*edit)(gqa_config *))
{
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_tensor key;

    memset(s, 0, sizeof *s);
    runtime = host_start(&s->host, 1);
    small_set_init(&s->model);
    edit(&s->model.config);
    weight_set_fill(&s->model);
    assert_int_equal(gqa_create(&s->layer, &s->model.config, &s->model.weights, &runtime, NULL),
                     GQA_OK);
    gqa_cache_options_init(&options, s->layer);
    options.max_tokens = SMALL_TOKENS;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&s->cache, s->layer, &options, NULL), GQA_OK);
    for (int i = 0; i < T * SMALL_HQ * SMALL_DK; i++) {
        s->q[i] = 0.01f * (float)(i % 89 - 44);
        s->x[i % (T * SMALL_HIDDEN)] = 0.02f * (float)(i % 83 - 40);
    }
    key = gqa_tensor_3d(s->q, GQA_F32, PAST, SMALL_HKV, SMALL_DK);
    assert_int_equal(gqa_cache_append(s->cache, 0, &key, &key, NULL, NULL), GQA_OK);
    read_cache(s, s->held);
}

static void scene_calls(struct scene *s)
{
    gqa_inputs_init(&s->in);
    gqa_output_init(&s->out);
    gqa_neuron_report_init(&s->report);
    s->in.hidden_states = gqa_tensor_3d(s->x, GQA_F32, 1, T, SMALL_HIDDEN);
    s->out.hidden_states = gqa_tensor_3d(s->y, GQA_F32, 1, T, SMALL_HIDDEN);
    s->out.neuron = &s->report;
    gqa_attend_inputs_init(&s->attend_in);
    gqa_attend_output_init(&s->attend_out);
    s->attend_in.query = gqa_tensor_4d(s->q, GQA_F32, 1, 2, SMALL_HQ, SMALL_DK);
    s->attend_out.output = gqa_tensor_4d(s->o, GQA_F32, 1, 2, SMALL_HQ, SMALL_DK);
    s->attend_out.neuron = &s->report;
    s->out_before = s->out;
    s->attend_before = s->attend_out;
    s->report_before = s->report;
}

static void scene_unchanged(void *arg)
{
    struct scene *const s = arg;
    float held[2][PAST * SMALL_HKV * SMALL_DK];

    read_cache(s, held);
    assert_memory_equal(held, s->held, sizeof held);
    assert_memory_equal(&s->out, &s->out_before, sizeof s->out);
    assert_memory_equal(&s->attend_out, &s->attend_before, sizeof s->attend_out);
    assert_memory_equal(&s->report, &s->report_before, sizeof s->report);
}

static void scene_again(struct scene *s)
{
    s->out = s->out_before;
    s->attend_out = s->attend_before;
    s->report = s->report_before;
}

static gqa_status run_forward(void *arg, gqa_error *err)
{
    struct scene *const s = arg;
    gqa_status status = gqa_forward(s->layer, s->cache, &s->in, &s->out, NULL, 0, err);

    if (status == GQA_OK) {
        status = gqa_cache_truncate(s->cache, 0, PAST, err);
        scene_again(s);
    }
    return status;
}

static gqa_status run_forward_alone(void *arg, gqa_error *err)
{
    struct scene *const s = arg;
    const gqa_status status = gqa_forward(s->layer, NULL, &s->in, &s->out, NULL, 0, err);

    if (status == GQA_OK) {
        scene_again(s);
    }
    return status;
}

static gqa_status run_attend(void *arg, gqa_error *err)
{
    struct scene *const s = arg;
    const gqa_status status =
        gqa_attend(s->layer, s->cache, &s->attend_in, &s->attend_out, NULL, 0, err);

    if (status == GQA_OK) {
        scene_again(s);
    }
    return status;
}

static void layer_calls(void **state)
{
    static struct scene s;

    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        const struct attempt attempts[] = {
            {"gqa_forward", run_forward, scene_unchanged, &s},
            {"gqa_forward without cache", run_forward_alone, scene_unchanged, &s},
            {"gqa_attend", run_attend, scene_unchanged, &s},
        };
        scene_open(&s, layers[i].edit);
        scene_calls(&s);
        for (size_t j = 0; j < sizeof attempts / sizeof attempts[0]; j++) {
            const int64_t n = sweep(&s.host, &attempts[j]);
            print_message("%s, %s: %d allocations\n", attempts[j].name, layers[i].name, (int)n);
            assert_int_equal(n, 1); /* the workspace */
        }
        gqa_cache_destroy(&s.cache);
        gqa_destroy(&s.layer);
        weight_set_free(&s.model);
        assert_int_equal(s.host.live, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles),
        cmocka_unit_test(lent_workspaces),
        cmocka_unit_test(create_layer),
        cmocka_unit_test(layer_calls),
    };

    return RUN_TESTS(argc, argv, tests);
}
