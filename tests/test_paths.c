/* SPDX-License-Identifier: Apache-2.0 */
/* test_paths.c - gqa_output.path, a table over all combinations: kind (standard, sliding window,
 * chunked), phase (context encoding, token generation), cut (by rows, by keys) and view (a cache's
 * pages, the call's own keys, plain keys).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { DIM = 8, PAST = 600, PROMPT = 300, ALL = PAST + PROMPT, BATCH = 3 };

static float q[BATCH * ALL * DIM], k[BATCH * ALL * DIM], v[BATCH * ALL * DIM];
static float attn[BATCH * ALL * DIM];

/* One call, and what it must report. */
struct way {
    int32_t window, chunk;
    gqa_path_kind kind; /* that follows */
    gqa_phase phase;
    gqa_cut cut;
    gqa_view view;
    gqa_backend backend;
    gqa_phase asked; /* inputs.phase */
};

/* One query head, so that a call has fewer tiles than four threads, and its keys are cut where they
 * span two fold blocks. One thread never cuts them. */
static gqa_layer *open_layer(const struct way *way)
{
    gqa_layer *layer = NULL;
    gqa_config config;
    gqa_runtime runtime;
    gqa_error err;

    config = attention_config(1, 1, DIM, 0);
    config.sliding_window = way->window;
    config.attention_chunk_size = way->chunk;
    config.backend = way->backend;
    skip_refused(&config);
    gqa_runtime_init(&runtime);
    runtime.num_threads = way->cut == GQA_CUT_KEYS ? 4 : 1;
    runtime.parallel_for = way->cut == GQA_CUT_KEYS ? parallel_reversed : NULL;
    if (gqa_create(&layer, &config, NULL, &runtime, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return layer;
}

/* A cache whose sequence b holds past[b] tokens. */
static gqa_cache *open_cache(const gqa_layer *layer, int sequences, const int *past)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;

    gqa_cache_options_init(&options, layer);
    options.max_sequences = sequences;
    options.max_tokens = ALL;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    for (int b = 0; b < sequences; b++) {
        const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, past[b], 1, DIM);
        const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, past[b], 1, DIM);
        assert_int_equal(gqa_cache_append(cache, b, &key, &value, NULL, NULL), GQA_OK);
    }
    return cache;
}

