/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - see block.h.
 *
 * Reads like the layer: residual, norm, projections, clip, q/k norm, rope, norm, temperature;
 * then, after attention, gate, output projection, post norm, residual.
 *
 * What a token needs from no other token is a step (layer/steps.h): steps run in tasks, a few
 * tokens at a time. Products run in tasks of their own.
 */
#include "layer/block.h"

#include "layer/residual.h"
#include "layer/stages.h"

/* --- what the tap sees ----------------------------------------------------------------------- */

/* Show the block's buffer [block][heads][dim] to the tap run by run, as [n, dim] or
 * [n, heads, dim]. */
static void show_stage(const struct gqa__token_range *block, gqa_stage stage, const float *buffer,
                       int32_t heads, int32_t dim)
{
    const struct gqa__spine *const spine = block->spine;
    const gqa_inputs *const in = &spine->call->in;

    for (int32_t i = 0; i < block->runs && in->tap != NULL; i++) {
        const struct gqa__token_run *const run = &spine->runs[i];
        const int32_t width = heads > 0 ? heads : 1;
        const float *const data = buffer + (int64_t)run->at * width * dim;
        const gqa_tensor view = heads > 0 ? gqa_tensor_3d(data, GQA_F32, run->n, heads, dim)
                                          : gqa_tensor_2d(data, GQA_F32, run->n, dim);
        in->tap(in->tap_user, stage, run->b, run->first, &view);
    }
}

static bool want_q(const struct gqa__token_range *range)
{
    return (range->makes & GQA__MAKE_Q) != 0;
}

static bool want_kv(const struct gqa__token_range *range)
{
    return (range->makes & GQA__MAKE_KV) != 0;
}

static int32_t count_of(const struct gqa__token_range *range)
{
    return range->end - range->begin;
}

static struct gqa__heads heads_of(const struct gqa__token_range *range,
                                  const struct gqa__place *place, int32_t heads)
{
    const struct gqa__heads own = {gqa__place_vectors(place, range->begin), place->step, heads};

    return own;
}

/* The range's q, k, v and gate: NULL what this pass does not make, or what is used where the caller
 * has it, for which the config has no stages. */
static struct gqa__qkv qkv_of(const struct gqa__token_range *range)
{
    const struct gqa__places *const at = &range->spine->at;
    const struct gqa__shape *const shape = &range->spine->call->params->shape;
    struct gqa__qkv own = {0};

    if (want_q(range)) {
        own.q = heads_of(range, &at->q, shape->hq);
        own.gate = gqa__place_vectors(&at->gate, range->begin);
    }
    if (want_kv(range)) {
        own.k = heads_of(range, &at->k, shape->hkv);
        own.v = heads_of(range, &at->v, shape->hkv);
    }
    return own;
}

/* --- before the projections ------------------------------------------------------------------ */

static void show_sum(const struct gqa__token_range *block)
{
    if (want_q(block)) {
        show_stage(block, GQA_STAGE_RESIDUAL, block->spine->at.sum.buffer, 0,
                   block->spine->call->params->shape.hidden);
    }
}

static void show_norm(const struct gqa__token_range *block)
{
    const struct gqa__spine *const spine = block->spine;

    if (spine->call->from_hidden && want_q(block)) {
        show_stage(block, GQA_STAGE_X_NORM, spine->at.x.buffer, 0,
                   spine->call->params->shape.hidden);
    }
}

static const struct gqa__step before_projections[] = {{gqa__residual_sum, show_sum},
                                                      {gqa__residual_norm, show_norm}};

/* --- from the projections to attention ------------------------------------------------------- */

static void project(const struct gqa__token_range *block)
{
    const struct gqa__spine *const spine = block->spine;
    const struct gqa__projection projection = {.x_norm = spine->at.x.buffer,
                                               .n = block->end,
                                               .tkg = spine->tkg,
                                               .makes = block->makes,
                                               .clip = spine->at.product_clip,
                                               .gate = want_q(block) ? spine->at.gate.buffer : NULL,
                                               .scratch = spine->scratch};

    gqa__stages_of(spine->call->params)
        ->project(spine->call->params, &projection, spine->call->runtime);
}

/* The caller's projections. */
static void load_projections(const struct gqa__token_range *range)
{
    const struct gqa__call *const call = range->spine->call;
    const struct gqa__places *const at = &range->spine->at;

    if (want_q(range)) {
        gqa__load_tokens(range, &at->q, &call->in.q_proj);
        if (at->gate.buffer != NULL) {
            gqa__load_tokens(range, &at->gate, &call->in.gate_proj);
        }
    }
    if (want_kv(range)) {
        gqa__load_tokens(range, &at->k, &call->in.k_proj);
        gqa__load_tokens(range, &at->v, gqa__call_v(call));
    }
}

/* q, k, v and the gate's logits to their places. */
static void take_projections(const struct gqa__token_range *range)
{
    const struct gqa__spine *const spine = range->spine;

    if (spine->at.source == GQA__SOURCE_CALLER) {
        load_projections(range);
    } else if (spine->at.source == GQA__SOURCE_SPLIT) {
        const struct gqa__qkv own = qkv_of(range);
        gqa__stage_qkv_split(spine->call->params, spine->scratch, range->begin, range->end, &own);
    }
}

