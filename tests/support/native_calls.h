/* SPDX-License-Identifier: Apache-2.0 */
/* native_calls.h - random calls of native_prefill, native_prefix and native_tkg, run and compared
 * with the twin, every traced value included, and with the definition of attention. */
#ifndef TEST_NATIVE_CALLS_H
#define TEST_NATIVE_CALLS_H

#include "support/native_twin.h"
#include "support/neuron_rig.h"

struct native_options {
    gqa_neuron_profile profile;
    int batch, tokens, keys; /* keys: of the one part of native_prefill, else of the prior one */
    int hq, hkv, d;
    bool f32, sinks, divisor_f32;
    int mask;      /* 0 none, 1 bytes, 2 bits, 3 bytes shared by all batch entries */
    int seen;      /* of 10 keys */
    int blind_row; /* this row sees nothing; -1 = none */
};

/* A call, and its tensors as floats. */
struct native_call {
    struct native_options o;
    struct neuron_rig rig;
    float *q, *k, *v, *k_prior, *v_prior, *sinks;
    uint8_t *mask, *prior_mask, *active_mask; /* NULL = none */
};

void native_call_open(struct native_call *call, const struct native_options *o, uint64_t seed);
void native_call_close(struct native_call *call);

/* What a row is to the twin; room for its values must be given (native_room). */
struct native_room {
    float *raw[2], *s[2], *p[2], *o[2], *out; /* prior, active */
};
void native_room_open(struct native_room *room, struct neuron_rig *rig, int keys, int d);
void native_row_of(const struct native_call *call, int batch, int head, int token,
                   const struct native_room *room, struct native_row *row);

/* Run with exact accumulation, traced: bit by bit the twin. With f32 sums: within the bound. */
void native_call_check(struct native_call *call);

#endif