/* gqa_forward of b rows of t tokens. */
static gqa_path forward(const gqa_layer *layer, gqa_cache *cache, gqa_inputs in, int b, int t)
{
    gqa_output out;
    gqa_error err;

    gqa_output_init(&out);
    in.q_proj = gqa_tensor_4d(q, GQA_F32, b, t, 1, DIM);
    in.k_proj = gqa_tensor_4d(k, GQA_F32, b, t, 1, DIM);
    in.v_proj = gqa_tensor_4d(v, GQA_F32, b, t, 1, DIM);
    out.attn = gqa_tensor_4d(attn, GQA_F32, b, t, 1, DIM);
    memset(&out.path, 0x5a, sizeof out.path);
    if (gqa_forward(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return out.path;
}

/* gqa_attend of b rows of t queries on the cache, or on n plain keys. */
static gqa_path attend(const gqa_layer *layer, const gqa_cache *cache, gqa_attend_inputs in, int b,
                       int t, int n)
{
    gqa_attend_output out;
    gqa_error err;

    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(q, GQA_F32, b, t, 1, DIM);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(k, GQA_F32, b, n, 1, DIM);
        in.value = gqa_tensor_4d(v, GQA_F32, b, n, 1, DIM);
    }
    out.output = gqa_tensor_4d(attn, GQA_F32, b, t, 1, DIM);
    memset(&out.path, 0x5a, sizeof out.path);
    if (gqa_attend(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return out.path;
}

/* Token generation is one token after PAST; context encoding is PROMPT tokens of an empty sequence.
 * A call without a cache has no past: there the phase is asked for. */
static gqa_path run(const gqa_layer *layer, const struct way *way)
{
    const int past[1] = {way->phase == GQA_PHASE_TKG ? PAST : 0};
    const int t = way->phase == GQA_PHASE_TKG ? 1 : PROMPT;
    gqa_cache *cache = NULL;
    gqa_inputs in;
    gqa_attend_inputs alone;
    gqa_path path;

    gqa_inputs_init(&in);
    in.phase = way->asked;
    gqa_attend_inputs_init(&alone);
    alone.phase = way->asked;
    if (way->view == GQA_VIEW_PLAIN) {
        return attend(layer, NULL, alone, 1, t, past[0] + t);
    }
    if (way->view == GQA_VIEW_CALL) {
        return forward(layer, NULL, in, 1, PROMPT);
    }
    cache = open_cache(layer, 1, past);
    path = forward(layer, cache, in, 1, t);
    gqa_cache_destroy(&cache);
    return path;
}

static int check(const struct way *way)
{
    gqa_layer *layer = open_layer(way);
    const gqa_path path = run(layer, way);
    const bool right =
        path.kind == way->kind && path.phase == way->phase && path.cut == way->cut &&
        path.view == way->view && path.backend == way->backend &&
        path.isa == gqa_layer_isa(layer) &&
        strncmp(path.kernels, gqa_isa_name(path.isa), strlen(gqa_isa_name(path.isa))) == 0;

    if (!right) {
        print_error("window %d, chunk %d: kind %d, phase %d, cut %d, view %d, backend %d, not %d, "
                    "%d, %d, %d, %d; row %s\n",
                    way->window, way->chunk, (int)path.kind, (int)path.phase, (int)path.cut,
                    (int)path.view, (int)path.backend, (int)way->kind, (int)way->phase,
                    (int)way->cut, (int)way->view, (int)way->backend, path.kernels);
    }
    gqa_destroy(&layer);
    return right ? 0 : 1;
}

/* Windows and chunks that let rows see more than one fold block. With both it is chunked. */
static const struct {
    int32_t window, chunk;
    gqa_path_kind kind;
} rules[] = {{0, 0, GQA_PATH_STANDARD},
             {500, 0, GQA_PATH_SLIDING_WINDOW},
             {0, 2000, GQA_PATH_CHUNKED},
             {500, 2000, GQA_PATH_CHUNKED}};

enum { RULES = sizeof rules / sizeof rules[0] };

static void every_combination(void **state)
{
    int bad = 0, count = 0;

    (void)state;
    for (int i = 0; i < RULES; i++) {
        for (int phase = GQA_PHASE_CTE; phase <= GQA_PHASE_TKG; phase++) {
            for (int cut = GQA_CUT_ROWS; cut <= GQA_CUT_KEYS; cut++) {
                for (int view = GQA_VIEW_PAGED; view <= GQA_VIEW_PLAIN; view++) {
                    const bool asks = view == GQA_VIEW_CALL;
                    const struct way way = {
                        rules[i].window, rules[i].chunk,
                        rules[i].kind,   (gqa_phase)phase,
                        (gqa_cut)cut,    (gqa_view)view,
                        GQA_BACKEND_CPU, asks ? (gqa_phase)phase : GQA_PHASE_AUTO};
                    bad += check(&way);
                    count++;
                }
            }
        }
    }
    print_message("%d combinations\n", count);
    assert_int_equal(bad, 0);
}

/* It never cuts keys, whatever the threads. */
static void backend_reference(void **state)
{
    int bad = 0;

    (void)state;
    for (int i = 0; i < RULES; i++) {
        for (int view = GQA_VIEW_PAGED; view <= GQA_VIEW_PLAIN; view++) {
            const struct way way = {rules[i].window,       rules[i].chunk, rules[i].kind,
                                    GQA_PHASE_CTE,         GQA_CUT_ROWS,   (gqa_view)view,
                                    GQA_BACKEND_REFERENCE, GQA_PHASE_AUTO};
            bad += check(&way);
        }
    }
    assert_int_equal(bad, 0);
}

/* Keys are cut where they span two fold blocks that the row sees, not where they are many. */
static void cut_needs_two_blocks(void **state)
{
    const struct way way = {.window = 40, .cut = GQA_CUT_KEYS, .backend = GQA_BACKEND_CPU};
    const int past[1] = {PAST};
    gqa_layer *layer = open_layer(&way);
    gqa_cache *cache = open_cache(layer, 1, past);
    gqa_inputs in;

    (void)state;
    gqa_inputs_init(&in);
    assert_int_equal(forward(layer, cache, in, 1, 1).cut, GQA_CUT_ROWS); /* keys 561 to 600 */
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
}

/* The call is token generation when every active row has a past. */
static void phase_of_a_batch(void **state)
{
    static const int32_t without_empty[BATCH] = {0, 1, -1}, none[BATCH] = {-1, -1, -1};
    static const int past[BATCH] = {3, 4, 0};
    const struct way way = {.backend = GQA_BACKEND_CPU};
    gqa_layer *layer = open_layer(&way);
    gqa_cache *cache = open_cache(layer, BATCH, past);
    gqa_inputs in;

    (void)state;
    gqa_inputs_init(&in);
    in.sequences = without_empty;
    assert_int_equal(forward(layer, cache, in, BATCH, 1).phase, GQA_PHASE_TKG);
    in.sequences = none;
    assert_int_equal(forward(layer, cache, in, BATCH, 1).phase, GQA_PHASE_CTE);
    in.sequences = NULL;
    assert_int_equal(forward(layer, cache, in, BATCH, 1).phase, GQA_PHASE_CTE);
    assert_int_equal(forward(layer, cache, in, BATCH, 1).phase, GQA_PHASE_TKG); /* all have one */
    in.phase = GQA_PHASE_CTE;
    assert_int_equal(forward(layer, cache, in, BATCH, 1).phase, GQA_PHASE_CTE);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
}

/* The same for gqa_attend on a cache, whose last tokens are the queries. */
static void phase_of_a_batch_of_attend(void **state)
{
    static const int32_t without_short[BATCH] = {0, -1, 2}, none[BATCH] = {-1, -1, -1};
    static const int past[BATCH] = {3, 1, 4};
    const struct way way = {.backend = GQA_BACKEND_CPU};
    gqa_layer *layer = open_layer(&way);
    gqa_cache *cache = open_cache(layer, BATCH, past);
    gqa_attend_inputs in;

    (void)state;
    gqa_attend_inputs_init(&in);
    assert_int_equal(attend(layer, cache, in, BATCH, 1, 0).phase, GQA_PHASE_CTE);
    in.sequences = without_short;
    assert_int_equal(attend(layer, cache, in, BATCH, 1, 0).phase, GQA_PHASE_TKG);
    assert_int_equal(attend(layer, cache, in, BATCH, 1, 0).view, GQA_VIEW_PAGED);
    in.phase = GQA_PHASE_CTE;
    assert_int_equal(attend(layer, cache, in, BATCH, 1, 0).phase, GQA_PHASE_CTE);
    in.phase = GQA_PHASE_TKG;
    in.sequences = none;
    assert_int_equal(attend(layer, cache, in, BATCH, 1, 0).phase, GQA_PHASE_CTE);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
}

/* Keys are cut only where rows alone leave a thread without work: two sequences are two tiles. If
 * only one of them is long, two threads are enough to cut it. */
static void tiles_and_threads(void **state)
{
    static const int pasts[2][2] = {{PAST, PAST}, {1, PAST}};
    (void)state;
    for (int i = 0; i < 6; i++) {
        const int threads = 1 + i % 3, mixed = i / 3;
        gqa_layer *layer = NULL;
        gqa_config config;
        gqa_runtime runtime;
        gqa_inputs in;
        config = attention_config(1, 1, DIM, 0);
        skip_refused(&config);
        gqa_runtime_init(&runtime);
        runtime.num_threads = threads;
        runtime.parallel_for = parallel_reversed;
        assert_int_equal(gqa_create(&layer, &config, NULL, &runtime, NULL), GQA_OK);
        gqa_cache *cache = open_cache(layer, 2, pasts[mixed]);
        gqa_inputs_init(&in);
        const gqa_path path = forward(layer, cache, in, 2, 1);
        assert_int_equal(path.cut, threads > 2 - mixed ? GQA_CUT_KEYS : GQA_CUT_ROWS);
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_and_threads), cmocka_unit_test(every_combination),
        cmocka_unit_test(backend_reference), cmocka_unit_test(cut_needs_two_blocks),
        cmocka_unit_test(phase_of_a_batch),  cmocka_unit_test(phase_of_a_batch_of_attend),
    };

    return RUN_TESTS(argc, argv, tests);
}
