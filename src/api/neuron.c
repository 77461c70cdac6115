/* SPDX-License-Identifier: Apache-2.0 */
/* neuron.c - gqa_neuron_attention and its structs. */
#include "gqa/neuron.h"

#include "base/error.h"
#include "base/fpmode.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/neuron.h"
#include "parallel/runtime.h"
#include "parallel/tasks.h"

void gqa_neuron_call_init_sized(gqa_neuron_call *call, size_t size)
{
    gqa__init_struct(call, size);
}

void gqa_neuron_output_init_sized(gqa_neuron_output *output, size_t size)
{
    gqa__init_struct(output, size);
}

void gqa_neuron_report_init_sized(gqa_neuron_report *report, size_t size)
{
    gqa__init_struct(report, size);
}

const char *gqa_neuron_profile_name(gqa_neuron_profile profile)
{
    const struct gqa__neuron_path *const path = gqa__neuron_path(profile);

    return path == NULL ? "unknown" : path->name;
}

/* What the two functions are given. */
struct neuron_arguments {
    const gqa_neuron_call *call;
    const gqa_neuron_output *output;
    const gqa_runtime *runtime;
    int formats;
};

static gqa_status prepare_neuron(struct gqa__neuron *call, const struct neuron_arguments *arguments,
                                 size_t *size, gqa_error *err)
{
    gqa_runtime runtime;
    gqa__fpmode saved;
    gqa_status status = gqa__runtime_import(arguments->runtime, &runtime, err);

    if (status != GQA_OK) {
        return status;
    }
    saved = gqa__fpmode_enter(); /* 1 / sqrt(D) is computed there */
    status = gqa__neuron_check(call, arguments->call, arguments->output, arguments->formats, err);
    gqa__fpmode_leave(saved);
    if (status != GQA_OK) {
        return status;
    }
    call->runtime = runtime;
    call->slots = call->in.trace != NULL ? 1 : gqa__thread_count(&runtime);
    *size = gqa__neuron_bytes(call);
    return *size == SIZE_MAX
               ? gqa__fail(err, GQA_ERR_SHAPE, "call", "its workspace exceeds the address space")
               : GQA_OK;
}

gqa_status gqa_neuron_workspace_size(const gqa_neuron_call *call, const gqa_neuron_output *output,
                                     const gqa_runtime *runtime, size_t *size, gqa_error *err)
{
    const struct neuron_arguments arguments = {call, output, runtime, GQA__ANY_ADDRESS};
    struct gqa__neuron checked;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    return prepare_neuron(&checked, &arguments, size, err);
}

static gqa_status check_workspace(const void *workspace, size_t size, size_t needed, gqa_error *err)
{
    if (workspace == NULL && size == 0) {
        return GQA_OK;
    }
    if (workspace == NULL || (uintptr_t)workspace % GQA__ALIGN != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "workspace", "is %s; it must be a multiple of %d bytes",
                         workspace == NULL ? "NULL although size is not 0" : "not aligned",
                         GQA__ALIGN);
    }
    if (size < needed) {
        return gqa__fail(err, GQA_ERR_WORKSPACE, "size", "is %llu bytes; this call needs %llu",
                         (unsigned long long)size, (unsigned long long)needed);
    }
    return GQA_OK;
}

gqa_status gqa_neuron_attention(const gqa_neuron_call *call, gqa_neuron_output *output,
                                const gqa_runtime *runtime, void *workspace, size_t size,
                                gqa_error *err)
{
    const struct neuron_arguments arguments = {call, output, runtime, 0};
    struct gqa__neuron checked;
    gqa_neuron_output result;
    void *own = NULL;
    size_t needed;
    gqa_status status = prepare_neuron(&checked, &arguments, &needed, err);

    if (status == GQA_OK) {
        status = check_workspace(workspace, size, needed, err);
    }
    if (status == GQA_OK && workspace == NULL) {
        status =
            gqa__alloc(&checked.runtime, needed, "workspace", "a Neuron call's tiles", &own, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    gqa__neuron_run(&checked, workspace == NULL ? own : workspace, needed);
    gqa__import(&result, sizeof result, output, "output", NULL); /* its tensors stay as they are */
    result.tiles = checked.out.tiles;
    result.tiles_skipped = checked.out.tiles_skipped;
    result.hbm_bytes = checked.out.hbm_bytes;
    result.madds = checked.out.madds;
    result.warning_count = checked.out.warning_count;
    for (int32_t i = 0; i < GQA_NEURON_WARNINGS_MAX; i++) {
        result.warnings[i] = checked.out.warnings[i];
    }
    gqa__export(output, &result, sizeof result);
    gqa__release(&checked.runtime, own);
    return GQA_OK;
}
