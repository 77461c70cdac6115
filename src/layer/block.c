/* block.c - the stages before and after attention, on one block of tokens.
 *
 * Reads like the layer: residual, norm, projections, clip, q/k norm, rope, norm, temperature;
 * then, after attention, gate, output projection, post norm, residual.
 */
#include <string.h>

#include "base/memory.h"
#include "base/tensor.h"
#include "layer/call.h"
#include "stage/stage.h"

/* Offset of call column t of batch row b in a [B, T, ...] tensor. */
static int64_t token_offset(const gqa_tensor *t, int32_t b, int32_t column)
{
    return b * t->stride[0] + column * t->stride[1];
}

/* Show a piece's part of buffer [block][heads][dim] to the tap, as [n, dim] or [n, heads, dim]. */
static void tap(const struct gqa__spine *spine, int32_t pieces, gqa_stage stage,
                const float *buffer, int32_t heads, int32_t dim)
{
    const gqa_inputs *in = &spine->call->in;

    for (int32_t i = 0; i < pieces && in->tap != NULL; i++) {
        const struct gqa__piece *piece = &spine->pieces[i];
        int32_t width = heads > 0 ? heads : 1;
        const float *data = buffer + (int64_t)piece->at * width * dim;
        gqa_tensor view = heads > 0 ? gqa_tensor_3d(data, GQA_F32, piece->n, heads, dim)
                                    : gqa_tensor_2d(data, GQA_F32, piece->n, dim);
        in->tap(in->tap_user, stage, piece->b, piece->first, &view);
    }
}

/* Heads of a token that are handled in one piece: all of them, where they lie side by side. */
static int32_t pieces_of_token(const gqa_tensor *t, int32_t heads, int32_t dim)
{
    return heads > 0 && t->stride[2] != dim ? heads : 1;
}

/* Read [B, T, H, D] (heads > 0) or [B, T, D] rows of the block from the caller's tensor. */
static void load(const struct gqa__spine *spine, int32_t pieces, float *buffer,
                 const gqa_tensor *from, int32_t heads, int32_t dim)
{
    int32_t width = pieces_of_token(from, heads, dim);

    dim = heads > 0 ? heads * dim / width : dim;
    for (int32_t i = 0; i < pieces; i++) {
        const struct gqa__piece *piece = &spine->pieces[i];
        for (int32_t t = 0; t < piece->n; t++) {
            float *row = buffer + (int64_t)(piece->at + t) * width * dim;
            int64_t offset = token_offset(from, piece->b, piece->first + t);
            for (int32_t h = 0; h < width; h++) {
                int64_t head = width > 1 ? h * from->stride[2] : 0;
                gqa__load_f32(row + (int64_t)h * dim, from, offset + head, dim);
            }
        }
    }
}

/* The way back; nothing if the caller did not ask for it. */
static void store(const struct gqa__spine *spine, int32_t pieces, const float *buffer,
                  const gqa_tensor *to, int32_t heads, int32_t dim)
{
    int32_t width = pieces_of_token(to, heads, dim);

    dim = heads > 0 ? heads * dim / width : dim;
    for (int32_t i = 0; i < pieces && gqa__present(to); i++) {
        const struct gqa__piece *piece = &spine->pieces[i];
        for (int32_t t = 0; t < piece->n; t++) {
            const float *row = buffer + (int64_t)(piece->at + t) * width * dim;
            int64_t offset = token_offset(to, piece->b, piece->first + t);
            for (int32_t h = 0; h < width; h++) {
                int64_t head = width > 1 ? h * to->stride[2] : 0;
                gqa__store_f32(to, offset + head, row + (int64_t)h * dim, dim);
            }
        }
    }
}

/* present_key_value has heads before tokens: [B, Hkv, T, D]. */
static void store_present(const struct gqa__spine *spine, int32_t pieces, const float *buffer,
                          const gqa_tensor *to, int32_t dim)
{
    int32_t heads = spine->call->params->shape.hkv;

    for (int32_t i = 0; i < pieces && gqa__present(to); i++) {
        const struct gqa__piece *piece = &spine->pieces[i];
        for (int32_t t = 0; t < piece->n; t++) {
            for (int32_t h = 0; h < heads; h++) {
                int64_t offset = piece->b * to->stride[0] + h * to->stride[1] +
                                 (piece->first + t) * to->stride[2];
                gqa__store_f32(to, offset, buffer + ((int64_t)(piece->at + t) * heads + h) * dim,
                               dim);
            }
        }
    }
}

