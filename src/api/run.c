/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h. */
#include "api/run.h"

#include "api/attend_check.h"
#include "api/forward_check.h"
#include "api/states.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "layer/health.h"
#include "layer/spine.h"

/* --- padding --------------------------------------------------------------------------------- */

/* One token's vectors in a tensor whose heads are head_stride apart. */
static void zero_token(const gqa_tensor *t, int64_t offset, int64_t heads, int64_t head_stride)
{
    for (int64_t h = 0; h < heads; h++) {
        gqa__store_zero(t, offset + h * head_stride, t->shape[t->rank - 1]);
    }
}

/* Row [b][t] of every output [B, T, ...]: exact zeros, and neutral states. */
static void clear_token(const struct gqa__call *call, int32_t b, int32_t t)
{
    const gqa_output *const out = &call->out;
    const gqa_tensor *const flat[] = {&out->hidden_states, &out->residual, &out->cos_cache,
                                      &out->sin_cache, &out->lse};
    const gqa_tensor *const kv[] = {&out->present_key_value.k, &out->present_key_value.v};
    const int32_t hq = call->params->shape.hq;

    for (size_t i = 0; i < sizeof flat / sizeof flat[0]; i++) {
        if (gqa__present(flat[i])) {
            zero_token(flat[i], b * flat[i]->stride[0] + t * flat[i]->stride[1], 1, 0);
        }
    }
    if (gqa__present(&out->attn)) {
        zero_token(&out->attn, b * out->attn.stride[0] + t * out->attn.stride[1], hq,
                   out->attn.stride[2]);
    }
    for (size_t i = 0; i < sizeof kv / sizeof kv[0]; i++) {
        if (gqa__present(kv[i])) {
            zero_token(kv[i], b * kv[i]->stride[0] + t * kv[i]->stride[2], kv[i]->shape[1],
                       kv[i]->stride[1]);
        }
    }
    if (gqa__present(&call->attend.states.m)) {
        gqa__states_clear(&call->attend.states, ((int64_t)b * call->tokens + t) * hq, hq,
                          call->params->shape.dv);
    }
}

/* Padding tokens and inactive entries. */
static void clear_padding(const struct gqa__call *call)
{
    for (int32_t b = 0; b < call->batch; b++) {
        const struct gqa__batch_entry *const entry = &call->entries[b];
        const int32_t end = entry->first_valid + entry->n;
        for (int32_t t = 0; t < entry->tokens; t++) {
            if (t < entry->first_valid || t >= end) {
                clear_token(call, entry->tensor_b, entry->tensor_t + t);
            }
        }
    }
}

/* --- the report ------------------------------------------------------------------------------ */

