/* SPDX-License-Identifier: Apache-2.0 */
/* attend_check.c - shapes, formats and combinations of an attend call. */
#include "api/attend_check.h"

#include "api/blocks.h"
#include "api/rules.h"
#include "api/states.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "layer/neuron.h"

/* The caller's structs as a call of the spine: what both have lies in the same fields. */
static void take_structs(struct gqa__call *call, const gqa_attend_inputs *in,
                         const gqa_attend_output *out)
{
    struct gqa__attend *const attend = &call->attend;

    call->alone = true;
    call->in.q_proj = in->query;
    call->in.sequences = in->sequences;
    call->in.first_valid = in->first_valid;
    call->in.lengths = in->lengths;
    call->in.position_ids = in->position_ids;
    call->in.phase = in->phase;
    call->in.mask = in->mask;
    call->in.bias = in->bias;
    call->in.key_begin = in->key_begin;
    call->in.key_end = in->key_end;
    call->in.trace = in->trace;
    call->in.trace_user = in->trace_user;
    call->in.row_begin = in->row_begin;
    call->in.batch = in->batch;
    call->out.attn = out->output;
    call->out.lse = out->lse;
    call->out.work = out->work;
    call->out.health = out->health;
    call->out.neuron = out->neuron;
    call->in.blocks = in->blocks;
    call->in_blocks = in->blocks != NULL;
    attend->key = in->key;
    attend->value = in->value;
    attend->key_lengths = in->key_lengths;
    attend->key_position_ids = in->key_position_ids;
    attend->range_begin = in->range_begin;
    attend->range_end = in->range_end;
    attend->leave_out_sinks = in->leave_out_sinks != 0;
    attend->states = out->states;
    if (in->prior != NULL) {
        attend->prior = *in->prior;
    }
}

/* Query, key and value. */
static void check_tensors(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    struct gqa__attend *const attend = &call->attend;
    const struct gqa__shape *const shape = &call->params->shape;
    const bool plain = call->cache == NULL && !call->in_blocks;
    const char *const required = plain ? "the keys come from the caller" : NULL;
    const char *const refused = plain             ? NULL
                                : call->in_blocks ? "the keys come from inputs.blocks"
                                                  : "the keys come from the cache";
    const struct gqa__rule query = {"inputs.query",
                                    &call->in.q_proj,
                                    "attention begins with it",
                                    NULL,
                                    GQA__FLOATS,
                                    4,
                                    {-1, -1, shape->hq, shape->dk}};
    struct gqa__rule key = {"inputs.key",
                            &attend->key,
                            required,
                            refused,
                            GQA__FLOATS,
                            4,
                            {-1, -1, shape->hkv, shape->dk}};
    struct gqa__rule value = {"inputs.value",
                              &attend->value,
                              required,
                              refused,
                              GQA__FLOATS,
                              4,
                              {-1, -1, shape->hkv, shape->dv}};
    const int64_t most = INT32_MAX - GQA__FOLD_BLOCK;

    gqa__check_extent(check, &query);
    key.shape[0] = call->batch;
    gqa__check_rules(check, &key, 1);
    value.shape[0] = call->batch;
    value.shape[1] = attend->key.shape[1];
    gqa__check_rules(check, &value, 1);
    if (check->status == GQA_OK && plain && attend->key.shape[1] > most) {
        check->status =
            gqa__fail(check->err, GQA_ERR_SHAPE, key.field, "has %lld keys; the limit is %lld",
                      (long long)attend->key.shape[1], (long long)most);
    }
    if (!call->in_blocks) {
        call->keys = plain ? (int32_t)attend->key.shape[1] : call->cache->max_tokens;
    }
}

/* What belongs to plain keys only, or to a cache only. */
static void check_source(struct gqa__call_check *check)
{
    const struct gqa__call *const call = check->call;
    const bool plain = call->cache == NULL && !call->in_blocks;
    const char *field = NULL;

    if (plain && call->in.sequences != NULL) {
        field = "inputs.sequences";
    } else if (!plain && call->attend.key_lengths != NULL) {
        field = "inputs.key_lengths";
    } else if (!plain && call->attend.key_position_ids != NULL) {
        field = "inputs.key_position_ids";
    }
    if (check->status == GQA_OK && field != NULL) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "must be NULL: the keys come from %s",
                      plain             ? "inputs.key"
                      : call->in_blocks ? "inputs.blocks"
                                        : "the cache");
    }
}

