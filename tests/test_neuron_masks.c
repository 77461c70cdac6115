/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_masks.c - backend neuron with I/O type f32 against backend reference in double: who
 * sees whom, and the stages around attention that test_neuron_layer has not. The reference gets the
 * config without what Neuron ignores.
 *
 * TOLERANCE. f32 rounds by 2^-24 of a value at each of some twenty steps; values are below 8, sums
 * are exact: 20 * 8 * 2^-24 = 1e-5. The softmax amplifies an error of a score by at most that of
 * its exponential, and scores are below 8 too: ten times that. One key too many changes results by
 * more than 1e-2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/small_layer.h"

#define TOLERANCE 1e-4

enum { H = SMALL_HIDDEN, T = 12, B = 2 };

/* One case: its config for backend neuron and for the reference, and its inputs. */
struct mask_case {
    const char *name;
    void (*config)(gqa_config *config, bool neuron);
    void (*inputs)(gqa_inputs *in, bool neuron); /* NULL: none */
    int past;                                    /* tokens one by one before the call */
    int tokens;                                  /* of the call */
    gqa_neuron_profile profile;                  /* that is taken */
};

static uint8_t seen[B * T * 40];
static int32_t positions[B * T], begin[B * T], end[B * T], left[B] = {3, 0}, valid[B] = {7, 10};

static void window(gqa_config *c, bool neuron)
{
    (void)neuron;
    c->sliding_window = 4;
}

static void chunk_and_window(gqa_config *c, bool neuron)
{
    c->attention_chunk_size = 5;
    c->sliding_window = neuron ? 2 : 0;
}

static void both_ways(gqa_config *c, bool neuron)
{
    (void)neuron;
    c->bidirectional = 1;
    c->right_window = 2;
    c->sliding_window = 3;
}

static void plain(gqa_config *c, bool neuron)
{
    (void)neuron;
    c->score_scale = 0.71f;
}

/* native_prefix: neither the window nor the mask. */
static void prefix(gqa_config *c, bool neuron)
{
    c->neuron_profile = neuron ? GQA_NEURON_NATIVE_PREFIX : GQA_NEURON_NO_PROFILE;
    c->sliding_window = neuron ? 4 : 0;
}

/* All stages around attention. */
static void stages(gqa_config *c, bool neuron)
{
    (void)neuron;
    c->hidden_size_unpadded = H;
    c->input_norm = GQA_NORM_LAYER;
    c->input_norm_offset = 1;
    c->qkv_bias = 1;
    c->o_bias = 1;
    c->clip_qkv = 0.4f;
    c->qk_norm_scope = GQA_QK_NORM_WHOLE;
    c->qk_norm = GQA_NORM_LAYER;
    c->qk_norm_placement = GQA_QK_NORM_POST_ROPE;
    c->rope = GQA_ROPE_INTERLEAVED;
    c->rotary_dim = 6;
    c->post_norm = GQA_NORM_RMS;
    c->add_residual = 1;
}

static void padded(gqa_config *c, bool neuron)
{
    stages(c, neuron);
    c->hidden_size_unpadded = H - 4;
    c->input_norm = GQA_NORM_RMS;
    c->qkv_layout = GQA_QKV_FUSED;
}

static void mask(gqa_inputs *in, bool neuron)
{
    (void)neuron;
    in->mask = gqa_tensor_4d(seen, GQA_U8, B, 1, T, 20);
}

static void ignored_mask(gqa_inputs *in, bool neuron)
{
    if (neuron) {
        mask(in, neuron);
    }
}

static void gaps(gqa_inputs *in, bool neuron)
{
    (void)neuron;
    in->position_ids = positions;
}

static void bounds(gqa_inputs *in, bool neuron)
{
    (void)neuron;
    in->key_begin = begin;
    in->key_end = end;
}

static void padding(gqa_inputs *in, bool neuron)
{
    (void)neuron;
    in->first_valid = left;
    in->lengths = valid;
}

