/* SPDX-License-Identifier: Apache-2.0 */
/* test_stack.c - how deep the library's stack grows: under 16 KB in every public function, on every
 * kernel set. Calls run on a thread whose stack has 24 KB above a page without access and is filled
 * with a pattern; what is left of the pattern tells the depth.
 *
 * Compilers that do not optimise, and sanitizers, keep every variable in a place of its own: there
 * the depths are measured on a larger stack, and not judged.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/program.h"
#include "support/small_layer.h"

#include "gqa/gqa.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(undefined_behavior_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#endif
#if defined __OPTIMIZE__ && !defined SANITIZED
enum { STACK = 24 << 10, MOST = 16 << 10, JUDGED = 1 };
#else
enum { STACK = 1 << 20, MOST = 0, JUDGED = 0 };
#endif

enum { TOKENS = 300, HQ = 4, HKV = 2, D = 512, HIDDEN = 192, PATTERN = 0xa5 };

/* --- what is called --------------------------------------------------------------------------- */

/* One layer and the memory of its calls; made on the main thread, used on the small one. */
struct calls {
    gqa_isa isa;
    gqa_numerics numerics;
    gqa_backend backend;
    gqa_weight_storage storage;
    bool in_place;
    gqa_status status;   /* the first that is not GQA_OK */
    char step[64];       /* of it */
    gqa_layer *windowed; /* no projections, rows see 20 keys */
    struct weight_set model;
    float *x, *y, *k; /* [TOKENS][the widest row] */
    uint16_t *halves; /* as many */
    uint8_t *mask;    /* [TOKENS][TOKENS] */
};

static void note(struct calls *set, gqa_status status, const char *step)
{
    if (status != GQA_OK && set->status == GQA_OK) {
        set->status = status;
        snprintf(set->step, sizeof set->step, "%s", step);
    }
}

static void prefill_and_decode(struct calls *set, const gqa_layer *layer, gqa_cache *cache)
{
    const int32_t tokens[] = {TOKENS, 1, 3, 20, 40};
    const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};

    for (int i = 0; i < 15; i++) {
        const int32_t t = tokens[i % 5];
        const gqa_dtype dtype = dtypes[i % 3];
        void *const x = dtype == GQA_F32 ? (void *)set->x : (void *)set->halves;
        gqa_inputs in;
        gqa_output out;
        gqa_error err;

        gqa_inputs_init(&in);
        gqa_output_init(&out);
        in.hidden_states = gqa_tensor_3d(x, dtype, 1, t, HIDDEN);
        out.hidden_states = gqa_tensor_3d(set->y, GQA_F32, 1, t, HIDDEN);
        if (i >= 10) {
            in.mask = gqa_tensor_4d(set->mask, GQA_U8, 1, 1, t, TOKENS + 400);
        }
        note(set, gqa_cache_truncate(cache, 0, i < 5 ? 0 : TOKENS, &err), "gqa_cache_truncate");
        note(set, gqa_forward(layer, cache, &in, &out, NULL, 0, &err), "gqa_forward");
        in.hidden_states.shape[2] = HIDDEN - 1; /* refused, with a message */
        if (gqa_forward(layer, cache, &in, &out, NULL, 0, &err) == GQA_OK) {
            note(set, GQA_ERR_ARG, "a wrong shape is taken");
        }
        if (i == 4) { /* longer than a fold block, for what follows */
            gqa_inputs_init(&in);
            in.hidden_states = gqa_tensor_3d(set->x, GQA_F32, 1, TOKENS, HIDDEN);
            out.hidden_states = gqa_tensor_3d(set->y, GQA_F32, 1, TOKENS, HIDDEN);
            gqa_cache_truncate(cache, 0, 0, NULL);
            note(set, gqa_forward(layer, cache, &in, &out, NULL, 0, &err), "again");
        }
    }
}

