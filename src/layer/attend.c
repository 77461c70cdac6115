/* SPDX-License-Identifier: Apache-2.0 */
/* attend.c - see attend.h. */
#include "layer/attend.h"

#include <string.h>

#include "base/fpmode.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "reference/reference.h"
#include "stage/stage.h"

#define QUERY_BLOCK 128 /* query tokens whose q and output are held at a time */

/* f32 rows whose heads lie side by side are read and written in place. */
static bool in_place(const gqa_tensor *t, int64_t dim)
{
    return gqa__present(t) && t->dtype == GQA_F32 && t->stride[2] == dim;
}

static float *token_of(const gqa_tensor *t, int32_t b, int32_t column)
{
    return (float *)t->data + b * t->stride[0] + column * t->stride[1];
}

bool gqa__attend_carve(struct gqa__attend_work *work, const struct gqa__attend_call *call,
                       struct gqa__arena *arena)
{
    const struct gqa__shape *shape = &call->params->shape;
    int32_t wanted = call->params->knobs.token_block;
    int64_t n = gqa__min(gqa__max(call->tokens, 1), wanted > 0 ? wanted : QUERY_BLOCK);
    struct gqa__attention_limits limits = {(int32_t)n, 1, call->keys,
                                           gqa__thread_count(call->runtime)};

    work->call = call;
    work->block = (int32_t)n;
    work->cut = GQA_CUT_ROWS;
    work->work = (gqa_work){0};
    work->direct_q = in_place(&call->in.query, shape->dk);
    work->direct_out = in_place(&call->out.output, shape->dv);
    work->rows = gqa__arena_take(arena, call->batch, sizeof *work->rows);
    work->positions = gqa__arena_take(arena, n, sizeof(int32_t));
    work->q = gqa__arena_take(arena, work->direct_q ? 0 : n * shape->hq * shape->dk, sizeof(float));
    work->out =
        gqa__arena_take(arena, work->direct_out ? 0 : n * shape->hq * shape->dv, sizeof(float));
    work->lse = gqa__arena_take(arena, n * shape->hq, sizeof(float));
    work->reference = NULL;
    work->attention = NULL;
    if (call->params->backend == GQA_BACKEND_REFERENCE) {
        size_t size = gqa__reference_scratch_bytes(call->params, call->keys);
        arena->failed = arena->failed || size > INT64_MAX;
        work->reference = gqa__arena_take(arena, size > INT64_MAX ? 0 : (int64_t)size, 1);
    } else {
        work->attention = gqa__attention_carve(arena, call->params, &limits);
    }
    return !arena->failed;
}

/* Position of valid query i: the caller's, or bottom-right aligned to the keys. */
static int32_t query_position(const struct gqa__attend_call *call,
                              const struct gqa__attend_entry *row, int32_t b, int32_t i)
{
    int64_t index = (int64_t)row->view.length - row->n + i;
    int64_t position;

    if (call->in.position_ids != NULL) {
        return call->in.position_ids[(int64_t)b * call->tokens + row->first_valid + i];
    }
    if (row->view.length == 0) {
        return i;
    }
    if (index >= 0) {
        return gqa__view_position(&row->view, (int32_t)index);
    }
    position = gqa__view_position(&row->view, 0) + index; /* before the first key */
    return (int32_t)gqa__max(position, INT32_MIN);
}

/* Queries [i, i + n) of batch row b. */
static void make_segment(struct gqa__attend_work *work, int32_t b, int32_t i, int32_t n,
                         struct gqa__segment *segment)
{
    const struct gqa__attend_call *call = work->call;
    const struct gqa__shape *shape = &call->params->shape;
    const struct gqa__attend_entry *row = &work->rows[b];
    int64_t token = (int64_t)b * call->tokens + row->first_valid + i;
    int64_t at = token * shape->hq;

