/* SPDX-License-Identifier: Apache-2.0 */
/* test_host_mode.c - every public function in a host's own floating-point mode: each rounding
 * direction, denormals flushed or not, exceptions masked or not. Results are those of the default
 * mode, to the bit, nothing traps, and the host finds its mode and its flags as they were.
 *
 * The list of functions is read from include/gqa: one that is not in the table here fails.
 */
#define _POSIX_C_SOURCE 200809L /* sigaction, sigsetjmp */
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "support/cache_calls.h"
#include "support/host_mode.h"
#include "support/maps_calls.h"
#include "support/neuron_calls.h"
#include "support/program.h"
#include "support/public_functions.h"
#include "support/random.h"
#include "support/small_layer.h"

enum {
    T = 3,
    PAST = 5,
    H = SMALL_HIDDEN,
    HQ = SMALL_HQ,
    HKV = SMALL_HKV,
    DK = SMALL_DK,
    DV = SMALL_DV
};

/* ---- what the functions work on, and what they leave ---- */

static struct weight_set model;
static gqa_layer *layer;
static gqa_cache *cache; /* PAST tokens in sequence 0 */
static float numbers[T * HQ * DK];
static uint16_t halves[T * HQ * DK]; /* f16, as good as any bits */
static const int32_t positions[T] = {3, 40, 40000};

static struct {
    _Alignas(64) unsigned char bytes[1 << 18];
    size_t used;
    int32_t statuses[64], count;
    bool refused;
} results;

/* n bytes of the results. Called in the host's mode, so without a floating-point operation. */
static void *room(size_t n)
{
    void *place = results.bytes + results.used;
    results.used += (n + 63) / 64 * 64;
    if (results.used > sizeof results.bytes || results.count == 64) {
        raise(SIGABRT);
    }
    return place;
}

static void note(int32_t number)
{
    results.statuses[results.count++] = number;
}

/* Of a call that must succeed: the walk looks at refused. */
static void done(gqa_status status)
{
    note((int32_t)status);
    results.refused = results.refused || status != GQA_OK;
}

/* A copy among the results, for functions that work in place. */
static float *copy_of(const float *values, size_t n)
{
    return memcpy(room(n * sizeof *values), values, n * sizeof *values);
}

static gqa_tensor floats2(const float *data, int64_t n)
{
    return gqa_tensor_2d(data, GQA_F32, T, n);
}

static gqa_tensor floats3(const float *data, int64_t heads, int64_t n)
{
    return gqa_tensor_3d(data, GQA_F32, T, heads, n);
}

static gqa_tensor new2(int64_t n)
{
    return floats2(room((size_t)(T * n) * sizeof(float)), n);
}

static gqa_tensor new3(int64_t heads, int64_t n)
{
    return floats3(room((size_t)(T * heads * n) * sizeof(float)), heads, n);
}

static gqa_tensor new4(gqa_dtype dtype, int64_t heads, int64_t n)
{
    return gqa_tensor_4d(room((size_t)(T * heads * n) * sizeof(float)), dtype, 1, T, heads, n);
}

/* ---- one runner per function, or per few that belong together ---- */

static void run_status_string(void)
{
    snprintf(room(64), 64, "%s", gqa_status_string(GQA_ERR_NOMEM));
}

static void run_convert(void)
{
    const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};
    for (int from = 0; from < 3; from++) {
        for (int to = 0; to < 3; to++) {
            const void *source = from == 0 ? (const void *)numbers : (const void *)halves;
            const gqa_tensor src = gqa_tensor_1d(source, formats[from], T * HQ * DK);
            const gqa_tensor dst = gqa_tensor_1d(room(sizeof numbers), formats[to], T * HQ * DK);
            done(gqa_convert(&src, &dst, NULL));
        }
    }
}

static void run_config(void)
{
    gqa_config *config = room(sizeof *config);
    const uint32_t nan = 0x7fa00001; /* signalling */
    gqa_config_init_sized(config, sizeof *config);
    note(gqa_config_check(config, NULL));
    config->hidden_size = H;
    config->num_attention_heads = HQ;
    config->num_key_value_heads = HKV;
    note(gqa_config_check(config, NULL));
    note(gqa_config_check(&model.config, NULL));
    memcpy(&config->softcap, &nan, sizeof nan);
    note(gqa_config_check(config, NULL));
}

