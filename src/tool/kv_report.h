/* SPDX-License-Identifier: Apache-2.0 */
/* kv_report.h - what a meter of storage types found, as text for people or JSON for programs. */
#ifndef GQA__TOOL_KV_REPORT_H
#define GQA__TOOL_KV_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "tool/kv_advice.h"

/* What is printed beside the totals. */
struct tool_kv_shown {
    bool heads; /* every head */
    bool pairs; /* every pair; else those that no other beats */
};

void tool_kv_print(FILE *out, const struct tool_kv_meter *meter,
                   const struct tool_kv_limits *limits, const struct tool_kv_shown *shown);

/* A table in Markdown, a line for each case: with K and V both of each type the mean KL divergence
 * and the judged error, and the advice with its share of the bytes. */
void tool_kv_table_head(FILE *out);
void tool_kv_table_line(FILE *out, const struct tool_kv_meter *meter,
                        const struct tool_kv_limits *limits);

/* A new object; NULL without memory. */
json_t *tool_kv_json(const struct tool_kv_meter *meter, const struct tool_kv_limits *limits);

#endif
