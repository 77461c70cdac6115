/* SPDX-License-Identifier: Apache-2.0 */
/* weights_in_place.c - matrices that stay in the caller's memory: nothing of them is read here. */
#include "layer/weight_source.h"

#include "base/error.h"
#include "base/tensor.h"

gqa_status gqa__in_place_check(const struct gqa__params *params, const gqa_weights *weights,
                               gqa_error *err)
{
    const gqa_tensor *const matrices[] = {&weights->wq,       &weights->wk,     &weights->wv,
                                          &weights->wqkv,     &weights->wgate,  &weights->wo,
                                          &weights->tkg_wq,   &weights->tkg_wk, &weights->tkg_wv,
                                          &weights->tkg_wqkv, &weights->tkg_wo};
    const char *const field = "weights.in_place";
    if (weights->in_place != 0 && weights->in_place != 1) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is %d; it must be 0 or 1",
                         (int)weights->in_place);
    }
    if (weights->in_place != 0 && params->shape.hidden == 0) {
        return gqa__fail(err, GQA_ERR_ARG, field, "is 1, but config.hidden_size = 0 has no matrix");
    }
    if (weights->in_place != 0 && params->backend == GQA_BACKEND_NEURON) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                         "is 1; backend neuron keeps its own copy in the I/O type");
    }
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0] && weights->in_place; i++) {
        if (!gqa__present(matrices[i])) {
            continue;
        }
        if (params->config.weight_storage == GQA_WEIGHT_STORAGE_INT8 &&
            matrices[i]->dtype != GQA_I8) {
            return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                             "is 1, but a matrix has dtype %d and config.weight_storage = %d would "
                             "quantise it; only GQA_I8 is used in place then",
                             (int)matrices[i]->dtype, (int)GQA_WEIGHT_STORAGE_INT8);
        }
        if (params->backend != GQA_BACKEND_REFERENCE) {
            continue;
        }
        if (matrices[i]->dtype != GQA_F32) {
            return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                             "is 1, but a matrix has dtype %d; backend reference reads only "
                             "GQA_F32 in place",
                             (int)matrices[i]->dtype);
        }
        if (matrices[i]->stride[0] > INT32_MAX) {
            return gqa__fail(err, GQA_ERR_UNSUPPORTED, field,
                             "is 1, but the rows of a matrix are %lld apart; backend reference "
                             "reads at most %d in place",
                             (long long)matrices[i]->stride[0], (int)INT32_MAX);
        }
    }
    return GQA_OK;
}

int32_t gqa__in_place_strips(const struct gqa__params *params, const gqa_weights *weights,
                             const struct gqa__linear *linear, struct gqa__strip *strips)
{
    int32_t count = 0;
    for (int64_t row = 0; row < linear->out; count++) {
        const struct gqa__weight_source from = gqa__weight_source_of(params, weights, linear, row);
        if (strips != NULL) {
            const int64_t at = from.row * from.weight->stride[0];
            strips[count].data = (const unsigned char *)from.weight->data +
                                 (size_t)at * gqa__dtype_size(from.weight->dtype);
            strips[count].stride = from.weight->stride[0];
            strips[count].first = row;
            strips[count].dtype = from.weight->dtype;
        }
        row += from.rows;
    }
    return count;
}