static void run_inits(void)
{
    gqa_runtime_init_sized(room(sizeof(gqa_runtime)), sizeof(gqa_runtime));
    gqa_weights_init_sized(room(sizeof(gqa_weights)), sizeof(gqa_weights));
    gqa_inputs_init_sized(room(sizeof(gqa_inputs)), sizeof(gqa_inputs));
    gqa_output_init_sized(room(sizeof(gqa_output)), sizeof(gqa_output));
    gqa_work_init_sized(room(sizeof(gqa_work)), sizeof(gqa_work));
    gqa_health_init_sized(room(sizeof(gqa_health)), sizeof(gqa_health));
    gqa_attend_inputs_init_sized(room(sizeof(gqa_attend_inputs)), sizeof(gqa_attend_inputs));
    gqa_attend_output_init_sized(room(sizeof(gqa_attend_output)), sizeof(gqa_attend_output));
    gqa_block_kv_init_sized(room(sizeof(gqa_block_kv)), sizeof(gqa_block_kv));
    gqa_cache_options_init_sized(room(sizeof(gqa_cache_options)), layer, sizeof(gqa_cache_options));
    gqa_build_info_sized(room(sizeof(gqa_build_info)), sizeof(gqa_build_info));
}

static void run_numbers(void)
{
    note(gqa_fold_block());
    done(gqa_cut_keys(0, 700, 2, room(3 * sizeof(int32_t)), room(sizeof(int32_t)), NULL));
    note((int32_t)gqa_version());
    note((int32_t)gqa_api_version());
    note((int32_t)gqa_cpu_features());
    note(gqa_isa_available(GQA_ISA_SCALAR));
    note((int32_t)gqa_layer_isa(layer));
    snprintf(room(64), 64, "%s %llx", gqa_isa_name(GQA_ISA_AVX2),
             (unsigned long long)gqa_layer_rope_key(layer));
}

static void run_environment(void)
{
    gqa_isa isa = GQA_ISA_AUTO;
    done(gqa_isa_from_environment(&isa, NULL));
    note((int32_t)isa);
}

/* A call without a cache. f16 in and out: rows are converted on both ways. */
static void forward_with(const gqa_layer *with)
{
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(numbers, GQA_F32, 1, T, H);
    in.residual = gqa_tensor_3d(halves, GQA_F16, 1, T, H);
    in.position_ids = positions;
    out.hidden_states = gqa_tensor_3d(room(T * H * 4), GQA_F32, 1, T, H);
    out.residual = gqa_tensor_3d(room(T * H * 2), GQA_F16, 1, T, H);
    out.attn = new4(GQA_BF16, HQ, DV);
    out.lse = gqa_tensor_3d(room(T * HQ * 4), GQA_F32, 1, T, HQ);
    out.present_key_value.k = gqa_tensor_4d(room(T * HKV * DK * 2), GQA_F16, 1, HKV, T, DK);
    out.cos_cache = gqa_tensor_3d(room(T * DK * 2), GQA_F32, 1, T, DK / 2);
    done(gqa_workspace_size(with, NULL, &in, &out, &size, NULL));
    note((int32_t)size);
    done(gqa_forward(with, NULL, &in, &out, NULL, 0, NULL));
}

static void run_forward(void)
{
    forward_with(layer);
}

/* gqa_create rounds and, with int8, quantises: the layers' results tell. */
static void run_create(void)
{
    gqa_config config = model.config;
    for (int storage = 0; storage < 2; storage++) {
        gqa_layer *made = NULL;
        config.weight_storage = (gqa_weight_storage)storage;
        done(gqa_create(&made, &config, &model.weights, NULL, NULL));
        if (made != NULL) {
            forward_with(made);
        }
        gqa_destroy(&made);
    }
}

static void run_pool(void)
{
    gqa_pool *pool = NULL;
    gqa_layer *made = NULL;
    gqa_runtime runtime;
    gqa_runtime_init(&runtime);
    done(gqa_pool_create(&pool, 3, NULL, NULL));
    note(gqa_pool_threads(pool));
    runtime.pool = pool;
    done(gqa_create(&made, &model.config, &model.weights, &runtime, NULL));
    if (made != NULL) {
        forward_with(made);
    }
    gqa_destroy(&made);
    gqa_pool_destroy(&pool);
}

static void run_cache(void)
{
    const struct cache_calls_input input = {layer, HKV, DK, DV, halves, numbers};
    cache_calls_run(&input, room, done);
}