static void show_projections(const struct gqa__token_range *block)
{
    const struct gqa__places *const at = &block->spine->at;
    const struct gqa__shape *const shape = &block->spine->call->params->shape;

    if (want_q(block)) {
        show_stage(block, GQA_STAGE_Q_PROJ, at->q.buffer, shape->hq, shape->dk);
    }
    if (want_kv(block)) {
        show_stage(block, GQA_STAGE_K_PROJ, at->k.buffer, shape->hkv, shape->dk);
        show_stage(block, GQA_STAGE_V_PROJ, at->v.buffer, shape->hkv, shape->dv);
    }
    if (want_q(block) && shape->gate_dim > 0) {
        show_stage(block, GQA_STAGE_GATE, at->gate.buffer, shape->hq, shape->gate_dim);
    }
}

/* The rotation's position of a token on one axis. */
static int32_t rotary_position(const struct gqa__call *call, int32_t axis, int32_t b,
                               int32_t column)
{
    const int64_t all = (int64_t)call->outer * call->tokens;
    const int32_t axes = call->params->config.mrope != GQA_MROPE_NONE ? axis : 0;

    if (call->in.rotary_position_ids == NULL) {
        return gqa__call_position(call, b, column);
    }
    return call->in.rotary_position_ids[axes * all + gqa__call_token(call, b, column)];
}

/* cos and sin of the range: the caller's, or computed; handed out if asked for. */
static void make_tables(const struct gqa__token_range *range)
{
    const struct gqa__spine *const spine = range->spine;
    const struct gqa__call *const call = spine->call;
    struct gqa__rope_rows rows = {.axis_stride = spine->block,
                                  .freq = spine->freq +
                                          (int64_t)range->slot * call->params->rope.pairs};
    struct gqa__token_run run;

    if (gqa__present(&call->in.cos_cache)) {
        gqa__load_tokens(range, &spine->at.cos, &call->in.cos_cache);
        gqa__load_tokens(range, &spine->at.sin, &call->in.sin_cache);
    }
    for (int32_t i = 0; i < range->runs && !gqa__present(&call->in.cos_cache); i++) {
        if (gqa__token_range_run(range, i, &run)) {
            const struct gqa__batch_entry *const entry = &call->entries[run.b];
            rows.length = call->in.rope_length > 0 ? call->in.rope_length : entry->past + entry->n;
            for (int32_t axis = 0; axis < call->params->shape.rope_axes; axis++) {
                for (int32_t t = 0; t < run.n; t++) {
                    spine->rotary[axis * spine->block + run.at + t] =
                        rotary_position(call, axis, run.b, run.first + t);
                }
            }
            rows.positions = spine->rotary + run.at;
            rows.n = run.n;
            rows.cos = gqa__place_vectors(&spine->at.cos, run.at);
            rows.sin = gqa__place_vectors(&spine->at.sin, run.at);
            gqa__rope_table(call->params, &rows);
        }
    }
    gqa__store_tokens(range, &spine->at.cos, &call->out.cos_cache);
    gqa__store_tokens(range, &spine->at.sin, &call->out.sin_cache);
}

static void rotate_range(const struct gqa__token_range *range, const struct gqa__qkv *own)
{
    const struct gqa__spine *const spine = range->spine;
    const struct gqa__params *const params = spine->call->params;
    const float *const c = gqa__place_vectors(&spine->at.cos, range->begin);
    const float *const s = gqa__place_vectors(&spine->at.sin, range->begin);

    if (params->shape.rotary_dim == 0) {
        return;
    }
    make_tables(range);
    gqa__stages_of(params)->rope(params, c, s, &own->q, count_of(range));
    gqa__stages_of(params)->rope(params, c, s, &own->k, count_of(range));
}

/* From the projections to what attention reads and the cache keeps. */
static void finish_qkv(const struct gqa__token_range *range)
{
    const struct gqa__spine *const spine = range->spine;
    const struct gqa__call *const call = spine->call;
    const struct gqa__params *const params = call->params;
    const struct gqa__qkv own = qkv_of(range);
    const int32_t n = count_of(range);

    gqa__stages_of(params)->clip(params, &own, spine->at.product_clip > 0.0f, n);
    gqa__stages_of(params)->qk_norm(params, GQA_QK_NORM_PRE_ROPE, &own, n);
    rotate_range(range, &own);
    gqa__stages_of(params)->qk_norm(params, GQA_QK_NORM_POST_ROPE, &own, n);
    gqa__stage_temperature(params, spine->positions + range->begin, &own.q, n);
    if (own.k.x != NULL) {
        const gqa_kv *const present = &call->out.present_key_value;
        gqa__store_present_tokens(range, &spine->at.k, &present->k);
        gqa__store_present_tokens(range, &spine->at.v, &present->v);
    }
}

