/* SPDX-License-Identifier: Apache-2.0 */
/* attend_check.c - shapes, formats and combinations of an attend call. */
#include "api/attend_check.h"

#include <string.h>

#include "api/forward_check.h"
#include "api/states.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/tensor.h"

/* Query, key and value. */
static gqa_status check_tensors(struct gqa__attend_call *call, gqa_error *err)
{
    const struct gqa__shape *shape = &call->params->shape;
    gqa_attend_inputs *in = &call->in;
    int64_t query[4] = {-1, -1, shape->hq, shape->dk};
    bool plain = call->cache == NULL;
    gqa_status status;

    if (!gqa__present(&in->query)) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.query", "is required");
    }
    status = gqa__tensor_fit(&in->query, "inputs.query", GQA__FLOATS | call->address, 4, query,
                             true, &in->query, err);
    if (status != GQA_OK) {
        return status;
    }
    if (in->query.shape[0] > INT32_MAX / 4 || in->query.shape[1] > INT32_MAX / 4 ||
        (in->query.shape[0] > 0 && in->query.shape[1] > INT32_MAX / 4 / in->query.shape[0])) {
        return gqa__fail(err, GQA_ERR_SHAPE, "inputs.query",
                         "has %lld x %lld tokens; the limit is %d", (long long)in->query.shape[0],
                         (long long)in->query.shape[1], INT32_MAX / 4);
    }
    call->batch = (int32_t)in->query.shape[0];
    call->tokens = (int32_t)in->query.shape[1];
    if (gqa__present(&in->key) != plain || gqa__present(&in->value) != plain) {
        const char *field = gqa__present(&in->key) != plain ? "inputs.key" : "inputs.value";
        return gqa__fail(err, GQA_ERR_ARG, field, "must be %s: the keys come from %s",
                         plain ? "given" : "absent", plain ? "the caller" : "the cache");
    }
    if (plain) {
        int64_t key[4] = {call->batch, -1, shape->hkv, shape->dk};
        int64_t value[4] = {call->batch, -1, shape->hkv, shape->dv};
        status = gqa__tensor_fit(&in->key, "inputs.key", GQA__FLOATS | call->address, 4, key, true,
                                 &in->key, err);
        if (status == GQA_OK) {
            value[1] = in->key.shape[1];
            status = gqa__tensor_fit(&in->value, "inputs.value", GQA__FLOATS | call->address, 4,
                                     value, true, &in->value, err);
        }
        if (status == GQA_OK && in->key.shape[1] > INT32_MAX - GQA__FOLD_BLOCK) {
            status = gqa__fail(err, GQA_ERR_SHAPE, "inputs.key", "has %lld keys; the limit is %d",
                               (long long)in->key.shape[1], INT32_MAX - GQA__FOLD_BLOCK);
        }
        call->keys = (int32_t)in->key.shape[1];
    } else {
        call->keys = call->cache->max_tokens;
    }
    return status;
}

/* What belongs to plain keys only, or to a cache only. */
static gqa_status check_source(const struct gqa__attend_call *call, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    const char *field = NULL;

    if (call->cache == NULL && in->sequences != NULL) {
        field = "inputs.sequences";
    } else if (call->cache != NULL && in->key_lengths != NULL) {
        field = "inputs.key_lengths";
    } else if (call->cache != NULL && in->key_position_ids != NULL) {
        field = "inputs.key_position_ids";
    }
    if (field != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, field, "must be NULL: the keys come from %s",
                         call->cache == NULL ? "inputs.key" : "the cache");
    }
    return GQA_OK;
}

static gqa_status check_range(const struct gqa__attend_call *call, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;

    if (in->range_begin < 0 || in->range_begin % GQA__FOLD_BLOCK != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_begin",
                         "is %d; it must be a multiple of %d", in->range_begin, GQA__FOLD_BLOCK);
    }
    if (in->range_end != 0 && in->range_end <= in->range_begin) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_end",
                         "is %d; it must be 0 or above range_begin %d", in->range_end,
                         in->range_begin);
    }
    if (in->leave_out_sinks != 0 && in->leave_out_sinks != 1) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.leave_out_sinks", "is %d; it must be 0 or 1",
                         in->leave_out_sinks);
    }
    return GQA_OK;
}

/* The call's own copy of a state. Where only a size is asked for its address becomes an aligned
 * one: nobody reads there. */
