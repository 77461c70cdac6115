/* SPDX-License-Identifier: Apache-2.0 */
/* test_states_errors.c - every argument of gqa_merge_states and gqa_finish_states spoilt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { B = 3, T = 3, BLOCK_KEYS = 256 };

static struct small_layer small, other;
static float written[5][B * T * SMALL_HQ * SMALL_DK], lower[3][B * T * SMALL_HQ * SMALL_DK];

static void other_dims(gqa_config *config)
{
    config->v_head_dim = SMALL_DV + 1;
}

static int open_all(void **state)
{
    (void)state;
    small_layer_open(&small, NULL);
    small_layer_open(&other, other_dims);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    small_layer_close(&small);
    small_layer_close(&other);
    return 0;
}

static gqa_states states_in(float (*memory)[B * T * SMALL_HQ * SMALL_DK], int32_t begin,
                            int32_t end)
{
    gqa_states states;
    states.m = gqa_tensor_3d(memory[0], GQA_F32, B, T, SMALL_HQ);
    states.l = gqa_tensor_3d(memory[1], GQA_F32, B, T, SMALL_HQ);
    states.o = gqa_tensor_4d(memory[2], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    states.key_begin = begin;
    states.key_end = end;
    return states;
}

static void merge_refused(const gqa_states *first, const gqa_states *second, gqa_states *out,
                          gqa_status status, const char *field)
{
    const gqa_states *states[2] = {first, second};
    gqa_error err = {GQA_OK, NULL, ""};
    assert_int_equal(gqa_merge_states(states, 2, out, &err), status);
    assert_string_equal(err.field, field);
    assert_int_equal(gqa_merge_states(states, 2, out, NULL), status);
}

static void spoilt_merges(void **state)
{
    gqa_states a = states_in(lower, 0, BLOCK_KEYS), good = states_in(written, BLOCK_KEYS, 300);
    gqa_states out = a, b = good;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;
    merge_refused(&a, NULL, &out, GQA_ERR_ARG, "states");
    b.key_begin = BLOCK_KEYS - 1;
    merge_refused(&a, &b, &out, GQA_ERR_ARG, "states");
    b.key_begin = 0; /* overlaps */
    merge_refused(&a, &b, &out, GQA_ERR_ARG, "states");
    b = good;
    b.key_end = BLOCK_KEYS - 1;
    merge_refused(&a, &b, &out, GQA_ERR_ARG, "states");
    b = good;
    b.m.shape[0]--;
    merge_refused(&a, &b, &out, GQA_ERR_SHAPE, "states");
    b = good;
    b.o.data = NULL;
    merge_refused(&a, &b, &out, GQA_ERR_ARG, "states");
    out.l.dtype = GQA_BF16;
    merge_refused(&a, &good, &out, GQA_ERR_ARG, "out");
    merge_refused(&a, &good, NULL, GQA_ERR_ARG, "out");
    assert_int_equal(gqa_merge_states(NULL, 2, &a, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "states");
    assert_int_equal(gqa_merge_states(&(const gqa_states *){&a}, 0, &a, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "n");
}

/* All states of a merge, and its result, are of the same rows and Dv; each alone with another
 * extent is refused, as the last, the first or the only one. */
static void rows_that_differ(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) { /* B, T, Hq, Dv: one less */
        const int64_t b = which == 0 ? B - 1 : B, t = which == 1 ? T - 1 : T;
        const int64_t hq = which == 2 ? SMALL_HQ - 1 : SMALL_HQ,
                      dv = which == 3 ? SMALL_DV - 1 : SMALL_DV;
        gqa_states a = states_in(lower, 0, BLOCK_KEYS), c = states_in(written, BLOCK_KEYS, 300);
        gqa_states out = a, odd = c;
        const gqa_states *list[1] = {&a};
        gqa_error err = {GQA_OK, NULL, ""};
        odd.m = gqa_tensor_3d(c.m.data, GQA_F32, b, t, hq);
        odd.l = gqa_tensor_3d(c.l.data, GQA_F32, b, t, hq);
        odd.o = gqa_tensor_4d(c.o.data, GQA_F32, b, t, hq, dv);
        merge_refused(&a, &odd, &out, GQA_ERR_SHAPE, "states");
        merge_refused(&a, &c, &odd, GQA_ERR_SHAPE, "out");
        assert_int_equal(gqa_merge_states(list, 1, &odd, &err), GQA_ERR_SHAPE);
        assert_string_equal(err.field, "out");
    }
}

