/* test_paths.c - gqa_output.path and gqa_attend_output.path say which way a call took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/parallel.h"
#include "support/rig.h"

enum { KEYS = 1300, B = 2, T = 5 }; /* six fold blocks */

struct expected {
    gqa_path_kind kind;
    gqa_phase phase;
    gqa_cut cut;
    gqa_view view;
};

struct stage_set {
    struct model model;
    gqa_layer *layer;
    gqa_cache *cache;
};

static float numbers[B * KEYS * RIG_HIDDEN];
static float result[B * KEYS * RIG_HQ * RIG_DK];

static void open_set(struct stage_set *set, int window, int chunk, gqa_backend backend, int threads)
{
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_runtime_init(&runtime);
    if (threads > 0) {
        runtime.num_threads = threads;
        runtime.parallel_for = parallel_reversed;
    }
    model_init(&set->model);
    set->model.config.sliding_window = window;
    set->model.config.attention_chunk_size = chunk;
    set->model.config.backend = backend;
    set->model.config.isa = GQA_ISA_SCALAR;
    model_fill(&set->model);
    assert_int_equal(
        gqa_create(&set->layer, &set->model.config, &set->model.weights, &runtime, NULL), GQA_OK);
    gqa_cache_options_init(&options, set->layer);
    options.max_sequences = B + 1;
    options.max_tokens = KEYS + 8;
    set->cache = NULL;
    assert_int_equal(gqa_cache_create(&set->cache, set->layer, &options, NULL), GQA_OK);
    for (int i = 0; i < B * KEYS * RIG_HIDDEN; i++) {
        numbers[i] = (float)(i % 17 - 8) / 8.0f;
    }
}

static void close_set(struct stage_set *set)
{
    gqa_cache_destroy(&set->cache);
    gqa_destroy(&set->layer);
    model_free(&set->model);
}

static void check_path(const struct stage_set *set, const gqa_path *path,
                       const struct expected *want)
{
    assert_int_equal(path->kind, want->kind);
    assert_int_equal(path->phase, want->phase);
    assert_int_equal(path->cut, want->cut);
    assert_int_equal(path->view, want->view);
    assert_int_equal(path->backend, set->model.config.backend);
    assert_int_equal(path->isa, GQA_ISA_SCALAR);
    assert_string_equal(path->kernels, "scalar/f32");
}

/* t tokens of each of the rows; sequences NULL = 0 and 1. */
static void forward(const struct stage_set *set, gqa_cache *cache, int t, gqa_phase phase,
                    const int32_t *sequences, const struct expected *want)
{
    gqa_inputs in;
    gqa_output out;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    memset(&out.path, 0x7e, sizeof out.path);
    in.hidden_states = gqa_tensor_3d(numbers, GQA_F32, B, t, RIG_HIDDEN);
    in.sequences = sequences;
    in.phase = phase;
    out.hidden_states = gqa_tensor_3d(result, GQA_F32, B, t, RIG_HIDDEN);
    assert_int_equal(gqa_forward(set->layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
    check_path(set, &out.path, want);
}

/* Kind by the config; phase by who has a past; view by the cache. */
static void forward_paths(void **state)
{
    static const struct {
        int window, chunk;
        gqa_path_kind kind;
    } kinds[] = {{0, 0, GQA_PATH_STANDARD},
                 {1, 0, GQA_PATH_SLIDING_WINDOW},
                 {7, 0, GQA_PATH_SLIDING_WINDOW},
                 {0, 1, GQA_PATH_CHUNKED},
                 {0, 9, GQA_PATH_CHUNKED}};
    static const int32_t one[B] = {0, -1}, other[B] = {-1, 1}, fresh[B] = {0, 2},
                         none[B] = {-1, -1};
    (void)state;
    for (int backend = GQA_BACKEND_CPU; backend <= GQA_BACKEND_REFERENCE; backend++) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            struct stage_set set;
            struct expected cte = {kinds[i].kind, GQA_PHASE_CTE, GQA_CUT_ROWS, GQA_VIEW_PAGED};
            struct expected tkg = {kinds[i].kind, GQA_PHASE_TKG, GQA_CUT_ROWS, GQA_VIEW_PAGED};
            struct expected call = {kinds[i].kind, GQA_PHASE_CTE, GQA_CUT_ROWS, GQA_VIEW_CALL};
            struct expected forced = {kinds[i].kind, GQA_PHASE_TKG, GQA_CUT_ROWS, GQA_VIEW_CALL};
            open_set(&set, kinds[i].window, kinds[i].chunk, (gqa_backend)backend, 0);
            forward(&set, NULL, T, GQA_PHASE_AUTO, NULL, &call);
            forward(&set, NULL, T, GQA_PHASE_TKG, NULL, &forced);
            forward(&set, set.cache, T, GQA_PHASE_AUTO, one, &cte);   /* the first has no past */
            forward(&set, set.cache, 1, GQA_PHASE_AUTO, NULL, &cte);  /* one of two has one */
            forward(&set, set.cache, 1, GQA_PHASE_AUTO, fresh, &cte); /* the other way round */
            forward(&set, set.cache, 1, GQA_PHASE_AUTO, NULL, &tkg);
            forward(&set, set.cache, 1, GQA_PHASE_CTE, NULL, &cte);
            forward(&set, set.cache, T, GQA_PHASE_AUTO, other,
                    &tkg); /* inactive rows do not count */
            forward(&set, set.cache, T, GQA_PHASE_AUTO, none, &cte);
            close_set(&set);
        }
    }
}

