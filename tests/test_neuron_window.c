/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_window.c - a layer with a window on backend neuron adds its past keys up in the order
 * of the rolling cache's slots: the bits of native_tkg on keys that the maps of gqa/neuron_maps.h
 * have put into their slots, with the map's own mask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/neuron_scene.h"
#include "support/program.h"

enum { HQ = SCENE_HQ, HKV = SCENE_HKV, D = SCENE_DIM, MOST = 320, KEY = HKV * D };

struct step {
    gqa_neuron_release release;
    int window, past;
};

/* native_tkg on width prior slots, which hold these positions (beyond the past: nothing). */
static void native(const struct scene *scene, const struct step *step, const int32_t *held,
                   int width, const uint8_t *mask, float *out)
{
    static float k[MOST * KEY], v[MOST * KEY];
    gqa_neuron_call call;
    gqa_neuron_output output;
    gqa_error err;

    memset(k, 0, sizeof k);
    memset(v, 0, sizeof v);
    for (int slot = 0; slot < width; slot++) {
        if (held[slot] < step->past) {
            memcpy(k + slot * KEY, scene->k + held[slot] * KEY, KEY * sizeof *k);
            memcpy(v + slot * KEY, scene->v + held[slot] * KEY, KEY * sizeof *v);
        }
    }
    gqa_neuron_call_init(&call);
    gqa_neuron_output_init(&output);
    call.profile = GQA_NEURON_NATIVE_TKG;
    call.accumulation = scene->config.neuron_accumulation;
    call.q = gqa_tensor_4d(scene->q + step->past * HQ * D, GQA_F32, 1, 1, HQ, D);
    call.k = gqa_tensor_4d(scene->k + step->past * KEY, GQA_F32, 1, 1, HKV, D);
    call.v = gqa_tensor_4d(scene->v + step->past * KEY, GQA_F32, 1, 1, HKV, D);
    call.k_prior = gqa_tensor_4d(k, GQA_F32, 1, width, HKV, D);
    call.v_prior = gqa_tensor_4d(v, GQA_F32, 1, width, HKV, D);
    call.prior_mask = gqa_tensor_4d(mask, GQA_U8, 1, 1, 1, width);
    output.out = gqa_tensor_4d(out, GQA_F32, 1, 1, HQ, D);
    if (gqa_neuron_attention(&call, &output, NULL, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

/* One token after a past: the layer's bits are those of the slots. Do they differ from those in the
 * order of positions? */
static bool check_step(const struct step *step, gqa_neuron_accumulation accumulation)
{
    const gqa_neuron_window window = {step->release, step->window, 0};
    static int32_t held[MOST], rising[MOST];
    static uint8_t mask[MOST], plain[MOST];
    float by_slot[HQ * D], by_position[HQ * D];
    int32_t slots, width, write;
    struct scene scene;
    bool differ;

    scene_init(&scene);
    scene.config.neuron_profile = GQA_NEURON_NATIVE_TKG;
    scene.config.neuron_release = step->release;
    scene.config.neuron_io = GQA_NEURON_IO_F32;
    scene.config.neuron_accumulation = accumulation;
    scene.config.sliding_window = step->window;
    assert_int_equal(scene_create(&scene), GQA_OK);
    assert_int_equal(scene_run(&scene, 0, step->past), GQA_OK);
    assert_int_equal(scene_run(&scene, step->past, 1), GQA_OK);
    for (int i = 0; i < MOST; i++) {
        rising[i] = i;
        held[i] = MOST;
        plain[i] = i < step->past && i > step->past - step->window;
    }
    assert_int_equal(gqa_neuron_window_size(&window, &slots, &width, NULL), GQA_OK);
    assert_int_equal(gqa_neuron_window_slots(&window, step->past - 1, held, NULL), GQA_OK);
    assert_int_equal(gqa_neuron_window_decode(&window, step->past, mask, &write, NULL), GQA_OK);
    native(&scene, step, held, width, mask, by_slot);
    native(&scene, step, rising, step->past, plain, by_position);
    if (memcmp(by_slot, scene.out, sizeof by_slot) != 0) {
        fail_msg("release %d, window %d, past %d: not the bits of the slots", (int)step->release,
                 step->window, step->past);
    }
    differ = memcmp(by_slot, by_position, sizeof by_slot) != 0;
    scene_close(&scene);
    return differ;
}

static const struct step steps[] = {
    {GQA_NEURON_2_29, 40, 20},   {GQA_NEURON_2_29, 40, 39},   {GQA_NEURON_2_29, 40, 40},
    {GQA_NEURON_2_29, 40, 100},  {GQA_NEURON_2_29, 129, 300}, {GQA_NEURON_2_29, 2, 17},
    {GQA_NEURON_NEWEST, 33, 77}, {GQA_NEURON_2_26, 40, 40},   {GQA_NEURON_2_26, 40, 41},
    {GQA_NEURON_2_26, 40, 99},   {GQA_NEURON_2_26, 1, 9},     {GQA_NEURON_2_26, 130, 303},
    {GQA_NEURON_2_27, 40, 39},   {GQA_NEURON_2_27, 40, 100},  {GQA_NEURON_2_27, 129, 300},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

static void slots_in_their_order(void **state)
{
    int differ = 0;

    (void)state;
    for (int i = 0; i < STEPS; i++) {
        differ += check_step(&steps[i], GQA_NEURON_FLOAT32);
    }
    assert_true(differ > 3); /* else the order would not be seen */
}

static void exact_sums_have_no_order(void **state)
{
    (void)state;
    for (int i = 0; i < STEPS; i++) {
        assert_false(check_step(&steps[i], GQA_NEURON_EXACT));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_in_their_order),
        cmocka_unit_test(exact_sums_have_no_order),
    };
    return RUN_TESTS(argc, argv, tests);
}
