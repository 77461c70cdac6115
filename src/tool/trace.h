/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - what a call of one of Neuron's profiles did, kept event by event. */
#ifndef GQA__TOOL_TRACE_H
#define GQA__TOOL_TRACE_H

#include "tool/neuron_case.h"
#include "tool/trace_panel.h"

/* One event, with copies of what lived until the callback returned. */
struct tool_trace_event {
    gqa_neuron_tile tile; /* its pointers are the copies, or NULL */
    int32_t *begin, *end; /* MM1: [rows] the keys of the tile that a row sees lie in [begin, end) */
};

struct tool_trace {
    int32_t batch, head;             /* which events are kept */
    int64_t dump;                    /* of this event s and p are kept too; -1 = of none */
    struct tool_trace_event *events; /* [count] */
    int64_t count, room;
    int32_t tokens; /* rows of the call */
    int32_t hidden; /* keys of other ranks, in front of the active ones, that are not shown */
    bool starved;   /* there was no memory for an event */
    gqa_neuron_output output;
};

/* Run the call and keep its events. out of the call's output goes to memory of the trace's own. */
bool tool_trace_run(struct tool_trace *trace, const gqa_neuron_call *call,
                    struct tool_fault *fault);
void tool_trace_free(struct tool_trace *trace);

/* What is shown. */
struct tool_trace_title {
    const char *name; /* of the case */
    const gqa_neuron_call *call;
};

/* Its tiles, which point into the trace. */
bool tool_trace_panel(const struct tool_trace *trace, const struct tool_trace_title *title,
                      struct tool_trace_panel *panel, struct tool_fault *fault);

/* A new object; NULL without memory. */
json_t *tool_trace_json(const struct tool_trace *trace, const struct tool_trace_title *title);

#endif
