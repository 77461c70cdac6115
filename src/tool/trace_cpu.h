/* SPDX-License-Identifier: Apache-2.0 */
/* trace_cpu.h - what a call of backend cpu did, kept tile by tile. */
#ifndef GQA__TOOL_TRACE_CPU_H
#define GQA__TOOL_TRACE_CPU_H

#include "tool/case.h"
#include "tool/run.h"
#include "tool/trace_panel.h"

/* One tile, with copies of what lived until the callback returned. */
struct tool_trace_tile {
    gqa_tile tile;        /* its pointers are NULL */
    int32_t *begin, *end; /* [rows] seen keys, NULL where it is not computed; */
    float *m, *l;         /* [rows] */
};

struct tool_trace_cpu {
    int32_t batch, head;           /* which tiles are kept: batch entry, query head */
    int32_t kv_head;               /* that it reads */
    int32_t group;                 /* query heads of a KV head */
    struct tool_trace_tile *tiles; /* [count] */
    int64_t count, room;
    bool starved; /* there was no memory for a tile */
    gqa_work work;
    gqa_path path;
};

/* Run attention alone on q, k and v of a call of one of Neuron's profiles (tool_trace_call's
 * plain), with its sinks, window, mask and packed sequences; of the options numerics and isa are
 * taken. Keeps its tiles. */
bool tool_trace_cpu_attend(struct tool_trace_cpu *trace, const gqa_neuron_call *call,
                           const struct tool_run_options *options, struct tool_fault *fault);
/* The same of a layer's case: all its tokens in one call, after its past. */
bool tool_trace_cpu_case(struct tool_trace_cpu *trace, const struct tool_case *c,
                         const struct tool_run_options *options, struct tool_fault *fault);
void tool_trace_cpu_free(struct tool_trace_cpu *trace);

/* Its tiles, which point into the trace. name: of the case. */
bool tool_trace_cpu_panel(const struct tool_trace_cpu *trace, const char *name,
                          struct tool_trace_panel *panel, struct tool_fault *fault);

/* A new object; NULL without memory. */
json_t *tool_trace_cpu_json(const struct tool_trace_cpu *trace, const char *name);

#endif