static void show_qkv(const struct gqa__token_range *block)
{
    const struct gqa__places *const at = &block->spine->at;
    const struct gqa__shape *const shape = &block->spine->call->params->shape;

    if (want_q(block)) {
        show_stage(block, GQA_STAGE_Q, at->q.buffer, shape->hq, shape->dk);
    }
    if (want_kv(block)) {
        show_stage(block, GQA_STAGE_K, at->k.buffer, shape->hkv, shape->dk);
        show_stage(block, GQA_STAGE_V, at->v.buffer, shape->hkv, shape->dv);
    }
}

static const struct gqa__step after_projections[] = {{take_projections, show_projections},
                                                     {finish_qkv, show_qkv}};

void gqa__block_before(struct gqa__spine *spine, int32_t runs, int32_t n, int makes)
{
    const struct gqa__call *const call = spine->call;
    const struct gqa__token_range block = {spine, runs, 0, n, makes, 0};

    if (call->need_sum || call->from_hidden) {
        gqa__block_run(&block, before_projections, 2);
    }
    if (call->from_hidden) {
        project(&block);
    }
    if (spine->at.source != GQA__SOURCE_FINAL) {
        gqa__block_run(&block, after_projections, call->alone ? 1 : 2);
    }
}

/* --- after attention ------------------------------------------------------------------------- */

static void show_attention(const struct gqa__token_range *block)
{
    const struct gqa__shape *const shape = &block->spine->call->params->shape;

    show_stage(block, GQA_STAGE_ATTN, block->spine->at.attn.buffer, shape->hq, shape->dv);
}

static void store_lse(const struct gqa__token_range *range)
{
    const struct gqa__call *const call = range->spine->call;

    gqa__store_tokens(range, &range->spine->at.lse, &call->out.lse);
}

static void gate_attention(const struct gqa__token_range *range)
{
    const struct gqa__spine *const spine = range->spine;
    const float *const gate = gqa__place_vectors(&spine->at.gate, range->begin);

    if (gate != NULL) {
        gqa__stage_gate(spine->call->params, gate,
                        gqa__place_vectors(&spine->at.attn, range->begin), count_of(range));
    }
    gqa__store_tokens(range, &spine->at.attn, &spine->call->out.attn);
}

static void show_gated(const struct gqa__token_range *block)
{
    const struct gqa__shape *const shape = &block->spine->call->params->shape;

    if (shape->gate_dim > 0) {
        show_stage(block, GQA_STAGE_GATED, block->spine->at.attn.buffer, shape->hq, shape->dv);
    }
}

static const struct gqa__step after_attention[] = {{store_lse, show_attention},
                                                   {gate_attention, show_gated}};

static void show_output(const struct gqa__token_range *block)
{
    show_stage(block, GQA_STAGE_O_PROJ, block->spine->at.x.buffer, 0,
               block->spine->call->params->shape.hidden);
}

static void post(const struct gqa__token_range *range)
{
    const struct gqa__params *const params = range->spine->call->params;

    gqa__stages_of(params)->post(params, gqa__place_vectors(&range->spine->at.x, range->begin),
                                 count_of(range));
}

static void show_post(const struct gqa__token_range *block)
{
    const struct gqa__params *const params = block->spine->call->params;

    if (params->config.post_norm != GQA_NORM_NONE) {
        show_stage(block, GQA_STAGE_POST_NORM, block->spine->at.x.buffer, 0, params->shape.hidden);
    }
}

static void show_out(const struct gqa__token_range *block)
{
    show_stage(block, GQA_STAGE_OUT, block->spine->at.x.buffer, 0,
               block->spine->call->params->shape.hidden);
}

static const struct gqa__step after_output[] = {{post, show_post}, {gqa__residual_add, show_out}};

/* x = attn wo^T, and what follows it; or, where the product adds the sum, at once the result. */
static void project_output(const struct gqa__token_range *block)
{
    const struct gqa__spine *const spine = block->spine;
    const struct gqa__token_run *const run = &spine->runs[0];
    const struct gqa__places *const at = &spine->at;
    struct gqa__output_projection projection = {.attn = at->attn.buffer,
                                                .n = block->end,
                                                .tkg = spine->tkg,
                                                .out = at->x.buffer,
                                                .out_step = at->x.step,
                                                .scratch = spine->scratch};

    if (at->sum_in_product && block->runs == 1) {
        projection.out = gqa__place_vector(&at->out, run, 0);
        projection.out_step = gqa__place_step(&at->out);
        projection.sum = gqa__place_vector(&at->sum, run, 0);
        projection.sum_step = gqa__place_step(&at->sum);
    }
    gqa__stages_of(spine->call->params)
        ->oproj(spine->call->params, &projection, spine->call->runtime);
    if (projection.sum == NULL) {
        show_output(block);
        gqa__block_run(block, after_output, 2);
    }
}

void gqa__block_after(struct gqa__spine *spine, int32_t runs, int32_t n)
{
    const struct gqa__call *const call = spine->call;
    const struct gqa__token_range block = {spine, runs, 0, n, GQA__MAKE_Q, 0};

    if (!spine->at.attn_final) {
        gqa__block_run(&block, after_attention, 2);
    }
    if (call->project) {
        project_output(&block);
    }
}
