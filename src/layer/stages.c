/* SPDX-License-Identifier: Apache-2.0 */
/* stages.c - see stages.h. */
#include "layer/stages.h"

#include <string.h>

#include "neuron/stages.h"

static size_t f32_scratch(const struct gqa__params *params, int32_t tokens,
                          const gqa_runtime *runtime)
{
    size_t size = gqa__stage_qkv_scratch(params, tokens, runtime);
    const size_t oproj = gqa__stage_oproj_scratch(params, tokens, runtime);
    size_t gate =
        params->shape.gate_rows > 0 ? gqa__linear_scratch_bytes(&params->gate, tokens, runtime) : 0;

    size = size > oproj ? size : oproj;
    return size > gate ? size : gate;
}

static void f32_sum(const struct gqa__params *params, const float *a, const float *b, float *sum)
{
    if (b != NULL) {
        params->kernels->add(sum, a, b, params->shape.hidden);
    } else if (sum != a) {
        memcpy(sum, a, (size_t)params->shape.hidden * sizeof *sum);
    }
}

static const struct gqa__stages f32_stages = {.scratch = f32_scratch,
                                              .sum = f32_sum,
                                              .input_norm = gqa__stage_input_norm,
                                              .project = gqa__stage_qkv_project,
                                              .clip = gqa__stage_clip,
                                              .qk_norm = gqa__stage_qk_norm,
                                              .rope = gqa__stage_rope,
                                              .oproj = gqa__stage_oproj,
                                              .post = gqa__stage_post,
                                              .residual = gqa__stage_residual};

static const struct gqa__stages neuron_stages = {.scratch = gqa__neuron_stage_scratch,
                                                 .sum = gqa__neuron_stage_sum,
                                                 .input_norm = gqa__neuron_stage_input_norm,
                                                 .project = gqa__neuron_stage_project,
                                                 .clip = gqa__neuron_stage_clip,
                                                 .qk_norm = gqa__neuron_stage_qk_norm,
                                                 .rope = gqa__neuron_stage_rope,
                                                 .oproj = gqa__neuron_stage_oproj,
                                                 .post = gqa__neuron_stage_post,
                                                 .residual = gqa__neuron_stage_residual};

const struct gqa__stages *gqa__stages_of(const struct gqa__params *params)
{
    return params->backend == GQA_BACKEND_NEURON ? &neuron_stages : &f32_stages;
}

bool gqa__stages_in_place(const struct gqa__params *params)
{
    return params->backend != GQA_BACKEND_NEURON;
}