/* TKG when every active entry has a past. */
static bool all_tkg(const struct gqa__call *call)
{
    bool any = false;

    for (int32_t b = 0; b < call->batch; b++) {
        if (call->entries[b].sequence >= 0) {
            if (!call->entries[b].tkg) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

static void fill_report(struct gqa__call *call, const struct gqa__spine *spine)
{
    const struct gqa__params *const params = call->params;
    gqa_path *const path = &call->out.path;

    path->kind = params->shape.chunk > 0    ? GQA_PATH_CHUNKED
                 : params->shape.window > 0 ? GQA_PATH_SLIDING_WINDOW
                                            : GQA_PATH_STANDARD;
    path->phase = all_tkg(call) ? GQA_PHASE_TKG : GQA_PHASE_CTE;
    path->cut = spine->cut;
    path->view = call->in_blocks       ? GQA_VIEW_BLOCKS
                 : call->cache != NULL ? GQA_VIEW_PAGED
                 : call->append        ? GQA_VIEW_CALL
                                       : GQA_VIEW_PLAIN;
    path->backend = params->backend;
    path->isa = params->kernels->isa;
    path->kernels = params->kernels->name;
    path->neuron_profile = spine->choice.profile;
    path->neuron_strategy = spine->choice.strategy;
    call->out.rope_key = params->rope.key;
    if (call->out.work != NULL) {
        gqa__export(call->out.work, &spine->work, sizeof spine->work);
    }
    if (call->out.health != NULL) {
        const gqa_health health = gqa__health_report(spine->health);
        gqa__export(call->out.health, &health, sizeof health);
    }
    if (call->out.neuron != NULL) {
        gqa__export(call->out.neuron, &spine->neuron->report, sizeof spine->neuron->report);
    }
}

/* --- the workspace --------------------------------------------------------------------------- */

gqa_status gqa__run_size(struct gqa__call *call, size_t *size, gqa_error *err)
{
    struct gqa__spine spine;
    struct gqa__arena arena;

    gqa__arena_count(&arena);
    gqa__spine_carve(&spine, call, &arena);
    if (arena.failed) {
        return gqa__fail(err, GQA_ERR_NOMEM, "workspace",
                         "the workspace of %d x %d tokens exceeds the address space", call->batch,
                         call->tokens);
    }
    *size = arena.used;
    return GQA_OK;
}

static gqa_status check_memory(const void *workspace, size_t size, gqa_error *err)
{
    if (workspace == NULL && size != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "workspace", "is NULL, but size is %zu", size);
    }
    if ((uintptr_t)workspace % GQA__ALIGN != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "workspace", "is %p; it must be aligned to %d",
                         workspace, GQA__ALIGN);
    }
    return GQA_OK;
}

/* The structs that a call fills if they are there. */
static gqa_status check_records(const struct gqa__call *call, gqa_error *err)
{
    gqa_status status = GQA_OK;
    gqa_health health;
    gqa_work work;

    if (call->out.work != NULL) {
        status = gqa__import(&work, sizeof work, call->out.work, "output.work", err);
    }
    if (status == GQA_OK && call->out.health != NULL) {
        status = gqa__import(&health, sizeof health, call->out.health, "output.health", err);
    }
    return status;
}

static gqa_status refuse_size(struct gqa__call *call, size_t size, gqa_error *err)
{
    size_t needed = 0;
    const gqa_status status = gqa__run_size(call, &needed, err);

    return status != GQA_OK
               ? status
               : gqa__fail(err, GQA_ERR_WORKSPACE, "size",
                           "the workspace has %zu bytes; this call needs %zu, as %s says", size,
                           needed,
                           call->alone ? "gqa_attend_workspace_size" : "gqa_workspace_size");
}

static gqa_status run_in(struct gqa__call *call, void *workspace, size_t size, gqa_error *err)
{
    struct gqa__spine spine;
    struct gqa__arena arena;
    gqa_status status;

    gqa__arena_open(&arena, workspace, size);
    if (!gqa__spine_carve(&spine, call, &arena)) {
        return refuse_size(call, size, err);
    }
    status = call->alone ? gqa__attend_entries(call, err) : gqa__forward_entries(call, err);
    if (status == GQA_OK) {
        status = gqa__spine_check(&spine, err);
    }
    if (status == GQA_OK) {
        if (call->out.health != NULL) {
            gqa__health_inputs(call, spine.health);
        }
        clear_padding(call);
        gqa__spine_run(&spine);
        if (call->out.health != NULL) {
            gqa__health_outputs(call, spine.health);
        }
        fill_report(call, &spine);
    }
    return status;
}

gqa_status gqa__run(struct gqa__call *call, void *workspace, size_t size, gqa_error *err)
{
    void *own = NULL;
    gqa_status status = check_memory(workspace, size, err);

    if (status == GQA_OK) {
        status = check_records(call, err);
    }
    if (status == GQA_OK && workspace == NULL) {
        status = gqa__run_size(call, &size, err);
        if (status == GQA_OK) {
            status = gqa__alloc(call->runtime, size, "workspace", "a workspace", &own, err);
        }
        workspace = own;
    }
    if (status == GQA_OK) {
        status = run_in(call, workspace, size, err);
    }
    gqa__release(call->runtime, own);
    return status;
}
