/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_calls.c - see neuron_calls.h. */
#include "support/neuron_calls.h"

#include <stdint.h>
#include <string.h>

enum { TOKENS = 3, PRIOR = 4, HQ = 2, HKV = 1, DIM = 7, BLOCK = 2 };
enum { NUMBERS = (TOKENS * HQ + 2) * DIM };

/* Numbers of many sizes, f32, made of bits: the host's mode must not be asked. */
static float *numbers(void *(*room)(size_t size))
{
    float *const x = room(NUMBERS * sizeof *x);

    for (uint32_t i = 0; i < NUMBERS; i++) {
        const uint32_t bits = 0x3e000000u + i * 0x2468aceu % 0x2000000u + (i % 2 << 31);
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

/* Ranks for flash_decoding; one request with a context of two blocks for paged_schedule. */
static void set_arrays(gqa_neuron_call *call, void *(*room)(size_t size))
{
    static const int32_t values[] = {PRIOR, PRIOR + 1, PRIOR + 2, TOKENS, 3, 1, 0};
    int32_t *const numbers_of = room(sizeof values);

    memcpy(numbers_of, values, sizeof values);
    if (call->profile == GQA_NEURON_FLASH_DECODING) {
        call->ranks = 2;
        call->positions = numbers_of;
        return;
    }
    call->requests = 1;
    call->query_lens = numbers_of + 3;
    call->context_lens = numbers_of + 4;
    call->block_table = numbers_of + 5;
    call->block_table_width = 2;
}

void neuron_call_make(gqa_neuron_profile profile, void *(*room)(size_t size), gqa_neuron_call *call,
                      gqa_neuron_output *out)
{
    float *const x = numbers(room);

    gqa_neuron_call_init(call);
    gqa_neuron_output_init(out);
    call->profile = profile;
    call->lift_limits = 1;
    call->q = gqa_tensor_4d(x, GQA_F32, 1, TOKENS, HQ, DIM);
    call->k = gqa_tensor_4d(x + 1, GQA_F32, 1, TOKENS, HKV, DIM);
    call->v = gqa_tensor_4d(x + 2, GQA_F32, 1, TOKENS, HKV, DIM);
    if (profile >= GQA_NEURON_NATIVE_PREFIX && profile <= GQA_NEURON_FLASH_DECODING) {
        call->k_prior = gqa_tensor_4d(x + 3, GQA_F32, 1, PRIOR, HKV, DIM);
        call->v_prior = gqa_tensor_4d(x + 4, GQA_F32, 1, PRIOR, HKV, DIM);
    }
    if (profile == GQA_NEURON_PAGED_SCHEDULE) {
        call->k_cache = gqa_tensor_4d(x + 3, GQA_F32, 2, HKV, BLOCK, DIM);
        call->v_cache = gqa_tensor_4d(x + 4, GQA_F32, 2, HKV, BLOCK, DIM);
    }
    if (profile >= GQA_NEURON_FLASH_DECODING) {
        set_arrays(call, room);
    }
    out->out = gqa_tensor_4d(room(TOKENS * HQ * DIM * sizeof *x), GQA_F32, 1, TOKENS, HQ, DIM);
}

void neuron_calls_run(void *(*room)(size_t size), void (*done)(gqa_status status))
{
    for (int profile = GQA_NEURON_FLASH_FWD; profile <= GQA_NEURON_PAGED_SCHEDULE; profile++) {
        gqa_neuron_call *const call = room(sizeof *call);
        gqa_neuron_output *const out = room(sizeof *out);
        size_t *const size = room(sizeof *size);
        const char *const name = gqa_neuron_profile_name((gqa_neuron_profile)profile);

        neuron_call_make((gqa_neuron_profile)profile, room, call, out);
        done(gqa_neuron_workspace_size(call, out, NULL, size, NULL));
        done(gqa_neuron_attention(call, out, NULL, NULL, 0, NULL));
        memcpy(room(strlen(name) + 1), name, strlen(name) + 1);
    }
}
