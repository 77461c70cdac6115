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

void gqa__stage_oproj(const struct gqa__params *params, const float *attn, int32_t n, float *o,
                      void *scratch, const gqa_runtime *runtime)
{
    const struct gqa__linear *const linear = &params->o;
    gqa__linear_run(linear, attn, linear->in, n, 0, linear->out, o, linear->out, scratch, runtime);
}

void gqa__stage_oproj_add(const struct gqa__params *params, const float *attn, int32_t n,
                          const float *sum, int64_t sum_stride, float *out, int64_t out_stride,
                          void *scratch, const gqa_runtime *runtime)
{
    const struct gqa__linear *const linear = &params->o;
    const struct gqa__epilogue after = {
        .factor = residual_factor(params), .add = sum, .add_stride = sum_stride};
    gqa__linear_run_then(linear, attn, linear->in, n, 0, linear->out, out, out_stride, &after,
                         scratch, runtime);
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
