/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_record.h - what a traced run of a Neuron case gave, in the form of the tensors that its
 * file expects. */
#ifndef GQA__TOOL_NEURON_RECORD_H
#define GQA__TOOL_NEURON_RECORD_H

#include "tool/neuron_case.h"

/* One tensor of the file, exp.* or trace.*, and the run's values in the same format. */
struct tool_neuron_value {
    const struct tool_tensor *expected;
    void *data;     /* [count] of its dtype */
    int64_t filled; /* elements that the run told of */
    bool lossy;     /* one of them is no number of that format */
};

struct tool_neuron_record {
    const struct tool_neuron_case *c;
    struct tool_neuron_value *values; /* [count] */
    size_t count;
    int64_t executed; /* tiles so far, for trace.order */
};

bool tool_neuron_record_open(struct tool_neuron_record *record, const struct tool_neuron_case *c,
                             struct tool_fault *fault);
void tool_neuron_record_close(struct tool_neuron_record *record);

/* NULL if the file does not expect it. */
struct tool_neuron_value *tool_neuron_value_of(const struct tool_neuron_record *record,
                                               const char *name);

/* Run the case with this accumulation, everything recorded. */
bool tool_neuron_record_run(struct tool_neuron_record *record, gqa_neuron_accumulation accumulation,
                            gqa_neuron_output *output, struct tool_fault *fault);

/* --- for the profiles' files -------------------------------------------------------------------
 */

/* n values from element `at` of a tensor on, if the file expects it. Floats become the tensor's
 * format. */
void tool_neuron_put(struct tool_neuron_record *record, const char *name, int64_t at,
                     const float *from, int64_t n);
void tool_neuron_put_int(struct tool_neuron_record *record, const char *name, int64_t at,
                         int32_t value);

/* Extent of dimension i of an expected tensor; 0 without it. */
int64_t tool_neuron_extent(const struct tool_neuron_record *record, const char *name, int i);

/* "large_tile=3" in the metadata probe_tile; -1 without it. */
int32_t tool_neuron_probe(const struct tool_neuron_record *record, const char *key);

/* One event each. */
void tool_neuron_record_flash(struct tool_neuron_record *record, const gqa_neuron_tile *tile);
void tool_neuron_record_cte(struct tool_neuron_record *record, const gqa_neuron_tile *tile);
void tool_neuron_record_native(struct tool_neuron_record *record, const gqa_neuron_tile *tile);
void tool_neuron_record_decoding(struct tool_neuron_record *record, const gqa_neuron_tile *tile);
void tool_neuron_record_paged(struct tool_neuron_record *record, const gqa_neuron_tile *tile);

/* The schedule of a paged call. */
bool tool_neuron_record_schedule(struct tool_neuron_record *record, struct tool_fault *fault);

#endif