static gqa_status fit_states(const struct gqa__attend_call *call, gqa_states *states,
                             const char *field, const int64_t *shape, gqa_error *err)
{
    gqa_tensor *parts[3] = {&states->m, &states->l, &states->o};

    for (int i = 0; i < 3; i++) {
        if (gqa__present(parts[i]) && call->address == GQA__ANY_ADDRESS) {
            parts[i]->data = (void *)(((uintptr_t)parts[i]->data & ~(uintptr_t)3) | 4);
        }
    }
    return gqa__states_fit(states, field, shape, call->params->shape.dv, err);
}

static gqa_status check_outputs(struct gqa__attend_call *call, gqa_error *err)
{
    const struct gqa__shape *shape = &call->params->shape;
    gqa_attend_output *out = &call->out;
    int64_t output[4] = {call->batch, call->tokens, shape->hq, shape->dv};
    int64_t lse[4] = {call->batch, call->tokens, shape->hq, 1};
    gqa_status status = GQA_OK;

    if (!gqa__present(&out->output) && !gqa__present(&out->lse) && !gqa__present(&out->states.m)) {
        return gqa__fail(err, GQA_ERR_ARG, "output.output",
                         "this, output.lse or output.states is required");
    }
    if (gqa__present(&out->output)) {
        status = gqa__tensor_fit(&out->output, "output.output", GQA__FLOATS | call->address, 4,
                                 output, true, &out->output, err);
    }
    if (status == GQA_OK && gqa__present(&out->lse)) {
        status = gqa__tensor_fit(&out->lse, "output.lse", GQA__ONLY_F32 | call->address, 3, lse,
                                 true, &out->lse, err);
    }
    if (status == GQA_OK && (gqa__present(&out->states.m) || gqa__present(&out->states.l) ||
                             gqa__present(&out->states.o))) {
        status = fit_states(call, &out->states, "output.states", lse, err);
    }
    if (status == GQA_OK && call->in.prior != NULL) {
        call->prior = *call->in.prior;
        status = fit_states(call, &call->prior, "inputs.prior", lse, err);
        if (status == GQA_OK) {
            status = gqa__states_range(&call->prior, "inputs.prior", err);
        }
        if (status == GQA_OK && !gqa__states_empty(&call->prior) &&
            call->prior.key_end > call->in.range_begin) {
            status =
                gqa__fail(err, GQA_ERR_ARG, "inputs.prior", "ends at key %d, above range_begin %d",
                          call->prior.key_end, call->in.range_begin);
        }
    }
    return status;
}

gqa_status gqa__attend_check(struct gqa__attend_call *call, const gqa_layer *layer,
                             const gqa_cache *cache, const gqa_attend_inputs *inputs,
                             const gqa_attend_output *output, gqa_error *err)
{
    gqa_attend_inputs *in = &call->in;
    const int address = call->address;
    gqa_status status;

    memset(call, 0, sizeof *call);
    call->address = address;
    if (layer == NULL || inputs == NULL || output == NULL) {
        const char *field = layer == NULL ? "layer" : inputs == NULL ? "inputs" : "output";
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
    }
    status = gqa__import(in, sizeof *in, inputs, "inputs", err);
    if (status == GQA_OK) {
        status = gqa__import(&call->out, sizeof call->out, output, "output", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    call->params = &layer->params;
    call->runtime = &layer->runtime;
    call->cache = cache;
    if (cache != NULL) {
        const struct gqa__shape *shape = &layer->params.shape;
        status =
            gqa__cache_matches(cache, layer->params.kernels, shape->hkv, shape->dk, shape->dv, err);
    }
    if (status == GQA_OK) {
        status = check_tensors(call, err);
    }
    if (status == GQA_OK) {
        status = check_source(call, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_mask(&in->mask, "inputs.mask", GQA__MASKS, call->batch,
                                 layer->params.shape.hq, call->tokens, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_mask(&in->bias, "inputs.bias", GQA__FLOATS | call->address, call->batch,
                                 layer->params.shape.hq, call->tokens, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_bounds(in->key_begin, in->key_end, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_phase(in->phase, err);
    }
    if (status == GQA_OK) {
        status = check_range(call, err);
    }
    if (status == GQA_OK) {
        status = check_outputs(call, err);
    }
    return status;
}
