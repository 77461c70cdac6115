/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - the stages before and after attention, on one block of tokens.
 *
 * Reads like the layer: residual, norm, projections, clip, q/k norm, rope, norm, temperature;
 * then, after attention, gate, output projection, post norm, residual.
 *
 * What a token needs from no other token is a step (layer/steps.h): steps run in tasks, a few
 * tokens at a time. Products run in tasks of their own.
 */
#include "layer/residual.h"
#include "stage/stage.h"

/* --- what the tap sees ----------------------------------------------------------------------- */

/* Show the block's buffer [block][heads][dim] to the tap run by run, as [n, dim] or
 * [n, heads, dim]. */
static void tap(const struct gqa__token_range *block, gqa_stage stage, const float *buffer,
                int32_t heads, int32_t dim)
{
    const struct gqa__spine *spine = block->spine;
    const gqa_inputs *in = &spine->call->in;

    for (int32_t i = 0; i < block->runs && in->tap != NULL; i++) {
        const struct gqa__token_run *run = &spine->runs[i];
        int32_t width = heads > 0 ? heads : 1;
        const float *data = buffer + (int64_t)run->at * width * dim;
        gqa_tensor view = heads > 0 ? gqa_tensor_3d(data, GQA_F32, run->n, heads, dim)
                                    : gqa_tensor_2d(data, GQA_F32, run->n, dim);
        in->tap(in->tap_user, stage, run->b, run->first, &view);
    }
}

static bool want_q(const struct gqa__token_range *range)
{
    return (range->parts & GQA__PART_Q) != 0;
}

static bool want_kv(const struct gqa__token_range *range)
{
    return (range->parts & GQA__PART_KV) != 0;
}

/* A buffer's rows of the range; rows have width values. */
static float *rows_of(const struct gqa__token_range *range, float *buffer, int64_t width)
{
    return buffer + range->begin * width;
}

static int32_t count_of(const struct gqa__token_range *range)
{
    return range->end - range->begin;
}

static struct gqa__heads heads_of(const struct gqa__token_range *range,
                                  const struct gqa__heads *block)
{
    struct gqa__heads own = *block;

    own.x += range->begin * own.step;
    return own;
}

/* The range's q, k, v and gate: NULL what this pass does not make. What is used where the caller
 * has it has no stages. */
static struct gqa__qkv qkv_of(const struct gqa__token_range *range)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__shape *shape = &spine->call->params->shape;
    struct gqa__qkv own = {0};

    if (want_q(range) && !spine->direct_q) {
        own.q = heads_of(range, &spine->qkv.q);
    }
    if (want_q(range) && shape->gate_dim > 0) {
        own.gate = rows_of(range, spine->qkv.gate, (int64_t)shape->hq * shape->gate_dim);
    }
    if (want_kv(range) && !spine->direct_kv) {
        own.k = heads_of(range, &spine->qkv.k);
        own.v = heads_of(range, &spine->qkv.v);
    }
    return own;
}

/* --- before the projections ------------------------------------------------------------------ */

static void show_sum(const struct gqa__token_range *block)
{
    if (want_q(block)) {
        tap(block, GQA_STAGE_RESIDUAL, block->spine->sum, 0,
            block->spine->call->params->shape.hidden);
    }
}

static void show_norm(const struct gqa__token_range *block)
{
    const struct gqa__spine *spine = block->spine;

    if (spine->call->from_hidden && want_q(block)) {
        tap(block, GQA_STAGE_X_NORM, spine->x, 0, spine->call->params->shape.hidden);
    }
}

static const struct gqa__step before_projections[] = {{gqa__residual_sum, show_sum},
                                                      {gqa__residual_norm, show_norm}};

/* --- from the projections to attention ------------------------------------------------------- */

static void project(const struct gqa__token_range *block)
{
    const struct gqa__spine *spine = block->spine;
    const struct gqa__call *call = spine->call;

    gqa__stage_qkv_project(call->params, spine->x, block->end, block->parts,
                           spine->clipped ? call->params->config.clip_qkv : 0.0f,
                           want_q(block) ? spine->qkv.gate : NULL, spine->scratch, call->runtime);
}

/* q, k, v and gate logits: out of the projection's rows, or from the caller. */
static void take_projections(const struct gqa__token_range *range)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__call *call = spine->call;
    const struct gqa__shape *shape = &call->params->shape;
    struct gqa__qkv own = qkv_of(range);

    if (spine->whole_qkv) {
        return;
    }
    if (call->from_hidden) {
        gqa__stage_qkv_split(call->params, spine->scratch, range->begin, range->end, &own);
        return;
    }
    if (own.q.x != NULL) {
        gqa__load_tokens(range, spine->qkv.q.x, &call->in.q_proj, shape->hq, shape->dk);
    }
    if (own.gate != NULL) {
        gqa__load_tokens(range, spine->qkv.gate, &call->in.gate_proj, shape->hq, shape->gate_dim);
    }
    if (own.k.x != NULL) {
        gqa__load_tokens(range, spine->qkv.k.x, &call->in.k_proj, shape->hkv, shape->dk);
        gqa__load_tokens(range, spine->qkv.v.x, gqa__call_v(call), shape->hkv, shape->dv);
    }
}

