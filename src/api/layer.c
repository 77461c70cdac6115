/* SPDX-License-Identifier: Apache-2.0 */
/* layer.c - gqa_create and gqa_destroy: a config and weights become a layer. */
#include "gqa/layer.h"

#include "base/error.h"
#include "base/fpmode.h"
#include "base/import.h"
#include "base/memory.h"
#include "config/config.h"
#include "kernel/choice/select.h"
#include "layer/layer.h"
#include "linear/linear.h"
#include "parallel/runtime.h"

#include <string.h>

void gqa_weights_init_sized(gqa_weights *weights, size_t size)
{
    gqa__init_struct(weights, size);
}

/* A layer without its weights: config, runtime and kernel set are checked and set. */
static gqa_status prepare(struct gqa_layer *layer, const gqa_config *config,
                          const gqa_runtime *runtime, gqa_error *err)
{
    struct gqa__params *const params = &layer->params;
    gqa_status status;

    memset(layer, 0, sizeof *layer);
    status = gqa__runtime_import(runtime, &layer->runtime, err);
    if (status == GQA_OK) {
        status = gqa__config_import(config, &params->config, err);
    }
    if (status == GQA_OK) {
        status = gqa__config_check(&params->config, err);
    }
    if (status == GQA_OK) {
        status = gqa__select(&params->kernels, params->config.isa, params->config.max_isa,
                             params->config.numerics, err);
    }
    if (status == GQA_OK) {
        params->integer = gqa__select_integer(params->kernels);
        gqa__shape_derive(&params->shape, &params->config);
        params->backend =
            params->config.backend == GQA_BACKEND_AUTO ? GQA_BACKEND_CPU : params->config.backend;
    }
    return status;
}

static gqa_status create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                         const gqa_runtime *runtime, gqa_error *err)
{
    struct gqa_layer prepared, *layer;
    void *memory = NULL;
    gqa_status status = prepare(&prepared, config, runtime, err);
    if (status == GQA_OK) {
        status =
            gqa__alloc(&prepared.runtime, sizeof *layer, "runtime.alloc", "a layer", &memory, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    layer = memory;
    *layer = prepared;
    status = gqa__layer_load(layer, weights, err);
    if (status != GQA_OK) {
        gqa_destroy(&layer);
        return status;
    }
    if (layer->params.backend == GQA_BACKEND_REFERENCE && layer->params.shape.hidden > 0) {
        gqa__blas_warn(&layer->runtime, gqa__blas_core());
    }
    *out = layer;
    return GQA_OK;
}

gqa_status gqa_create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                      const gqa_runtime *runtime, gqa_error *err)
{
    gqa__fpmode saved;
    gqa_status status;
    if (out == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "out", "is NULL");
    }
    *out = NULL;
    if (config == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "config", "is NULL");
    }
    saved = gqa__fpmode_enter();
    status = create(out, config, weights, runtime, err);
    gqa__fpmode_leave(saved);
    return status;
}

void gqa_destroy(gqa_layer **layer)
{
    gqa_runtime runtime;
    if (layer == NULL || *layer == NULL) {
        return;
    }
    gqa__layer_unload(*layer);
    runtime = (*layer)->runtime;
    gqa__release(&runtime, *layer);
    *layer = NULL;
}

gqa_isa gqa_layer_isa(const gqa_layer *layer)
{
    return layer->params.kernels->isa;
}

uint64_t gqa_layer_rope_key(const gqa_layer *layer)
{
    return layer->params.rope.key;
}
