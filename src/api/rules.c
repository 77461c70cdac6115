/* SPDX-License-Identifier: Apache-2.0 */
/* rules.c - see rules.h. */
#include "api/rules.h"

#include "base/error.h"
#include "stage/span.h"

static void check_rule(struct gqa__call_check *check, const struct gqa__rule *rule)
{
    gqa_tensor *const t = rule->tensor;

    if (check->status != GQA_OK) {
        return;
    }
    if (!gqa__present(t) && rule->required != NULL) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, rule->field, "is required: %s", rule->required);
    } else if (gqa__present(t) && rule->refused != NULL) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, rule->field, "must be absent: %s", rule->refused);
    } else if (gqa__present(t)) {
        check->status =
            gqa__tensor_fit(t,
                            &(struct gqa__form){rule->field, rule->formats | check->call->address,
                                                rule->rank, rule->shape, true},
                            t, check->err);
    }
}

void gqa__check_rules(struct gqa__call_check *check, const struct gqa__rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_rule(check, &rules[i]);
    }
}

/* A flat call: its tensors [1, T, ...] hold the tokens of inputs.batch entries. What row_begin
 * holds is checked with the entries. */
static void check_flat(struct gqa__call_check *check, const char *start)
{
    struct gqa__call *const call = check->call;
    const gqa_inputs *const in = &call->in;

    if (in->row_begin == NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.batch",
                                  "is %d; it must be 0 without inputs.row_begin", (int)in->batch);
    } else if (in->batch < 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.batch",
                                  "is %d; it must be at least 0", (int)in->batch);
    } else if (call->outer != 1) {
        check->status =
            gqa__fail(check->err, GQA_ERR_SHAPE, start,
                      "shape[0] is %d; it must be 1 with inputs.row_begin", (int)call->outer);
    } else if (in->first_valid != NULL || in->lengths != NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG,
                                  in->first_valid != NULL ? "inputs.first_valid" : "inputs.lengths",
                                  "must be NULL with inputs.row_begin: a flat call has no padding");
    }
    call->batch = in->batch;
}

void gqa__check_extent(struct gqa__call_check *check, const struct gqa__rule *rule)
{
    const gqa_tensor *const t = rule->tensor;
    const int64_t most = INT32_MAX / 4;

    check_rule(check, rule);
    if (check->status != GQA_OK) {
        return;
    }
    if (t->shape[0] > most || t->shape[1] > most ||
        (t->shape[0] > 0 && t->shape[1] > most / t->shape[0])) {
        check->status = gqa__fail(check->err, GQA_ERR_SHAPE, rule->field,
                                  "has %lld x %lld tokens; the limit is %lld",
                                  (long long)t->shape[0], (long long)t->shape[1], (long long)most);
        return;
    }
    check->call->outer = (int32_t)t->shape[0];
    check->call->tokens = (int32_t)t->shape[1];
    check->call->batch = check->call->outer;
    if (check->call->in.row_begin != NULL || check->call->in.batch != 0) {
        check_flat(check, rule->field);
    }
}

void gqa__check_pointers(struct gqa__call_check *check, const gqa_layer *layer, const void *inputs,
                         const void *output)
{
    const char *const field = layer == NULL    ? "layer"
                              : inputs == NULL ? "inputs"
                              : output == NULL ? "output"
                                               : NULL;

    if (check->status == GQA_OK && field != NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, field, "is NULL");
    }
}

gqa_status gqa__check_retention(const struct gqa__params *params,
                                const struct gqa__retention *retention, const char *field,
                                gqa_error *err)
{
    const gqa_config *const config = &params->config;

    if (retention->window == 0 && retention->chunk == 0) {
        return GQA_OK;
    }
    if (params->backend == GQA_BACKEND_NEURON) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                         "keeps a window of %d or chunks of %d tokens; backend neuron reads all "
                         "tokens of a sequence",
                         (int)retention->window, (int)retention->chunk);
    }
    if (!gqa__span_within(&params->shape, retention)) {
        return gqa__fail(
            err, GQA_ERR_ARG, field,
            "keeps a window of %d and chunks of %d tokens; the layer can see more: its "
            "sliding_window is %d, its attention_chunk_size %d",
            (int)retention->window, (int)retention->chunk, (int)config->sliding_window,
            (int)config->attention_chunk_size);
    }
    return GQA_OK;
}

void gqa__check_layer(struct gqa__call_check *check, const gqa_layer *layer, const gqa_cache *cache)
{
    const struct gqa__cache_layout layout = gqa__layer_cache_layout(&layer->params);

    check->call->params = &layer->params;
    check->call->runtime = &layer->runtime;
    check->call->cache = (gqa_cache *)(uintptr_t)cache;
    if (check->status == GQA_OK && cache != NULL) {
        check->status = gqa__cache_matches(cache, &layout, check->err);
    }
    if (check->status == GQA_OK && cache != NULL) {
        check->status =
            gqa__check_retention(&layer->params, &cache->retention, "cache", check->err);
    }
}

/* --- who sees whom --------------------------------------------------------------------------- */

/* [1|B, 1|Hq, T, K] */
static void check_mask(struct gqa__call_check *check, gqa_tensor *t, const char *field, int formats)
{
    const struct gqa__call *const call = check->call;
    const int64_t most[2] = {call->outer, call->params->shape.hq};
    const int64_t shape[4] = {-1, -1, call->tokens, -1};

    if (check->status == GQA_OK && gqa__present(t)) {
        check->status =
            gqa__tensor_fit(t, &(struct gqa__form){field, formats, 4, shape, false}, t, check->err);
    }
    for (int i = 0; i < 2 && check->status == GQA_OK && gqa__present(t); i++) {
        if (t->shape[i] != 1 && t->shape[i] != most[i]) {
            check->status =
                gqa__fail(check->err, GQA_ERR_SHAPE, field, "shape[%d] is %lld; it must be 1 or %d",
                          i, (long long)t->shape[i], (int)most[i]);
        }
    }
}

gqa_status gqa__check_phase(gqa_phase phase, gqa_error *err)
{
    if ((int)phase < GQA_PHASE_AUTO || (int)phase > GQA_PHASE_TKG) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.phase", "is %d; it must be 0..2", (int)phase);
    }
    return GQA_OK;
}

void gqa__check_view(struct gqa__call_check *check)
{
    gqa_inputs *const in = &check->call->in;

    check_mask(check, &in->mask, "inputs.mask", GQA__MASKS);
    check_mask(check, &in->bias, "inputs.bias", GQA__FLOATS | check->call->address);
    if (check->status == GQA_OK && (in->key_begin == NULL) != (in->key_end == NULL)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG,
                                  in->key_begin == NULL ? "inputs.key_begin" : "inputs.key_end",
                                  "is NULL; key_begin and key_end go together");
    }
    if (check->status == GQA_OK) {
        check->status = gqa__check_phase(in->phase, check->err);
    }
    if (check->status == GQA_OK && in->trace != NULL &&
        check->call->params->backend != GQA_BACKEND_CPU) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "inputs.trace",
                                  "is given; config.backend is not GQA_BACKEND_CPU");
    }
}

void gqa__check_flag(struct gqa__call_check *check, const char *field, int32_t value)
{
    if (check->status == GQA_OK && value != 0 && value != 1) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is %d; it must be 0 or 1", (int)value);
    }
}