static void show_projections(const struct gqa__token_range *block)
{
    const struct gqa__qkv *qkv = &block->spine->qkv;
    const struct gqa__shape *shape = &block->spine->call->params->shape;

    if (want_q(block)) {
        tap(block, GQA_STAGE_Q_PROJ, qkv->q.x, shape->hq, shape->dk);
    }
    if (want_kv(block)) {
        tap(block, GQA_STAGE_K_PROJ, qkv->k.x, shape->hkv, shape->dk);
        tap(block, GQA_STAGE_V_PROJ, qkv->v.x, shape->hkv, shape->dv);
    }
    if (want_q(block) && shape->gate_dim > 0) {
        tap(block, GQA_STAGE_GATE, qkv->gate, shape->hq, shape->gate_dim);
    }
}

/* The rotation's position of a token on one axis. */
static int32_t rotary_position(const struct gqa__call *call, const struct gqa__batch_entry *row,
                               int32_t axis, int32_t b, int32_t column)
{
    int64_t bt = (int64_t)call->batch * call->tokens;
    int32_t axes = call->params->config.mrope != GQA_MROPE_NONE ? axis : 0;

    if (call->in.rotary_position_ids == NULL) {
        return gqa__call_position(call, row, b, column);
    }
    return call->in.rotary_position_ids[axes * bt + (int64_t)b * call->tokens + column];
}

/* cos and sin of the range: the caller's, or computed; handed out if asked for. */
static void make_tables(const struct gqa__token_range *range)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__call *call = spine->call;
    int32_t pairs = call->params->rope.pairs;
    struct gqa__token_run run;

    if (gqa__present(&call->in.cos_cache)) {
        gqa__load_tokens(range, spine->cos, &call->in.cos_cache, 0, pairs);
        gqa__load_tokens(range, spine->sin, &call->in.sin_cache, 0, pairs);
    }
    for (int32_t i = 0; i < range->runs && !gqa__present(&call->in.cos_cache); i++) {
        if (gqa__token_range_run(range, i, &run)) {
            const struct gqa__batch_entry *row = &spine->rows[run.b];
            int32_t length = call->in.rope_length > 0 ? call->in.rope_length : row->past + row->n;
            for (int32_t axis = 0; axis < call->params->shape.rope_axes; axis++) {
                for (int32_t t = 0; t < run.n; t++) {
                    spine->rotary[axis * spine->block + run.at + t] =
                        rotary_position(call, row, axis, run.b, run.first + t);
                }
            }
            gqa__rope_table(call->params, spine->rotary + run.at, spine->block, run.n, length,
                            spine->freq + (int64_t)range->slot * pairs,
                            spine->cos + (int64_t)run.at * pairs,
                            spine->sin + (int64_t)run.at * pairs);
        }
    }
    gqa__store_tokens(range, spine->cos, &call->out.cos_cache, 0, pairs);
    gqa__store_tokens(range, spine->sin, &call->out.sin_cache, 0, pairs);
}

static void rotate(const struct gqa__token_range *range, const struct gqa__qkv *own)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__params *params = spine->call->params;
    const float *c = rows_of(range, spine->cos, params->rope.pairs);
    const float *s = rows_of(range, spine->sin, params->rope.pairs);

    if (params->shape.rotary_dim == 0) {
        return;
    }
    make_tables(range);
    gqa__stage_rope(params, c, s, &own->q, count_of(range));
    gqa__stage_rope(params, c, s, &own->k, count_of(range));
}

/* From the projections to what attention reads and the cache keeps. */
static void finish_qkv(const struct gqa__token_range *range)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__call *call = spine->call;
    const struct gqa__params *params = call->params;
    struct gqa__qkv own = qkv_of(range);
    int32_t n = count_of(range);

    gqa__stage_clip(params, &own, spine->clipped, n);
    gqa__stage_qk_norm(params, GQA_QK_NORM_PRE_ROPE, &own, n);
    rotate(range, &own);
    gqa__stage_qk_norm(params, GQA_QK_NORM_POST_ROPE, &own, n);
    gqa__stage_temperature(params, spine->positions + range->begin, &own.q, n);
    if (own.k.x != NULL) {
        const gqa_kv *present = &call->out.present_key_value;
        gqa__store_present_tokens(range, &spine->qkv.k, &present->k, params->shape.dk);
        gqa__store_present_tokens(range, &spine->qkv.v, &present->v, params->shape.dv);
    }
}

