/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c - gqa_forward: check, carve, run. */
#include "api/forward_check.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"

void gqa_inputs_init_sized(gqa_inputs *inputs, size_t size)
{
    gqa__init_struct(inputs, size);
}

void gqa_output_init_sized(gqa_output *output, size_t size)
{
    gqa__init_struct(output, size);
}

gqa_status gqa_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                              const gqa_inputs *inputs, const gqa_output *output, size_t *size,
                              gqa_error *err)
{
    struct gqa__call call = {.address = GQA__ANY_ADDRESS};
    struct gqa__spine spine;
    struct gqa__arena arena;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = gqa__call_check(&call, layer, cache, inputs, output, err);
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_count(&arena);
    gqa__spine_carve(&spine, &call, &arena);
    if (arena.failed) {
        return gqa__fail(err, GQA_ERR_NOMEM, "workspace",
                         "the workspace of %d x %d tokens exceeds the address space", call.batch,
                         call.tokens);
    }
    *size = arena.used;
    return GQA_OK;
}

void gqa_work_init_sized(gqa_work *work, size_t size)
{
    gqa__init_struct(work, size);
}

/* Zero elements of dim at row (b, t) of each of heads. */
static void zero_token(const gqa_tensor *t, int64_t offset, int32_t heads, int64_t head_stride,
                       int64_t dim)
{
    for (int32_t h = 0; h < heads; h++) {
        gqa__store_zero(t, offset + h * head_stride, dim);
    }
}

/* Padding tokens and inactive rows are exact zeros in every output. */
static void zero_padding(const struct gqa__call *call, const struct gqa__batch_entry *rows)
{
    const gqa_output *out = &call->out;
    const gqa_tensor *flat[] = {&out->hidden_states, &out->residual, &out->cos_cache,
                                &out->sin_cache, &out->lse};
    const gqa_tensor *kv[] = {&out->present_key_value.k, &out->present_key_value.v};

    for (int32_t b = 0; b < call->batch; b++) {
        int32_t begin = rows[b].first_valid;
        int32_t end = begin + rows[b].n;
        for (int32_t t = 0; t < call->tokens; t++) {
            if (rows[b].sequence >= 0 && t >= begin && t < end) {
                continue;
            }
            for (size_t i = 0; i < sizeof flat / sizeof flat[0]; i++) {
                if (gqa__present(flat[i])) {
                    zero_token(flat[i], b * flat[i]->stride[0] + t * flat[i]->stride[1], 1, 0,
                               flat[i]->shape[2]);
                }
            }
            if (gqa__present(&out->attn)) {
                zero_token(&out->attn, b * out->attn.stride[0] + t * out->attn.stride[1],
                           (int32_t)out->attn.shape[2], out->attn.stride[2], out->attn.shape[3]);
            }
            for (size_t i = 0; i < 2; i++) {
                if (gqa__present(kv[i])) {
                    zero_token(kv[i], b * kv[i]->stride[0] + t * kv[i]->stride[2],
                               (int32_t)kv[i]->shape[1], kv[i]->stride[1], kv[i]->shape[3]);
                }
            }
        }
    }
}

void gqa__path_fill(gqa_path *path, const struct gqa__params *params, gqa_cut cut, gqa_view view,
                    bool tkg)
{
    path->kind = params->shape.chunk > 0    ? GQA_PATH_CHUNKED
                 : params->shape.window > 0 ? GQA_PATH_SLIDING_WINDOW
                                            : GQA_PATH_STANDARD;
    path->phase = tkg ? GQA_PHASE_TKG : GQA_PHASE_CTE;
    path->cut = cut;
    path->view = view;
    path->backend = params->backend;
    path->isa = params->kernels->isa;
    path->kernels = params->kernels->name;
}

/* TKG when every active row has a past. */
static bool all_tkg(const struct gqa__call *call, const struct gqa__batch_entry *rows)
{
    bool any = false;

    for (int32_t b = 0; b < call->batch; b++) {
        if (rows[b].sequence >= 0) {
            if (!rows[b].tkg) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

/* Carve, check the rows, run. */
static gqa_status run(struct gqa__call *call, void *workspace, size_t size, gqa_error *err)
{
    struct gqa__spine spine;
    struct gqa__arena arena;
    gqa_status status;

    gqa__arena_open(&arena, workspace, size);
    if (!gqa__spine_carve(&spine, call, &arena)) {
        return gqa__fail(err, GQA_ERR_WORKSPACE, "size",
                         "the workspace has %zu bytes; this call needs what gqa_workspace_size "
                         "says",
                         size);
    }
    status = gqa__call_entries(call, spine.rows, err);
    if (status != GQA_OK) {
        return status;
    }
    zero_padding(call, spine.rows);
    gqa__spine_run(&spine);
    if (call->out.work != NULL) {
        gqa__export(call->out.work, &spine.work, sizeof spine.work);
    }
    gqa__path_fill(&call->out.path, call->params, spine.cut,
                   call->cache != NULL ? GQA_VIEW_PAGED : GQA_VIEW_CALL, all_tkg(call, spine.rows));
    call->out.rope_key = call->params->rope.key;
    return GQA_OK;
}

gqa_status gqa__check_workspace(const void *workspace, size_t size, gqa_error *err)
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

gqa_status gqa__check_work(const gqa_work *work, gqa_error *err)
{
    gqa_work own;

    return work != NULL ? gqa__import(&own, sizeof own, work, "output.work", err) : GQA_OK;
}

gqa_status gqa_forward(const gqa_layer *layer, gqa_cache *cache, const gqa_inputs *inputs,
                       gqa_output *output, void *workspace, size_t size, gqa_error *err)
{
    struct gqa__call call = {.address = 0};
    void *own = NULL;
    gqa_status status = gqa__call_check(&call, layer, cache, inputs, output, err);

    if (status == GQA_OK) {
        status = gqa__check_workspace(workspace, size, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_work(call.out.work, err);
    }
    if (status == GQA_OK && workspace == NULL) {
        status = gqa_workspace_size(layer, cache, inputs, output, &size, err);
        if (status == GQA_OK) {
            status = gqa__alloc(call.runtime, size, "workspace", "a workspace", &own, err);
        }
        workspace = own;
    }
    if (status == GQA_OK) {
        status = run(&call, workspace, size, err);
    }
    if (status == GQA_OK) { /* the caller's tensors stay as they were written */
        gqa_output result;
        gqa__import(&result, sizeof result, output, "output", NULL);
        result.rope_key = call.out.rope_key;
        result.path = call.out.path;
        gqa__export(output, &result, sizeof result);
    }
    gqa__release(layer != NULL ? &layer->runtime : NULL, own);
    return status;
}