static void set_attend(gqa_attend_inputs *in, gqa_attend_output *out)
{
    gqa_attend_inputs_init(in);
    gqa_attend_output_init(out);
    in->query = gqa_tensor_4d(halves, GQA_F16, 1, T, HQ, DK);
    out->output = new4(GQA_F16, HQ, DV);
    out->lse = gqa_tensor_3d(room(T * HQ * 4), GQA_F32, 1, T, HQ);
    out->states.m = gqa_tensor_3d(room(T * HQ * 4), GQA_F32, 1, T, HQ);
    out->states.l = gqa_tensor_3d(room(T * HQ * 4), GQA_F32, 1, T, HQ);
    out->states.o = new4(GQA_F32, HQ, DV);
}

static void run_attend(void)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    size_t size = 0;
    set_attend(&in, &out);
    done(gqa_attend_workspace_size(layer, cache, &in, &out, &size, NULL));
    note((int32_t)size);
    done(gqa_attend(layer, cache, &in, &out, NULL, 0, NULL));
    in.key = gqa_tensor_4d(numbers, GQA_F32, 1, T, HKV, DK);
    in.value = gqa_tensor_4d(halves, GQA_F16, 1, T, HKV, DV);
    in.position_ids = positions;
    done(gqa_attend(layer, NULL, &in, &out, NULL, 0, NULL));
}

static void run_states(void)
{
    gqa_states states = {0}, merged;
    const gqa_states *parts[2] = {&states, &merged};
    const gqa_tensor output = new4(GQA_F16, HQ, DV);
    const gqa_tensor lse = gqa_tensor_3d(room(T * HQ * 4), GQA_F32, 1, T, HQ);
    states.m = gqa_tensor_3d(numbers, GQA_F32, 1, T, HQ);
    states.l = gqa_tensor_3d(numbers + T * HQ, GQA_F32, 1, T, HQ);
    states.o = gqa_tensor_4d(numbers, GQA_F32, 1, T, HQ, DV);
    states.key_end = 256;
    merged = states;
    merged.m.data = copy_of(numbers + 1, T * HQ);
    merged.l.data = copy_of(numbers + 7, T * HQ);
    merged.o.data = copy_of(numbers + 3, T * HQ * DV);
    merged.key_begin = 256;
    merged.key_end = 300;
    done(gqa_merge_states(parts, 2, &merged, NULL));
    done(gqa_finish_states(layer, &merged, GQA_PHASE_CTE, 0, &output, &lse, NULL));
}

static void run_before(void)
{
    const gqa_tensor x = floats2(numbers, H), sum = new2(H), normed = new2(H);
    const gqa_tensor q = new3(HQ, DK), k = new3(HKV, DK), v = new3(HKV, DV), gate = new3(HQ, DV);
    done(gqa_stage_input_norm(layer, &x, &x, &sum, &normed, NULL));
    done(gqa_stage_qkv(layer, &normed, &q, &k, &v, &gate, NULL));
    done(gqa_stage_clip(layer, &q, &k, &v, NULL));
}

static void run_rope(void)
{
    const gqa_tensor q = floats3(copy_of(numbers, T * HQ * DK), HQ, DK);
    const gqa_tensor k = floats3(copy_of(numbers, T * HKV * DK), HKV, DK);
    const gqa_tensor c = new2(DK / 2), s = new2(DK / 2);
    done(gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &q, &k, NULL));
    done(gqa_stage_rope_table(layer, positions, 1, 0, &c, &s, NULL));
    done(gqa_stage_rope(layer, &c, &s, &q, NULL));
    done(gqa_stage_query_temperature(layer, positions, &q, NULL));
    done(gqa_rope_frequencies(layer, 100000, room(DK / 2 * sizeof(double)), room(sizeof(double)),
                              NULL));
}

static void run_after(void)
{
    const gqa_tensor attn = floats3(copy_of(numbers, T * HQ * DV), HQ, DV);
    const gqa_tensor gate = floats3(numbers + 1, HQ, DV), sum = floats2(numbers, H);
    const gqa_tensor o = new2(H), out = new2(H);
    done(gqa_stage_gate(layer, &gate, &attn, NULL));
    done(gqa_stage_output_projection(layer, &attn, &o, NULL));
    done(gqa_stage_output(layer, &o, &sum, &out, NULL));
}

static void run_neuron(void)
{
    neuron_calls_run(room, done);
    maps_calls_run(room, done);
}

