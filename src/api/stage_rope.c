/* SPDX-License-Identifier: Apache-2.0 */
/* stage_rope.c - the public functions of rope: tables, rotation, frequencies. */
#include "gqa/stage.h"

#include "api/stage_call.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/tensor.h"
#include "stage/stage.h"

/* Half of the largest head_dim. */
enum { MOST_PAIRS = 256 };

static void need_rope(struct gqa__stage_call *call)
{
    if (call->status == GQA_OK && call->params->config.rope == GQA_ROPE_NONE) {
        call->status =
            gqa__fail(call->err, GQA_ERR_ARG, "config.rope", "is 0: there are no tables");
    }
}

static void need_length(struct gqa__stage_call *call, int32_t rope_length)
{
    if (call->status == GQA_OK && rope_length < 0) {
        call->status = gqa__fail(call->err, GQA_ERR_ARG, "rope_length", "is %d; it must be >= 0",
                                 (int)rope_length);
    }
}

/* The largest position plus one, at least 1. */
static int32_t length_of(const int32_t *positions, int64_t n)
{
    int32_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        last = positions[i] > last ? positions[i] : last;
    }
    return last < INT32_MAX ? last + 1 : last;
}

gqa_status gqa_stage_rope_table(const gqa_layer *layer, const int32_t *positions, int32_t axes,
                                int32_t rope_length, const gqa_tensor *cos_out,
                                const gqa_tensor *sin_out, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin(layer, err);
    double freq[MOST_PAIRS];
    need_rope(&call);
    need_length(&call, rope_length);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    float *const c = gqa__need_floats(&call, cos_out, "cos_out", 0, params->rope.pairs);
    float *const s = gqa__need_floats(&call, sin_out, "sin_out", 0, params->rope.pairs);
    if (call.n > 0) {
        gqa__need_pointer(&call, positions, "positions");
    }
    if (call.status == GQA_OK && axes != params->shape.rope_axes) {
        call.status = gqa__fail(err, GQA_ERR_ARG, "axes", "is %d; this layer's positions have %d",
                                (int)axes, (int)params->shape.rope_axes);
    }
    if (call.status == GQA_OK && call.n > 0) {
        const int32_t n = (int32_t)call.n;
        const int32_t length = rope_length > 0 ? rope_length : length_of(positions, axes * call.n);
        const gqa__fpmode saved = gqa__fpmode_enter();
        const struct gqa__rope_rows rows = {positions, n, n, length, freq, c, s};
        gqa__rope_table(params, &rows);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_stage_rope(const gqa_layer *layer, const gqa_tensor *cos_in,
                          const gqa_tensor *sin_in, const gqa_tensor *x, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    const int64_t dk = params->shape.dk;
    if (params->config.rope == GQA_ROPE_NONE) {
        return GQA_OK;
    }
    /* x is q or k: any number of heads. */
    const int64_t heads = gqa__present(x) && x->rank == 3 && x->shape[1] > 0 ? x->shape[1] : 1;
    float *const rows = gqa__need_floats(&call, x, "x", heads, dk);
    const float *const c = gqa__need_floats(&call, cos_in, "cos_in", 0, params->rope.pairs);
    const float *const s = gqa__need_floats(&call, sin_in, "sin_in", 0, params->rope.pairs);
    if (call.status == GQA_OK && heads > INT32_MAX) {
        call.status = gqa__fail(err, GQA_ERR_SHAPE, "x", "has %lld heads; at most %d",
                                (long long)heads, INT32_MAX);
    }
    if (call.status == GQA_OK && call.n > 0) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        const struct gqa__heads vectors = gqa__packed_heads(rows, (int32_t)heads, params->shape.dk);
        gqa__stage_rope(params, c, s, &vectors, (int32_t)call.n);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_rope_frequencies(const gqa_layer *layer, int32_t rope_length, double *out,
                                double *attention_factor, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin(layer, err);
    need_rope(&call);
    need_length(&call, rope_length);
    gqa__need_pointer(&call, out, "out");
    if (call.status == GQA_OK) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        gqa__rope_frequencies(call.params, rope_length, out);
        if (attention_factor != NULL) {
            *attention_factor = call.params->rope.attention_factor;
        }
        gqa__fpmode_leave(saved);
    }
    return call.status;
}
