/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - weights into a layer: small vectors as f32 copies, matrices packed for the kernel set or
 * left where they are. */
#include "layer/weight_source.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "kernel/contract/convert.h"
#include "linear/quantise.h"
#include "neuron/stages.h"
#include "stage/stage.h"

#include <string.h>

/* A zeroed block that the layer owns. size > 0. */
static gqa_status take_block(struct gqa_layer *layer, size_t size, const char *what, void **block,
                             gqa_error *err)
{
    const gqa_status status = gqa__alloc(&layer->runtime, size, "weights", what, block, err);
    if (status == GQA_OK) {
        memset(*block, 0, size);
        layer->memory[layer->blocks++] = *block;
    }
    return status;
}

/* --- vectors --------------------------------------------------------------------------------- */

/* A tensor of rank 1 or 2 as packed f32. NULL in counting mode, and for an absent one. */
static float *take_floats(struct gqa__arena *arena, const gqa_tensor *t)
{
    int64_t rows, n;
    float *dst;
    if (!gqa__present(t)) {
        return NULL;
    }
    rows = t->rank == 2 ? t->shape[0] : 1;
    n = t->shape[t->rank - 1];
    dst = gqa__arena_take(arena, rows * n, sizeof *dst);
    for (int64_t r = 0; r < rows && dst != NULL; r++) {
        gqa__load_f32(dst + r * n, t, r * t->stride[0], n);
    }
    return dst;
}

/* The array that *pointer shows becomes a copy; it stays what it was in counting mode. */
static void own_doubles(struct gqa__arena *arena, const double **pointer, int64_t n)
{
    double *copy;
    if (*pointer == NULL) {
        return;
    }
    copy = gqa__arena_take(arena, n, sizeof *copy);
    if (copy != NULL) {
        memcpy(copy, *pointer, (size_t)n * sizeof *copy);
        *pointer = copy;
    }
}

static void take_slopes(struct gqa__arena *arena, struct gqa__params *params)
{
    gqa_config *const config = &params->config;
    const int64_t n = params->shape.hq;
    if (config->alibi_slopes == NULL) {
        return;
    }
    params->slopes = gqa__arena_take(arena, n, sizeof *params->slopes);
    if (params->slopes != NULL) {
        memcpy(params->slopes, config->alibi_slopes, (size_t)n * sizeof *params->slopes);
        config->alibi_slopes = params->slopes;
    }
}

static void take_rope(struct gqa__arena *arena, struct gqa__params *params)
{
    gqa_config *const config = &params->config;
    const int64_t pairs = params->shape.rotary_dim / 2;
    const size_t bytes = gqa__rope_bytes(config, &params->shape);
    void *memory;
    if (bytes == 0) {
        return;
    }
    own_doubles(arena, &config->rope_short_factors, pairs);
    own_doubles(arena, &config->rope_long_factors, pairs);
    own_doubles(arena, &config->rope_inv_freq, pairs);
    memory = gqa__arena_take(arena, (int64_t)bytes, 1);
    if (memory != NULL) {
        gqa__rope_resolve(&params->rope, config, &params->shape, memory);
    }
}

/* Everything but the matrices: counted and carved by the same code. */
static void take_vectors(struct gqa__arena *arena, struct gqa__params *params,
                         const gqa_weights *weights)
{
    params->input_norm = take_floats(arena, &weights->input_norm);
    params->input_norm_bias = take_floats(arena, &weights->input_norm_bias);
    params->q_norm = take_floats(arena, &weights->q_norm);
    params->k_norm = take_floats(arena, &weights->k_norm);
    params->q_norm_bias = take_floats(arena, &weights->q_norm_bias);
    params->k_norm_bias = take_floats(arena, &weights->k_norm_bias);
    params->q_norm_per_head = weights->q_norm.rank == 2 || weights->q_norm_bias.rank == 2;
    params->k_norm_per_head = weights->k_norm.rank == 2 || weights->k_norm_bias.rank == 2;
    params->post_norm = take_floats(arena, &weights->post_norm);
    params->post_norm_bias = take_floats(arena, &weights->post_norm_bias);
    params->sinks = take_floats(arena, &weights->sinks);
    params->tkg_sinks = take_floats(arena, &weights->tkg_sinks);
    take_slopes(arena, params);
    take_rope(arena, params);
}

