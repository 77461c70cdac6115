/* SPDX-License-Identifier: Apache-2.0 */
/* forward_faults.h - a good forward call, and every way to spoil it. */
#ifndef TEST_FORWARD_FAULTS_H
#define TEST_FORWARD_FAULTS_H

#include "support/faults.h"
#include "support/small_layer.h"

enum { B = 3, T = 3, PAST = 5, K = PAST + T };

/* A call that is good before it is spoilt: three sequences that hold PAST tokens each get T more.
 */
struct call {
    const gqa_layer *layer;
    gqa_cache *cache;
    gqa_inputs in;
    gqa_output out;
    const gqa_inputs *inputs; /* &in */
    gqa_output *output;       /* &out */
    void *workspace;
    size_t size;
};

/* One fault: what it does to a good call, and what the call must answer. */
struct forward_fault {
    void (*spoil)(struct call *call);
    const char *what;
    const char *field;
    gqa_status status;
};

/* Calls from hidden_states (with every optional tensor), and from the projections. */
void call_from_hidden(struct call *call);
void call_from_projections(struct call *call);
/* The second on a layer that is attention only, without rope and gate. */
void call_of_narrow(struct call *call);

extern const struct fault_tensor hidden_tensors[], projection_tensors[];
extern const size_t hidden_tensor_count, projection_tensor_count;
extern const struct forward_fault hidden_faults[], projection_faults[];
extern const size_t hidden_fault_count, projection_fault_count;

/* The layer and cache of the calls; sequence B of the cache is empty. */
struct small_layer *forward_layer(void);
uint64_t forward_cache_hash(void);
void forward_open(void);
void forward_close(void);

#endif
