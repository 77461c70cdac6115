/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - a golden case through the library: one layer, then each feed schedule through a cache. */
#ifndef GQA__TOOL_RUN_H
#define GQA__TOOL_RUN_H

#include "tool/case.h"
#include "tool/feed.h"
#include "tool/kv_types.h"
#include "tool/neuron_told.h"
#include "tool/options.h"
#include "tool/pool.h"

struct tool_run_options {
    gqa_backend backend;
    gqa_numerics numerics;
    gqa_isa isa, max_isa;
    bool float_angles;
    struct tool_neuron_options neuron;
    gqa_neuron_accumulation accumulation; /* of backend neuron */
    bool in_place;          /* matrices are used from the mapped file, where the case has any */
    struct tool_pool *pool; /* NULL = one thread */
};

/* What a run gave, f32. Values as tool_value_shape says; rows that are padding are zero. NaN where
 * the library told nothing. */
struct tool_values {
    float *value[TOOL_VALUES];
    float *cache_k, *cache_v; /* the new tokens as the cache gives them back; shapes of k and v;
                                 NULL without a cache */
    float *past_k, *past_v;   /* [B, P, Hkv, D] the past as the cache gives it back, or NULL */
    double *inv_freq;         /* [pairs] */
    double rope_mscale;
    gqa_path path; /* of the last call */
    struct tool_neuron_told neuron;
};

struct tool_session {
    const struct tool_case *c;
    struct tool_feed feed;
    gqa_runtime runtime;
    gqa_layer *layer;
    bool neuron;                                               /* the layer's backend */
    void (*progress)(void *user, int32_t call, int32_t calls); /* NULL = silent */
    void *progress_user;
    gqa_trace trace; /* of every call, as in gqa_inputs; NULL = none */
    void *trace_user;
    gqa_work *work;                               /* what the last call did; NULL = not wanted */
    const struct tool_kv_type *store_k, *store_v; /* of its caches; NULL = the layer's own */
};

/* The case must outlive the session. */
bool tool_session_open(struct tool_session *session, const struct tool_case *c,
                       const struct tool_run_options *options, struct tool_fault *fault);
void tool_session_close(struct tool_session *session);

/* All calls of a schedule, through a growing cache or (one call and no past only) without one.
 * values must be freed, also on failure. */
bool tool_session_run(struct tool_session *session, const struct tool_schedule *schedule,
                      bool use_cache, struct tool_values *values, struct tool_fault *fault);
void tool_values_free(struct tool_values *values);

#endif
