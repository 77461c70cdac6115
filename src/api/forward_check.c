/* SPDX-License-Identifier: Apache-2.0 */
/* forward_check.c - shapes, formats and combinations of a forward call. */
#include "api/forward_check.h"

#include <stddef.h>
#include <string.h>

#include "api/blocks.h"
#include "api/rules.h"
#include "base/error.h"
#include "base/import.h"
#include "layer/neuron.h"

#define COUNT(rules) (sizeof(rules) / sizeof((rules)[0]))

/* B and T from the tensor that the pipeline starts with. */
static void check_start(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    const struct gqa__shape *const shape = &call->params->shape;
    const struct gqa__rule hidden = {
        "inputs.hidden_states", &call->in.hidden_states, NULL, NULL, GQA__FLOATS, 3,
        {-1, -1, shape->hidden}};
    const struct gqa__rule heads = {"inputs.q_proj",
                                    &call->in.q_proj,
                                    NULL,
                                    NULL,
                                    GQA__FLOATS,
                                    4,
                                    {-1, -1, shape->hq, shape->dk}};

    if (check->status == GQA_OK && call->from_hidden && shape->hidden == 0) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, hidden.field,
                      "is given, but the layer has config.hidden_size = 0 (attention only)");
    }
    gqa__check_extent(check, call->from_hidden ? &hidden : &heads);
}

/* text if the condition holds, else `otherwise`. */
static const char *why(bool condition, const char *text, const char *otherwise)
{
    return condition ? text : otherwise;
}

/* hidden_states, residual and the projections. */
static void check_sources(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    gqa_inputs *const in = &call->in;
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t b = call->outer, t = call->tokens;
    const bool k_eq_v = call->params->config.k_eq_v != 0;
    const bool gated = shape->gate_dim > 0;
    const bool given = !call->from_hidden; /* the projections are */
    const char *const from_x = why(!given, "the call starts from hidden_states", NULL);
    const struct gqa__rule rules[] = {
        {"inputs.hidden_states",
         &in->hidden_states,
         why(call->need_sum, "the residual sum is part of the output", NULL),
         why(given && !call->need_sum, "the call starts from q_proj and no residual sum is needed",
             NULL),
         GQA__FLOATS,
         3,
         {b, t, shape->hidden}},
        {"inputs.residual",
         &in->residual,
         NULL,
         why(!gqa__present(&in->hidden_states), "there is no hidden_states", NULL),
         GQA__FLOATS,
         3,
         {b, t, shape->hidden}},
        {"inputs.k_proj",
         &in->k_proj,
         NULL,
         why(!call->append, "inputs.borrow_cache is set", from_x),
         GQA__FLOATS,
         4,
         {b, t, shape->hkv, shape->dk}},
        {"inputs.v_proj",
         &in->v_proj,
         why(given && call->append && !k_eq_v, "inputs.k_proj is given", NULL),
         why(!call->append, "no key is appended", why(k_eq_v, "config.k_eq_v is set", from_x)),
         GQA__FLOATS,
         4,
         {b, t, shape->hkv, shape->dv}},
        {"inputs.gate_proj",
         &in->gate_proj,
         why(given && gated, "config.gate is set", NULL),
         why(given && !gated, "config.gate is NONE", from_x),
         GQA__FLOATS,
         4,
         {b, t, shape->hq, shape->gate_dim}},
    };

    gqa__check_rules(check, rules, COUNT(rules));
}

/* Whether the call may have tables, and whose. */
static void check_rope_key(struct gqa__call_check *check)
{
    const gqa_inputs *const in = &check->call->in;
    const uint64_t key = check->call->params->rope.key;
    const bool given = gqa__present(&in->cos_cache);

    if (check->status != GQA_OK) {
        return;
    }
    if (in->rope_length < 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.rope_length",
                                  "is %d; it must be at least 0", in->rope_length);
    } else if (given != gqa__present(&in->sin_cache)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, "inputs.sin_cache",
                      "given without inputs.cos_cache, or that without it; both or neither");
    } else if (check->call->params->shape.rotary_dim == 0 &&
               (given || in->rotary_position_ids != NULL)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG,
                                  given ? "inputs.cos_cache" : "inputs.rotary_position_ids",
                                  "the layer has config.rope = NONE: there is nothing to rotate");
    } else if (!given && in->rope_key != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.rope_key",
                                  "is %016llx; it must be 0 without cos_cache",
                                  (unsigned long long)in->rope_key);
    } else if (given && in->rotary_position_ids != NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.rotary_position_ids",
                                  "must be NULL when cos_cache is given");
    } else if (given && in->rope_key != key) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.rope_key",
                                  "is %016llx; this layer's rope is %016llx: the tables belong to "
                                  "another rope configuration",
                                  (unsigned long long)in->rope_key, (unsigned long long)key);
    }
}

/* cos_cache and sin_cache, which are given. */
static void check_cos_sin(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    const int64_t b = call->outer, t = call->tokens, pairs = call->params->rope.pairs;
    const struct gqa__rule rules[] = {
        {"inputs.cos_cache", &call->in.cos_cache, NULL, NULL, GQA__ONLY_F32, 3, {b, t, pairs}},
        {"inputs.sin_cache", &call->in.sin_cache, NULL, NULL, GQA__ONLY_F32, 3, {b, t, pairs}},
    };

    gqa__check_rules(check, rules, COUNT(rules));
}

