/* SPDX-License-Identifier: Apache-2.0 */
/* attend.c - gqa_attend and its structs. */
#include <stddef.h>

#include "api/attend_check.h"
#include "api/run.h"
#include "api/states.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"

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
    const struct gqa__attend_args args = {layer, cache, inputs, output};
    struct gqa__call call;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = gqa__attend_check(&call, &args, GQA__ANY_ADDRESS, err);
    return status == GQA_OK ? gqa__run_size(&call, size, err) : status;
}

/* The range that the states cover: this call's part of the keys, which is empty where it begins
 * beyond the longest entry, and the prior's before it. Empty ones give nothing to the other. */
static void set_covered_range(const struct gqa__attend *attend, gqa_states *states)
{
    states->key_begin = attend->range_begin;
    states->key_end = attend->range_end != 0
                          ? attend->range_end
                          : (int32_t)gqa__max(attend->longest, attend->range_begin);
    if (!gqa__states_empty(&attend->prior)) {
        states->key_end = gqa__states_empty(states) ? attend->prior.key_end : states->key_end;
        states->key_begin = attend->prior.key_begin;
    }
}

gqa_status gqa_attend(const gqa_layer *layer, const gqa_cache *cache,
                      const gqa_attend_inputs *inputs, gqa_attend_output *output, void *workspace,
                      size_t size, gqa_error *err)
{
    const struct gqa__attend_args args = {layer, cache, inputs, output};
    struct gqa__call call;
    gqa_status status = gqa__attend_check(&call, &args, 0, err);

    if (status == GQA_OK) {
        status = gqa__run(&call, workspace, size, err);
    }
    if (status == GQA_OK) { /* the caller's tensors stay as they were written */
        gqa_states states = call.attend.states;
        set_covered_range(&call.attend, &states);
        gqa__export_field(output, offsetof(gqa_attend_output, states.key_begin), &states.key_begin,
                          sizeof states.key_begin);
        gqa__export_field(output, offsetof(gqa_attend_output, states.key_end), &states.key_end,
                          sizeof states.key_end);
        gqa__export_field(output, offsetof(gqa_attend_output, path), &call.out.path,
                          sizeof call.out.path);
    }
    return status;
}
