/* SPDX-License-Identifier: Apache-2.0 */
/* trace_call.h - a call to trace: of a case, of a case in another profile, or of random numbers in
 * the shape of a gpt-oss layer. */
#ifndef GQA__TOOL_TRACE_CALL_H
#define GQA__TOOL_TRACE_CALL_H

#include "tool/neuron_case.h"

struct tool_trace_options {
    gqa_neuron_profile profile; /* NO_PROFILE: the case's; without a case cte */
    gqa_neuron_release release;
    int32_t tokens, window, heads; /* of the random numbers */
};

/* A call and what was made for it. */
struct tool_trace_call {
    gqa_neuron_call call;
    gqa_neuron_call plain; /* what it was made of, if q is there, for backend cpu: queries, which
                              are the last of the keys, sinks, a window, a mask */
    void *made[32];
    int count;
};

/* Query heads on one KV head of 64, bf16, with sinks. */
bool tool_trace_call_random(struct tool_trace_call *made, const struct tool_trace_options *options,
                            struct tool_fault *fault);

/* A case's call, which must outlive this one. For another profile than its own the case must have
 * as many keys as queries; its q, k, v, sinks and window are taken. Without them plain is empty. */
bool tool_trace_call_case(struct tool_trace_call *made, const struct tool_neuron_case *c,
                          const struct tool_trace_options *options, struct tool_fault *fault);

void tool_trace_call_free(struct tool_trace_call *made);

#endif