/* No rows, in extents whose product no integer holds, with strides that say nothing. */
static void empty_states(void **state)
{
    const int64_t many = INT64_C(1) << 32;
    gqa_states a = states_in(lower, 0, BLOCK_KEYS), b = states_in(written, BLOCK_KEYS, 300),
               out = a;
    gqa_states *const all[] = {&a, &b, &out};
    const gqa_states *const list[] = {&a, &b};
    (void)state;
    for (int zero = 0; zero < 3; zero++) {
        const int64_t x = zero == 0 ? 0 : many, y = zero == 1 ? 0 : many, z = zero == 2 ? 0 : many;
        for (int i = 0; i < 3; i++) {
            all[i]->m = all[i]->l = gqa_tensor_3d(lower, GQA_F32, x, y, z);
            all[i]->o = gqa_tensor_4d(lower, GQA_F32, x, y, z, SMALL_DV);
            for (int d = 0; d < 4; d++) {
                all[i]->m.stride[d] = all[i]->l.stride[d] = d == 2 ? 1 : 5;
                all[i]->o.stride[d] = d == 3 ? 1 : 5;
            }
        }
        assert_int_equal(gqa_merge_states(list, 2, &out, NULL), GQA_OK);
        assert_int_equal(gqa_merge_states(list, 1, &out, NULL), GQA_OK);
    }
}

static void finish_refused(const gqa_layer *layer, const gqa_states *states, gqa_phase phase,
                           int32_t leave_out, const gqa_tensor *output, const gqa_tensor *lse,
                           gqa_status status, const char *field)
{
    gqa_error err = {GQA_OK, NULL, ""};
    assert_int_equal(gqa_finish_states(layer, states, phase, leave_out, output, lse, &err), status);
    if (strstr(err.field, field) == NULL) {
        fail_msg("%s, not %s: %s", err.field, field, err.message);
    }
}

static void spoilt_finishes(void **state)
{
    gqa_states good = states_in(lower, 0, 0), s = good;
    const gqa_tensor out = gqa_tensor_4d(written[3], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    const gqa_tensor lse = gqa_tensor_3d(written[4], GQA_F32, B, T, SMALL_HQ);
    gqa_tensor bad = out;
    (void)state;
    finish_refused(NULL, &s, GQA_PHASE_CTE, 0, &out, &lse, GQA_ERR_ARG, "layer");
    finish_refused(small.layer, NULL, GQA_PHASE_CTE, 0, &out, &lse, GQA_ERR_ARG, "states");
    finish_refused(small.layer, &s, (gqa_phase)7, 0, &out, &lse, GQA_ERR_ARG, "phase");
    finish_refused(small.layer, &s, GQA_PHASE_CTE, 2, &out, &lse, GQA_ERR_ARG, "leave_out_sinks");
    finish_refused(small.layer, &s, GQA_PHASE_CTE, 0, NULL, NULL, GQA_ERR_ARG, "output");
    bad.shape[3]--;
    finish_refused(small.layer, &s, GQA_PHASE_CTE, 0, &bad, &lse, GQA_ERR_SHAPE, "output");
    bad = lse;
    bad.dtype = GQA_F16;
    finish_refused(small.layer, &s, GQA_PHASE_CTE, 0, &out, &bad, GQA_ERR_ARG, "lse");
    s.m.data = NULL;
    finish_refused(small.layer, &s, GQA_PHASE_CTE, 0, &out, &lse, GQA_ERR_ARG, "states");
    finish_refused(other.layer, &good, GQA_PHASE_CTE, 0, &out, &lse, GQA_ERR_SHAPE, "states");
}

/* The unspoilt calls are good, so every refusal above had its one cause. */
static void unspoilt(void **state)
{
    gqa_states a = states_in(lower, 0, BLOCK_KEYS), b = states_in(written, BLOCK_KEYS, 300);
    const gqa_states *states[2] = {&a, &b};
    const gqa_tensor out = gqa_tensor_4d(written[3], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    const gqa_tensor lse = gqa_tensor_3d(written[4], GQA_F32, B, T, SMALL_HQ);
    (void)state;
    assert_int_equal(gqa_merge_states(states, 2, &a, NULL), GQA_OK);
    assert_int_equal(gqa_finish_states(small.layer, &a, GQA_PHASE_CTE, 0, &out, &lse, NULL),
                     GQA_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spoilt_merges),    cmocka_unit_test(empty_states),
        cmocka_unit_test(rows_that_differ), cmocka_unit_test(spoilt_finishes),
        cmocka_unit_test(unspoilt),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) { /* cmocka cannot skip in a setup */
        return TEST_SKIPPED;
    }
    return RUN_TESTS_WITHIN(argc, argv, tests, open_all, close_all);
}
