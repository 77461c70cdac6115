/* SPDX-License-Identifier: Apache-2.0 */
/* residual.c - see residual.h. */
#include "layer/residual.h"

#include <string.h>

#include "stage/stage.h"

/* --- where the sum lies ---------------------------------------------------------------------- */

static bool plain(const gqa_tensor *t)
{
    return gqa__present(t) && t->dtype == GQA_F32;
}

static bool apart(const gqa_tensor *a, const gqa_tensor *b)
{
    return !gqa__present(b) || !gqa__tensor_overlap(a, b);
}

/* Each token's row in one is its row in the other, or they share nothing. */
static bool apart_or_same(const gqa_tensor *a, const gqa_tensor *b)
{
    return apart(a, b) ||
           (a->data == b->data && plain(b) && memcmp(a->stride, b->stride, sizeof a->stride) == 0);
}

/* Nothing is written over the tensor between the norm and the end of the layer but, in the end, a
 * token's own row. */
static bool outlives(const struct gqa__call *call, const gqa_tensor *t)
{
    const gqa_output *out = &call->out;

    return apart_or_same(t, &out->hidden_states) && apart_or_same(t, &out->residual) &&
           apart(t, &out->attn) && apart(t, &out->lse) && apart(t, &out->cos_cache) &&
           apart(t, &out->sin_cache) && apart(t, &out->present_key_value.k) &&
           apart(t, &out->present_key_value.v);
}

void gqa__residual_place(struct gqa__spine *spine)
{
    const struct gqa__call *call = spine->call;
    const gqa_tensor *t =
        gqa__present(&call->in.residual) ? &call->out.residual : &call->in.hidden_states;
    bool direct = call->in.tap == NULL;

    spine->sum_at = direct && plain(t) && outlives(call, t) ? t : NULL;
    spine->direct_out =
        direct && plain(&call->out.hidden_states) && call->params->config.add_residual;
    spine->sum_apart = spine->sum_at != NULL && apart(spine->sum_at, &call->out.hidden_states);
}

bool gqa__residual_in_product(const struct gqa__token_range *block)
{
    const struct gqa__spine *spine = block->spine;
    const gqa_config *config = &spine->call->params->config;

    return spine->direct_out && spine->sum_apart && block->runs == 1 &&
           config->post_norm == GQA_NORM_NONE && config->attn_out_multiplier == 0.0f;
}

/* --- steps ----------------------------------------------------------------------------------- */

static float *row_of(float *buffer, const struct gqa__token_range *range,
                     const struct gqa__token_run *run, int32_t i)
{
    return buffer + (int64_t)(run->at + i) * range->spine->call->params->shape.hidden;
}

/* Token i's sum. A pass for K and V alone leaves the outputs as they are. */
static float *sum_of(const struct gqa__token_range *range, const struct gqa__token_run *run,
                     int32_t i)
{
    const struct gqa__spine *spine = range->spine;
    const gqa_tensor *t = spine->sum_at;

    if (t == &spine->call->out.residual && (range->parts & GQA__PART_Q) == 0) {
        t = NULL;
    }
    return t != NULL ? gqa__token_row(t, run, i) : row_of(spine->sum, range, run, i);
}

/* Token i of the caller's tensor: where it is, or as f32 in own. */
static const float *load(const gqa_tensor *t, const struct gqa__token_run *run, int32_t i,
                         float *own)
{
    if (t->dtype == GQA_F32) {
        return gqa__token_row(t, run, i);
    }
    gqa__load_f32(own, t, gqa__token_offset(t, run, i), t->shape[2]);
    return own;
}

static void sum_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                      int32_t i)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__call *call = spine->call;
    const gqa_tensor *out = &call->out.residual;
    int64_t hidden = call->params->shape.hidden;
    float *sum = sum_of(range, run, i);

    if (gqa__present(&call->in.residual)) {
        const float *a = load(&call->in.hidden_states, run, i, row_of(spine->sum, range, run, i));
        const float *b = load(&call->in.residual, run, i, row_of(spine->x, range, run, i));
        call->params->kernels->add(sum, a, b, hidden);
    } else if (spine->sum_at == NULL) {
        gqa__load_f32(sum, &call->in.hidden_states,
                      gqa__token_offset(&call->in.hidden_states, run, i), hidden);
    }
    if (gqa__present(out) && spine->sum_at != out && (range->parts & GQA__PART_Q) != 0) {
        gqa__store_f32(out, gqa__token_offset(out, run, i), sum, hidden);
    }
}

static void norm_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                       int32_t i)
{
    const struct gqa__spine *spine = range->spine;

    if (spine->call->from_hidden) {
        gqa__stage_input_norm(spine->call->params, sum_of(range, run, i),
                              row_of(spine->x, range, run, i));
    }
}

static void add_token(const struct gqa__token_range *range, const struct gqa__token_run *run,
                      int32_t i)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__params *params = spine->call->params;
    const gqa_tensor *out = &spine->call->out.hidden_states;
    float *x = row_of(spine->x, range, run, i);
    float *y = spine->direct_out ? gqa__token_row(out, run, i) : x;

    if (params->config.add_residual) {
        gqa__stage_residual(params, sum_of(range, run, i), x, y);
    }
    if (!spine->direct_out) {
        gqa__store_f32(out, gqa__token_offset(out, run, i), y, params->shape.hidden);
    }
}

static void each_token(const struct gqa__token_range *range,
                       void (*step)(const struct gqa__token_range *range,
                                    const struct gqa__token_run *run, int32_t i))
{
    struct gqa__token_run run;

    for (int32_t p = 0; p < range->runs; p++) {
        bool here = gqa__token_range_run(range, p, &run);
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
