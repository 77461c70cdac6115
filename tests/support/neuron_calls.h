/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_calls.h - every function of gqa/neuron.h, called with good arguments. */
#ifndef SUPPORT_NEURON_CALLS_H
#define SUPPORT_NEURON_CALLS_H

#include "gqa/neuron.h"

/* A small good call of the profile, and its output; what they point to lies in memory that room
 * returns for so many bytes. */
void neuron_call_make(gqa_neuron_profile profile, void *(*room)(size_t size), gqa_neuron_call *call,
                      gqa_neuron_output *out);

/* Call all functions, in every profile. Results go to memory that room returns for so many bytes;
 * done hears each status. */
void neuron_calls_run(void *(*room)(size_t size), void (*done)(gqa_status status));

#endif
