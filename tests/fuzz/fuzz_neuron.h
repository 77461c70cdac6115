/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_neuron.h - what the target neuron consists of. */
#ifndef FUZZ_NEURON_H
#define FUZZ_NEURON_H

#include "scene.h"

/* One map of gqa/neuron_maps.h, with arrays of just the length that it asks for. */
void fuzz_neuron_map(struct scene *scene);

#endif
