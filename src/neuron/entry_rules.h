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

/* entry_slots.c: prior slots of the profile's call. For flash_decoding as many as its ranks divide;
 * behind a full rolling window those of its cache. */
int32_t gqa__neuron_prior_slots(const struct gqa__neuron_entry *entry,
                                const struct gqa__neuron_choice *choice);
/* The past key, by index, that lies in a slot; past or more: none. */
int32_t gqa__neuron_slot_key(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice, int32_t slot);

/* entry_parts.c: the call of an entry becomes that of one of its parts. */
void gqa__neuron_narrow(const struct gqa__neuron_entry *entry,
                        const struct gqa__neuron_choice *choice, int32_t part, gqa_neuron_call *in,
                        gqa_neuron_output *out);

/* entry_parts.c: scratch of flash_decoding, whose check needs positions that a size does not know.
 */
size_t gqa__neuron_decoding_bytes(const struct gqa__params *params,
                                  const struct gqa__neuron_limits *limits);

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
