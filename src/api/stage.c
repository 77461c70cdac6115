/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - the public stage functions, each stage of a layer alone. Rope: stage_rope.c. */
#include "gqa/stage.h"

#include "api/positions.h"
#include "api/stage_call.h"
#include "base/error.h"
#include "base/fpmode.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "layer/layer.h"
#include "stage/stage.h"

#include <string.h>

/* Tokens per step of the projections: bounds the scratch, changes no bit. */
enum { BLOCK = 128 };

static int32_t block_of(int64_t n)
{
    return (int32_t)gqa__max(gqa__min(n, BLOCK), 0);
}

static float *at(float *base, int64_t offset)
{
    return base == NULL ? NULL : base + offset;
}

gqa_status gqa_stage_input_norm(const gqa_layer *layer, const gqa_tensor *x,
                                const gqa_tensor *residual, const gqa_tensor *sum,
                                const gqa_tensor *x_norm, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    gqa__need_hidden(&call);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    const int64_t hidden = params->shape.hidden;
    const float *const x_rows = gqa__need_floats(&call, x, "x", 0, hidden);
    const float *const residual_rows = gqa__floats(&call, residual, "residual", 0, hidden);
    float *const sum_rows = gqa__floats(&call, sum, "sum", 0, hidden);
    float *const out_rows = gqa__need_floats(&call, x_norm, "x_norm", 0, hidden);
    float *const row = gqa__stage_memory(&call, layer, (size_t)hidden * sizeof *row); /* [hidden] */
    if (call.status == GQA_OK) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        for (int64_t t = 0; t < call.n; t++) {
            memcpy(row, x_rows + t * hidden, (size_t)hidden * sizeof *row);
            if (residual_rows != NULL) {
                params->kernels->add(row, row, residual_rows + t * hidden, hidden);
            }
            if (sum_rows != NULL) {
                memcpy(sum_rows + t * hidden, row, (size_t)hidden * sizeof *row);
            }
            gqa__stage_input_norm(params, row, out_rows + t * hidden);
        }
        gqa__fpmode_leave(saved);
    }
    gqa__release(&layer->runtime, row);
    return call.status;
}

/* What a caller of gqa_stage_qkv gets of the projection. */
struct qkv {
    const float *x;          /* [n][hidden] */
    float *q, *k, *v, *gate; /* gate NULL without one */
};

static void run_qkv(const gqa_layer *layer, const struct qkv *qkv, int64_t n, void *memory)
{
    const struct gqa__params *const params = &layer->params;
    const struct gqa__shape *const s = &params->shape;
    const gqa__fpmode saved = gqa__fpmode_enter();
    for (int64_t t = 0; t < n; t += BLOCK) {
        const int32_t m = block_of(n - t);
        float *const gate = at(qkv->gate, t * s->hq * s->gate_dim);
        const struct gqa__qkv out = {gqa__packed_heads(qkv->q + t * s->hq * s->dk, s->hq, s->dk),
                                     gqa__packed_heads(qkv->k + t * s->hkv * s->dk, s->hkv, s->dk),
                                     gqa__packed_heads(qkv->v + t * s->hkv * s->dv, s->hkv, s->dv),
                                     gate};
        const struct gqa__projection projection = {.x_norm = qkv->x + t * s->hidden,
                                                   .n = m,
                                                   .makes = GQA__MAKE_Q | GQA__MAKE_KV,
                                                   .gate = gate,
                                                   .scratch = memory};
        gqa__stage_qkv_project(params, &projection, &layer->runtime);
        gqa__stage_qkv_split(params, memory, 0, m, &out);
    }
    gqa__fpmode_leave(saved);
}

gqa_status gqa_stage_qkv(const gqa_layer *layer, const gqa_tensor *x_norm, const gqa_tensor *q,
                         const gqa_tensor *k, const gqa_tensor *v, const gqa_tensor *gate,
                         gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    struct qkv qkv;
    gqa__need_hidden(&call);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__shape *const s = &call.params->shape;
    qkv.x = gqa__need_floats(&call, x_norm, "x_norm", 0, s->hidden);
    qkv.q = gqa__need_floats(&call, q, "q", s->hq, s->dk);
    qkv.k = gqa__need_floats(&call, k, "k", s->hkv, s->dk);
    qkv.v = gqa__need_floats(&call, v, "v", s->hkv, s->dv);
    qkv.gate = NULL;
    if (s->gate_dim > 0) {
        qkv.gate = gqa__need_floats(&call, gate, "gate", s->hq, s->gate_dim);
    } else if (call.status == GQA_OK && gqa__present(gate)) {
        call.status = gqa__fail(err, GQA_ERR_ARG, "gate", "is given, but config.gate = 0 has none");
    }
    void *const memory = gqa__stage_memory(
        &call, layer, gqa__stage_qkv_scratch(call.params, block_of(call.n), &layer->runtime));
    if (call.status == GQA_OK) {
        run_qkv(layer, &qkv, call.n, memory);
    }
    gqa__release(&layer->runtime, memory);
    return call.status;
}