/* A health report of a call, and the host's own blocks, written and read. */
static void blocks_and_health(struct calls *set, const gqa_layer *layer)
{
    static const int32_t table[2] = {1, 0};
    const gqa_block_order orders[] = {GQA_BLOCKS_HEADS, GQA_BLOCKS_TOKENS, GQA_BLOCKS_TURNED};
    const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};
    int32_t lengths[1];
    gqa_error err;

    for (int i = 0; i < 9 * 2; i++) {
        const gqa_dtype dtype = dtypes[i % 3];
        void *const data = dtype == GQA_F32 ? (void *)set->k : (void *)set->halves;
        static gqa_inputs in; /* no stack of the library's */
        static gqa_output out;
        static gqa_attend_inputs read;
        static gqa_attend_output attended;
        static gqa_block_kv blocks;
        static gqa_health health;

        gqa_block_kv_init(&blocks);
        gqa_health_init(&health);
        gqa_inputs_init(&in);
        gqa_output_init(&out);
        gqa_attend_inputs_init(&read);
        gqa_attend_output_init(&attended);
        blocks.key = gqa_blocks_of(data, dtype, orders[i / 3 % 3], 2, HKV, 64, D);
        blocks.value = blocks.key;
        blocks.value.data = (char *)data + (size_t)2 * HKV * 64 * D * (dtype == GQA_F32 ? 4 : 2);
        blocks.block_table = table;
        blocks.max_blocks = 2;
        blocks.lengths = lengths;
        lengths[0] = 60;
        in.hidden_states = gqa_tensor_3d(set->x, GQA_F32, 1, 20, HIDDEN);
        in.blocks = &blocks;
        out.hidden_states = gqa_tensor_3d(set->y, GQA_F32, 1, 20, HIDDEN);
        out.health = i < 9 ? &health : NULL;
        note(set, gqa_forward(layer, NULL, &in, &out, NULL, 0, &err), "gqa_forward on blocks");
        lengths[0] = 80;
        read.query = gqa_tensor_4d(set->x, GQA_F32, 1, 2, HQ, D);
        read.blocks = &blocks;
        attended.output = gqa_tensor_4d(set->y, GQA_F32, 1, 2, HQ, D);
        attended.health = out.health;
        note(set, gqa_attend(layer, NULL, &read, &attended, NULL, 0, &err), "gqa_attend on blocks");
    }
}

/* A call on a ring: tokens leave, others come. */
static void ring_call(struct calls *set, const gqa_layer *layer, gqa_cache *cache)
{
    static gqa_inputs in; /* no stack of the library's */
    static gqa_output out;
    gqa_error err;

    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.q_proj = gqa_tensor_4d(set->x, GQA_F32, 1, 20, HQ, D);
    in.k_proj = gqa_tensor_4d(set->k, GQA_F32, 1, 20, HKV, D);
    in.v_proj = in.k_proj;
    out.attn = gqa_tensor_4d(set->y, GQA_F32, 1, 20, HQ, D);
    note(set, gqa_forward(layer, cache, &in, &out, NULL, 0, &err), "gqa_forward on a ring");
}

