/* SPDX-License-Identifier: Apache-2.0 */
/* neuron.h - how the spine hands a call to backend neuron: whole batch entries, checked before
 * anything is appended. */
#ifndef GQA__LAYER_NEURON_H
#define GQA__LAYER_NEURON_H

#include "layer/spine.h"

/* Inputs and outputs that Neuron's attention does not have, and output.neuron of other backends.
 * Looks at nothing that depends on a batch entry. */
gqa_status gqa__neuron_call_check(const struct gqa__call *call, gqa_error *err);

/* Every entry of a carved call, whose entries and views are filled; sets the spine's choice. */
gqa_status gqa__neuron_spine_check(struct gqa__spine *spine, gqa_error *err);

/* What the entries of a call can need. */
struct gqa__neuron_limits gqa__neuron_limits_of(const struct gqa__call *call);

/* The spine's runs and segments, each all of its entry. */
void gqa__neuron_spine_attend(struct gqa__spine *spine, int32_t runs);

#endif
