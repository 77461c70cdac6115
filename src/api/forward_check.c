/* SPDX-License-Identifier: Apache-2.0 */
/* forward_check.c - shapes, formats and combinations of a forward call. */
#include "api/forward_check.h"

#include <string.h>

#include "base/error.h"
#include "base/import.h"
#include "base/tensor.h"

/* Fit a tensor that may be absent to [B, T, a, b] or, with rank 3, [B, T, a]. */
static gqa_status fit(struct gqa__call *call, gqa_tensor *t, const char *field, int32_t rank,
                      int64_t a, int64_t b, gqa_error *err)
{
    int64_t shape[4] = {call->batch, call->tokens, a, b};

    if (!gqa__present(t)) {
        return GQA_OK;
    }
    return gqa__tensor_fit(t, field, GQA__FLOATS | call->address, rank, shape, true, t, err);
}

/* A tensor that this call has no use for. */
static gqa_status refuse(const gqa_tensor *t, const char *field, const char *why, gqa_error *err)
{
    if (!gqa__present(t)) {
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_ARG, field, "must be absent: %s", why);
}

static gqa_status require(const gqa_tensor *t, const char *field, const char *why, gqa_error *err)
{
    if (gqa__present(t)) {
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_ARG, field, "is required: %s", why);
}

/* B and T from the tensor that the pipeline starts with. */
static gqa_status find_extent(struct gqa__call *call, gqa_error *err)
{
    gqa_tensor *t = call->from_hidden ? &call->in.hidden_states : &call->in.q_proj;
    const char *field = call->from_hidden ? "inputs.hidden_states" : "inputs.q_proj";
    const struct gqa__shape *shape = &call->params->shape;
    int64_t hidden[4] = {-1, -1, shape->hidden, 1};
    int64_t heads[4] = {-1, -1, shape->hq, shape->dk};
    gqa_status status;

    if (call->from_hidden && shape->hidden == 0) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "is given, but the layer has config.hidden_size = 0 (attention only)");
    }
    status = gqa__tensor_fit(t, field, GQA__FLOATS | call->address, call->from_hidden ? 3 : 4,
                             call->from_hidden ? hidden : heads, true, t, err);
    if (status != GQA_OK) {
        return status;
    }
    if (t->shape[0] > INT32_MAX / 4 || t->shape[1] > INT32_MAX / 4 ||
        (t->shape[0] > 0 && t->shape[1] > INT32_MAX / 4 / t->shape[0])) {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "has %lld x %lld tokens; the limit is %d",
                         (long long)t->shape[0], (long long)t->shape[1], INT32_MAX / 4);
    }
    call->batch = (int32_t)t->shape[0];
    call->tokens = (int32_t)t->shape[1];
    return GQA_OK;
}

