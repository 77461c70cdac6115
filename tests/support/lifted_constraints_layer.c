/* SPDX-License-Identifier: Apache-2.0 */
/* lifted_constraints_layer.c - lifted constraints on configs, batches and the division of tokens
 * over calls. */
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

static void no_rope(gqa_config *config)
{
    config->rope = GQA_ROPE_NONE;
}

static void other_theta(gqa_config *config)
{
    config->rope_theta = 500000.0;
}

static void interleaved(gqa_config *config)
{
    config->rope = GQA_ROPE_INTERLEAVED;
}

static void interleaved_theta(gqa_config *config)
{
    interleaved(config);
    other_theta(config);
}

static void llama3(gqa_config *config)
{
    config->rope_scaling = GQA_ROPE_SCALING_LLAMA3;
    config->rope_factor = 32.0;
    config->rope_low_freq_factor = 1.0;
    config->rope_high_freq_factor = 2.0;
    config->rope_original_context = 64;
}

static void default_scale(gqa_config *config)
{
    config->score_scale = 1.0f / sqrtf((float)SMALL_DK);
}

static void unit_scale(gqa_config *config)
{
    config->score_scale = 1.0f;
}

static void long_chunk(gqa_config *config)
{
    config->attention_chunk_size = 100000;
}

/* --- the layer ---------------------------------------------------------------------------------
 */

static void free_dims(void)
{
    assert_true(SMALL_HQ * SMALL_DK != SMALL_HIDDEN && SMALL_DV != SMALL_DK);
    lifted_whole(NULL, NULL, a);
}

static void decode_without_rope(void)
{
    const int ends[] = {T - 1, T};
    lifted_pieces(no_rope, ends, 2, a);
    lifted_whole(no_rope, NULL, b);
    lifted_same(a, b, T);
}

static void theta_of_both_styles(void)
{
    lifted_whole(NULL, NULL, a);
    lifted_whole(other_theta, NULL, b);
    assert_true(lifted_differs(a, b, T));
    lifted_whole(interleaved, NULL, a);
    lifted_whole(interleaved_theta, NULL, b);
    assert_true(lifted_differs(a, b, T));
}

/* Wavelength 2 pi is below 64 / 2: unscaled. The slowest is above 64 / 1: divided by 32. */
static void llama3_constants(void)
{
    struct small_layer small;
    double plain[SMALL_DK / 2], scaled[SMALL_DK / 2];
    small_layer_open(&small, NULL);
    assert_int_equal(gqa_rope_frequencies(small.layer, 0, plain, NULL, NULL), GQA_OK);
    small_layer_close(&small);
    small_layer_open(&small, llama3);
    assert_int_equal(gqa_rope_frequencies(small.layer, 0, scaled, NULL, NULL), GQA_OK);
    small_layer_close(&small);
    assert_true(scaled[0] == plain[0]);
    assert_true(fabs(scaled[SMALL_DK / 2 - 1] * 32.0 / plain[SMALL_DK / 2 - 1] - 1.0) < 1e-12);
}

static void free_scale(void)
{
    lifted_whole(NULL, NULL, a);
    lifted_whole(default_scale, NULL, b);
    lifted_whole(unit_scale, NULL, c);
    lifted_same(a, b, T);
    assert_true(lifted_differs(a, c, T));
}

static void chunk_beyond_sequence(void)
{
    lifted_whole(NULL, NULL, a);
    lifted_whole(long_chunk, NULL, b);
    lifted_same(a, b, T);
}

static void norm_scope(void)
{
    for (int scope = GQA_QK_NORM_HEAD; scope <= GQA_QK_NORM_WHOLE; scope++) {
        struct weight_set model;
        gqa_layer *layer;
        small_set_init(&model);
        model.config.qk_norm = GQA_NORM_RMS;
        weight_set_fill(&model); /* the scope is still OFF: no weights for the norm */
        model.config.qk_norm_scope = (gqa_qk_norm_scope)scope;
        skip_refused(&model.config);
        assert_int_equal(gqa_create(&layer, &model.config, &model.weights, NULL, NULL), GQA_OK);
        gqa_destroy(&layer);
        weight_set_free(&model);
    }
}

