/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c - gqa_forward and its structs. */
#include <stddef.h>

#include "api/forward_check.h"
#include "api/run.h"
#include "base/error.h"
#include "base/import.h"
#include "base/tensor.h"

void gqa_inputs_init_sized(gqa_inputs *inputs, size_t size)
{
    gqa__init_struct(inputs, size);
}

void gqa_output_init_sized(gqa_output *output, size_t size)
{
    gqa__init_struct(output, size);
}

void gqa_work_init_sized(gqa_work *work, size_t size)
{
    gqa__init_struct(work, size);
}

void gqa_health_init_sized(gqa_health *health, size_t size)
{
    gqa__init_struct(health, size);
}

gqa_status gqa_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                              const gqa_inputs *inputs, const gqa_output *output, size_t *size,
                              gqa_error *err)
{
    const struct gqa__forward_args args = {layer, cache, inputs, output};
    struct gqa__call call;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = gqa__forward_check(&call, &args, GQA__ANY_ADDRESS, err);
    return status == GQA_OK ? gqa__run_size(&call, size, err) : status;
}

gqa_status gqa_forward(const gqa_layer *layer, gqa_cache *cache, const gqa_inputs *inputs,
                       gqa_output *output, void *workspace, size_t size, gqa_error *err)
{
    const struct gqa__forward_args args = {layer, cache, inputs, output};
    struct gqa__call call;
    gqa_status status = gqa__forward_check(&call, &args, 0, err);

    if (status == GQA_OK) {
        status = gqa__run(&call, workspace, size, err);
    }
    if (status == GQA_OK) { /* the caller's tensors stay as they were written */
        gqa__export_field(output, offsetof(gqa_output, rope_key), &call.out.rope_key,
                          sizeof call.out.rope_key);
        gqa__export_field(output, offsetof(gqa_output, path), &call.out.path, sizeof call.out.path);
    }
    return status;
}
