/* SPDX-License-Identifier: Apache-2.0 */
/* norm.c - the norm before the projections. */
#include "stage/stage.h"

#include <string.h>

void gqa__stage_input_norm(const struct gqa__params *params, const float *x, float *x_norm)
{
    const gqa_config *const config = &params->config;
    const int64_t hidden = params->shape.hidden;
    struct gqa__norm_args args;

    if (config->input_norm == GQA_NORM_NONE) {
        memcpy(x_norm, x, (size_t)hidden * sizeof *x);
    }
    args.dst = x_norm;
    args.src = x;
    args.n = hidden;
    args.n_true = params->shape.hidden_true;
    args.kind = config->input_norm;
    args.eps = config->input_norm_eps;
    args.offset = (float)config->input_norm_offset;
    args.weight = params->input_norm;
    args.bias = params->input_norm_bias;
    args.cast = config->norm_cast;
    if (config->input_norm != GQA_NORM_NONE) {
        params->kernels->norm(&args);
    }
    if (config->attn_in_multiplier != 0.0f) {
        params->kernels->scale(x_norm, x_norm, config->attn_in_multiplier, hidden);
    }
}