/* hidden_states, residual and the projections. */
static gqa_status check_sources(struct gqa__call *call, gqa_error *err)
{
    gqa_inputs *in = &call->in;
    const gqa_config *config = &call->params->config;
    const struct gqa__shape *shape = &call->params->shape;
    bool gated = shape->gate_dim > 0;
    const char *from_x = "the call starts from hidden_states";
    gqa_status status = find_extent(call, err);

    if (status == GQA_OK && !call->from_hidden && gqa__present(&in->hidden_states) &&
        !call->need_sum) {
        status = refuse(&in->hidden_states, "inputs.hidden_states",
                        "the call starts from q_proj and no residual sum is needed", err);
    }
    if (status == GQA_OK && call->need_sum) {
        status = require(&in->hidden_states, "inputs.hidden_states",
                         "the residual sum is part of the output", err);
    }
    if (status == GQA_OK) {
        status = fit(call, &in->hidden_states, "inputs.hidden_states", 3, shape->hidden, 1, err);
    }
    if (status == GQA_OK && !gqa__present(&in->hidden_states)) {
        status = refuse(&in->residual, "inputs.residual", "there is no hidden_states", err);
    }
    if (status == GQA_OK) {
        status = fit(call, &in->residual, "inputs.residual", 3, shape->hidden, 1, err);
    }
    if (status == GQA_OK && call->from_hidden) {
        status = refuse(&in->k_proj, "inputs.k_proj", from_x, err);
    }
    if (status == GQA_OK && call->from_hidden) {
        status = refuse(&in->v_proj, "inputs.v_proj", from_x, err);
    }
    if (status == GQA_OK && (call->from_hidden || !gated)) {
        status = refuse(&in->gate_proj, "inputs.gate_proj",
                        call->from_hidden ? from_x : "config.gate is NONE", err);
    }
    if (status == GQA_OK && !call->from_hidden && gated) {
        status = require(&in->gate_proj, "inputs.gate_proj", "config.gate is set", err);
    }
    if (status == GQA_OK && !call->append) {
        status = refuse(&in->k_proj, "inputs.k_proj", "inputs.borrow_cache is set", err);
    }
    if (status == GQA_OK && (!call->append || config->k_eq_v)) {
        status = refuse(&in->v_proj, "inputs.v_proj",
                        call->append ? "config.k_eq_v is set" : "no key is appended", err);
    }
    if (status == GQA_OK && !call->from_hidden && call->append && !config->k_eq_v) {
        status = require(&in->v_proj, "inputs.v_proj", "inputs.k_proj is given", err);
    }
    if (status == GQA_OK) {
        status = fit(call, &in->k_proj, "inputs.k_proj", 4, shape->hkv, shape->dk, err);
    }
    if (status == GQA_OK) {
        status = fit(call, &in->v_proj, "inputs.v_proj", 4, shape->hkv, shape->dv, err);
    }
    if (status == GQA_OK) {
        status = fit(call, &in->gate_proj, "inputs.gate_proj", 4, shape->hq, shape->gate_dim, err);
    }
    return status;
}

/* cos_cache, sin_cache and the positions of the rotation. */
static gqa_status check_rope(struct gqa__call *call, gqa_error *err)
{
    gqa_inputs *in = &call->in;
    const struct gqa__params *params = call->params;
    int64_t pairs = params->rope.pairs;
    int64_t shape[4] = {call->batch, call->tokens, pairs, 1};
    bool given = gqa__present(&in->cos_cache);
    gqa_status status;

    if (in->rope_length < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.rope_length", "is %d; it must be at least 0",
                         in->rope_length);
    }
    if (given != gqa__present(&in->sin_cache)) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.sin_cache",
                         "given without inputs.cos_cache, or that without it; both or neither");
    }
    if (params->shape.rotary_dim == 0 && (given || in->rotary_position_ids != NULL)) {
        return gqa__fail(err, GQA_ERR_ARG,
                         given ? "inputs.cos_cache" : "inputs.rotary_position_ids",
                         "the layer has config.rope = NONE: there is nothing to rotate");
    }
    if (!given) {
        if (in->rope_key != 0) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.rope_key",
                             "is %016llx; it must be 0 without cos_cache",
                             (unsigned long long)in->rope_key);
        }
        return GQA_OK;
    }
    if (in->rotary_position_ids != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.rotary_position_ids",
                         "must be NULL when cos_cache is given");
    }
    if (in->rope_key != params->rope.key) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.rope_key",
                         "is %016llx; this layer's rope is %016llx: the tables "
                         "belong to another rope configuration",
                         (unsigned long long)in->rope_key, (unsigned long long)params->rope.key);
    }
    status = gqa__tensor_fit(&in->cos_cache, "inputs.cos_cache", GQA__ONLY_F32 | call->address, 3,
                             shape, true, &in->cos_cache, err);
    if (status != GQA_OK) {
        return status;
    }
    return gqa__tensor_fit(&in->sin_cache, "inputs.sin_cache", GQA__ONLY_F32 | call->address, 3,
                           shape, true, &in->sin_cache, err);
}

