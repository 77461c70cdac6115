/* SPDX-License-Identifier: Apache-2.0 */
/* entry_rules.h - what of a layer's call a profile is told, what it refuses, and what it leaves out
 * silently. */
#ifndef GQA__NEURON_ENTRY_RULES_H
#define GQA__NEURON_ENTRY_RULES_H

#include "neuron/entry.h"

bool gqa__neuron_is_kernel(gqa_neuron_profile profile);

/* perform_prefix_prefill passes no sinks to the kernel, which would take them. */
bool gqa__neuron_drops_sinks(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice);

/* What the profile has no way to be told. */
gqa_status gqa__neuron_entry_refuse(const struct gqa__neuron_entry *entry,
                                    const struct gqa__neuron_choice *choice, gqa_error *err);

/* Limits of NeuronAttentionBase itself, and warnings of what it leaves out, into a checked call. */
gqa_status gqa__neuron_entry_limits(struct gqa__neuron *call, const struct gqa__neuron_entry *entry,
                                    const struct gqa__neuron_choice *choice, gqa_error *err);

/* The segment and the shape with what reaches the masks of a profile. */
struct gqa__segment gqa__neuron_told(const struct gqa__neuron_choice *choice,
                                     const struct gqa__segment *segment);
struct gqa__shape gqa__neuron_told_shape(const struct gqa__neuron_entry *entry,
                                         const struct gqa__neuron_choice *choice);

#endif
