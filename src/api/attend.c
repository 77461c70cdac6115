/* SPDX-License-Identifier: Apache-2.0 */
/* attend.c - gqa_attend: check, carve, run. */
#include "gqa/attend.h"

#include "api/attend_check.h"
#include "api/forward_check.h"
#include "api/states.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "layer/attend.h"

void gqa_attend_inputs_init_sized(gqa_attend_inputs *inputs, size_t size)
{
    gqa__init_struct(inputs, size);
}

void gqa_attend_output_init_sized(gqa_attend_output *output, size_t size)
{
    gqa__init_struct(output, size);
}

int32_t gqa_fold_block(void)
{
    return GQA__FOLD_BLOCK;
}

gqa_status gqa_attend_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                                     const gqa_attend_inputs *inputs,
                                     const gqa_attend_output *output, size_t *size, gqa_error *err)
{
    struct gqa__attend_call call = {.address = GQA__ANY_ADDRESS};
    struct gqa__attend_work work;
    struct gqa__arena arena;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = gqa__attend_check(&call, layer, cache, inputs, output, err);
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_count(&arena);
    gqa__attend_carve(&work, &call, &arena);
    if (arena.failed) {
        return gqa__fail(err, GQA_ERR_NOMEM, "workspace",
                         "the workspace of %d x %d queries exceeds the address space", call.batch,
                         call.tokens);
    }
    *size = arena.used;
    return GQA_OK;
}

/* Rows that are padding: zero output and lse, neutral states. */
static void clear_padding(const struct gqa__attend_call *call, const struct gqa__attend_entry *rows)
{
    const gqa_tensor *out = &call->out.output;
    const gqa_tensor *lse = &call->out.lse;
    int32_t hq = call->params->shape.hq;

    for (int32_t b = 0; b < call->batch; b++) {
        for (int32_t t = 0; t < call->tokens; t++) {
            int32_t i = t - rows[b].first_valid;
            if (i >= 0 && i < rows[b].n) {
                continue;
            }
            for (int32_t h = 0; h < hq && gqa__present(out); h++) {
                gqa__store_zero(out, b * out->stride[0] + t * out->stride[1] + h * out->stride[2],
                                call->params->shape.dv);
            }
            if (gqa__present(lse)) {
                gqa__store_zero(lse, b * lse->stride[0] + t * lse->stride[1], hq);
            }
            if (gqa__present(&call->out.states.m)) {
                gqa__states_clear(&call->out.states, ((int64_t)b * call->tokens + t) * hq, hq,
                                  call->params->shape.dv);
            }
        }
    }
}

/* The range that the states cover: this call's part of the keys, which is empty where it begins
 * beyond the longest row, and the prior's before it. Empty ones give nothing to the other. */
static void cover(const struct gqa__attend_call *call, int32_t longest, gqa_states *states)
{
    const gqa_attend_inputs *in = &call->in;

    states->key_begin = in->range_begin;
    states->key_end =
        in->range_end != 0 ? in->range_end : (int32_t)gqa__max(longest, in->range_begin);
    if (in->prior != NULL && !gqa__states_empty(&call->prior)) {
        states->key_end = gqa__states_empty(states) ? call->prior.key_end : states->key_end;
        states->key_begin = call->prior.key_begin;
    }
}

/* TKG when every active row has a past. */
static bool all_tkg(const struct gqa__attend_work *work)
{
    const struct gqa__attend_call *call = work->call;
    bool any = false;

    for (int32_t b = 0; b < call->batch; b++) {
        if (call->in.sequences == NULL || call->in.sequences[b] >= 0) {
            if (!work->rows[b].tkg) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

/* The range, the path and the record of work. */
static void report(const struct gqa__attend_work *work, gqa_attend_output *output)
{
    const struct gqa__attend_call *call = work->call;
    gqa_attend_output result;
    gqa_work *counts = call->out.work;
    int32_t longest = 0;

    for (int32_t b = 0; b < call->batch; b++) {
        longest = (int32_t)gqa__max(longest, work->rows[b].view.length);
    }
    gqa__import(&result, sizeof result, output, "output", NULL);
    cover(call, longest, &result.states);
    gqa__path_fill(&result.path, call->params, work->cut,
                   call->cache != NULL ? GQA_VIEW_PAGED : GQA_VIEW_PLAIN, all_tkg(work));
    gqa__export(output, &result, sizeof result);
    if (counts != NULL) {
        gqa__export(counts, &work->work, sizeof work->work);
    }
}

gqa_status gqa_attend(const gqa_layer *layer, const gqa_cache *cache,
                      const gqa_attend_inputs *inputs, gqa_attend_output *output, void *workspace,
                      size_t size, gqa_error *err)
{
    struct gqa__attend_call call = {.address = 0};
    struct gqa__attend_work work;
    struct gqa__arena arena;
    void *own = NULL;
    gqa_status status = gqa__attend_check(&call, layer, cache, inputs, output, err);

    if (status == GQA_OK) {
        status = gqa__check_workspace(workspace, size, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_work(call.out.work, err);
    }
    if (status == GQA_OK && workspace == NULL) {
        status = gqa_attend_workspace_size(layer, cache, inputs, output, &size, err);
        if (status == GQA_OK) {
            status = gqa__alloc(call.runtime, size, "workspace", "a workspace", &own, err);
        }
        workspace = own;
    }
    if (status == GQA_OK) {
        gqa__arena_open(&arena, workspace, size);
        if (!gqa__attend_carve(&work, &call, &arena)) {
            status = gqa__fail(err, GQA_ERR_WORKSPACE, "size",
                               "the workspace has %zu bytes; this call needs what "
                               "gqa_attend_workspace_size says",
                               size);
        }
    }
    if (status == GQA_OK) {
        status = gqa__attend_entries(&call, work.rows, err);
    }
    if (status == GQA_OK) {
        clear_padding(&call, work.rows);
        gqa__attend_run(&work);
        report(&work, output);
    }
    gqa__release(layer != NULL ? &layer->runtime : NULL, own);
    return status;
}
