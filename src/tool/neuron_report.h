/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_report.h - what a recorded run of a Neuron case gave, as text for people or JSON for
 * programs. */
#ifndef GQA__TOOL_NEURON_REPORT_H
#define GQA__TOOL_NEURON_REPORT_H

#include <stdio.h>

#include "tool/neuron_judge.h"

struct tool_neuron_done {
    const struct tool_neuron_record *record;
    gqa_neuron_accumulation accumulation;
    const gqa_neuron_output *output;
};

/* "exact" or "float32". */
const char *tool_neuron_accumulation_name(gqa_neuron_accumulation accumulation);

void tool_neuron_print(FILE *out, const struct tool_neuron_done *done,
                       const struct tool_neuron_report *report);

/* A new object; NULL without memory. */
json_t *tool_neuron_json(const struct tool_neuron_done *done,
                         const struct tool_neuron_report *report);

#endif