/* The caches of a model of two layers, the second one's a ring; its sequences moved about. */
static void model_caches(struct calls *set, const gqa_layer *layer, const gqa_layer *windowed)
{
    static unsigned char bytes[1 << 21];
    static gqa_model_cache_options options;
    const gqa_layer *const layers[2] = {layer, windowed};
    const int32_t sequence[1] = {0}, more[1] = {20}, kept[1] = {1};
    gqa_model_cache *model = NULL;
    gqa_error err;
    size_t size = 0;

    gqa_model_cache_options_init(&options);
    options.num_layers = 2;
    options.max_sequences = 2;
    options.max_tokens = TOKENS;
    options.call_tokens = 20;
    options.layers = layers;
    note(set, gqa_model_cache_create(&model, &options, &err), "gqa_model_cache_create");
    for (int i = 0; i < 9 && model != NULL; i++) {
        const gqa_tensor k = gqa_tensor_3d(set->k, GQA_F32, 20, HKV, D);
        note(set, gqa_model_cache_room(model, sequence, more, 1, &err), "gqa_model_cache_room");
        note(set, gqa_cache_append(gqa_model_cache_layer(model, 0), 0, &k, &k, NULL, &err),
             "gqa_cache_append to a layer");
        ring_call(set, windowed, gqa_model_cache_layer(model, 1));
    }
    note(set, gqa_model_cache_fork(model, 0, 1, &err), "gqa_model_cache_fork");
    note(set, gqa_model_cache_keep(model, 1, 2, kept, 1, &err), "gqa_model_cache_keep");
    note(set, gqa_model_cache_truncate(model, 1, 0, &err), "gqa_model_cache_truncate");
    note(set, gqa_model_cache_copy(model, 1, model, 0, 0, &err), "gqa_model_cache_copy");
    note(set, gqa_model_cache_truncate(model, 1, 0, &err), "gqa_model_cache_truncate again");
    note(set, gqa_model_cache_save_size(model, 0, &size, &err), "gqa_model_cache_save_size");
    size = size < sizeof bytes ? size : 0;
    note(set, gqa_model_cache_save(model, 0, bytes, size, &err), "gqa_model_cache_save");
    note(set, gqa_model_cache_load(model, 1, bytes, size, 0, &err), "gqa_model_cache_load");
    gqa_model_cache_destroy(&model);
}

/* Plain keys of three formats, values that are not finite, parts, merge and finish. */
static void attend(struct calls *set, const gqa_layer *layer)
{
    const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};
    float *const m = set->y, *const l = m + 2 * HQ, *const o = l + 2 * HQ;
    gqa_error err;

    for (int i = 0; i < 6; i++) {
        const gqa_dtype dtype = dtypes[i % 3];
        void *const k = dtype == GQA_F32 ? (void *)set->k : (void *)set->halves;
        gqa_attend_inputs in;
        gqa_attend_output out;
        gqa_states states[2], merged;
        const gqa_states *const both[2] = {&states[0], &states[1]};

        set->k[HKV * D * 5 + 3] = i >= 3 ? INFINITY : 1.0f;
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        in.query = gqa_tensor_4d(set->x, GQA_F32, 1, 2, HQ, D);
        in.key = gqa_tensor_4d(k, dtype, 1, TOKENS, HKV, D);
        in.value = in.key;
        for (int part = 0; part < 2; part++) {
            float *const at = o + 2 * HQ * D + part * 2 * HQ * (D + 2);
            in.range_begin = part * 256;
            in.range_end = part == 0 ? 256 : 0;
            out.states.m = gqa_tensor_3d(at, GQA_F32, 1, 2, HQ);
            out.states.l = gqa_tensor_3d(at + 2 * HQ, GQA_F32, 1, 2, HQ);
            out.states.o = gqa_tensor_4d(at + 4 * HQ, GQA_F32, 1, 2, HQ, D);
            note(set, gqa_attend(layer, NULL, &in, &out, NULL, 0, &err), "gqa_attend");
            states[part] = out.states;
        }
        merged = states[0];
        merged.m.data = m;
        merged.l.data = l;
        merged.o.data = o;
        note(set, gqa_merge_states(both, 2, &merged, &err), "gqa_merge_states");
        out.output = gqa_tensor_4d(set->halves, GQA_BF16, 1, 2, HQ, D);
        out.lse = gqa_tensor_3d(set->x, GQA_F32, 1, 2, HQ);
        note(set, gqa_finish_states(layer, &merged, GQA_PHASE_AUTO, 0, &out.output, &out.lse, &err),
             "gqa_finish_states");
    }
}

