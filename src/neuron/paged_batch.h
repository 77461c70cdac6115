/* SPDX-License-Identifier: Apache-2.0 */
/* paged_batch.h - attention of backend neuron by the paged kernel, which takes all entries of a
 * call at once: each is a request, its past the request's context, in blocks of a page's tokens.
 *
 *   open; for each entry: add (and refuse); check; and, once K and V of the call are there:
 *   open; for each entry: add, load; run; for each entry: give */
#ifndef GQA__NEURON_PAGED_BATCH_H
#define GQA__NEURON_PAGED_BATCH_H

#include "neuron/entry.h"

void gqa__neuron_batch_carve(struct gqa__neuron_attention *attention, struct gqa__arena *arena,
                             const struct gqa__params *params,
                             const struct gqa__neuron_limits *limits);

void gqa__neuron_batch_open(struct gqa__neuron_attention *attention,
                            const struct gqa__params *params);

/* One more request, behind the others. */
gqa_status gqa__neuron_batch_add(struct gqa__neuron_attention *attention,
                                 const struct gqa__neuron_entry *entry, gqa_error *err);

/* May the requests that were added be served? */
gqa_status gqa__neuron_batch_check(const struct gqa__neuron_attention *attention, gqa_error *err);

/* The numbers of the request that was added last, from the segment that holds its tokens. */
void gqa__neuron_batch_load(const struct gqa__neuron_attention *attention,
                            const struct gqa__segment *segment);

/* Run the checked batch; then the outputs of the rows from `row` on belong to the segment's. */
void gqa__neuron_batch_run(struct gqa__neuron_attention *attention, const float *sinks);
void gqa__neuron_batch_give(const struct gqa__neuron_attention *attention, int32_t row,
                            const struct gqa__segment *segment);

#endif
