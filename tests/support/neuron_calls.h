/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_calls.h - every function of gqa/neuron.h, called with good arguments. */
#ifndef SUPPORT_NEURON_CALLS_H
#define SUPPORT_NEURON_CALLS_H

#include "gqa/neuron.h"

/* Call all of them, in every profile that needs no more than q, k and v, and a mask at most.
 * Results go to memory that room returns for so many bytes; done hears each status. */
void neuron_calls_run(void *(*room)(size_t size), void (*done)(gqa_status status));

#endif