gqa_status gqa_stage_clip(const gqa_layer *layer, const gqa_tensor *q, const gqa_tensor *k,
                          const gqa_tensor *v, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__shape *const s = &call.params->shape;
    float *const q_rows = gqa__floats(&call, q, "q", s->hq, s->dk);
    float *const k_rows = gqa__floats(&call, k, "k", s->hkv, s->dk);
    float *const v_rows = gqa__floats(&call, v, "v", s->hkv, s->dv);
    if (call.status == GQA_OK && call.n > 0) {
        const struct gqa__qkv rows = {gqa__packed_heads(q_rows, s->hq, s->dk),
                                      gqa__packed_heads(k_rows, s->hkv, s->dk),
                                      gqa__packed_heads(v_rows, s->hkv, s->dv), NULL};
        const gqa__fpmode saved = gqa__fpmode_enter();
        gqa__stage_clip(call.params, &rows, false, (int32_t)call.n);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_stage_qk_norm(const gqa_layer *layer, gqa_qk_norm_placement placement,
                             const gqa_tensor *q, const gqa_tensor *k, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__shape *const s = &call.params->shape;
    float *const q_rows = gqa__floats(&call, q, "q", s->hq, s->dk);
    float *const k_rows = gqa__floats(&call, k, "k", s->hkv, s->dk);
    if (call.status == GQA_OK && placement != GQA_QK_NORM_PRE_ROPE &&
        placement != GQA_QK_NORM_POST_ROPE) {
        call.status =
            gqa__fail(err, GQA_ERR_ARG, "placement", "is %d; it must be 0 or 1", (int)placement);
    }
    if (call.status == GQA_OK && call.n > 0) {
        const struct gqa__qkv rows = {gqa__packed_heads(q_rows, s->hq, s->dk),
                                      gqa__packed_heads(k_rows, s->hkv, s->dk),
                                      {NULL, 0, 0},
                                      NULL};
        const gqa__fpmode saved = gqa__fpmode_enter();
        gqa__stage_qk_norm(call.params, placement, &rows, (int32_t)call.n);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_stage_query_temperature(const gqa_layer *layer, const int32_t *positions,
                                       const gqa_tensor *q, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    float *const rows = gqa__need_floats(&call, q, "q", params->shape.hq, params->shape.dk);
    if (call.n > 0) {
        gqa__need_pointer(&call, positions, "positions");
    }
    if (call.status == GQA_OK) {
        const struct gqa__ids ids = {GQA__IDS_TEMPERATURE, positions, call.n, -1, 0, -1, true};
        call.status = gqa__check_ids(&ids, NULL, err);
    }
    if (call.status == GQA_OK && call.n > 0) {
        const struct gqa__heads heads = gqa__packed_heads(rows, params->shape.hq, params->shape.dk);
        const gqa__fpmode saved = gqa__fpmode_enter();
        gqa__stage_temperature(params, positions, &heads, (int32_t)call.n);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_stage_gate(const gqa_layer *layer, const gqa_tensor *gate, const gqa_tensor *attn,
                          gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__shape *const s = &call.params->shape;
    float *const rows = gqa__need_floats(&call, attn, "attn", s->hq, s->dv);
    if (s->gate_dim == 0) {
        return call.status;
    }
    const float *const logits = gqa__need_floats(&call, gate, "gate", s->hq, s->gate_dim);
    if (call.status == GQA_OK && call.n > 0) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        gqa__stage_gate(call.params, logits, rows, (int32_t)call.n);
        gqa__fpmode_leave(saved);
    }
    return call.status;
}

gqa_status gqa_stage_output_projection(const gqa_layer *layer, const gqa_tensor *attn,
                                       const gqa_tensor *o_proj, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    gqa__need_hidden(&call);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    const struct gqa__shape *const s = &params->shape;
    const float *const in = gqa__need_floats(&call, attn, "attn", s->hq, s->dv);
    float *const out = gqa__need_floats(&call, o_proj, "o_proj", 0, s->hidden);
    void *const memory = gqa__stage_memory(
        &call, layer, gqa__stage_oproj_scratch(params, block_of(call.n), &layer->runtime));
    if (call.status == GQA_OK) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        for (int64_t t = 0; t < call.n; t += BLOCK) {
            const struct gqa__output_projection projection = {.attn = in + t * s->o_in,
                                                              .n = block_of(call.n - t),
                                                              .out = out + t * s->hidden,
                                                              .out_step = s->hidden,
                                                              .scratch = memory};
            gqa__stage_oproj(params, &projection, &layer->runtime);
        }
        gqa__fpmode_leave(saved);
    }
    gqa__release(&layer->runtime, memory);
    return call.status;
}

gqa_status gqa_stage_output(const gqa_layer *layer, const gqa_tensor *o_proj, const gqa_tensor *sum,
                            const gqa_tensor *out, gqa_error *err)
{
    struct gqa__stage_call call = gqa__stage_begin_f32(layer, err);
    gqa__need_hidden(&call);
    if (call.status != GQA_OK) {
        return call.status;
    }
    const struct gqa__params *const params = call.params;
    const int64_t hidden = params->shape.hidden;
    const float *const in = gqa__need_floats(&call, o_proj, "o_proj", 0, hidden);
    float *const result = gqa__need_floats(&call, out, "out", 0, hidden);
    const float *sum_rows = NULL;
    if (params->config.add_residual) {
        sum_rows = gqa__need_floats(&call, sum, "sum", 0, hidden);
    } else if (call.status == GQA_OK && gqa__present(sum)) {
        call.status = gqa__fail(err, GQA_ERR_ARG, "sum", "is given, but config.add_residual is 0");
    }
    float *const row = gqa__stage_memory(&call, layer, (size_t)hidden * sizeof *row); /* [hidden] */
    if (call.status == GQA_OK) {
        const gqa__fpmode saved = gqa__fpmode_enter();
        for (int64_t t = 0; t < call.n; t++) {
            memcpy(row, in + t * hidden, (size_t)hidden * sizeof *row);
            gqa__stage_post(params, row, 1);
            gqa__stage_residual(params, sum_rows == NULL ? NULL : sum_rows + t * hidden, row,
                                result + t * hidden);
        }
        gqa__fpmode_leave(saved);
    }
    gqa__release(&layer->runtime, row);
    return call.status;
}