gqa_status gqa__check_mask(gqa_tensor *t, const char *field, int formats, int32_t batch,
                           int32_t heads, int32_t tokens, gqa_error *err)
{
    int64_t shape[4] = {-1, -1, tokens, -1};
    gqa_status status;

    if (!gqa__present(t)) {
        return GQA_OK;
    }
    status = gqa__tensor_fit(t, field, formats, 4, shape, false, t, err);
    if (status == GQA_OK && t->shape[0] != 1 && t->shape[0] != batch) {
        status = gqa__fail(err, GQA_ERR_SHAPE, field, "shape[0] is %lld; it must be 1 or %d",
                           (long long)t->shape[0], batch);
    }
    if (status == GQA_OK && t->shape[1] != 1 && t->shape[1] != heads) {
        status = gqa__fail(err, GQA_ERR_SHAPE, field, "shape[1] is %lld; it must be 1 or %d",
                           (long long)t->shape[1], heads);
    }
    return status;
}

gqa_status gqa__check_bounds(const int32_t *begin, const int32_t *end, gqa_error *err)
{
    if ((begin == NULL) != (end == NULL)) {
        return gqa__fail(err, GQA_ERR_ARG, begin == NULL ? "inputs.key_begin" : "inputs.key_end",
                         "is NULL; key_begin and key_end go together");
    }
    return GQA_OK;
}

gqa_status gqa__check_phase(gqa_phase phase, gqa_error *err)
{
    if ((int)phase < GQA_PHASE_AUTO || (int)phase > GQA_PHASE_TKG) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.phase", "is %d; it must be 0..2", (int)phase);
    }
    return GQA_OK;
}

