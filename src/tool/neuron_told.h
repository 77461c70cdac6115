/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_told.h - what the calls of a run on backend neuron said: paths, warnings; and a line of
 * the table of errors. */
#ifndef GQA__TOOL_NEURON_TOLD_H
#define GQA__TOOL_NEURON_TOLD_H

#include <jansson.h>
#include <stdio.h>

#include "gqa/gqa.h"

struct tool_neuron_told {
    uint32_t profiles, strategies; /* bits of the enums: of all calls */
    int32_t warning_count;
    gqa_neuron_warning warnings[GQA_NEURON_WARNINGS_MAX]; /* each once */
};

void tool_neuron_told_add(struct tool_neuron_told *told, const gqa_path *path,
                          const gqa_neuron_report *report);
void tool_neuron_told_print(FILE *out, const struct tool_neuron_told *told);
json_t *tool_neuron_told_json(const struct tool_neuron_told *told);

struct tool_done;
struct tool_report;
/* A line of the table, Markdown: case, feed, strategy, profile, warnings, error of the result. */
void tool_neuron_table_head(FILE *out);
void tool_neuron_table_line(FILE *out, const struct tool_done *done,
                            const struct tool_report *report);
/* ... of a case that is refused. */
void tool_neuron_table_refused(FILE *out, const char *text);

#endif