/* hidden_states + residual. */
static void make_sum(struct gqa__spine *spine, int32_t pieces, int32_t n)
{
    const struct gqa__call *call = spine->call;
    int32_t hidden = call->params->shape.hidden;

    load(spine, pieces, spine->sum, &call->in.hidden_states, 0, hidden);
    if (gqa__present(&call->in.residual)) {
        load(spine, pieces, spine->x, &call->in.residual, 0, hidden);
        call->params->row->add(spine->sum, spine->sum, spine->x, (int64_t)n * hidden);
    }
}

/* q, k, v and gate logits, by projection or from the caller. */
static void make_projections(struct gqa__spine *spine, int32_t pieces, int32_t n, int parts)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__shape *shape = &call->params->shape;
    bool want_q = (parts & GQA__PART_Q) != 0;
    bool want_kv = (parts & GQA__PART_KV) != 0;

    if (call->from_hidden) {
        gqa__stage_input_norm(call->params, spine->sum, n, spine->x);
        if (want_q) {
            tap(spine, pieces, GQA_STAGE_X_NORM, spine->x, 0, shape->hidden);
        }
        gqa__stage_qkv(call->params, spine->x, n, parts, want_q ? spine->q : NULL,
                       want_kv ? spine->k : NULL, want_kv ? spine->v : NULL,
                       want_q ? spine->gate : NULL, spine->scratch, call->runtime);
        if (want_q && shape->gate_rows > 0) {
            gqa__stage_gate_project(call->params, spine->x, n, spine->gate, spine->scratch,
                                    call->runtime);
        }
    } else {
        if (want_q && !spine->direct_q) {
            load(spine, pieces, spine->q, &call->in.q_proj, shape->hq, shape->dk);
        }
        if (want_q && shape->gate_dim > 0) {
            load(spine, pieces, spine->gate, &call->in.gate_proj, shape->hq, shape->gate_dim);
        }
        if (want_kv) {
            const gqa_tensor *v = call->params->config.k_eq_v ? &call->in.k_proj : &call->in.v_proj;
            load(spine, pieces, spine->k, &call->in.k_proj, shape->hkv, shape->dk);
            load(spine, pieces, spine->v, v, shape->hkv, shape->dv);
        }
    }
    if (want_q) {
        tap(spine, pieces, GQA_STAGE_Q_PROJ, spine->q, shape->hq, shape->dk);
    }
    if (want_kv) {
        tap(spine, pieces, GQA_STAGE_K_PROJ, spine->k, shape->hkv, shape->dk);
        tap(spine, pieces, GQA_STAGE_V_PROJ, spine->v, shape->hkv, shape->dv);
    }
    if (want_q && shape->gate_dim > 0) {
        tap(spine, pieces, GQA_STAGE_GATE, spine->gate, shape->hq, shape->gate_dim);
    }
}

/* The rotation's position of a token on one axis. */
static int32_t rotary_position(const struct gqa__call *call, const struct gqa__batch_row *row,
                               int32_t axis, int32_t b, int32_t column)
{
    int64_t bt = (int64_t)call->batch * call->tokens;
    int32_t axes = call->params->config.mrope != GQA_MROPE_NONE ? axis : 0;

    if (call->in.rotary_position_ids == NULL) {
        return gqa__call_position(call, row, b, column);
    }
    return call->in.rotary_position_ids[axes * bt + (int64_t)b * call->tokens + column];
}

/* cos and sin of the block: the caller's, or computed; handed out if asked for. */
static void make_tables(struct gqa__spine *spine, int32_t pieces)
{
    const struct gqa__call *call = spine->call;
    int32_t pairs = call->params->rope.pairs;

    if (gqa__present(&call->in.cos_cache)) {
        load(spine, pieces, spine->cos, &call->in.cos_cache, 0, pairs);
        load(spine, pieces, spine->sin, &call->in.sin_cache, 0, pairs);
    } else {
        for (int32_t i = 0; i < pieces; i++) {
            const struct gqa__piece *piece = &spine->pieces[i];
            const struct gqa__batch_row *row = &spine->rows[piece->b];
            int32_t length = call->in.rope_length > 0 ? call->in.rope_length : row->past + row->n;
            for (int32_t axis = 0; axis < call->params->shape.rope_axes; axis++) {
                for (int32_t t = 0; t < piece->n; t++) {
                    spine->rotary[axis * spine->block + piece->at + t] =
                        rotary_position(call, row, axis, piece->b, piece->first + t);
                }
            }
            gqa__rope_table(call->params, spine->rotary + piece->at, spine->block, piece->n, length,
                            spine->freq, spine->cos + (int64_t)piece->at * pairs,
                            spine->sin + (int64_t)piece->at * pairs);
        }
    }
    store(spine, pieces, spine->cos, &call->out.cos_cache, 0, pairs);
    store(spine, pieces, spine->sin, &call->out.sin_cache, 0, pairs);
}

