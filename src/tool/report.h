/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - what a run gave, as text for people or JSON for programs. */
#ifndef GQA__TOOL_REPORT_H
#define GQA__TOOL_REPORT_H

#include <stdio.h>

#include "tool/compare.h"
#include "tool/neuron_told.h"

/* One schedule of one case: what was done. */
struct tool_done {
    const struct tool_case *c;
    const struct tool_run_options *options;
    const struct tool_schedule *schedule;
    bool cached; /* through a cache */
    gqa_path path;
    const struct tool_neuron_told *neuron;
};

const char *tool_verdict_name(enum tool_verdict verdict);

/* "cpu", "reference", "neuron", "auto". */
const char *tool_backend_name(gqa_backend backend);

void tool_report_print(FILE *out, const struct tool_done *done, const struct tool_report *report);

/* A new object; NULL without memory. */
json_t *tool_report_json(const struct tool_done *done, const struct tool_report *report);

#endif
