/* SPDX-License-Identifier: Apache-2.0 */
/* test_backends.c - backend cpu and backend reference on the same layer and the same caches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

static void soft_window(gqa_config *config)
{
    config->sliding_window = 7;
    config->softcap = 3.0f;
    config->learned_sinks_size = 1;
}

static void chunk_and_norms(gqa_config *config)
{
    config->attention_chunk_size = 9;
    config->input_norm = GQA_NORM_RMS;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->gate = GQA_GATE_HEAD;
}

static void both_ways(gqa_config *config)
{
    config->bidirectional = 1;
    config->right_window = 4;
    config->rope = GQA_ROPE_INTERLEAVED;
}

static void (*edit_of_backend)(gqa_config *);

static void on_reference(gqa_config *config)
{
    edit_of_backend(config);
    config->backend = GQA_BACKEND_REFERENCE;
}

static void on_reference_f64(gqa_config *config)
{
    on_reference(config);
    config->reference_f64 = 1;
}

/* Prefill of 20 and 17 tokens with padding, then 2 tokens more; out [2][20 + 2][hidden]. */
static void two_calls(void (*edit)(gqa_config *), float *out, gqa_backend *backend)
{
    static const int32_t first[2] = {0, 3};
    struct small_layer small;
    gqa_inputs in;
    gqa_output output;
    small_layer_open(&small, edit);
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    in.first_valid = first;
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 2, 20, small.x, out), GQA_OK);
    gqa_inputs_init(&in);
    in.hidden_states = gqa_tensor_3d(small.x + 40 * SMALL_HIDDEN, GQA_F32, 2, 2, SMALL_HIDDEN);
    output.hidden_states = gqa_tensor_3d(out + 40 * SMALL_HIDDEN, GQA_F32, 2, 2, SMALL_HIDDEN);
    assert_int_equal(gqa_forward(small.layer, small.cache, &in, &output, NULL, 0, NULL), GQA_OK);
    *backend = output.path.backend;
    small_layer_close(&small);
}

/* The layer's values are below 4, its longest sum has 36 terms and its chain 5 sums one after the
 * other: the backends, which add in other orders, stay within 5 x 36 x 4 u < 5e-5 of each other. */
static void backends_agree(void **state)
{
    void (*const edits[3])(gqa_config *) = {soft_window, chunk_and_norms, both_ways};
    enum { N = 44 * SMALL_HIDDEN };
    static float cpu[N], f32[N], f64[N];
    (void)state;
    for (int i = 0; i < 3; i++) {
        gqa_backend used[3];
        edit_of_backend = edits[i];
        two_calls(edits[i], cpu, &used[0]);
        two_calls(on_reference, f32, &used[1]);
        two_calls(on_reference_f64, f64, &used[2]);
        assert_int_equal(used[0], GQA_BACKEND_CPU);
        assert_int_equal(used[1], GQA_BACKEND_REFERENCE);
        assert_int_equal(used[2], GQA_BACKEND_REFERENCE);
        for (int j = 0; j < N; j++) {
            assert_true(fabsf(cpu[j]) < 4.0f);
            assert_true(fabsf(cpu[j] - f64[j]) <= 5e-5f);
            assert_true(fabsf(f32[j] - f64[j]) <= 5e-5f);
        }
    }
}

/* Keep what the projections of q gave. */
static void keep_q(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    (void)b, (void)first;
    if (stage == GQA_STAGE_Q_PROJ) {
        memcpy(user, tensor->data, SMALL_HQ * SMALL_DK * sizeof(float));
    }
}

/* q of one token on backend reference, of weights and hidden states that are multiples of 2^-12 in
 * [-1, 1): a sum of SMALL_HIDDEN products is a multiple of 2^-24 below 32, exact in double. */
static void project_q(int32_t reference_f64, float *q, double *exact)
{
    struct weight_set model;
    gqa_layer *layer = NULL;
    gqa_inputs in;
    gqa_output out;
    float x[SMALL_HIDDEN], w[SMALL_HQ * SMALL_DK * SMALL_HIDDEN], attn[SMALL_HQ * SMALL_DV];
    uint64_t seed = 77;
    for (int i = 0; i < SMALL_HIDDEN + SMALL_HQ * SMALL_DK * SMALL_HIDDEN; i++) {
        *(i < SMALL_HIDDEN ? &x[i] : &w[i - SMALL_HIDDEN]) =
            (float)random_between(&seed, -4096, 4095) / 4096.0f;
    }
    small_set_init(&model);
    model.config.backend = GQA_BACKEND_REFERENCE;
    model.config.reference_f64 = reference_f64;
    weight_set_fill(&model);
    memcpy(weight_values(&model.weights.wq), w, sizeof w);
    assert_int_equal(gqa_create(&layer, &model.config, &model.weights, NULL, NULL), GQA_OK);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_2d(x, GQA_F32, 1, SMALL_HIDDEN);
    in.tap = keep_q;
    in.tap_user = q;
    out.attn = gqa_tensor_3d(attn, GQA_F32, 1, SMALL_HQ, SMALL_DV);
    assert_int_equal(gqa_forward(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    for (int i = 0; i < SMALL_HQ * SMALL_DK; i++) {
        exact[i] = 0.0;
        for (int j = 0; j < SMALL_HIDDEN; j++) {
            exact[i] += (double)w[i * SMALL_HIDDEN + j] * (double)x[j];
        }
    }
    gqa_destroy(&layer);
    weight_set_free(&model);
}

/* reference_f64 rounds the exact sum once; without it f32 sums round on the way, so that some of
 * the outputs are another number, but none by more than SMALL_HIDDEN roundings of at most 16 u. */
static void reference_adds_in_what_it_says(void **state)
{
    enum { N = SMALL_HQ * SMALL_DK };
    float narrow[N], wide[N];
    double exact[N];
    int others = 0;
    (void)state;
    project_q(0, narrow, exact);
    project_q(1, wide, exact);
    for (int i = 0; i < N; i++) {
        assert_true(wide[i] == (float)exact[i]);
        assert_true(fabs((double)narrow[i] - exact[i]) <= SMALL_HIDDEN * 16 * 0x1p-24);
        others += narrow[i] != (float)exact[i] ? 1 : 0;
    }
    assert_true(others > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(reference_adds_in_what_it_says),
    };
    return RUN_TESTS(argc, argv, tests);
}