void gqa__block_before(struct gqa__spine *spine, int32_t pieces, int32_t n, int parts)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__params *params = call->params;
    const struct gqa__shape *shape = &params->shape;
    bool want_q = (parts & GQA__PART_Q) != 0;
    float *q = want_q && !spine->direct_q ? spine->q : NULL;
    float *k = (parts & GQA__PART_KV) != 0 ? spine->k : NULL;
    float *v = (parts & GQA__PART_KV) != 0 ? spine->v : NULL;

    if (call->need_sum || call->from_hidden) {
        make_sum(spine, pieces, n);
        if (want_q) {
            tap(spine, pieces, GQA_STAGE_RESIDUAL, spine->sum, 0, shape->hidden);
            store(spine, pieces, spine->sum, &call->out.residual, 0, shape->hidden);
        }
    }
    make_projections(spine, pieces, n, parts);
    gqa__stage_clip(params, q, k, v, n);
    gqa__stage_qk_norm(params, GQA_QK_NORM_PRE_ROPE, q, k, n);
    if (shape->rotary_dim > 0) {
        make_tables(spine, pieces);
        if (q != NULL) {
            gqa__stage_rope(params, spine->cos, spine->sin, q, shape->hq, n);
        }
        if (k != NULL) {
            gqa__stage_rope(params, spine->cos, spine->sin, k, shape->hkv, n);
        }
    }
    gqa__stage_qk_norm(params, GQA_QK_NORM_POST_ROPE, q, k, n);
    if (q != NULL) {
        gqa__stage_temperature(params, spine->positions, q, n);
        tap(spine, pieces, GQA_STAGE_Q, q, shape->hq, shape->dk);
    }
    if (k != NULL) {
        tap(spine, pieces, GQA_STAGE_K, k, shape->hkv, shape->dk);
        tap(spine, pieces, GQA_STAGE_V, v, shape->hkv, shape->dv);
        store_present(spine, pieces, k, &call->out.present_key_value.k, shape->dk);
        store_present(spine, pieces, v, &call->out.present_key_value.v, shape->dv);
    }
}

void gqa__block_after(struct gqa__spine *spine, int32_t pieces, int32_t n)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__params *params = call->params;
    const struct gqa__shape *shape = &params->shape;

    tap(spine, pieces, GQA_STAGE_ATTN, spine->attn, shape->hq, shape->dv);
    store(spine, pieces, spine->lse, &call->out.lse, 0, shape->hq);
    if (shape->gate_dim > 0) {
        gqa__stage_gate(params, spine->gate, spine->attn, n);
        tap(spine, pieces, GQA_STAGE_GATED, spine->attn, shape->hq, shape->dv);
    }
    if (!spine->direct_attn) {
        store(spine, pieces, spine->attn, &call->out.attn, shape->hq, shape->dv);
    }
    if (!call->project) {
        return;
    }
    gqa__stage_oproj(params, spine->attn, n, spine->x, spine->scratch, call->runtime);
    tap(spine, pieces, GQA_STAGE_O_PROJ, spine->x, 0, shape->hidden);
    gqa__stage_post(params, spine->x, n);
    if (params->config.post_norm != GQA_NORM_NONE) {
        tap(spine, pieces, GQA_STAGE_POST_NORM, spine->x, 0, shape->hidden);
    }
    if (params->config.add_residual) {
        gqa__stage_residual(params, spine->sum, spine->x, n, spine->x);
    }
    tap(spine, pieces, GQA_STAGE_OUT, spine->x, 0, shape->hidden);
    store(spine, pieces, spine->x, &call->out.hidden_states, 0, shape->hidden);
}