static void stages(struct calls *set, const gqa_layer *layer)
{
    static const int32_t positions[3] = {0, 5, 70000};
    float *const rows = set->y;
    const gqa_tensor x = gqa_tensor_2d(set->x, GQA_F32, 3, HIDDEN);
    const gqa_tensor y = gqa_tensor_2d(rows, GQA_F32, 3, HIDDEN);
    const gqa_tensor half = gqa_tensor_2d(set->halves, GQA_F16, 3, HIDDEN);
    const gqa_tensor q = gqa_tensor_3d(rows + 4 * D, GQA_F32, 3, HQ, D);
    const gqa_tensor k = gqa_tensor_3d(rows + 20 * D, GQA_F32, 3, HKV, D);
    const gqa_tensor v = gqa_tensor_3d(rows + 30 * D, GQA_F32, 3, HKV, D);
    const gqa_tensor c = gqa_tensor_2d(rows + 40 * D, GQA_F32, 3, D / 2);
    const gqa_tensor s = gqa_tensor_2d(rows + 45 * D, GQA_F32, 3, D / 2);
    static double frequencies[D / 2];
    gqa_error err;

    note(set, gqa_stage_input_norm(layer, &x, NULL, NULL, &y, &err), "gqa_stage_input_norm");
    note(set, gqa_stage_qkv(layer, &y, &q, &k, &v, NULL, &err), "gqa_stage_qkv");
    note(set, gqa_stage_clip(layer, &q, &k, &v, &err), "gqa_stage_clip");
    note(set, gqa_stage_qk_norm(layer, GQA_QK_NORM_PRE_ROPE, &q, &k, &err), "gqa_stage_qk_norm");
    note(set, gqa_rope_frequencies(layer, 0, frequencies, NULL, &err), "gqa_rope_frequencies");
    note(set, gqa_stage_rope_table(layer, positions, 1, 0, &c, &s, &err), "gqa_stage_rope_table");
    note(set, gqa_stage_rope(layer, &c, &s, &q, &err), "gqa_stage_rope");
    note(set, gqa_stage_query_temperature(layer, positions, &q, &err), "gqa_stage_temperature");
    note(set, gqa_stage_output_projection(layer, &q, &y, &err), "gqa_stage_output_projection");
    note(set, gqa_stage_output(layer, &y, &x, &y, &err), "gqa_stage_output");
    note(set, gqa_convert(&x, &half, &err), "gqa_convert");
    note(set, gqa_convert(&half, &y, &err), "gqa_convert back");
}

/* The seven tokens of sequence 0 forked, kept, saved, loaded, and copied in both ways: page by page
 * within the cache, and token by token to pages of another size. */
/* storage: of the cache; F32: its own default. */
static void sequences(struct calls *set, const gqa_layer *layer, gqa_cache *cache,
                      gqa_dtype storage)
{
    static unsigned char bytes[1 << 17];
    const int32_t kept[2] = {1, 5};
    gqa_cache *other = NULL;
    gqa_cache_options options;
    size_t size = 0;
    gqa_error err;

    note(set, gqa_cache_fork(cache, 0, 1, &err), "gqa_cache_fork");
    note(set, gqa_cache_keep(cache, 1, 7, kept, 2, &err), "gqa_cache_keep");
    note(set, gqa_cache_save_size(cache, 0, &size, &err), "gqa_cache_save_size");
    size = size < sizeof bytes ? size : 0;
    note(set, gqa_cache_save(cache, 0, bytes, size, &err), "gqa_cache_save");
    note(set, gqa_cache_load(cache, 2, bytes, size, 0, &err), "gqa_cache_load");
    note(set, gqa_cache_truncate(cache, 1, 0, &err), "gqa_cache_truncate");
    note(set, gqa_cache_copy(cache, 1, cache, 0, 0, &err), "gqa_cache_copy");
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 16;
    options.page_size = 16;
    options.dtype_k = storage != GQA_F32 ? storage : options.dtype_k;
    options.dtype_v = storage != GQA_F32 ? storage : options.dtype_v;
    note(set, gqa_cache_create(&other, layer, &options, &err), "gqa_cache_create");
    note(set, gqa_cache_copy(other, 0, cache, 0, 1, &err), "gqa_cache_copy to other pages");
    note(set, gqa_cache_truncate(other, 0, 0, &err), "gqa_cache_truncate of all");
    note(set, gqa_cache_load(other, 0, bytes, size, 1, &err), "gqa_cache_load, converted");
    gqa_cache_destroy(&other);
}