static const struct entry {
    const char *name;
    void (*run)(void);
} table[] = {
    {"gqa_status_string", run_status_string},
    {"gqa_convert", run_convert},
    {"gqa_config_init_sized", run_config},
    {"gqa_config_check", run_config},
    {"gqa_runtime_init_sized", run_inits},
    {"gqa_pool_create", run_pool},
    {"gqa_pool_destroy", run_pool},
    {"gqa_pool_threads", run_pool},
    {"gqa_weights_init_sized", run_inits},
    {"gqa_create", run_create},
    {"gqa_destroy", run_create},
    {"gqa_layer_isa", run_numbers},
    {"gqa_layer_rope_key", run_numbers},
    {"gqa_block_kv_init_sized", run_inits},
    {"gqa_cache_options_init_sized", run_inits},
    {"gqa_inputs_init_sized", run_inits},
    {"gqa_output_init_sized", run_inits},
    {"gqa_work_init_sized", run_inits},
    {"gqa_health_init_sized", run_inits},
    {"gqa_workspace_size", run_forward},
    {"gqa_forward", run_forward},
    {"gqa_attend_inputs_init_sized", run_inits},
    {"gqa_attend_output_init_sized", run_inits},
    {"gqa_cut_keys", run_numbers},
    {"gqa_fold_block", run_numbers},
    {"gqa_attend_workspace_size", run_attend},
    {"gqa_attend", run_attend},
    {"gqa_merge_states", run_states},
    {"gqa_finish_states", run_states},
    {"gqa_stage_input_norm", run_before},
    {"gqa_stage_qkv", run_before},
    {"gqa_stage_clip", run_before},
    {"gqa_stage_qk_norm", run_rope},
    {"gqa_stage_rope_table", run_rope},
    {"gqa_stage_rope", run_rope},
    {"gqa_stage_query_temperature", run_rope},
    {"gqa_stage_gate", run_after},
    {"gqa_stage_output_projection", run_after},
    {"gqa_stage_output", run_after},
    {"gqa_rope_frequencies", run_rope},
    {"gqa_build_info_sized", run_inits},
    {"gqa_version", run_numbers},
    {"gqa_api_version", run_numbers},
    {"gqa_cpu_features", run_numbers},
    {"gqa_isa_available", run_numbers},
    {"gqa_isa_name", run_numbers},
    {"gqa_isa_from_environment", run_environment},
    {"gqa_neuron_call_init_sized", run_neuron},
    {"gqa_neuron_output_init_sized", run_neuron},
    {"gqa_neuron_report_init_sized", run_neuron},
    {"gqa_neuron_profile_name", run_neuron},
    {"gqa_neuron_workspace_size", run_neuron},
    {"gqa_neuron_attention", run_neuron},
    {"all of cache.h", run_cache},
    {"all of neuron_maps.h", run_neuron},
};
enum { FUNCTIONS = sizeof table / sizeof table[0] };

/* ---- the table is complete ---- */

static bool listed(const char *name, const char *const *names, int count)
{
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
        found = strcmp(name, names[i]) == 0;
    }
    return found;
}

static void every_function_is_called(void **state)
{
    static char names[FUNCTIONS + 128][64];
    const int count = public_functions(GQA_SOURCE_DIR "/include/gqa", names, FUNCTIONS + 128);
    (void)state;
    for (int i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; j < FUNCTIONS && !found; j++) {
            found = strcmp(names[i], table[j].name) == 0;
        }
        found = found || listed(names[i], cache_calls, cache_call_count) ||
                listed(names[i], maps_calls, maps_call_count);
        if (!found) {
            fail_msg("%s is declared, but not called in every mode here", names[i]);
        }
    }
    assert_int_equal(count, FUNCTIONS - 2 + cache_call_count + maps_call_count);
}

/* ---- modes ---- */

static sigjmp_buf trapped;

static void on_trap(int signal)
{
    (void)signal;
    siglongjmp(trapped, 1);
}

static void run_in(const struct host_mode *mode, const char *where, const struct entry *entry)
{
    bool same;
    memset(&results, 0, sizeof results);
    if (sigsetjmp(trapped, 1) != 0) {
        host_mode_leave(mode);
        fail_msg("%s, %s: a trap; rounding %x", where, entry->name, (unsigned)mode->rounding);
    }
    host_mode_enter(mode);
    entry->run();
    same = host_mode_leave(mode);
    if (!same) {
        fail_msg("%s, %s: the host's mode or flags were changed; rounding %x, flush %d, trap %d",
                 where, entry->name, (unsigned)mode->rounding, mode->flush, mode->trap);
    }
}