static const struct mask_case cases[] = {
    {"plain", plain, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"window", window, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"window after a past", window, NULL, 7, T, GQA_NEURON_NATIVE_TKG},
    {"chunk beats window", chunk_and_window, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"chunk, one token", chunk_and_window, NULL, 8, 1, GQA_NEURON_NATIVE_TKG},
    {"both ways", both_ways, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"mask", plain, mask, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"mask after a past", plain, mask, 7, T, GQA_NEURON_NATIVE_TKG},
    {"gaps", window, gaps, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"bounds", plain, bounds, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"padding", window, padding, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"prefix", prefix, ignored_mask, 7, T, GQA_NEURON_NATIVE_PREFIX},
    {"stages", stages, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
    {"stages after a past", stages, NULL, 3, T, GQA_NEURON_NATIVE_TKG},
    {"padded width", padded, NULL, 0, T, GQA_NEURON_NATIVE_PREFILL},
};

static void fill_inputs(void)
{
    for (int i = 0; i < B * T; i++) {
        positions[i] = 2 * (i % T) + i / T;
        begin[i] = i % T / 2;
        end[i] = i % T + 1;
    }
    for (int i = 0; i < B * T * 20; i++) {
        seen[i] = i % 3 != 0 || i % 20 == 0; /* every row sees its first key */
    }
}

static const struct mask_case *running;
static bool of_neuron;

static void edit(gqa_config *c)
{
    c->v_head_dim = 0;
    running->config(c, of_neuron);
    c->backend = of_neuron ? GQA_BACKEND_NEURON : GQA_BACKEND_REFERENCE;
    c->reference_f64 = !of_neuron;
    c->neuron_io = of_neuron ? GQA_NEURON_IO_F32 : GQA_NEURON_IO_BF16;
}

/* The case on one backend. out: [B][T][H] */
static void run(const struct mask_case *c, bool neuron, float *out)
{
    static struct small_layer small;
    gqa_inputs in;
    gqa_output output;

    running = c;
    of_neuron = neuron;
    small_layer_open(&small, edit);
    for (size_t i = 0;
         small.model.config.hidden_size_unpadded == H - 4 && i < sizeof small.x / sizeof small.x[0];
         i++) {
        small.x[i] = i % H < H - 4 ? small.x[i] : 0.0f;
    }
    for (int t = 0; t < c->past; t++) {
        assert_int_equal(small_layer_forward(&small, small.cache, NULL, B, 1,
                                             small.x + (ptrdiff_t)t * B * H, out),
                         GQA_OK);
    }
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    if (c->inputs != NULL) {
        c->inputs(&in, neuron);
    }
    in.hidden_states =
        gqa_tensor_3d(small.x + (ptrdiff_t)c->past * B * H, GQA_F32, B, c->tokens, H);
    output.hidden_states = gqa_tensor_3d(out, GQA_F32, B, c->tokens, H);
    if (gqa_forward(small.layer, small.cache, &in, &output, NULL, 0, &small.err) != GQA_OK) {
        fail_msg("%s: %s", c->name, small.err.message);
    }
    assert_int_equal(output.path.neuron_profile, neuron ? c->profile : GQA_NEURON_NO_PROFILE);
    small_layer_close(&small);
}

static void as_the_reference(void **state)
{
    static float want[B * T * H], got[B * T * H];

    (void)state;
    fill_inputs();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double worst = 0.0;
        run(&cases[i], false, want);
        run(&cases[i], true, got);
        for (int k = 0; k < B * cases[i].tokens * H; k++) {
            worst = fmax(worst, fabs((double)want[k] - (double)got[k]));
        }
        print_message("%-20s %.1e\n", cases[i].name, worst);
        assert_true(worst < TOLERANCE);
    }
}

/* Two entries on two paths: the first one's is told. */
static void first_entry_is_told(void **state)
{
    static const struct mask_case c = {"", plain, NULL, 0, 2, GQA_NEURON_NATIVE_TKG};
    static struct small_layer small;
    static float out[B * T * H];
    gqa_inputs in;
    gqa_output output;

    (void)state;
    running = &c;
    of_neuron = true;
    small_layer_open(&small, edit);
    assert_int_equal(small_layer_forward(&small, small.cache, NULL, 1, 4, small.x, out), GQA_OK);
    gqa_inputs_init(&in);
    gqa_output_init(&output);
    in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, B, 2, H);
    output.hidden_states = gqa_tensor_3d(out, GQA_F32, B, 2, H);
    assert_int_equal(gqa_forward(small.layer, small.cache, &in, &output, NULL, 0, &small.err),
                     GQA_OK);
    assert_int_equal(output.path.neuron_profile, GQA_NEURON_NATIVE_TKG);
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_reference),
        cmocka_unit_test(first_entry_is_told),
    };
    return RUN_TESTS(argc, argv, tests);
}
