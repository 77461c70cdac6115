/* SPDX-License-Identifier: Apache-2.0 */
/* maps_calls.h - every function of gqa/neuron_maps.h, called once with good arguments. */
#ifndef SUPPORT_MAPS_CALLS_H
#define SUPPORT_MAPS_CALLS_H

#include "gqa/neuron_maps.h"

/* The names of the functions that maps_calls_run calls, each once. */
extern const char *const maps_calls[];
extern const int maps_call_count;

/* Call all of them. Results go to memory that room returns for so many bytes, zeroed; done hears
 * each status. */
void maps_calls_run(void *(*room)(size_t size), void (*done)(gqa_status status));

#endif