static void show_qkv(const struct gqa__token_range *block)
{
    const struct gqa__qkv *qkv = &block->spine->qkv;
    const struct gqa__shape *shape = &block->spine->call->params->shape;

    if (want_q(block)) {
        tap(block, GQA_STAGE_Q, qkv->q.x, shape->hq, shape->dk);
    }
    if (want_kv(block)) {
        tap(block, GQA_STAGE_K, qkv->k.x, shape->hkv, shape->dk);
        tap(block, GQA_STAGE_V, qkv->v.x, shape->hkv, shape->dv);
    }
}

static const struct gqa__step after_projections[] = {{take_projections, show_projections},
                                                     {finish_qkv, show_qkv}};

void gqa__block_before(struct gqa__spine *spine, int32_t runs, int32_t n, int parts)
{
    const struct gqa__call *call = spine->call;
    struct gqa__token_range block = {spine, runs, 0, n, parts, 0};

    if (call->need_sum || call->from_hidden) {
        gqa__block_run(&block, before_projections, 2);
    }
    if (call->from_hidden) {
        project(&block);
    }
    gqa__block_run(&block, after_projections, 2);
}

/* --- after attention ------------------------------------------------------------------------- */

static void show_attention(const struct gqa__token_range *block)
{
    const struct gqa__shape *shape = &block->spine->call->params->shape;

    tap(block, GQA_STAGE_ATTN, block->spine->attn, shape->hq, shape->dv);
}

static void store_lse(const struct gqa__token_range *range)
{
    const struct gqa__call *call = range->spine->call;

    gqa__store_tokens(range, range->spine->lse, &call->out.lse, 0, call->params->shape.hq);
}

static void gate_attention(const struct gqa__token_range *range)
{
    const struct gqa__spine *spine = range->spine;
    const struct gqa__params *params = spine->call->params;
    const struct gqa__shape *shape = &params->shape;

    if (shape->gate_dim > 0) {
        const int64_t gates = (int64_t)shape->hq * shape->gate_dim;
        gqa__stage_gate(params, rows_of(range, spine->qkv.gate, gates),
                        rows_of(range, spine->attn, (int64_t)shape->hq * shape->dv),
                        count_of(range));
    }
    if (!spine->direct_attn) {
        gqa__store_tokens(range, spine->attn, &spine->call->out.attn, shape->hq, shape->dv);
    }
}

static void show_gated(const struct gqa__token_range *block)
{
    const struct gqa__shape *shape = &block->spine->call->params->shape;

    if (shape->gate_dim > 0) {
        tap(block, GQA_STAGE_GATED, block->spine->attn, shape->hq, shape->dv);
    }
}

static const struct gqa__step after_attention[] = {{store_lse, show_attention},
                                                   {gate_attention, show_gated}};

static void show_output(const struct gqa__token_range *block)
{
    tap(block, GQA_STAGE_O_PROJ, block->spine->x, 0, block->spine->call->params->shape.hidden);
}

static void post(const struct gqa__token_range *range)
{
    const struct gqa__params *params = range->spine->call->params;

    gqa__stage_post(params, rows_of(range, range->spine->x, params->shape.hidden), count_of(range));
}

static void show_post(const struct gqa__token_range *block)
{
    const struct gqa__params *params = block->spine->call->params;

    if (params->config.post_norm != GQA_NORM_NONE) {
        tap(block, GQA_STAGE_POST_NORM, block->spine->x, 0, params->shape.hidden);
    }
}

static void show_out(const struct gqa__token_range *block)
{
    tap(block, GQA_STAGE_OUT, block->spine->x, 0, block->spine->call->params->shape.hidden);
}

static const struct gqa__step after_output[] = {{post, show_post}, {gqa__residual_add, show_out}};

void gqa__block_after(struct gqa__spine *spine, int32_t runs, int32_t n)
{
    const struct gqa__call *call = spine->call;
    struct gqa__token_range block = {spine, runs, 0, n, GQA__PART_Q, 0};

    gqa__block_run(&block, after_attention, 2);
    if (call->project && gqa__residual_in_product(&block)) {
        const struct gqa__token_run *run = &spine->runs[0];
        const gqa_tensor *sum = spine->sum_at, *out = &call->out.hidden_states;
        gqa__stage_oproj_add(call->params, spine->attn, n, gqa__token_row(sum, run, 0),
                             sum->stride[1], gqa__token_row(out, run, 0), out->stride[1],
                             spine->scratch, call->runtime);
    } else if (call->project) {
        gqa__stage_oproj(call->params, spine->attn, n, spine->x, spine->scratch, call->runtime);
        show_output(&block);
        gqa__block_run(&block, after_output, 2);
    }
}