/* Caches of the types that are quantised: appended to, attended to, saved and loaded. */
static void quantised(struct calls *set, const gqa_layer *layer)
{
    static const gqa_dtype types[] = {GQA_I8, GQA_I4, GQA_E4M3, GQA_I4};
    gqa_error err;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        gqa_cache *cache = NULL;
        gqa_cache_options options;
        gqa_cache_options_init(&options, layer);
        options.max_sequences = 3;
        options.max_tokens = TOKENS + 400;
        options.dtype_k = options.dtype_v = types[i];
        options.rotate_k = options.rotate_v = i == 3; /* other codes: copies are converted */
        note(set, gqa_cache_create(&cache, layer, &options, &err), "gqa_cache_create quantised");
        if (cache != NULL) {
            prefill_and_decode(set, layer, cache);
            note(set, gqa_cache_truncate(cache, 0, 9, &err), "gqa_cache_truncate quantised");
            sequences(set, layer, cache, types[i]);
        }
        gqa_cache_destroy(&cache);
    }
}

static void *run(void *arg)
{
    struct calls *const set = arg;
    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_error err;

    note(set, gqa_create(&layer, &set->model.config, &set->model.weights, NULL, &err),
         "gqa_create");
    if (layer != NULL) {
        gqa_cache_options_init(&options, layer);
        options.max_sequences = 3;
        options.max_tokens = TOKENS + 400;
        note(set, gqa_cache_create(&cache, layer, &options, &err), "gqa_cache_create");
    }
    if (cache != NULL) {
        gqa_tensor k = gqa_tensor_3d(set->k, GQA_F32, HKV, TOKENS, D);
        prefill_and_decode(set, layer, cache);
        note(set, gqa_cache_read(cache, 0, 0, &k, &k, NULL, &err), "gqa_cache_read");
        k = gqa_tensor_3d(set->k, GQA_F32, 7, HKV, D);
        note(set, gqa_cache_truncate(cache, 0, 0, &err), "gqa_cache_truncate");
        note(set, gqa_cache_append(cache, 0, &k, &k, NULL, &err), "gqa_cache_append");
        sequences(set, layer, cache, GQA_F32);
        quantised(set, layer);
        model_caches(set, layer, set->windowed);
        blocks_and_health(set, layer);
        attend(set, layer);
        stages(set, layer);
    }
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return NULL;
}

/* --- the small stack ---------------------------------------------------------------------------
 */

static void *nothing(void *arg)
{
    return arg;
}