/* The cut: by keys where one token meets many keys and several threads; else by rows. */
static void forward_cuts(void **state)
{
    static const int32_t one[B] = {0, -1};
    struct expected cte = {GQA_PATH_STANDARD, GQA_PHASE_CTE, GQA_CUT_ROWS, GQA_VIEW_PAGED};
    struct expected tkg = {GQA_PATH_STANDARD, GQA_PHASE_TKG, GQA_CUT_ROWS, GQA_VIEW_PAGED};
    (void)state;
    for (int threads = 1; threads <= 8; threads += 7) {
        struct stage_set set;
        open_set(&set, 0, 0, GQA_BACKEND_CPU, threads);
        forward(&set, set.cache, 100, GQA_PHASE_AUTO, one, &cte);
        tkg.cut = GQA_CUT_ROWS; /* one fold block of keys cannot be cut */
        forward(&set, set.cache, 1, GQA_PHASE_AUTO, one, &tkg);
        tkg.cut = threads > 1 ? GQA_CUT_KEYS : GQA_CUT_ROWS;
        /* Its last blocks of tokens are few for 8 threads. */
        forward(&set, set.cache, KEYS - 101, GQA_PHASE_AUTO, one, &tkg);
        forward(&set, set.cache, 1, GQA_PHASE_AUTO, one, &tkg);
        close_set(&set);
    }
}

/* gqa_attend on plain keys and on a cache: T queries, n keys. */
static void attend(const struct stage_set *set, const gqa_cache *cache, int n, gqa_phase phase,
                   const struct expected *want)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    memset(&out.path, 0x7e, sizeof out.path);
    in.query = gqa_tensor_4d(numbers, GQA_F32, 1, T, RIG_HQ, RIG_DK);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(numbers, GQA_F32, 1, n, RIG_HKV, RIG_DK);
        in.value = gqa_tensor_4d(numbers, GQA_F32, 1, n, RIG_HKV, RIG_DV);
    }
    in.phase = phase;
    out.output = gqa_tensor_4d(result, GQA_F32, 1, T, RIG_HQ, RIG_DV);
    assert_int_equal(gqa_attend(set->layer, cache, &in, &out, NULL, 0, NULL), GQA_OK);
    check_path(set, &out.path, want);
}

static void attend_paths(void **state)
{
    (void)state;
    for (int window = 0; window <= 3; window += 3) {
        for (int threads = 1; threads <= 8; threads += 7) {
            gqa_path_kind kind = window > 0 ? GQA_PATH_SLIDING_WINDOW : GQA_PATH_STANDARD;
            gqa_cut cut = threads > 1 && window == 0 ? GQA_CUT_KEYS : GQA_CUT_ROWS;
            struct expected cte = {kind, GQA_PHASE_CTE, GQA_CUT_ROWS, GQA_VIEW_PLAIN};
            struct expected tkg = {kind, GQA_PHASE_TKG, GQA_CUT_ROWS, GQA_VIEW_PLAIN};
            struct expected cut_keys = {kind, GQA_PHASE_TKG, cut, GQA_VIEW_PLAIN};
            struct stage_set set;
            gqa_tensor key, value;
            open_set(&set, window, 0, GQA_BACKEND_CPU, threads);
            attend(&set, NULL, T, GQA_PHASE_AUTO, &cte); /* as many keys as queries: no past */
            attend(&set, NULL, T + 1, GQA_PHASE_AUTO, &tkg);
            attend(&set, NULL, T + 1, GQA_PHASE_CTE, &cte);
            attend(&set, NULL, T, GQA_PHASE_TKG, &tkg);
            attend(&set, NULL, KEYS, GQA_PHASE_AUTO, &cut_keys);
            key = gqa_tensor_3d(numbers, GQA_F32, KEYS, RIG_HKV, RIG_DK);
            value = gqa_tensor_3d(numbers, GQA_F32, KEYS, RIG_HKV, RIG_DV);
            assert_int_equal(gqa_cache_append(set.cache, 0, &key, &value, NULL, NULL), GQA_OK);
            cut_keys.view = GQA_VIEW_PAGED;
            attend(&set, set.cache, KEYS, GQA_PHASE_AUTO, &cut_keys);
            close_set(&set);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_paths),
        cmocka_unit_test(forward_cuts),
        cmocka_unit_test(attend_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