/* active_mask, which is given: [1|B, T, T]; in a flat call [1, T, any], and its entries must fit.
 */
static void check_active_mask(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    gqa_tensor *const t = &call->in.active_mask;
    const struct gqa__rule rule = {
        "inputs.active_mask",
        t,
        NULL,
        NULL,
        GQA__MASKS,
        3,
        {-1, call->tokens, call->in.row_begin != NULL ? -1 : call->tokens}};

    gqa__check_rules(check, &rule, 1);
    if (check->status == GQA_OK && t->shape[0] != 1 && t->shape[0] != call->outer) {
        check->status =
            gqa__fail(check->err, GQA_ERR_SHAPE, rule.field, "shape[0] is %lld; it must be 1 or %d",
                      (long long)t->shape[0], call->outer);
    }
}

static void check_output(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    gqa_output *const out = &call->out;
    gqa_kv *const present = &out->present_key_value;
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t b = call->outer, t = call->tokens, pairs = call->params->rope.pairs;
    const char *const flat =
        why(shape->hidden == 0, "the layer has config.hidden_size = 0 (attention only)", NULL);
    const char *const no_keys = why(!call->append, "the call appends no keys", NULL);
    const char *const no_rope = why(shape->rotary_dim == 0, "config.rope is NONE", NULL);
    const struct gqa__rule rules[] = {
        {"output.hidden_states",
         &out->hidden_states,
         NULL,
         flat,
         GQA__FLOATS,
         3,
         {b, t, shape->hidden}},
        {"output.residual", &out->residual, NULL, NULL, GQA__FLOATS, 3, {b, t, shape->hidden}},
        {"output.attn", &out->attn, NULL, NULL, GQA__FLOATS, 4, {b, t, shape->hq, shape->dv}},
        {"output.lse", &out->lse, NULL, NULL, GQA__ONLY_F32, 3, {b, t, shape->hq}},
        {"output.present_key_value.k",
         &present->k,
         NULL,
         no_keys,
         GQA__FLOATS,
         4,
         {b, shape->hkv, t, shape->dk}},
        {"output.present_key_value.v",
         &present->v,
         NULL,
         no_keys,
         GQA__FLOATS,
         4,
         {b, shape->hkv, t, shape->dv}},
        {"output.cos_cache", &out->cos_cache, NULL, no_rope, GQA__ONLY_F32, 3, {b, t, pairs}},
        {"output.sin_cache", &out->sin_cache, NULL, no_rope, GQA__ONLY_F32, 3, {b, t, pairs}},
    };

    if (check->status == GQA_OK && !call->project && !gqa__present(&out->attn)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "output.hidden_states",
                                  "this or output.attn is required");
    }
    gqa__check_rules(check, rules, COUNT(rules));
}

/* What the call does. */
static void check_what_runs(struct gqa__call_check *check)
{
    struct gqa__call *const call = check->call;
    const gqa_inputs *const in = &call->in;
    const gqa_output *const out = &call->out;

    call->from_hidden = !gqa__present(&in->q_proj);
    call->project = gqa__present(&out->hidden_states);
    call->need_sum =
        (call->project && call->params->config.add_residual) || gqa__present(&out->residual);
    call->append = in->borrow_cache == 0 && (call->from_hidden || gqa__present(&in->k_proj));
    if (check->status == GQA_OK && call->from_hidden && !gqa__present(&in->hidden_states)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.hidden_states",
                                  "this or inputs.q_proj is required");
    }
    call->in_blocks = in->blocks != NULL;
    if (check->status == GQA_OK && !call->append && call->cache == NULL && !call->in_blocks) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "cache",
                                  "is NULL, but the call appends no keys of its own");
    }
}

gqa_status gqa__forward_check(struct gqa__call *call, const struct gqa__forward_args *args,
                              int address, gqa_error *err)
{
    struct gqa__call_check check = {call, err, GQA_OK};

    memset(call, 0, offsetof(struct gqa__call, in)); /* in and out: by their import */
    call->address = address;
    gqa__check_pointers(&check, args->layer, args->inputs, args->output);
    if (check.status == GQA_OK) {
        check.status = gqa__import(&call->in, sizeof call->in, args->inputs, "inputs", err);
    }
    if (check.status == GQA_OK) {
        check.status = gqa__import(&call->out, sizeof call->out, args->output, "output", err);
    }
    if (check.status != GQA_OK) {
        return check.status;
    }
    gqa__check_layer(&check, args->layer, args->cache);
    check_what_runs(&check);
    check_start(&check);
    check_sources(&check);
    check_rope_key(&check);
    if (gqa__present(&call->in.cos_cache)) {
        check_cos_sin(&check);
    }
    gqa__check_view(&check);
    if (gqa__present(&call->in.active_mask)) {
        check_active_mask(&check);
    }
    gqa__check_flag(&check, "inputs.borrow_cache", call->in.borrow_cache);
    check_output(&check);
    call->keys = call->cache != NULL ? call->cache->max_tokens : call->tokens;
    gqa__blocks_check(&check, call->in.blocks);
    return check.status == GQA_OK ? gqa__neuron_call_check(call, err) : check.status;
}
