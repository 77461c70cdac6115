/* SPDX-License-Identifier: Apache-2.0 */
/* oproj.c - the output projection, the norm after it and the residual. */
#include "stage/stage.h"

#include <string.h>

size_t gqa__stage_oproj_scratch(const struct gqa__params *params, int32_t tokens,
                                const gqa_runtime *runtime)
{
    return gqa__linear_scratch_bytes(&params->o, tokens, runtime);
}

static float residual_factor(const struct gqa__params *params)
{
    const float factor = params->config.residual_multiplier;
    return factor == 0.0f ? 1.0f : factor;
}

void gqa__stage_oproj(const struct gqa__params *params,
                      const struct gqa__output_projection *projection, const gqa_runtime *runtime)
{
    struct gqa__product product = {.linear = gqa__stage_o_matrix(params, projection->tkg),
                                   .x = projection->attn,
                                   .x_stride = params->o.in,
                                   .tokens = projection->n,
                                   .out_end = params->o.out,
                                   .y = projection->out,
                                   .y_stride = projection->out_step,
                                   .scratch = projection->scratch};

    if (projection->sum != NULL) {
        product.after.factor = residual_factor(params);
        product.after.add = projection->sum;
        product.after.add_stride = projection->sum_step;
    }
    gqa__linear_run(&product, runtime);
}

void gqa__stage_post(const struct gqa__params *params, float *o, int32_t n)
{
    const gqa_config *const config = &params->config;
    const int64_t hidden = params->shape.hidden;
    struct gqa__norm_args args;

    if (config->attn_out_multiplier != 0.0f) {
        params->kernels->scale(o, o, config->attn_out_multiplier, n * hidden);
    }
    if (config->post_norm == GQA_NORM_NONE) {
        return;
    }
    args.n = hidden;
    args.n_true = params->shape.hidden_true;
    args.kind = config->post_norm;
    args.eps = config->post_norm_eps;
    args.offset = (float)config->post_norm_offset;
    args.weight = params->post_norm;
    args.bias = params->post_norm_bias;
    args.cast = config->norm_cast;
    for (int32_t t = 0; t < n; t++) {
        args.src = o + t * hidden;
        args.dst = o + t * hidden;
        params->kernels->norm(&args);
    }
}

void gqa__stage_residual(const struct gqa__params *params, const float *sum, const float *o,
                         float *out)
{
    const int64_t count = params->shape.hidden;
    if (params->config.add_residual) {
        params->kernels->scale_add(out, sum, o, residual_factor(params), count);
    } else if (out != o) {
        memcpy(out, o, (size_t)count * sizeof *out);
    }
}
