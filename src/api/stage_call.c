/* SPDX-License-Identifier: Apache-2.0 */
/* stage_call.c - see stage_call.h. */
#include "api/stage_call.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

struct gqa__stage_call gqa__stage_begin(const gqa_layer *layer, gqa_error *err)
{
    struct gqa__stage_call call = {NULL, err, GQA_OK, -1};
    if (layer == NULL) {
        call.status = gqa__fail(err, GQA_ERR_ARG, "layer", "is NULL");
    } else {
        call.params = &layer->params;
    }
    return call;
}

struct gqa__stage_call gqa__stage_begin_f32(const gqa_layer *layer, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin(layer, err);

    if (call.status == GQA_OK && call.params->backend == GQA_BACKEND_NEURON) {
        call.status = gqa__fail(err, GQA_ERR_UNSUPPORTED, "layer",
                                "has backend neuron, whose stages are not callable alone; a tap "
                                "shows them");
    }
    return call;
}

void gqa__need_hidden(struct gqa__stage_call *call)
{
    if (call->status == GQA_OK && call->params->shape.hidden == 0) {
        call->status = gqa__fail(call->err, GQA_ERR_ARG, "config.hidden_size",
                                 "is 0: the layer has no projections, norms and residual");
    }
}

void gqa__need_pointer(struct gqa__stage_call *call, const void *pointer, const char *field)
{
    if (call->status == GQA_OK && pointer == NULL) {
        call->status = gqa__fail(call->err, GQA_ERR_ARG, field, "is NULL");
    }
}

float *gqa__floats(struct gqa__stage_call *call, const gqa_tensor *t, const char *field,
                   int64_t heads, int64_t dim)
{
    const int32_t rank = heads == 0 ? 2 : 3;
    const int64_t last = heads == 0 ? dim : heads;
    const int64_t shape[3] = {call->n, last, dim};
    gqa_tensor own;
    if (call->status != GQA_OK || !gqa__present(t)) {
        return NULL;
    }
    call->status = gqa__tensor_fit(t, &(struct gqa__form){field, GQA__ONLY_F32, rank, shape, false},
                                   &own, call->err);
    if (call->status != GQA_OK) {
        return NULL;
    }
    const int64_t row = heads == 0 ? dim : heads * dim;
    if (own.shape[0] > INT32_MAX) {
        call->status = gqa__fail(call->err, GQA_ERR_SHAPE, field, "has %lld tokens; at most %d",
                                 (long long)own.shape[0], INT32_MAX);
        return NULL;
    }
    if ((own.shape[0] > 1 && own.stride[0] != row) || (heads > 1 && own.stride[1] != dim)) {
        call->status = gqa__fail(call->err, GQA_ERR_SHAPE, field,
                                 "is not packed: token stride %lld, needed %lld",
                                 (long long)own.stride[0], (long long)row);
        return NULL;
    }
    call->n = own.shape[0];
    return own.data;
}

float *gqa__need_floats(struct gqa__stage_call *call, const gqa_tensor *t, const char *field,
                        int64_t heads, int64_t dim)
{
    if (!gqa__present(t)) {
        gqa__need_pointer(call, NULL, field);
    }
    return gqa__floats(call, t, field, heads, dim);
}

void *gqa__stage_memory(struct gqa__stage_call *call, const gqa_layer *layer, size_t size)
{
    void *memory = NULL;
    if (call->status == GQA_OK && size > 0) {
        call->status =
            gqa__alloc(&layer->runtime, size, "runtime.alloc", "scratch", &memory, call->err);
    }
    return memory;
}