static gqa_status check_masks(struct gqa__call *call, gqa_error *err)
{
    gqa_inputs *in = &call->in;
    int32_t heads = call->params->shape.hq;
    int64_t active[4] = {-1, call->tokens, call->tokens, 1};
    gqa_status status = gqa__check_mask(&in->mask, "inputs.mask", GQA__MASKS, call->batch, heads,
                                        call->tokens, err);

    if (status == GQA_OK) {
        status = gqa__check_mask(&in->bias, "inputs.bias", GQA__FLOATS | call->address, call->batch,
                                 heads, call->tokens, err);
    }
    if (status == GQA_OK && gqa__present(&in->active_mask)) {
        status = gqa__tensor_fit(&in->active_mask, "inputs.active_mask", GQA__MASKS, 3, active,
                                 true, &in->active_mask, err);
        if (status == GQA_OK && in->active_mask.shape[0] != 1 &&
            in->active_mask.shape[0] != call->batch) {
            status = gqa__fail(err, GQA_ERR_SHAPE, "inputs.active_mask",
                               "shape[0] is %lld; it must be 1 or %d",
                               (long long)in->active_mask.shape[0], call->batch);
        }
    }
    if (status == GQA_OK) {
        status = gqa__check_bounds(in->key_begin, in->key_end, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_phase(in->phase, err);
    }
    if (status == GQA_OK && in->borrow_cache != 0 && in->borrow_cache != 1) {
        status = gqa__fail(err, GQA_ERR_ARG, "inputs.borrow_cache", "is %d; it must be 0 or 1",
                           in->borrow_cache);
    }
    return status;
}

/* present_key_value: [B, Hkv, T, D]. */
static gqa_status fit_present(struct gqa__call *call, gqa_tensor *t, const char *field, int64_t dim,
                              gqa_error *err)
{
    int64_t shape[4] = {call->batch, call->params->shape.hkv, call->tokens, dim};

    if (!gqa__present(t)) {
        return GQA_OK;
    }
    if (!call->append) {
        return refuse(t, field, "the call appends no keys", err);
    }
    return gqa__tensor_fit(t, field, GQA__FLOATS | call->address, 4, shape, true, t, err);
}

static gqa_status check_output(struct gqa__call *call, gqa_error *err)
{
    gqa_output *out = &call->out;
    const struct gqa__shape *shape = &call->params->shape;
    int64_t pairs = call->params->rope.pairs;
    int64_t table[4] = {call->batch, call->tokens, pairs, 1};
    int64_t lse[4] = {call->batch, call->tokens, shape->hq, 1};
    gqa_status status = GQA_OK;

    if (!call->project && !gqa__present(&out->attn)) {
        return gqa__fail(err, GQA_ERR_ARG, "output.hidden_states",
                         "this or output.attn is required");
    }
    if (shape->hidden == 0) {
        status = refuse(&out->hidden_states, "output.hidden_states",
                        "the layer has config.hidden_size = 0 (attention only)", err);
    }
    if (status == GQA_OK) {
        status = fit(call, &out->hidden_states, "output.hidden_states", 3, shape->hidden, 1, err);
    }
    if (status == GQA_OK) {
        status = fit(call, &out->residual, "output.residual", 3, shape->hidden, 1, err);
    }
    if (status == GQA_OK) {
        status = fit(call, &out->attn, "output.attn", 4, shape->hq, shape->dv, err);
    }
    if (status == GQA_OK && gqa__present(&out->lse)) {
        status = gqa__tensor_fit(&out->lse, "output.lse", GQA__ONLY_F32 | call->address, 3, lse,
                                 true, &out->lse, err);
    }
    if (status == GQA_OK) {
        status = fit_present(call, &out->present_key_value.k, "output.present_key_value.k",
                             shape->dk, err);
    }
    if (status == GQA_OK) {
        status = fit_present(call, &out->present_key_value.v, "output.present_key_value.v",
                             shape->dv, err);
    }
    if (status == GQA_OK && shape->rotary_dim == 0) {
        status = refuse(&out->cos_cache, "output.cos_cache", "config.rope is NONE", err);
    }
    if (status == GQA_OK && shape->rotary_dim == 0) {
        status = refuse(&out->sin_cache, "output.sin_cache", "config.rope is NONE", err);
    }
    if (status == GQA_OK && gqa__present(&out->cos_cache)) {
        status = gqa__tensor_fit(&out->cos_cache, "output.cos_cache", GQA__ONLY_F32 | call->address,
                                 3, table, true, &out->cos_cache, err);
    }
    if (status == GQA_OK && gqa__present(&out->sin_cache)) {
        status = gqa__tensor_fit(&out->sin_cache, "output.sin_cache", GQA__ONLY_F32 | call->address,
                                 3, table, true, &out->sin_cache, err);
    }
    return status;
}

gqa_status gqa__call_check(struct gqa__call *call, const gqa_layer *layer, const gqa_cache *cache,
                           const gqa_inputs *inputs, const gqa_output *output, gqa_error *err)
{
    const struct gqa__shape *shape;
    const int address = call->address;
    gqa_status status;

    memset(call, 0, sizeof *call);
    call->address = address;
    if (layer == NULL || inputs == NULL || output == NULL) {
        const char *field = layer == NULL ? "layer" : inputs == NULL ? "inputs" : "output";
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
    }
    status = gqa__import(&call->in, sizeof call->in, inputs, "inputs", err);
    if (status == GQA_OK) {
        status = gqa__import(&call->out, sizeof call->out, output, "output", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    call->params = &layer->params;
    call->runtime = &layer->runtime;
    shape = &layer->params.shape;
    call->cache = (gqa_cache *)(uintptr_t)cache;
    call->from_hidden = !gqa__present(&call->in.q_proj);
    call->project = gqa__present(&call->out.hidden_states);
    call->need_sum =
        (call->project && layer->params.config.add_residual) || gqa__present(&call->out.residual);
    call->append =
        call->in.borrow_cache == 0 && (call->from_hidden || gqa__present(&call->in.k_proj));
    if (call->from_hidden && !gqa__present(&call->in.hidden_states)) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.hidden_states",
                         "this or inputs.q_proj is required");
    }
    if (!call->append && cache == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "cache",
                         "is NULL, but the call appends no keys of its own");
    }
    if (cache != NULL) {
        status =
            gqa__cache_matches(cache, layer->params.kernels, shape->hkv, shape->dk, shape->dv, err);
    }
    if (status == GQA_OK) {
        status = check_sources(call, err);
    }
    if (status == GQA_OK) {
        status = check_rope(call, err);
    }
    if (status == GQA_OK) {
        status = check_masks(call, err);
    }
    if (status == GQA_OK) {
        status = check_output(call, err);
    }
    return status;
}
