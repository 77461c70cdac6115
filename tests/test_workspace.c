/* SPDX-License-Identifier: Apache-2.0 */
/* test_workspace.c - the sizes of workspaces are asked with any non-NULL data, and no pointer but
 * the structs' is followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum {
    B = 2,
    T = 5,
    H = SMALL_HIDDEN,
    HQ = SMALL_HQ,
    HKV = SMALL_HKV,
    DK = SMALL_DK,
    DV = SMALL_DV
};

static struct small_layer small;
static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};

/* Addresses that hold nothing, aligned to nothing; and one that every format takes. */
static const uintptr_t addresses[] = {64, 1, 2, 3, 5, UINTPTR_MAX, UINTPTR_MAX - 1};
enum { ADDRESSES = sizeof addresses / sizeof addresses[0] };

static void rich(gqa_config *config)
{
    config->input_norm = GQA_NORM_RMS;
    config->gate = GQA_GATE_ELEMENT;
    config->add_residual = 1;
}

static const int32_t *ints(uintptr_t address)
{
    return (const int32_t *)address;
}

/* Everything a call can have, from hidden_states or from the projections. */
static size_t forward_size(uintptr_t address, gqa_dtype format, int from_q, const gqa_cache *cache)
{
    const void *at = (const void *)address;
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(at, format, B, T, H);
    in.residual = gqa_tensor_3d(at, format, B, T, H);
    if (from_q) {
        in.q_proj = gqa_tensor_4d(at, format, B, T, HQ, DK);
        in.k_proj = gqa_tensor_4d(at, format, B, T, HKV, DK);
        in.v_proj = gqa_tensor_4d(at, format, B, T, HKV, DV);
        in.gate_proj = gqa_tensor_4d(at, format, B, T, HQ, DV);
    }
    in.cos_cache = gqa_tensor_3d(at, GQA_F32, B, T, DK / 2);
    in.sin_cache = gqa_tensor_3d(at, GQA_F32, B, T, DK / 2);
    in.rope_key = gqa_layer_rope_key(small.layer);
    in.mask = gqa_tensor_4d(at, GQA_BITS, B, HQ, T, 80);
    in.bias = gqa_tensor_4d(at, format, B, HQ, T, 80);
    in.active_mask = gqa_tensor_3d(at, GQA_U8, B, T, T);
    in.sequences = in.first_valid = in.lengths = in.position_ids = ints(address);
    in.key_begin = in.key_end = ints(address);
    out.hidden_states = gqa_tensor_3d(at, format, B, T, H);
    out.residual = gqa_tensor_3d(at, format, B, T, H);
    out.attn = gqa_tensor_4d(at, format, B, T, HQ, DV);
    out.lse = gqa_tensor_3d(at, GQA_F32, B, T, HQ);
    out.present_key_value.k = gqa_tensor_4d(at, format, B, HKV, T, DK);
    out.present_key_value.v = gqa_tensor_4d(at, format, B, HKV, T, DV);
    out.cos_cache = gqa_tensor_3d(at, GQA_F32, B, T, DK / 2);
    out.sin_cache = gqa_tensor_3d(at, GQA_F32, B, T, DK / 2);
    if (gqa_workspace_size(small.layer, cache, &in, &out, &size, &small.err) != GQA_OK) {
        fail_msg("address %llx: %s", (unsigned long long)address, small.err.message);
    }
    return size;
}

static size_t attend_size(uintptr_t address, gqa_dtype format, const gqa_cache *cache)
{
    const void *at = (const void *)address;
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_states states = {0};
    size_t size = 0;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    states.m = gqa_tensor_3d(at, GQA_F32, B, T, HQ);
    states.l = gqa_tensor_3d(at, GQA_F32, B, T, HQ);
    states.o = gqa_tensor_4d(at, GQA_F32, B, T, HQ, DV);
    states.key_end = 256;
    in.query = gqa_tensor_4d(at, format, B, T, HQ, DK);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(at, format, B, 300, HKV, DK);
        in.value = gqa_tensor_4d(at, format, B, 300, HKV, DV);
        in.key_lengths = in.key_position_ids = ints(address);
    } else {
        in.sequences = ints(address);
    }
    in.range_begin = 256;
    in.prior = &states;
    in.first_valid = in.lengths = in.position_ids = in.key_begin = in.key_end = ints(address);
    in.mask = gqa_tensor_4d(at, GQA_U8, B, HQ, T, 300);
    in.bias = gqa_tensor_4d(at, format, B, HQ, T, 300);
    out.output = gqa_tensor_4d(at, format, B, T, HQ, DV);
    out.lse = gqa_tensor_3d(at, GQA_F32, B, T, HQ);
    out.states = states;
    if (gqa_attend_workspace_size(small.layer, cache, &in, &out, &size, &small.err) != GQA_OK) {
        fail_msg("address %llx: %s", (unsigned long long)address, small.err.message);
    }
    assert_true(out.states.m.data == at && states.o.data == at);
    return size;
}

static void any_address_gives_the_size(void **state)
{
    (void)state;
    small_layer_open(&small, rich);
    for (int f = 0; f < 3; f++) {
        for (int cached = 0; cached < 2; cached++) {
            const gqa_cache *cache = cached ? small.cache : NULL;
            size_t sizes[3];
            for (int a = 0; a < ADDRESSES; a++) {
                const size_t got[3] = {forward_size(addresses[a], formats[f], 0, cache),
                                       forward_size(addresses[a], formats[f], 1, cache),
                                       attend_size(addresses[a], formats[f], cache)};
                if (a == 0) {
                    memcpy(sizes, got, sizeof sizes);
                }
                assert_memory_equal(sizes, got, sizeof sizes);
            }
        }
    }
    small_layer_close(&small);
}

/* The size that was told for outputs on other memory serves outputs that lie on the inputs. */
static void size_serves_outputs_in_place(void **state)
{
    static _Alignas(64) unsigned char workspace[1 << 21];
    float x[B * T * H], residual[B * T * H];
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    (void)state;
    small_layer_open(&small, rich);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d((const void *)1, GQA_F32, B, T, H);
    in.residual = gqa_tensor_3d((const void *)2, GQA_F32, B, T, H);
    out.hidden_states = gqa_tensor_3d((const void *)3, GQA_F32, B, T, H);
    out.residual = gqa_tensor_3d((const void *)5, GQA_F32, B, T, H);
    assert_int_equal(gqa_workspace_size(small.layer, small.cache, &in, &out, &size, NULL), GQA_OK);
    assert_true(size <= sizeof workspace);
    memcpy(x, small.x, sizeof x);
    memcpy(residual, small.x + B * T * H, sizeof residual);
    in.hidden_states.data = out.hidden_states.data = x;
    in.residual.data = out.residual.data = residual;
    if (gqa_forward(small.layer, small.cache, &in, &out, workspace, size, &small.err) != GQA_OK) {
        fail_msg("%s", small.err.message);
    }
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_address_gives_the_size),
        cmocka_unit_test(size_serves_outputs_in_place),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
