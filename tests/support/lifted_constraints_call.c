/* SPDX-License-Identifier: Apache-2.0 */
/* lifted_constraints_call.c - lifted constraints on masks and the other inputs and outputs of a
 * call. */
#include "support/constraints.h"
#include "support/forced_isa.h"
#include "support/lifted_constraints.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

static float a[T * WIDTH], b[T * WIDTH], c[T * WIDTH];

/* --- configs -----------------------------------------------------------------------------------
 */

static void window_and_chunk(gqa_config *config)
{
    with_window(config);
    with_chunk(config);
}

static void window_interleaved(gqa_config *config)
{
    with_window(config);
    config->rope = GQA_ROPE_INTERLEAVED;
}

static void rms(gqa_config *config)
{
    config->input_norm = GQA_NORM_RMS;
}

static void window_rms(gqa_config *config)
{
    with_window(config);
    rms(config);
}

static void sinks(gqa_config *config)
{
    config->learned_sinks_size = 1;
}

static void mrope(gqa_config *config)
{
    config->mrope = GQA_MROPE_SECTIONS;
    config->mrope_sections[0] = 2;
    config->mrope_sections[1] = 2;
    config->mrope_sections[2] = 1;
}

/* --- masks -------------------------------------------------------------------------------------
 */

/* A token tree behind 5 tokens: tokens 1 and 2 are both children of token 0. Each branch is what it
 * is when it runs alone. */
static void tree(void (*edit)(gqa_config *))
{
    static const uint8_t parents[9] = {1, 0, 0, 1, 1, 0, 1, 0, 1};
    const int32_t positions[3] = {5, 6, 6};
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, edit);
    lifted_run(&small, NULL, 1, 5, small.x, a);
    gqa_inputs_init(&in);
    in.position_ids = positions;
    in.active_mask = gqa_tensor_3d(parents, GQA_U8, 1, 3, 3);
    lifted_run(&small, &in, 1, 3, small.x + 5 * WIDTH, a);
    gqa_cache_truncate(small.cache, 0, 5, NULL);
    lifted_run(&small, NULL, 1, 2, small.x + 5 * WIDTH, b); /* tokens 0 and 1 */
    lifted_same(a, b, 2);
    gqa_cache_truncate(small.cache, 0, 6, NULL);
    lifted_run(&small, NULL, 1, 1, small.x + 7 * WIDTH, b); /* token 2 after token 0 */
    lifted_close(a + 2 * WIDTH, b, 1);
    small_layer_close(&small);
}

static void tree_of_tokens(void)
{
    tree(NULL);
}

static void tree_in_window(void)
{
    tree(with_window);
}

/* Chunks of 4: after 6 tokens a step of 3 crosses the border at 8. Two of them are accepted, and
 * the next step of 3 begins in the new chunk. */
static void speculation_in_chunk(void)
{
    const int single[6] = {6, 7, 8, 9, 10, T};
    struct small_layer small;
    lifted_pieces(with_chunk, single, 6, a);
    small_layer_open(&small, with_chunk);
    lifted_run(&small, NULL, 1, 6, small.x, b);
    lifted_run(&small, NULL, 1, 3, small.x + 6 * WIDTH, b + 6 * WIDTH);
    lifted_same(a + 6 * WIDTH, b + 6 * WIDTH, 3);
    gqa_cache_truncate(small.cache, 0, 8, NULL);
    lifted_run(&small, NULL, 1, 3, small.x + 8 * WIDTH, b + 8 * WIDTH);
    lifted_same(a, b, T);
    small_layer_close(&small);
    lifted_whole(NULL, NULL, c);
    assert_true(lifted_differs(a, c, T)); /* the chunk acts */
    tree(with_chunk);
}

/* past tokens, then T - past with a mask that hides column `hidden`. Returns whether row `row` of
 * the second call, which sees that column otherwise, comes out differently. */
static bool mask_acts(void (*edit)(gqa_config *), int past, int hidden, int row)
{
    uint8_t mask[T * T];
    struct small_layer small;
    gqa_inputs in;
    int t = T - past;
    lifted_whole(edit, NULL, a);
    small_layer_open(&small, edit);
    if (past > 0) {
        lifted_run(&small, NULL, 1, past, small.x, b);
    }
    memset(mask, 1, sizeof mask);
    for (int i = 0; i < t; i++) {
        mask[i * T + hidden] = 0;
    }
    gqa_inputs_init(&in);
    in.mask = gqa_tensor_4d(mask, GQA_U8, 1, 1, t, T);
    lifted_run(&small, &in, 1, t, small.x + past * WIDTH, b);
    small_layer_close(&small);
    return lifted_differs(a + (past + row) * WIDTH, b + row * WIDTH, 1);
}

