/* load.c - weights into a layer: small vectors as f32 copies, matrices packed for the kernel row.
 */
#include "layer/layer.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "stage/stage.h"

#include <string.h>

/* A zeroed block that the layer owns. size > 0. */
static void *take_block(struct gqa_layer *layer, size_t size)
{
    void *const block = gqa__alloc(&layer->runtime, size);
    if (block != NULL) {
        memset(block, 0, size);
        layer->memory[layer->blocks++] = block;
    }
    return block;
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
    void *block;
    size_t size;
    gqa__arena_count(&arena);
    take_vectors(&arena, &layer->params, weights);
    size = arena.used;
    if (size == 0) {
        return GQA_OK;
    }
    block = take_block(layer, size);
    if (block == NULL) {
        return gqa__fail(err, GQA_ERR_NOMEM, "weights", "no memory for %zu bytes of vectors", size);
    }
    gqa__arena_open(&arena, block, size);
    take_vectors(&arena, &layer->params, weights);
    return GQA_OK;
}

/* --- matrices -------------------------------------------------------------------------------- */

/* Where a packed row comes from: row `row` of weight (and of bias, if present). */
struct origin {
    const gqa_tensor *weight, *bias;
    int64_t row;
};

/* Row `row` of the packed [q | k | v] in the caller's layout. */
static struct origin qkv_origin(const struct gqa__params *params, const gqa_weights *weights,
                                int64_t row)
{
    const struct gqa__shape *const shape = &params->shape;
    const gqa_tensor *const separate[3] = {&weights->wq, &weights->wk, &weights->wv};
    const gqa_tensor *const biases[3] = {&weights->bq, &weights->bk, &weights->bv};
    /* Rows of a part before it in the packed order; rows of a part per KV head, and before it. */
    const int64_t first[3] = {0, shape->q_rows, (int64_t)shape->q_rows + shape->k_rows};
    const int64_t per[3] = {(int64_t)shape->group * shape->q_head_rows, shape->dk,
                            shape->v_rows / shape->hkv};
    const int64_t before[3] = {0, per[0], per[0] + per[1]};
    const int part = row < first[1] ? 0 : row < first[2] ? 1 : 2;
    const int64_t i = row - first[part];
    struct origin origin = {&weights->wqkv, &weights->bqkv, row};
    if (params->config.qkv_layout == GQA_QKV_SEPARATE) {
        origin.weight = separate[part];
        origin.bias = biases[part];
        origin.row = i;
    } else if (params->config.qkv_layout == GQA_QKV_GROUPED) {
        origin.row = i / per[part] * (per[0] + per[1] + per[2]) + before[part] + i % per[part];
    }
    return origin;
}

static gqa_status make_linear(struct gqa_layer *layer, struct gqa__linear *linear, int64_t out,
                              int64_t in, bool with_bias, gqa_error *err)
{
    void *block;
    size_t size;
    linear->row = layer->params.row;
    linear->out = out;
    linear->in = in;
    linear->plain = layer->params.backend == GQA_BACKEND_REFERENCE;
    linear->f64 = linear->plain && layer->params.config.reference_f64 != 0;
    if (!gqa__linear_bytes(linear, with_bias, &size)) {
        return gqa__fail(err, GQA_ERR_ARG, "weights",
                         "a matrix of %lld x %lld exceeds the address space", (long long)out,
                         (long long)in);
    }
    block = take_block(layer, size);
    if (block == NULL) {
        return gqa__fail(err, GQA_ERR_NOMEM, "weights",
                         "no memory for a packed matrix of %lld x %lld (%zu bytes)", (long long)out,
                         (long long)in, size);
    }
    gqa__linear_place(linear, block, with_bias);
    return GQA_OK;
}

/* buffer: [in] */
static void pack_row(struct gqa__linear *linear, int64_t row, struct origin from, float *buffer)
{
    float bias = 0.0f;
    gqa__load_f32(buffer, from.weight, from.row * from.weight->stride[0], linear->in);
    if (gqa__present(from.bias)) {
        gqa__load_f32(&bias, from.bias, from.row, 1);
    }
    gqa__linear_set_row(linear, row, buffer, bias);
}

static void pack_matrices(struct gqa__params *params, const gqa_weights *weights, float *buffer)
{
    for (int64_t row = 0; row < params->qkv.out; row++) {
        pack_row(&params->qkv, row, qkv_origin(params, weights, row), buffer);
    }
    for (int64_t row = 0; row < params->gate.out; row++) {
        const struct origin from = {&weights->wgate, NULL, row};
        pack_row(&params->gate, row, from, buffer);
    }
    for (int64_t row = 0; row < params->o.out; row++) {
        const struct origin from = {&weights->wo, &weights->bo, row};
        pack_row(&params->o, row, from, buffer);
    }
}

static gqa_status load_matrices(struct gqa_layer *layer, const gqa_weights *weights, gqa_error *err)
{
    struct gqa__params *const params = &layer->params;
    const struct gqa__shape *const shape = &params->shape;
    const gqa_config *const config = &params->config;
    const int64_t qkv_rows = (int64_t)shape->q_rows + shape->k_rows + shape->v_rows;
    const size_t most = (size_t)gqa__max(shape->hidden, shape->o_in);
    float *buffer; /* [most] one row */
    gqa_status status;

    if (shape->hidden == 0) {
        return GQA_OK;
    }
    status = make_linear(layer, &params->qkv, qkv_rows, shape->hidden, config->qkv_bias != 0, err);
    if (status == GQA_OK && gqa__present(&weights->wgate)) {
        status = make_linear(layer, &params->gate, shape->gate_rows, shape->hidden, false, err);
    }
    if (status == GQA_OK) {
        status =
            make_linear(layer, &params->o, shape->hidden, shape->o_in, config->o_bias != 0, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    buffer = gqa__alloc(&layer->runtime, most * sizeof *buffer);
    if (buffer == NULL) {
        return gqa__fail(err, GQA_ERR_NOMEM, "weights", "no memory for a row of %zu values", most);
    }
    pack_matrices(params, weights, buffer);
    gqa__release(&layer->runtime, buffer);
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
