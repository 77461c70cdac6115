/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_judge.h - a recorded run of a Neuron case against what its file expects.
 *
 * Accumulation EXACT: every tensor bit by bit. FLOAT32: tensors of class bit (those with a
 * tolerance in the metadata) within their bounds, the others bit by bit. */
#ifndef GQA__TOOL_NEURON_JUDGE_H
#define GQA__TOOL_NEURON_JUDGE_H

#include "tool/neuron_record.h"

struct tool_neuron_check {
    const char *name;
    int64_t count;     /* elements */
    int64_t differing; /* of them: other bits */
    int64_t outside;   /* of them: beyond the bound */
    double error;      /* the largest */
    double share;      /* the largest error in bounds; 0 where the bits are the same */
    bool told;         /* the run told all of it, in its format */
    bool pass;
};

#define TOOL_NEURON_CHECKS_MAX 40

struct tool_neuron_report {
    struct tool_neuron_check check[TOOL_NEURON_CHECKS_MAX];
    int n;
    bool pass;
};

void tool_neuron_judge(const struct tool_neuron_record *record,
                       gqa_neuron_accumulation accumulation, struct tool_neuron_report *report);

#endif
