/* SPDX-License-Identifier: Apache-2.0 */
/* residual.c - see residual.h. */
#include "layer/residual.h"

#include "kernel/contract/convert.h"
#include "layer/stages.h"

static const struct gqa__place *sum_place(const struct gqa__token_range *range)
{
    const struct gqa__places *const at = &range->spine->at;

    return (range->makes & GQA__MAKE_Q) != 0 ? &at->sum : &at->kv_sum;
}

/* Token i of the caller's tensor: where it is, or as f32 in own. */
static const float *load(const struct gqa__kernels *kernels, const gqa_tensor *t,
                         const struct gqa__token_run *run, int32_t i, float *own)
{
    const int64_t offset = gqa__token_offset(t, run, i);

    if (t->dtype == GQA_F32) {
        return (const float *)t->data + offset;
    }
    gqa__load(kernels, own, t, offset, t->shape[2]);
    return own;
}

static void sum_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                      int32_t i)
{
    const struct gqa__spine *const spine = range->spine;
    const struct gqa__call *const call = spine->call;
    const gqa_tensor *const in = &call->in.hidden_states;
    const gqa_tensor *const out = &call->out.residual;
    const struct gqa__place *const place = sum_place(range);
    const struct gqa__params *const params = call->params;
    const struct gqa__stages *const stages = gqa__stages_of(params);
    const int64_t hidden = params->shape.hidden;
    float *const sum = gqa__place_vector(place, run, i);

    if (gqa__present(&call->in.residual)) {
        const float *const a = load(params->kernels, in, run, i, gqa__place_own(place, run, i));
        const float *const b =
            load(params->kernels, &call->in.residual, run, i, gqa__place_own(&spine->at.x, run, i));
        stages->sum(params, a, b, sum);
    } else if (place->tensor != in) {
        gqa__load(params->kernels, sum, in, gqa__token_offset(in, run, i), hidden);
        stages->sum(params, sum, NULL, sum);
    }
    if (gqa__present(out) && place->tensor != out && (range->makes & GQA__MAKE_Q) != 0) {
        gqa__store(params->kernels, out, gqa__token_offset(out, run, i), sum, hidden);
    }
}

static void norm_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                       int32_t i)
{
    const struct gqa__spine *const spine = range->spine;

    if (spine->call->from_hidden) {
        gqa__stages_of(spine->call->params)
            ->input_norm(spine->call->params, gqa__place_vector(sum_place(range), run, i),
                         gqa__place_vector(&spine->at.x, run, i));
    }
}

static void add_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                      int32_t i)
{
    const struct gqa__spine *const spine = range->spine;
    const struct gqa__params *const params = spine->call->params;
    const gqa_tensor *const out = &spine->call->out.hidden_states;
    float *const y = gqa__place_vector(&spine->at.out, run, i);

    if (params->config.add_residual) {
        gqa__stages_of(params)->residual(params, gqa__place_vector(&spine->at.sum, run, i),
                                         gqa__place_vector(&spine->at.x, run, i), y);
    }
    if (spine->at.out.tensor != out) {
        gqa__store(params->kernels, out, gqa__token_offset(out, run, i), y, params->shape.hidden);
    }
}

static void each_token(const struct gqa__token_range *range,
                       void (*step)(const struct gqa__token_range *range,
                                    const struct gqa__token_run *run, int32_t i))
{
    struct gqa__token_run run;

    for (int32_t p = 0; p < range->runs; p++) {
        const bool here = gqa__token_range_run(range, p, &run);
        for (int32_t i = 0; here && i < run.n; i++) {
            step(range, &run, i);
        }
    }
}

void gqa__residual_sum(const struct gqa__token_range *range)
{
    each_token(range, sum_token);
}

void gqa__residual_norm(const struct gqa__token_range *range)
{
    each_token(range, norm_token);
}

void gqa__residual_add(const struct gqa__token_range *range)
{
    each_token(range, add_token);
}
