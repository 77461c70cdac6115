/* SPDX-License-Identifier: Apache-2.0 */
/* test_extent.c - how far the caller's memory is read and written, and how many tokens a call may
 * have: arrays that end at a page without access, and the last size on either side of a limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/guarded_buffer.h"
#include "support/program.h"
#include "support/small_layer.h"

/* n doubles, or floats, of 1.25 at the end of a page. */
static struct guarded_buffer doubles(int n)
{
    struct guarded_buffer buffer = guarded_new((size_t)n * sizeof(double));
    for (int i = 0; i < n; i++) {
        ((double *)buffer.data)[i] = 1.25;
    }
    return buffer;
}

static struct guarded_buffer floats(int n)
{
    struct guarded_buffer buffer = guarded_new((size_t)n * sizeof(float));
    for (int i = 0; i < n; i++) {
        ((float *)buffer.data)[i] = 1.25f;
    }
    return buffer;
}

static void create(struct weight_set *model)
{
    gqa_layer *layer = NULL;
    gqa_error err;
    weight_set_fill(model);
    if (gqa_create(&layer, &model->config, &model->weights, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    gqa_destroy(&layer);
    weight_set_free(model);
}

/* config.h: rotary_dim / 2 factors or frequencies, a slope per query head. */
static void arrays_of_the_config(void **state)
{
    (void)state;
    for (int rotary = 4; rotary <= SMALL_DK; rotary += SMALL_DK - 4) {
        struct guarded_buffer frequencies = doubles(rotary / 2);
        struct guarded_buffer near = doubles(rotary / 2);
        struct guarded_buffer far = doubles(rotary / 2);
        struct guarded_buffer slopes = floats(SMALL_HQ);
        struct weight_set model;
        guarded_report("test_extent: an array of the config is read beyond its end\n");
        small_set_init(&model);
        model.config.rotary_dim = rotary;
        model.config.rope_scaling = GQA_ROPE_SCALING_TABLE;
        model.config.rope_theta = 0.0;
        model.config.rope_inv_freq = frequencies.data;
        create(&model);
        small_set_init(&model);
        model.config.rotary_dim = rotary;
        model.config.rope_scaling = GQA_ROPE_SCALING_LONGROPE;
        model.config.rope_factor = 4.0;
        model.config.rope_original_context = 8;
        model.config.rope_short_factors = near.data;
        model.config.rope_long_factors = far.data;
        create(&model);
        small_set_init(&model);
        model.config.alibi_slopes = slopes.data;
        create(&model);
        assert_true(guarded_free(&frequencies));
        assert_true(guarded_free(&near));
        assert_true(guarded_free(&far));
        assert_true(guarded_free(&slopes));
    }
}

static const int32_t *ints(struct guarded_buffer *buffer, int n, int32_t first, int32_t step)
{
    *buffer = guarded_new((size_t)n * sizeof(int32_t));
    for (int32_t i = 0; i < n; i++) {
        ((int32_t *)buffer->data)[i] = first + i * step;
    }
    return buffer->data;
}

/* forward.h: [B], [batch + 1] and [B, T] numbers, padded and flat. */
static void arrays_of_a_call(void **state)
{
    enum { B = 2, T = 5, ARRAYS = 8 };
    struct guarded_buffer all[ARRAYS];
    struct small_layer small;
    float y[B * T * SMALL_HIDDEN];
    (void)state;
    guarded_report("test_extent: an array of the call is read beyond its end\n");
    small_layer_open(&small, NULL);
    for (int flat = 0; flat < 2; flat++) {
        gqa_inputs in;
        gqa_inputs_init(&in);
        in.position_ids = ints(&all[0], B * T, 0, 1);
        in.rotary_position_ids = ints(&all[1], B * T, 7, 3);
        in.key_begin = ints(&all[2], B * T, 0, 0);
        in.key_end = ints(&all[3], B * T, 90, 0);
        in.sequences = ints(&all[4], B, 2 * flat, 1);
        const int32_t *const first = ints(&all[5], B, 0, 1), *const lengths =
                                                                 ints(&all[6], B, T, -1);
        const int32_t *const begin = ints(&all[7], B + 1, 0, T);
        if (flat != 0) {
            in.row_begin = begin;
            in.batch = B;
        } else {
            in.first_valid = first;
            in.lengths = lengths;
        }
        if (small_layer_forward(&small, small.cache, &in, flat != 0 ? 1 : B, flat != 0 ? B * T : T,
                                small.x, y) != GQA_OK) {
            fail_msg("%s", small.err.message);
        }
        for (int i = 0; i < ARRAYS; i++) {
            assert_true(guarded_free(&all[i]));
        }
    }
    small_layer_close(&small);
}

/* Merging parts of no keys writes the states of the rows, all of them, and no float more. */
static void states_of_no_keys(void **state)
{
    enum { B = 3, T = 2, ROWS = B * T * SMALL_HQ };
    struct guarded_buffer m = floats(ROWS), l = floats(ROWS), o = floats(ROWS * SMALL_DV);
    static float zeros[ROWS * SMALL_DV];
    gqa_states empty = {.key_begin = 0, .key_end = 0};
    gqa_states out = {.key_begin = 5, .key_end = 5};
    const gqa_states *list[1] = {&empty};
    gqa_error err;
    (void)state;
    guarded_report("test_extent: states are written beyond their end\n");
    empty.m = gqa_tensor_3d(zeros, GQA_F32, B, T, SMALL_HQ);
    empty.l = empty.m;
    empty.o = gqa_tensor_4d(zeros, GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    out.m = gqa_tensor_3d(m.data, GQA_F32, B, T, SMALL_HQ);
    out.l = gqa_tensor_3d(l.data, GQA_F32, B, T, SMALL_HQ);
    out.o = gqa_tensor_4d(o.data, GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    if (gqa_merge_states(list, 1, &out, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < ROWS; i++) {
        assert_true(((float *)m.data)[i] < -3.4e38f);
        assert_true(((float *)l.data)[i] == 0.0f);
        for (int d = 0; d < SMALL_DV; d++) {
            assert_true(((float *)o.data)[i * SMALL_DV + d] == 0.0f);
        }
    }
    assert_true(guarded_free(&m) && guarded_free(&l) && guarded_free(&o));
}

/* B x T tokens: each of the three at most INT32_MAX / 4. Sizes only: nothing is followed. */
static void tokens_of_a_call(void **state)
{
    enum { MOST = INT32_MAX / 4 };
    static const struct {
        int64_t b, t;
        gqa_status status;
    } cases[] = {{1, MOST, GQA_OK},
                 {MOST, 1, GQA_OK},
                 {0, MOST, GQA_OK},
                 {MOST, 0, GQA_OK},
                 {1, (int64_t)MOST + 1, GQA_ERR_SHAPE},
                 {(int64_t)MOST + 1, 1, GQA_ERR_SHAPE},
                 {0, (int64_t)MOST + 1, GQA_ERR_SHAPE},
                 {(int64_t)MOST + 1, 0, GQA_ERR_SHAPE},
                 {2, MOST / 2, GQA_OK},
                 {2, MOST / 2 + 1, GQA_ERR_SHAPE},
                 {MOST / 2 + 1, 2, GQA_ERR_SHAPE}};
    struct small_layer small;
    (void)state;
    small_layer_open(&small, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t b = cases[i].b, t = cases[i].t;
        gqa_inputs in;
        gqa_output out;
        gqa_attend_inputs alone;
        gqa_attend_output result;
        size_t size = 0;
        gqa_inputs_init(&in);
        gqa_output_init(&out);
        in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, b, t, SMALL_HIDDEN);
        out.hidden_states = in.hidden_states;
        gqa_status status =
            gqa_workspace_size(small.layer, small.cache, &in, &out, &size, &small.err);
        if (status != cases[i].status) {
            fail_msg("forward of %lld x %lld tokens: status %d", (long long)b, (long long)t,
                     (int)status);
        }
        gqa_attend_inputs_init(&alone);
        gqa_attend_output_init(&result);
        alone.query = gqa_tensor_4d(small.x, GQA_F32, b, t, SMALL_HQ, SMALL_DK);
        result.output = gqa_tensor_4d(small.x, GQA_F32, b, t, SMALL_HQ, SMALL_DV);
        status =
            gqa_attend_workspace_size(small.layer, small.cache, &alone, &result, &size, &small.err);
        if (status != cases[i].status) {
            fail_msg("attend of %lld x %lld queries: status %d", (long long)b, (long long)t,
                     (int)status);
        }
    }
    small_layer_close(&small);
}

/* Plain keys of a batch entry: so many that their fold blocks can be counted. */
static void keys_of_a_call(void **state)
{
    struct small_layer small;
    (void)state;
    small_layer_open(&small, NULL);
    for (int over = 0; over <= 1; over++) {
        const int64_t keys = (int64_t)INT32_MAX - 256 + over;
        gqa_attend_inputs in;
        gqa_attend_output out;
        size_t size;
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&out);
        in.query = gqa_tensor_4d(small.x, GQA_F32, 1, 1, SMALL_HQ, SMALL_DK);
        in.key = gqa_tensor_4d(small.x, GQA_F32, 1, keys, SMALL_HKV, SMALL_DK);
        in.value = gqa_tensor_4d(small.x, GQA_F32, 1, keys, SMALL_HKV, SMALL_DV);
        out.output = gqa_tensor_4d(small.x, GQA_F32, 1, 1, SMALL_HQ, SMALL_DV);
        assert_int_equal(gqa_attend_workspace_size(small.layer, NULL, &in, &out, &size, &small.err),
                         over == 0 ? GQA_OK : GQA_ERR_SHAPE);
    }
    small_layer_close(&small);
}

/* gqa_stage_rope: any number of heads that an int32_t holds. */
static void heads_of_a_rotation(void **state)
{
    struct small_layer small;
    (void)state;
    small_layer_open(&small, NULL);
    for (int over = 0; over <= 1; over++) {
        const gqa_tensor table = gqa_tensor_2d(small.x, GQA_F32, 0, SMALL_DK / 2);
        const gqa_tensor x =
            gqa_tensor_3d(small.x, GQA_F32, 0, (int64_t)INT32_MAX + over, SMALL_DK);
        assert_int_equal(gqa_stage_rope(small.layer, &table, &table, &x, NULL),
                         over == 0 ? GQA_OK : GQA_ERR_SHAPE);
    }
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_of_the_config), cmocka_unit_test(arrays_of_a_call),
        cmocka_unit_test(states_of_no_keys),    cmocka_unit_test(tokens_of_a_call),
        cmocka_unit_test(heads_of_a_rotation),  cmocka_unit_test(keys_of_a_call),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
