/* SPDX-License-Identifier: Apache-2.0 */
/* strategy.h - which kernel a prefill takes, and which path a call of the layer takes.
 *
 * The inputs were checked: numbers in their range, flags 0 or 1. What each field means, and that
 * zero stands for a usual value, is said in gqa/neuron_maps.h.
 */
#ifndef GQA__NEURON_STRATEGY_H
#define GQA__NEURON_STRATEGY_H

#include <stdbool.h>

#include "gqa/neuron_maps.h"

/* NEWEST becomes 2.29. */
gqa_neuron_release gqa__neuron_release(gqa_neuron_release release);

/* get_flash_attention_strategy. False: the strided kernel was asked for and cannot be had. */
bool gqa__neuron_strategy(const gqa_neuron_strategy_input *in, gqa_neuron_flash_strategy *strategy);

/* NeuronAttentionBase.forward. */
gqa_neuron_route gqa__neuron_find_route(const gqa_neuron_route_input *in);

#endif
