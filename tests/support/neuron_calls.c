/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_calls.c - see neuron_calls.h. */
#include "support/neuron_calls.h"

#include <stdint.h>
#include <string.h>

enum { TOKENS = 3, HQ = 2, HKV = 1, DIM = 7, NUMBERS = (TOKENS * HQ + 2) * DIM };

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

void neuron_calls_run(void *(*room)(size_t size), void (*done)(gqa_status status))
{
    float *const x = numbers(room);

    for (int profile = GQA_NEURON_FLASH_FWD; profile <= GQA_NEURON_NATIVE_PREFILL; profile++) {
        gqa_neuron_call *const call = room(sizeof *call);
        gqa_neuron_output *const out = room(sizeof *out);
        size_t *const size = room(sizeof *size);
        const char *const name = gqa_neuron_profile_name((gqa_neuron_profile)profile);

        gqa_neuron_call_init(call);
        gqa_neuron_output_init(out);
        call->profile = (gqa_neuron_profile)profile;
        call->lift_limits = 1;
        call->q = gqa_tensor_4d(x, GQA_F32, 1, TOKENS, HQ, DIM);
        call->k = gqa_tensor_4d(x + 1, GQA_F32, 1, TOKENS, HKV, DIM);
        call->v = gqa_tensor_4d(x + 2, GQA_F32, 1, TOKENS, HKV, DIM);
        out->out = gqa_tensor_4d(room(TOKENS * HQ * DIM * sizeof *x), GQA_F32, 1, TOKENS, HQ, DIM);
        done(gqa_neuron_workspace_size(call, out, NULL, size, NULL));
        done(gqa_neuron_attention(call, out, NULL, NULL, 0, NULL));
        memcpy(room(strlen(name) + 1), name, strlen(name) + 1);
    }
}
