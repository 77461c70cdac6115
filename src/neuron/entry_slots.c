/* SPDX-License-Identifier: Apache-2.0 */
/* entry_slots.c - in which slots a profile finds the past keys of an entry, and so in which order
 * it adds them up.
 *
 * A layer with a window keeps W - 1 tokens (2.26: W), token p in slot p % (W - 1). Once they are
 * full, token generation reads them in the order of the slots, not of the positions; before, and
 * with chunks, whose slots begin anew with each chunk, the two are the same. Slots without a token,
 * and those that a mask hides, weigh exactly 0 and are left out.
 */
#include "neuron/entry_rules.h"

#include "base/memory.h"
#include "neuron/cache_maps.h"

/* Tokens that the layer's rolling cache keeps; 0: it has none, or it is not full. */
static int32_t rolling_slots(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice)
{
    const gqa_config *const config = &entry->params->config;
    const gqa_neuron_window window = {.release = config->neuron_release,
                                      .window = config->sliding_window};
    int32_t slots = 0;

    if (choice->profile == GQA_NEURON_NATIVE_TKG && config->sliding_window > 0 &&
        config->attention_chunk_size == 0 && entry->consecutive && entry->from_zero) {
        slots = gqa__neuron_window_slots(&window);
    }
    return entry->past > slots ? slots : 0;
}

int32_t gqa__neuron_prior_slots(const struct gqa__neuron_entry *entry,
                                const struct gqa__neuron_choice *choice)
{
    const int32_t rolling = rolling_slots(entry, choice);

    if (choice->profile == GQA_NEURON_FLASH_DECODING) {
        return (int32_t)gqa__round_up(entry->past, entry->params->config.neuron_kv_ranks);
    }
    return rolling > 0 ? rolling : entry->past;
}

int32_t gqa__neuron_slot_key(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice, int32_t slot)
{
    const int32_t rolling = rolling_slots(entry, choice);

    return rolling > 0 ? gqa__neuron_rolled(rolling, entry->past - 1, slot) : slot;
}