static gqa_status load_vectors(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err)
{
    struct gqa__arena arena;
    gqa_status status;
    void *block;
    size_t size;
    gqa__arena_count(&arena);
    take_vectors(&arena, &layer->params, weights);
    size = arena.used;
    if (size == 0) {
        return GQA_OK;
    }
    status = take_block(layer, size, "vectors", &block, err);
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_open(&arena, block, size);
    take_vectors(&arena, &layer->params, weights);
    return GQA_OK;
}

/* --- matrices -------------------------------------------------------------------------------- */

/* The matrices of a layer; those that it has not have out 0. */
enum { MATRICES = 5 };
struct matrices {
    struct gqa__linear *linear[MATRICES];
    bool with_bias[MATRICES];
};

/* linear->out and in are set. */
static gqa_status make_linear(struct gqa_layer *layer, struct gqa__linear *linear,
                              const gqa_weights *weights, bool with_bias, gqa_error *err)
{
    const long long out = linear->out, in = linear->in;
    gqa_status status;
    void *block;
    size_t size;
    linear->kernels = layer->params.kernels;
    linear->plain = layer->params.backend == GQA_BACKEND_REFERENCE;
    linear->turned = layer->params.backend == GQA_BACKEND_NEURON;
    linear->dtype = gqa__neuron_io(&layer->params);
    linear->int8 = layer->params.config.weight_storage == GQA_WEIGHT_STORAGE_INT8;
    linear->flush = layer->params.shape.flush;
    linear->f64 = linear->plain && layer->params.config.reference_f64 != 0;
    if (weights->in_place) {
        linear->strip_count = gqa__in_place_strips(&layer->params, weights, linear, NULL);
    }
    if (!gqa__linear_bytes(linear, with_bias, &size)) {
        return gqa__fail(err, GQA_ERR_ARG, "weights",
                         "a matrix of %lld x %lld exceeds the address space", out, in);
    }
    status = take_block(layer, size, "a matrix", &block, err);
    if (status == GQA_ERR_NOMEM) {
        status = gqa__fail(err, GQA_ERR_NOMEM, "weights",
                           "no memory for a matrix of %lld x %lld (%zu bytes)", out, in, size);
    }
    if (status == GQA_OK) {
        gqa__linear_place(linear, block, with_bias);
    }
    return status;
}

/* Scratch for one row: [in] each. */
struct line {
    float *values;
    int8_t *integers;
};

/* Integers and scale of a row: the caller's, or those of its values. */
static gqa_status pack_int8(struct gqa__linear *linear, int64_t row,
                            const struct gqa__weight_source *from, float bias,
                            const struct line *line, gqa_error *err)
{
    const int64_t at = from->row * from->weight->stride[0];
    const int8_t *integers = line->integers; /* [in] */
    float scale;
    if (from->weight->dtype == GQA_I8) {
        integers = (const int8_t *)from->weight->data + at;
        gqa__load_f32(&scale, from->scale, from->row, 1);
    } else {
        gqa__load(linear->kernels, line->values, from->weight, at, linear->in);
        if (!gqa__quantise(line->integers, &scale, line->values, linear->in)) {
            return gqa__fail(err, GQA_ERR_ARG, from->field,
                             "holds a value in row %lld that is not finite; config.weight_storage "
                             "= %d cannot keep it",
                             (long long)from->row, (int)GQA_WEIGHT_STORAGE_INT8);
        }
    }
    gqa__linear_set_int8(linear, row, integers, scale, bias);
    return GQA_OK;
}

static float bias_of(const struct gqa__weight_source *from)
{
    float bias = 0.0f;
    if (gqa__present(from->bias)) {
        gqa__load_f32(&bias, from->bias, from->row, 1);
    }
    return bias;
}

static gqa_status pack_matrix(const struct gqa__params *params, const gqa_weights *weights,
                              struct gqa__linear *linear, const struct line *line, gqa_error *err)
{
    gqa_status status = GQA_OK;
    for (int64_t row = 0; row < linear->out && status == GQA_OK; row++) {
        const struct gqa__weight_source from = gqa__weight_source_of(params, weights, linear, row);
        const float bias = bias_of(&from);
        if (linear->int8) {
            status = pack_int8(linear, row, &from, bias, line, err);
        } else {
            gqa__load(linear->kernels, line->values, from.weight, from.row * from.weight->stride[0],
                      linear->in);
            if (linear->flush) {
                linear->kernels->flush(line->values, linear->in);
            }
            gqa__linear_set_row(linear, row, line->values, bias);
        }
    }
    return status;
}

