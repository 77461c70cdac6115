/* SPDX-License-Identifier: Apache-2.0 */
/* entry_values.h - values of a layer's call on their way to a profile and back: rounded to the I/O
 * type, widened to f32; and what its calls have said, each thing once. */
#ifndef GQA__NEURON_ENTRY_VALUES_H
#define GQA__NEURON_ENTRY_VALUES_H

#include "neuron/entry.h"

/* A tensor [1, shape[0], shape[1], shape[2]] of the I/O type; first: of the first extent. */
gqa_tensor gqa__neuron_heads_at(const void *data, gqa_dtype io, int64_t first,
                                const int64_t shape[3]);

/* from [n] to elements at .. at + n - 1 of `to`, which has the I/O type. */
void gqa__neuron_to_io(gqa_dtype io, const float *from, int64_t n, void *to, int64_t at);

/* K and V of a key and head of a view, to elements [at, at + dk) of k and v. row: [dk] scratch. */
struct gqa__neuron_key {
    const struct gqa__kv_view *view;
    int32_t head, index;
    gqa_dtype io;
    float *row;
};
void gqa__neuron_load_key(const struct gqa__neuron_key *key, void *k, void *v, int64_t at);

/* The segment's outputs from rows [row, row + n) of `from`, [..][hq][dk] of the I/O type. */
void gqa__neuron_widen(const struct gqa__params *params, const void *from, int64_t row,
                       const struct gqa__segment *segment);

/* Add what a call has said and counted. */
void gqa__neuron_add_report(gqa_neuron_report *report, const gqa_neuron_output *out);

#endif