    memset(segment, 0, sizeof *segment);
    segment->view = row->view;
    segment->final_keys = row->view.length;
    segment->n = n;
    segment->positions = work->positions;
    segment->q = work->q;
    segment->q_stride = (int64_t)shape->hq * shape->dk;
    if (work->direct_q) {
        segment->q = token_of(&call->in.query, b, row->first_valid + i);
        segment->q_stride = call->in.query.stride[1];
    }
    segment->out = gqa__present(&call->out.output) ? work->out : NULL;
    segment->out_stride = (int64_t)shape->hq * shape->dv;
    if (work->direct_out) {
        segment->out = token_of(&call->out.output, b, row->first_valid + i);
        segment->out_stride = call->out.output.stride[1];
        segment->stream =
            (int64_t)call->batch * call->tokens * segment->out_stride > GQA__STREAM_VALUES;
    }
    segment->lse = gqa__present(&call->out.lse) ? work->lse : NULL;
    segment->sinks = call->in.leave_out_sinks ? NULL : gqa__stage_sinks(call->params, row->tkg);
    segment->batch = b;
    segment->row0 = row->first_valid + i;
    segment->mask = call->in.mask;
    segment->bias = call->in.bias;
    if (call->in.key_begin != NULL) {
        segment->key_begin = call->in.key_begin + token;
        segment->key_end = call->in.key_end + token;
    }
    segment->range_begin = call->in.range_begin;
    segment->range_end = call->in.range_end;
    if (gqa__present(&call->out.states.m)) {
        segment->m = (float *)call->out.states.m.data + at;
        segment->l = (float *)call->out.states.l.data + at;
        segment->o = (float *)call->out.states.o.data + at * shape->dv;
    }
    if (gqa__present(&call->prior.m)) {
        segment->prior_m = (const float *)call->prior.m.data + at;
        segment->prior_l = (const float *)call->prior.l.data + at;
        segment->prior_o = (const float *)call->prior.o.data + at * shape->dv;
    }
}

static void load_queries(struct gqa__attend_work *work, int32_t b, int32_t i, int32_t n)
{
    const struct gqa__shape *shape = &work->call->params->shape;
    const gqa_tensor *query = &work->call->in.query;

    for (int32_t t = 0; t < n; t++) {
        int64_t column = work->rows[b].first_valid + i + t;
        work->positions[t] = query_position(work->call, &work->rows[b], b, i + t);
        for (int32_t h = 0; h < shape->hq && !work->direct_q; h++) {
            gqa__load_f32(work->q + ((int64_t)t * shape->hq + h) * shape->dk, query,
                          b * query->stride[0] + column * query->stride[1] + h * query->stride[2],
                          shape->dk);
        }
    }
}

static void store_outputs(struct gqa__attend_work *work, int32_t b, int32_t i, int32_t n)
{
    const struct gqa__shape *shape = &work->call->params->shape;
    const gqa_tensor *out = &work->call->out.output;
    const gqa_tensor *lse = &work->call->out.lse;

    for (int32_t t = 0; t < n; t++) {
        int64_t column = work->rows[b].first_valid + i + t;
        for (int32_t h = 0; h < shape->hq && gqa__present(out) && !work->direct_out; h++) {
            gqa__store_f32(out, b * out->stride[0] + column * out->stride[1] + h * out->stride[2],
                           work->out + ((int64_t)t * shape->hq + h) * shape->dv, shape->dv);
        }
        if (gqa__present(lse)) {
            gqa__store_f32(lse, b * lse->stride[0] + column * lse->stride[1],
                           work->lse + (int64_t)t * shape->hq, shape->hq);
        }
    }
}

void gqa__attend_run(struct gqa__attend_work *work)
{
    const struct gqa__attend_call *call = work->call;
    gqa_work *counts = call->out.work != NULL ? &work->work : NULL;
    gqa__fpmode mode = gqa__fpmode_enter();

    for (int32_t b = 0; b < call->batch; b++) {
        for (int32_t i = 0; i < work->rows[b].n; i += work->block) {
            int32_t n = (int32_t)gqa__min(work->block, work->rows[b].n - i);
            struct gqa__segment segment;

            load_queries(work, b, i, n);
            make_segment(work, b, i, n, &segment);
            if (call->params->backend == GQA_BACKEND_REFERENCE) {
                gqa__reference_attend(call->params, &segment, 1, work->reference, counts);
            } else if (gqa__attention_run(work->attention, call->params, &segment, 1, call->runtime,
                                          counts) == GQA_CUT_KEYS) {
                work->cut = GQA_CUT_KEYS;
            }
            store_outputs(work, b, i, n);
        }
    }
    gqa__fpmode_leave(mode);
}