static gqa_status pack_matrices(struct gqa_layer *layer, const gqa_weights *weights,
                                const struct matrices *all, gqa_error *err)
{
    const struct gqa__params *const params = &layer->params;
    const size_t most = (size_t)gqa__max(params->shape.hidden, params->shape.o_in);
    struct line line; /* [most] one row */
    void *memory;
    gqa_status status = gqa__alloc(&layer->runtime, most * (sizeof(float) + sizeof(int8_t)),
                                   "weights", "a row", &memory, err);
    if (status != GQA_OK) {
        return status;
    }
    line.values = memory;
    line.integers = (int8_t *)(line.values + most);
    for (size_t i = 0; i < MATRICES && status == GQA_OK; i++) {
        status = pack_matrix(params, weights, all->linear[i], &line, err);
    }
    gqa__release(&layer->runtime, line.values);
    return status;
}

static void place_matrix(const struct gqa__params *params, const gqa_weights *weights,
                         struct gqa__linear *linear)
{
    gqa__in_place_strips(params, weights, linear, linear->strips);
    for (int64_t row = 0; row < linear->out; row++) {
        const struct gqa__weight_source from = gqa__weight_source_of(params, weights, linear, row);
        if (linear->int8) {
            gqa__load_f32(&linear->scale[row], from.scale, from.row, 1);
        }
        gqa__linear_set_bias(linear, row, bias_of(&from));
    }
}

/* Set the extents of every matrix that the layer has. */
static struct matrices find_matrices(struct gqa__params *params, const gqa_weights *weights)
{
    const struct gqa__shape *const shape = &params->shape;
    const bool qkv_bias = params->config.qkv_bias != 0, o_bias = params->config.o_bias != 0;
    const bool tkg_qkv = gqa__present(&weights->tkg_wq) || gqa__present(&weights->tkg_wqkv);
    const struct matrices all = {
        .linear = {&params->qkv, &params->gate, &params->o, &params->tkg_qkv, &params->tkg_o},
        .with_bias = {qkv_bias, false, o_bias, qkv_bias, o_bias}};

    params->qkv.out = (int64_t)shape->q_rows + shape->k_rows + shape->v_rows;
    params->qkv.in = shape->hidden;
    params->gate.out = gqa__present(&weights->wgate) ? shape->gate_rows : 0;
    params->gate.in = shape->hidden;
    params->o.out = shape->hidden;
    params->o.in = shape->o_in;
    params->tkg_qkv.out = tkg_qkv ? params->qkv.out : 0;
    params->tkg_qkv.in = params->qkv.in;
    params->tkg_o.out = gqa__present(&weights->tkg_wo) ? params->o.out : 0;
    params->tkg_o.in = params->o.in;
    return all;
}

static gqa_status load_matrices(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err)
{
    struct matrices all;
    gqa_status status = GQA_OK;

    if (layer->params.shape.hidden == 0) {
        return GQA_OK;
    }
    all = find_matrices(&layer->params, weights);
    for (size_t i = 0; i < MATRICES && status == GQA_OK; i++) {
        if (all.linear[i]->out > 0) {
            status = make_linear(layer, all.linear[i], weights, all.with_bias[i], err);
        }
    }
    if (status != GQA_OK || weights->in_place == 0) {
        return status == GQA_OK ? pack_matrices(layer, weights, &all, err) : status;
    }
    for (size_t i = 0; i < MATRICES; i++) {
        place_matrix(&layer->params, weights, all.linear[i]);
    }
    return GQA_OK;
}

/* --- all of it ------------------------------------------------------------------------------- */

gqa_status gqa__layer_load(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err)
{
    gqa_weights own;
    gqa_status status = GQA_OK;
    gqa__init_struct(&own, sizeof own);
    if (weights != NULL) {
        status = gqa__import(&own, sizeof own, weights, "weights", err);
    }
    if (status == GQA_OK) {
        status = gqa__weights_check(&layer->params, &own, err);
    }
    if (status == GQA_OK) {
        status = gqa__in_place_check(&layer->params, &own, err);
    }
    if (status == GQA_OK) {
        status = load_vectors(layer, &own, err);
    }
    if (status == GQA_OK) {
        status = load_matrices(layer, &own, err);
    }
    return status;
}

void gqa__layer_unload(struct gqa_layer *layer)
{
    while (layer->blocks > 0) {
        gqa__release(&layer->runtime, layer->memory[--layer->blocks]);
    }
}