/* --- batches -----------------------------------------------------------------------------------
 */

static void any_batch(void)
{
    const int32_t order[3] = {2, -1, 0};
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.sequences = order;
    lifted_run(&small, NULL, 1, 3, small.x, a);
    lifted_run(&small, &in, 3, 2, small.x, a);
    assert_int_equal(gqa_cache_length(small.cache, 0), 5);
    assert_int_equal(gqa_cache_length(small.cache, 1), 0);
    assert_int_equal(gqa_cache_length(small.cache, 2), 2);
    small_layer_close(&small);
}

/* Row 0 padded on the left by 2, row 1 on the right by 2: each as the T - 2 tokens alone. */
static void padding(void (*edit)(gqa_config *))
{
    const int32_t first[2] = {2, 0}, lengths[2] = {T - 2, T - 2};
    struct small_layer small;
    gqa_inputs in;
    float x[2 * T * WIDTH] = {0}, out[2 * T * WIDTH];
    small_layer_open(&small, edit);
    memcpy(x + 2 * WIDTH, small.x, (T - 2) * WIDTH * sizeof *x);
    memcpy(x + T * WIDTH, small.x, (T - 2) * WIDTH * sizeof *x);
    gqa_inputs_init(&in);
    in.first_valid = first;
    in.lengths = lengths;
    lifted_run(&small, &in, 2, T, x, out);
    small_layer_close(&small);
    small_layer_open(&small, edit);
    lifted_run(&small, NULL, 1, T - 2, small.x, a);
    lifted_same(a, out + 2 * WIDTH, T - 2);
    lifted_same(a, out + T * WIDTH, T - 2);
    small_layer_close(&small);
}

static void padding_on_both_sides(void)
{
    padding(NULL);
}

static void chunk_with_padding(void)
{
    padding(with_chunk);
}

static void two_sequences(void)
{
    struct small_layer small;
    float out[2 * T * WIDTH];
    small_layer_open(&small, NULL);
    lifted_run(&small, NULL, 2, T, small.x, out);
    small_layer_close(&small);
    small_layer_open(&small, NULL);
    lifted_run(&small, NULL, 1, T, small.x, a);
    gqa_cache_truncate(small.cache, 0, 0, NULL);
    lifted_run(&small, NULL, 1, T, small.x + T * WIDTH, b);
    lifted_same(a, out, T);
    lifted_same(b, out + T * WIDTH, T);
    small_layer_close(&small);
}

static void inactive_row(void)
{
    const int32_t sequences[2] = {-1, 1};
    struct small_layer small;
    gqa_inputs in;
    float out[2 * WIDTH];
    int64_t pages;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.sequences = sequences;
    pages = gqa_cache_free_pages(small.cache);
    lifted_run(&small, &in, 2, 1, small.x, out);
    assert_int_equal(gqa_cache_length(small.cache, 0), 0);
    assert_int_equal(gqa_cache_length(small.cache, 1), 1);
    assert_int_equal(gqa_cache_free_pages(small.cache), pages - 1);
    small_layer_close(&small);
}

/* --- formats, lengths and pieces ---------------------------------------------------------------
 */

static void formats(void (*edit)(gqa_config *))
{
    struct small_layer small;
    uint16_t x[T * WIDTH], out[T * WIDTH];
    gqa_inputs in;
    gqa_output output;
    gqa_tensor half, half_out;
    small_layer_open(&small, edit);
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    half = gqa_tensor_3d(x, GQA_BF16, 1, T, WIDTH);
    half_out = gqa_tensor_3d(out, GQA_F16, 1, T, WIDTH);
    in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, 1, T, WIDTH);
    assert_int_equal(gqa_convert(&in.hidden_states, &half, NULL), GQA_OK);
    in.hidden_states = half;
    output.hidden_states = half_out;
    assert_int_equal(gqa_forward(small.layer, NULL, &in, &output, NULL, 0, NULL), GQA_OK);
    small_layer_close(&small);
}

