/* SPDX-License-Identifier: Apache-2.0 */
/* gate.c - the output gate: its product with the attention output. */
#include "stage/stage.h"

void gqa__stage_gate(const struct gqa__params *params, const float *gate, float *attn, int32_t n)
{
    const int64_t dv = params->shape.dv;
    const int64_t step = params->shape.gate_dim; /* logits per head: dv or 1 */
    if (params->config.gate == GQA_GATE_NONE) {
        return;
    }
    for (int64_t h = 0; h < (int64_t)n * params->shape.hq; h++) {
        float *const x = attn + h * dv; /* [dv] */
        params->kernels->gate(x, x, gate + h * step, params->config.gate == GQA_GATE_HEAD ? 0 : 1,
                              params->config.gate_activation, dv);
    }
}