static void check_range(struct gqa__call_check *check)
{
    const int32_t begin = check->call->attend.range_begin;
    const int32_t end = check->call->attend.range_end;

    if (check->status == GQA_OK && (begin < 0 || begin % GQA__FOLD_BLOCK != 0)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.range_begin",
                                  "is %d; it must be a multiple of %d", begin, GQA__FOLD_BLOCK);
    }
    if (check->status == GQA_OK && end != 0 && end <= begin) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.range_end",
                                  "is %d; it must be 0 or above range_begin %d", end, begin);
    }
}

/* The call's own copy of a state. Where only a size is asked for its address becomes an aligned
 * one: nobody reads there. */
static void fit_states(struct gqa__call_check *check, gqa_states *states, const char *field)
{
    const struct gqa__call *const call = check->call;
    const int64_t shape[3] = {call->outer, call->tokens, call->params->shape.hq};
    gqa_tensor *const tensors[3] = {&states->m, &states->l, &states->o};

    if (check->status != GQA_OK) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        if (gqa__present(tensors[i]) && call->address == GQA__ANY_ADDRESS) {
            tensors[i]->data = (void *)(((uintptr_t)tensors[i]->data & ~(uintptr_t)3) | 4);
        }
    }
    check->status = gqa__states_fit(states, field, shape, call->params->shape.dv, check->err);
}

static void check_outputs(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    gqa_output *const out = &call->out;
    gqa_states *const states = &call->attend.states;
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t b = call->outer, t = call->tokens;
    const struct gqa__rule rules[] = {
        {"output.output", &out->attn, NULL, NULL, GQA__FLOATS, 4, {b, t, shape->hq, shape->dv}},
        {"output.lse", &out->lse, NULL, NULL, GQA__ONLY_F32, 3, {b, t, shape->hq}},
    };

    if (check->status == GQA_OK && !gqa__present(&out->attn) && !gqa__present(&out->lse) &&
        !gqa__present(&states->m)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "output.output",
                                  "this, output.lse or output.states is required");
    }
    gqa__check_rules(check, rules, sizeof rules / sizeof rules[0]);
    if (gqa__present(&states->m) || gqa__present(&states->l) || gqa__present(&states->o)) {
        fit_states(check, states, "output.states");
    }
}

static void check_prior(struct gqa__call_check *check)
{
    struct gqa__attend *const attend = &check->call->attend;
    const char *const field = "inputs.prior";

    fit_states(check, &attend->prior, field);
    if (check->status == GQA_OK) {
        check->status = gqa__states_range(&attend->prior, field, check->err);
    }
    if (check->status == GQA_OK && !gqa__states_empty(&attend->prior) &&
        attend->prior.key_end > attend->range_begin) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "ends at key %d, above range_begin %d",
                      attend->prior.key_end, attend->range_begin);
    }
}

gqa_status gqa__attend_check(struct gqa__call *call, const struct gqa__attend_args *args,
                             int address, gqa_error *err)
{
    struct gqa__call_check check = {call, err, GQA_OK};
    gqa_attend_inputs in;
    gqa_attend_output out;

    *call = (struct gqa__call){.address = address};
    gqa__check_pointers(&check, args->layer, args->inputs, args->output);
    if (check.status == GQA_OK) {
        check.status = gqa__import(&in, sizeof in, args->inputs, "inputs", err);
    }
    if (check.status == GQA_OK) {
        check.status = gqa__import(&out, sizeof out, args->output, "output", err);
    }
    if (check.status != GQA_OK) {
        return check.status;
    }
    take_structs(call, &in, &out);
    gqa__check_layer(&check, args->layer, args->cache);
    check_tensors(&check);
    check_source(&check);
    gqa__blocks_check(&check, in.blocks);
    gqa__check_view(&check);
    check_range(&check);
    gqa__check_flag(&check, "inputs.leave_out_sinks", in.leave_out_sinks);
    check_outputs(&check);
    if (in.prior != NULL) {
        check_prior(&check);
    }
    return check.status == GQA_OK ? gqa__neuron_call_check(call, err) : check.status;
}