static void mixed_formats(void)
{
    formats(NULL);
}

static void formats_of_all_paths(void)
{
    formats(NULL);
    formats(with_window);
    formats(with_chunk);
}

static void any_length(void)
{
    struct small_layer small;
    gqa_cache *cache, *own;
    gqa_cache_options options;
    float out[131 * WIDTH];
    small_layer_open(&small, NULL);
    gqa_cache_options_init(&options, small.layer);
    options.max_tokens = 131;
    assert_int_equal(gqa_cache_create(&cache, small.layer, &options, NULL), GQA_OK);
    own = small.cache;
    small.cache = cache;
    lifted_run(&small, NULL, 1, 131, small.x, out);
    assert_int_equal(gqa_cache_length(cache, 0), 131);
    small.cache = own;
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

static void steps_of_any_size(void)
{
    const int ends[] = {4, 5, 7, 10, T};
    lifted_whole(NULL, NULL, a);
    lifted_pieces(NULL, ends, 5, b);
    lifted_same(a, b, T);
}

static void window_in_pieces(void)
{
    const int ends[] = {3, 10, T};
    lifted_whole(with_window, NULL, a);
    lifted_pieces(with_window, ends, 3, b);
    lifted_same(a, b, T);
}

static void chunk_after_prefix(void)
{
    const int ends[] = {6, T};
    lifted_whole(with_chunk, NULL, a);
    lifted_pieces(with_chunk, ends, 2, b);
    lifted_same(a, b, T);
}

static void call_below_window(void)
{
    const int ends[] = {2, 4, T};
    lifted_whole(with_window, NULL, a);
    lifted_pieces(with_window, ends, 3, b);
    lifted_same(a, b, T);
}

/* 5 tokens, then 130: as 135 at once. */
static void long_call_after_prefix(void)
{
    struct small_layer small;
    gqa_cache *cache, *own;
    gqa_cache_options options;
    float once[135 * WIDTH], twice[135 * WIDTH];
    small_layer_open(&small, NULL);
    gqa_cache_options_init(&options, small.layer);
    options.max_tokens = 135;
    assert_int_equal(gqa_cache_create(&cache, small.layer, &options, NULL), GQA_OK);
    own = small.cache;
    small.cache = cache;
    lifted_run(&small, NULL, 1, 135, small.x, once);
    gqa_cache_truncate(cache, 0, 0, NULL);
    lifted_run(&small, NULL, 1, 5, small.x, twice);
    lifted_run(&small, NULL, 1, 130, small.x + 5 * WIDTH, twice + 5 * WIDTH);
    lifted_same(once, twice, 135);
    small.cache = own;
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

const struct lifted_constraint lifted_layer_constraints[] = {
    {"N103", free_dims},
    {"N104", decode_without_rope},
    {"N105", theta_of_both_styles},
    {"N106", llama3_constants},
    {"N110", free_scale},
    {"N111", chunk_beyond_sequence},
    {"N123", norm_scope},
    {"N201", any_batch},
    {"N202", padding_on_both_sides},
    {"N205", mixed_formats},
    {"N206", two_sequences},
    {"N208", inactive_row},
    {"N210", any_length},
    {"N212", steps_of_any_size},
    {"N216", steps_of_any_size},
    {"N217", any_batch},
    {"N218", window_in_pieces},
    {"N231", chunk_after_prefix},
    {"N232", chunk_with_padding},
    {"N235", call_below_window},
    {"N503", long_call_after_prefix},
    {"N507", chunk_after_prefix},
    {"N508", formats_of_all_paths},
};
const size_t lifted_layer_count =
    sizeof lifted_layer_constraints / sizeof lifted_layer_constraints[0];