static void mask_in_prefill(void)
{
    assert_true(mask_acts(NULL, 0, 1, T - 1));
    assert_true(mask_acts(with_window, 0, T - 2, T - 1));
    assert_true(mask_acts(with_chunk, 0, 8, T - 1));
    assert_false(mask_acts(NULL, 0, T - 1, T - 2)); /* what a row does not see changes nothing */
}

static void mask_over_active_tokens(void)
{
    assert_true(mask_acts(NULL, T - 1, T - 1, 0));
    assert_true(mask_acts(NULL, 6, 8, 4));
}

static void mask_over_prior_keys(void)
{
    assert_true(mask_acts(NULL, T - 1, 3, 0));
    assert_true(mask_acts(NULL, 6, 3, 2));
}

static void active_mask_of_one(void)
{
    static const uint8_t none[1] = {0};
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, NULL);
    lifted_run(&small, NULL, 1, 5, small.x, a);
    lifted_run(&small, NULL, 1, 1, small.x + 5 * WIDTH, a);
    gqa_cache_truncate(small.cache, 0, 5, NULL);
    gqa_inputs_init(&in);
    in.active_mask = gqa_tensor_3d(none, GQA_U8, 1, 1, 1);
    lifted_run(&small, &in, 1, 1, small.x + 5 * WIDTH, b);
    assert_true(lifted_differs(a, b, 1));
    small_layer_close(&small);
}

/* Window 5 and chunk 4 together: as the mask that says both. */
static void window_with_chunk(void)
{
    uint8_t mask[T * T];
    gqa_inputs in;
    for (int i = 0; i < T * T; i++) {
        int row = i / T, key = i % T;
        mask[i] = (uint8_t)(key > row - 5 && key / 4 == row / 4);
    }
    gqa_inputs_init(&in);
    in.mask = gqa_tensor_4d(mask, GQA_U8, 1, 1, T, T);
    lifted_whole(NULL, &in, a);
    lifted_whole(window_and_chunk, NULL, b);
    lifted_close(b, a, T);
    lifted_whole(with_window, NULL, c);
    assert_true(lifted_differs(b, c, T));
}

/* --- other inputs and outputs ------------------------------------------------------------------
 */

static void positions_by_default(void)
{
    int32_t positions[T];
    gqa_inputs in;
    for (int i = 0; i < T; i++) {
        positions[i] = i;
    }
    gqa_inputs_init(&in);
    in.position_ids = positions;
    lifted_whole(NULL, NULL, a);
    lifted_whole(NULL, &in, b);
    lifted_same(a, b, T);
}

/* With a norm, a token times 4 is the same token (eps is 1e-6 of values near 1). */
static void norm_on_every_path(void)
{
    void (*const edits[2])(gqa_config *) = {rms, window_rms};
    for (int i = 0; i < 2; i++) {
        struct small_layer small;
        float x[T * WIDTH];
        small_layer_open(&small, edits[i]);
        for (int j = 0; j < T * WIDTH; j++) {
            x[j] = 4.0f * small.x[j];
        }
        lifted_run(&small, NULL, 1, T, small.x, a);
        gqa_cache_truncate(small.cache, 0, 0, NULL);
        lifted_run(&small, NULL, 1, T, x, b);
        lifted_close(a, b, T);
        small_layer_close(&small);
    }
}

static void residual_on_every_path(void)
{
    void (*const edits[3])(gqa_config *) = {rms, with_window, with_chunk};
    for (int i = 0; i < 3; i++) {
        struct small_layer small;
        float x[T * WIDTH];
        const float *residual;
        gqa_inputs in;
        small_layer_open(&small, edits[i]);
        residual = small.x + T * WIDTH;
        for (int j = 0; j < T * WIDTH; j++) {
            x[j] = small.x[j] + residual[j];
        }
        gqa_inputs_init(&in);
        in.residual = gqa_tensor_3d(residual, GQA_F32, 1, T, WIDTH);
        lifted_run(&small, &in, 1, T, small.x, a);
        gqa_cache_truncate(small.cache, 0, 0, NULL);
        lifted_run(&small, NULL, 1, T, x, b);
        lifted_same(a, b, T);
        small_layer_close(&small);
    }
}

static void residual_and_no_gamma(void)
{
    struct weight_set model;
    gqa_layer *layer;
    residual_on_every_path();
    small_set_init(&model);
    weight_set_fill(&model); /* before the norm is set: it gets no weight */
    rms(&model.config);
    skip_refused(&model.config);
    assert_int_equal(gqa_create(&layer, &model.config, &model.weights, NULL, NULL), GQA_OK);
    gqa_destroy(&layer);
    weight_set_free(&model);
}

