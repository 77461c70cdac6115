/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_batch_layer.c - a layer of hidden states whose attention is the paged kernel over all
 * entries: one set of projections for all tokens, and the kernel's asserts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/small_layer.h"

static void paged_layer(gqa_config *config)
{
    config->backend = GQA_BACKEND_NEURON;
    config->neuron_profile = GQA_NEURON_PAGED_SCHEDULE;
    config->neuron_lift_limits = 1; /* head_dim 10 */
    config->v_head_dim = 0;
}

static void one_set_of_projections(void **state)
{
    static struct small_layer small;
    static float out[2 * 3 * SMALL_HIDDEN];
    static const int32_t first[2] = {0, -1};
    gqa_inputs in;

    (void)state;
    small_layer_open(&small, paged_layer);
    gqa_inputs_init(&in);
    in.sequences = first;
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 2, 3, small.x, out), GQA_OK);
    gqa_inputs_init(&in); /* entry 0 has a past, entry 1 has none: one set, so that is all one */
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 2, 3, small.x, out), GQA_OK);
    small_layer_close(&small);
}

static void asserted_layer(gqa_config *config)
{
    paged_layer(config);
    config->neuron_lift_limits = 0;
}

static void head_dim_of_ten(void **state)
{
    static struct small_layer small;
    static float out[2 * 3 * SMALL_HIDDEN];
    gqa_inputs in;

    (void)state;
    small_layer_open(&small, asserted_layer);
    gqa_inputs_init(&in);
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 2, 3, small.x, out),
                     GQA_ERR_UNSUPPORTED);
    assert_string_equal(small.err.field, "call.q");
    assert_int_equal(gqa_cache_length(small.cache, 0), 0);
    small_layer_close(&small);
}

static void two_sets_of_projections(void **state)
{
    static const int32_t first[2] = {0, -1};
    struct weight_set set;
    gqa_cache_options options;
    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    static float x[2 * 3 * SMALL_HIDDEN], out[2 * 3 * SMALL_HIDDEN];
    gqa_inputs in;
    gqa_output output;
    gqa_error err;

    (void)state;
    small_set_init(&set);
    paged_layer(&set.config);
    set.tkg_qkv = true;
    weight_set_fill(&set);
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_OK);
    gqa_cache_options_init(&options, layer);
    options.max_sequences = 2;
    options.max_tokens = 16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    for (int phase = GQA_PHASE_CTE; phase >= GQA_PHASE_AUTO; phase--) {
        gqa_inputs_init(&in);
        gqa_output_init(&output);
        in.sequences = gqa_cache_length(cache, 0) == 0 ? first : NULL;
        in.phase = (gqa_phase)phase;
        in.hidden_states = gqa_tensor_3d(x, GQA_F32, 2, 3, SMALL_HIDDEN);
        output.hidden_states = gqa_tensor_3d(out, GQA_F32, 2, 3, SMALL_HIDDEN);
        if (phase == GQA_PHASE_CTE) {
            assert_int_equal(gqa_forward(layer, cache, &in, &output, NULL, 0, &err), GQA_OK);
            continue;
        }
        assert_int_equal(gqa_forward(layer, cache, &in, &output, NULL, 0, &err),
                         GQA_ERR_UNSUPPORTED);
        assert_string_equal(err.field, "inputs.phase");
        assert_int_equal(gqa_cache_length(cache, 0), 3);
        in.phase = GQA_PHASE_CTE;
        assert_int_equal(gqa_forward(layer, cache, &in, &output, NULL, 0, &err), GQA_OK);
    }
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    weight_set_free(&set);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_set_of_projections),
        cmocka_unit_test(head_dim_of_ten),
        cmocka_unit_test(two_sets_of_projections),
    };
    return RUN_TESTS(argc, argv, tests);
}