/* Bytes of stack that body(arg) used on a thread of its own, of about `room`. */
static size_t depth(void *(*body)(void *), void *arg, size_t room)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t own = (room + page - 1) / page * page;
    unsigned char *const map =
        mmap(NULL, own + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attr;
    pthread_t thread;
    size_t unused = 0;

    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map, page, PROT_NONE), 0);
    memset(map + page, PATTERN, own);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstack(&attr, map + page, own), 0);
    assert_int_equal(pthread_create(&thread, &attr, body, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    while (unused < own && map[page + unused] == PATTERN) {
        unused++;
    }
    munmap(map, own + page);
    return own - unused;
}

static void edit(gqa_config *config, const struct calls *set)
{
    config->hidden_size = HIDDEN;
    config->num_attention_heads = HQ;
    config->num_key_value_heads = HKV;
    config->head_dim = D;
    config->v_head_dim = 0;
    config->input_norm = GQA_NORM_RMS;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->add_residual = 1;
    config->isa = set->isa;
    config->numerics = set->numerics;
    config->backend = set->backend;
    config->weight_storage = set->storage;
    config->reference_f64 = set->backend == GQA_BACKEND_REFERENCE; /* without OpenBLAS's stack */
}

static void fill_model(struct calls *set)
{
    small_set_init(&set->model);
    edit(&set->model.config, set);
    weight_set_fill(&set->model);
    set->model.weights.in_place = set->in_place;
}

static void fill(struct calls *set)
{
    const size_t n = (size_t)(TOKENS + 8) * HQ * D;

    set->x = calloc(n, sizeof *set->x);
    set->y = calloc(n, sizeof *set->y);
    set->k = calloc(n, sizeof *set->k);
    set->halves = calloc(n, sizeof *set->halves);
    set->mask = malloc((size_t)TOKENS * (TOKENS + 400));
    assert_true(set->x != NULL && set->y != NULL && set->k != NULL && set->halves != NULL &&
                set->mask != NULL);
    for (size_t i = 0; i < n; i++) {
        set->x[i] = (float)(i % 101) / 101.0f - 0.5f;
        set->k[i] = (float)(i % 89) / 89.0f - 0.5f;
        set->halves[i] = (uint16_t)(0x3c00u + i % 64); /* near 1, whatever the format */
    }
    memset(set->mask, 1, (size_t)TOKENS * (TOKENS + 400));
    fill_model(set);
}

static gqa_layer *windowed_layer(const struct calls *set)
{
    gqa_config config = attention_config(HQ, HKV, D, D);
    config.sliding_window = 20;
    config.isa = set->isa;
    config.numerics = set->numerics;
    config.backend = set->backend;
    config.reference_f64 = set->backend == GQA_BACKEND_REFERENCE;
    return attention_layer(&config, NULL);
}

static void check_set(struct calls *set, const char *name, size_t least)
{
    size_t used;

    fill(set);
    set->windowed = windowed_layer(set);
    used = depth(run, set, STACK + least) - least;
    printf("%s%s%s: %zu bytes of stack\n", name, set->in_place ? ", in place" : "",
           set->storage == GQA_WEIGHT_STORAGE_INT8 ? ", int8" : "", used);
    if (set->status != GQA_OK) {
        print_error("%s: %s\n", set->step, gqa_status_string(set->status));
    }
    assert_int_equal(set->status, GQA_OK);
    if (JUDGED) {
        assert_true(used < MOST);
    }
    gqa_destroy(&set->windowed);
    weight_set_free(&set->model);
    free(set->x);
    free(set->y);
    free(set->k);
    free(set->halves);
    free(set->mask);
}

static void under_16_kb(void **state)
{
    static const struct {
        gqa_isa isa;
        const char *name;
    } sets[] = {{GQA_ISA_SCALAR, "scalar"},
                {GQA_ISA_AVX2, "avx2"},
                {GQA_ISA_AVX512, "avx512"},
                {GQA_ISA_AMX, "amx"},
                {GQA_ISA_NEON, "neon"}};
    const size_t least = depth(nothing, NULL, 1 << 20); /* what glibc puts there itself */
    (void)state;

    for (size_t i = 0; i < 2 * sizeof sets / sizeof *sets; i++) {
        for (int way = 0; way < 3; way++) {
            struct calls set = {.isa = sets[i / 2].isa,
                                .numerics = i % 2 == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16,
                                .storage =
                                    way == 1 ? GQA_WEIGHT_STORAGE_INT8 : GQA_WEIGHT_STORAGE_NATIVE,
                                .in_place = way == 2};
            char name[32];
            gqa_layer *layer = NULL;
            gqa_status status;

            fill_model(&set);
            status = gqa_create(&layer, &set.model.config, &set.model.weights, NULL, NULL);
            gqa_destroy(&layer);
            weight_set_free(&set.model);
            snprintf(name, sizeof name, "%s %s", sets[i / 2].name, i % 2 == 0 ? "f32" : "bf16");
            if (status == GQA_ERR_UNSUPPORTED) {
                printf("%s: not on this machine\n", name);
                break;
            }
            check_set(&set, name, least);
        }
    }
    struct calls reference = {.backend = GQA_BACKEND_REFERENCE};
    check_set(&reference, "reference, f64", least);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(under_16_kb)};

    return RUN_TESTS(argc, argv, tests);
}