static void axes_of_the_rotation(void)
{
    int32_t rotary[3 * T];
    gqa_inputs in;
    for (int i = 0; i < 3 * T; i++) {
        rotary[i] = i % T;
    }
    gqa_inputs_init(&in);
    in.rotary_position_ids = rotary;
    lifted_whole(mrope, NULL, a);
    lifted_whole(mrope, &in, b);
    lifted_same(a, b, T);
    rotary[T + 3] = 9; /* axis 1 of token 3 */
    lifted_whole(mrope, &in, b);
    assert_true(lifted_differs(a, b, T));
    lifted_whole(NULL, &in, c); /* one axis: the first T entries */
    lifted_same(a, c, T);
}

static void style_with_window(void)
{
    lifted_whole(with_window, NULL, a);
    lifted_whole(window_interleaved, NULL, b);
    assert_true(lifted_differs(a, b, T));
}

/* The last token after 10: TKG by default, CTE when told, which are told apart by the sinks. */
static void phase_of_a_call(void)
{
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, sinks);
    lifted_run(&small, NULL, 1, T - 1, small.x, a);
    lifted_run(&small, NULL, 1, 1, small.x + (T - 1) * WIDTH, a);
    gqa_inputs_init(&in);
    for (int phase = GQA_PHASE_CTE; phase <= GQA_PHASE_TKG; phase++) {
        gqa_cache_truncate(small.cache, 0, T - 1, NULL);
        in.phase = (gqa_phase)phase;
        lifted_run(&small, &in, 1, 1, small.x + (T - 1) * WIDTH, b);
        assert_true(lifted_differs(a, b, 1) == (phase == GQA_PHASE_CTE));
    }
    small_layer_close(&small);
}

static void prompt_of_one_token(void)
{
    struct small_layer small;
    gqa_inputs in;
    gqa_output out;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, 1, 1, WIDTH);
    out.hidden_states = gqa_tensor_3d(a, GQA_F32, 1, 1, WIDTH);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gqa_forward(small.layer, small.cache, &in, &out, NULL, 0, NULL), GQA_OK);
        assert_int_equal(out.path.phase, i == 0 ? GQA_PHASE_CTE : GQA_PHASE_TKG);
    }
    small_layer_close(&small);
}

/* present_key_value of `t` tokens after `past`: what the cache holds of them. */
static void present(void (*edit)(gqa_config *), int past, int t)
{
    float k[2][SMALL_HKV * T * SMALL_DK] = {{0}}, v[2][SMALL_HKV * T * SMALL_DV] = {{0}};
    struct small_layer small;
    gqa_inputs in;
    gqa_output out;
    gqa_tensor key = gqa_tensor_3d(k[1], GQA_F32, SMALL_HKV, t, SMALL_DK);
    gqa_tensor value = gqa_tensor_3d(v[1], GQA_F32, SMALL_HKV, t, SMALL_DV);
    small_layer_open(&small, edit);
    if (past > 0) {
        lifted_run(&small, NULL, 1, past, small.x, a);
    }
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, 1, t, WIDTH);
    out.hidden_states = gqa_tensor_3d(a, GQA_F32, 1, t, WIDTH);
    out.present_key_value.k = gqa_tensor_4d(k[0], GQA_F32, 1, SMALL_HKV, t, SMALL_DK);
    out.present_key_value.v = gqa_tensor_4d(v[0], GQA_F32, 1, SMALL_HKV, t, SMALL_DV);
    assert_int_equal(gqa_forward(small.layer, small.cache, &in, &out, NULL, 0, NULL), GQA_OK);
    assert_int_equal(gqa_cache_read(small.cache, 0, past, &key, &value, NULL, NULL), GQA_OK);
    assert_memory_equal(k[0], k[1], sizeof k[0]);
    assert_memory_equal(v[0], v[1], sizeof v[0]);
    assert_true(k[0][SMALL_HKV * t * SMALL_DK - 1] != 0.0f);
    small_layer_close(&small);
}

static void present_of_all_tokens(void)
{
    present(with_window, 0, T);
    present(with_chunk, 0, T);
}

static void present_of_this_call(void)
{
    present(NULL, 6, 2);
}

const struct lifted_constraint lifted_call_constraints[] = {
    {"N115", tree_in_window},          {"N213", tree_of_tokens},
    {"N226", residual_and_no_gamma},   {"N234", phase_of_a_call},
    {"N236", speculation_in_chunk},    {"N303", mask_in_prefill},
    {"N304", mask_over_active_tokens}, {"N305", positions_by_default},
    {"N308", active_mask_of_one},      {"N312", norm_on_every_path},
    {"N313", axes_of_the_rotation},    {"N315", residual_on_every_path},
    {"N316", phase_of_a_call},         {"N319", style_with_window},
    {"N402", present_of_all_tokens},   {"N403", present_of_this_call},
    {"N501", window_with_chunk},       {"N504", phase_of_a_call},
    {"N506", prompt_of_one_token},     {"N509", mask_over_prior_keys},
};
const size_t lifted_call_count = sizeof lifted_call_constraints / sizeof lifted_call_constraints[0];
