/* norm.c - the norm before the projections. */
#include "stage/stage.h"

#include <string.h>

void gqa__stage_input_norm(const struct gqa__params *params, const float *x, int32_t n,
                           float *x_norm)
{
    const gqa_config *const config = &params->config;
    const int64_t hidden = params->shape.hidden;
    struct gqa__norm_args args;

    if (config->input_norm == GQA_NORM_NONE && x != x_norm) {
        memcpy(x_norm, x, (size_t)n * (size_t)hidden * sizeof *x);
    }
    args.n = hidden;
    args.n_true = params->shape.hidden_true;
    args.kind = config->input_norm;
    args.eps = config->input_norm_eps;
    args.offset = (float)config->input_norm_offset;
    args.weight = params->input_norm;
    args.bias = params->input_norm_bias;
    args.cast = config->norm_cast;
    for (int32_t t = 0; t < n && config->input_norm != GQA_NORM_NONE; t++) {
        args.src = x + t * hidden;
        args.dst = x_norm + t * hidden;
        params->row->norm(&args);
    }
    if (config->attn_in_multiplier != 0.0f) {
        params->row->scale(x_norm, x_norm, config->attn_in_multiplier, n * hidden);
    }
}
