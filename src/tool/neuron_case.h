/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_case.h - a file of schema gqa-neuron/1 as a call of one of Neuron's profiles. */
#ifndef GQA__TOOL_NEURON_CASE_H
#define GQA__TOOL_NEURON_CASE_H

#include "gqa/gqa.h"
#include "tool/safetensors.h"

#define TOOL_NEURON_SCHEMA "gqa-neuron/1"

/* A file may hold maps of integers instead of a call. */
enum tool_neuron_maps {
    TOOL_MAPS_NONE,
    TOOL_MAPS_STRATEGY,
    TOOL_MAPS_HEADS,
    TOOL_MAPS_CACHES,
    TOOL_MAPS_SCHEDULE
};

/* Tensors of the call point into the file. */
struct tool_neuron_case {
    const struct tool_file *file;
    const char *path;
    const char *name;    /* metadata case */
    const char *profile; /* as the file has it */
    enum tool_neuron_maps maps;
    gqa_neuron_call call; /* without maps */
};

/* The file says that it has this schema. */
bool tool_neuron_is_case(const struct tool_file *file);

/* Read and check; the file must outlive the case. Nothing is held. */
bool tool_neuron_load(struct tool_neuron_case *c, const struct tool_file *file,
                      struct tool_fault *fault);

#endif