/* Every function in every mode, on the layer as it is. */
static void walk(const char *where)
{
    static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static unsigned char expected[sizeof results];
    void (*last)(void) = NULL;
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_trap;
    sigaction(SIGFPE, &action, &before);
    for (size_t i = 0; i < FUNCTIONS; i++) {
        if (table[i].run == last) { /* the same run as for the function before */
            continue;
        }
        last = table[i].run;
        memset(&results, 0, sizeof results);
        last();
        if (results.refused) {
            fail_msg("%s, %s: a call fails", where, table[i].name);
        }
        memcpy(expected, &results, sizeof results);
        for (int m = 0; m < 16; m++) {
            const struct host_mode mode = {roundings[m & 3], (m & 4) != 0, (m & 8) != 0};
            run_in(&mode, where, &table[i]);
            if (memcmp(expected, &results, sizeof results) != 0) {
                fail_msg("%s, %s: other bits; rounding %x, flush %d, trap %d", where, table[i].name,
                         (unsigned)mode.rounding, mode.flush, mode.trap);
            }
        }
    }
    sigaction(SIGFPE, &before, NULL);
}

/* ---- the layers ---- */

static void everything(gqa_config *config)
{
    static const float slopes[HQ] = {0.5f, 0.3f, 0.1f, 0.07f};
    config->input_norm = GQA_NORM_LAYER;
    config->attn_in_multiplier = 1.1f;
    config->qkv_bias = 1;
    config->clip_qkv = 2.0f;
    config->v_norm = GQA_NORM_RMS;
    config->key_multiplier = 0.7f;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->rope_scaling = GQA_ROPE_SCALING_YARN;
    config->rope_factor = 7.3;
    config->rope_original_context = 100;
    config->softcap = 30.0f;
    config->alibi_slopes = slopes;
    config->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
    config->query_temperature_scale = 0.1f;
    config->query_temperature_floor = 4.0f;
    config->learned_sinks_size = 1;
    config->gate = GQA_GATE_ELEMENT;
    config->attn_out_multiplier = 0.9f;
    config->post_norm = GQA_NORM_RMS;
    config->add_residual = 1;
}

/* Values of every size, among them those that each direction rounds otherwise, denormals of f32,
 * bf16 and f16, and what overflows f16. */
static void fill_numbers(void)
{
    static const float special[] = {8.43882333e-08f, 1e-40f, -3e-42f,   65519.9f, -65521.0f,
                                    0x1.ffp-15f,     1e-7f,  -6.11e-5f, 3.14159f, -0.0f};
    uint64_t seed = 77;
    for (int i = 0; i < T * HQ * DK; i++) {
        numbers[i] = 2.0f * random_float(&seed);
        if (i % 11 == 3) {
            numbers[i] = special[i / 11 % 10];
        }
        halves[i] = (uint16_t)(random_u32(&seed) & 0xbfff); /* finite as f16, and small as bf16 */
        if (halves[i] >> 10 == 0x1f || halves[i] >> 10 == 0x3f) {
            halves[i] = 0x3555;
        }
    }
}

static bool open_layer(gqa_isa isa, gqa_numerics numerics, gqa_backend backend)
{
    gqa_cache_options options;
    const gqa_tensor k = gqa_tensor_3d(numbers, GQA_F32, PAST, HKV, DK);
    const gqa_tensor v = gqa_tensor_3d(numbers, GQA_F32, PAST, HKV, DV);
    gqa_error err;
    small_set_init(&model);
    everything(&model.config);
    model.config.isa = isa;
    model.config.numerics = numerics;
    model.config.backend = backend;
    weight_set_fill(&model);
    if (gqa_create(&layer, &model.config, &model.weights, NULL, &err) != GQA_OK) {
        if (err.status != GQA_ERR_UNSUPPORTED) {
            fail_msg("%s", err.message);
        }
        weight_set_free(&model);
        return false;
    }
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(cache, 0, &k, &v, NULL, NULL), GQA_OK);
    return true;
}

static void bits_and_mode_of_every_function(void **state)
{
    (void)state;
    fill_numbers();
    for (int isa = GQA_ISA_SCALAR; isa <= (int)GQA_ISA_NEON; isa++) {
        for (int kind = 0; kind < 3; kind++) { /* cpu f32, cpu bf16, reference */
            const gqa_backend backend = kind == 2 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
            const gqa_numerics numerics = kind == 1 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
            char where[64];
            if (!gqa_isa_available((gqa_isa)isa) || !open_layer((gqa_isa)isa, numerics, backend)) {
                continue;
            }
            snprintf(where, sizeof where, "%s, %s", gqa_isa_name((gqa_isa)isa),
                     kind == 0   ? "f32"
                     : kind == 1 ? "bf16"
                                 : "reference");
            walk(where);
            gqa_cache_destroy(&cache);
            gqa_destroy(&layer);
            weight_set_free(&model);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_is_called),
        cmocka_unit_test(bits_and_mode_of_every_function),
    };
    return RUN_TESTS(argc, argv, tests);
}
