/* SPDX-License-Identifier: Apache-2.0 */
/* time_layer.h - a gpt-oss attention layer with random weights, and its input. */
#ifndef GQA__TOOL_TIME_LAYER_H
#define GQA__TOOL_TIME_LAYER_H

#include "gqa/gqa.h"
#include "tool/fault.h"

#define TOOL_GPTOSS_HIDDEN 2880

/* A layer of gpt-oss-20b: 64 query heads, 8 KV heads of 64, window 128, sinks, YaRN, biases, RMS
 * norm, residual. Fields of config that choose the computation (backend, numerics, isa,
 * max_isa, weight_storage, and of backend neuron what tool_neuron_options has) are the caller's.
 * Weights are uniform, from a fixed seed. */
bool tool_gptoss_create(gqa_layer **layer, const gqa_config *choice, const gqa_runtime *runtime,
                        struct tool_fault *fault);

/* n uniform numbers in [-scale, scale); seed is advanced. NULL without memory. */
float *tool_random(uint64_t *seed, int64_t n, float scale);

#endif
