/* attend.c - gqa_attend: check, carve, run. */
#include "gqa/attend.h"

#include <string.h>

#include "api/forward_check.h"
#include "api/states.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "layer/attend.h"

void gqa_attend_inputs_init_sized(gqa_attend_inputs *inputs, size_t size)
{
    gqa__init_struct(inputs, size);
}

void gqa_attend_output_init_sized(gqa_attend_output *output, size_t size)
{
    gqa__init_struct(output, size);
}

int32_t gqa_fold_block(void)
{
    return GQA__FOLD_BLOCK;
}

/* Query, key and value. */
static gqa_status check_tensors(struct gqa__attend_call *call, gqa_error *err)
{
    const struct gqa__shape *shape = &call->params->shape;
    gqa_attend_inputs *in = &call->in;
    int64_t query[4] = {-1, -1, shape->hq, shape->dk};
    bool plain = call->cache == NULL;
    gqa_status status;

    if (!gqa__present(&in->query)) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.query", "is required");
    }
    status =
        gqa__tensor_fit(&in->query, "inputs.query", GQA__FLOATS, 4, query, true, &in->query, err);
    if (status != GQA_OK) {
        return status;
    }
    if (in->query.shape[0] > INT32_MAX / 4 || in->query.shape[1] > INT32_MAX / 4 ||
        (in->query.shape[0] > 0 && in->query.shape[1] > INT32_MAX / 4 / in->query.shape[0])) {
        return gqa__fail(err, GQA_ERR_SHAPE, "inputs.query",
                         "has %lld x %lld tokens; the limit is %d", (long long)in->query.shape[0],
                         (long long)in->query.shape[1], INT32_MAX / 4);
    }
    call->batch = (int32_t)in->query.shape[0];
    call->tokens = (int32_t)in->query.shape[1];
    if (gqa__present(&in->key) != plain || gqa__present(&in->value) != plain) {
        const char *field = gqa__present(&in->key) != plain ? "inputs.key" : "inputs.value";
        return gqa__fail(err, GQA_ERR_ARG, field, "must be %s: the keys come from %s",
                         plain ? "given" : "absent", plain ? "the caller" : "the cache");
    }
    if (plain) {
        int64_t key[4] = {call->batch, -1, shape->hkv, shape->dk};
        int64_t value[4] = {call->batch, -1, shape->hkv, shape->dv};
        status = gqa__tensor_fit(&in->key, "inputs.key", GQA__FLOATS, 4, key, true, &in->key, err);
        if (status == GQA_OK) {
            value[1] = in->key.shape[1];
            status = gqa__tensor_fit(&in->value, "inputs.value", GQA__FLOATS, 4, value, true,
                                     &in->value, err);
        }
        if (status == GQA_OK && in->key.shape[1] > INT32_MAX - GQA__FOLD_BLOCK) {
            status = gqa__fail(err, GQA_ERR_SHAPE, "inputs.key", "has %lld keys; the limit is %d",
                               (long long)in->key.shape[1], INT32_MAX - GQA__FOLD_BLOCK);
        }
        call->keys = (int32_t)in->key.shape[1];
    } else {
        call->keys = call->cache->max_tokens;
    }
    return status;
}

/* What belongs to plain keys only, or to a cache only. */
static gqa_status check_source(const struct gqa__attend_call *call, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    const char *field = NULL;

    if (call->cache == NULL && in->sequences != NULL) {
        field = "inputs.sequences";
    } else if (call->cache != NULL && in->key_lengths != NULL) {
        field = "inputs.key_lengths";
    } else if (call->cache != NULL && in->key_position_ids != NULL) {
        field = "inputs.key_position_ids";
    }
    if (field != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, field, "must be NULL: the keys come from %s",
                         call->cache == NULL ? "inputs.key" : "the cache");
    }
    return GQA_OK;
}

static gqa_status check_range(const struct gqa__attend_call *call, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;

    if (in->range_begin < 0 || in->range_begin % GQA__FOLD_BLOCK != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_begin",
                         "is %d; it must be a multiple of %d", in->range_begin, GQA__FOLD_BLOCK);
    }
    if (in->range_end != 0 && in->range_end <= in->range_begin) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_end",
                         "is %d; it must be 0 or above range_begin %d", in->range_end,
                         in->range_begin);
    }
    if (in->leave_out_sinks != 0 && in->leave_out_sinks != 1) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.leave_out_sinks", "is %d; it must be 0 or 1",
                         in->leave_out_sinks);
    }
    return GQA_OK;
}

static gqa_status check_outputs(struct gqa__attend_call *call, gqa_error *err)
{
    const struct gqa__shape *shape = &call->params->shape;
    gqa_attend_output *out = &call->out;
    int64_t output[4] = {call->batch, call->tokens, shape->hq, shape->dv};
    int64_t lse[4] = {call->batch, call->tokens, shape->hq, 1};
    gqa_status status = GQA_OK;

    if (!gqa__present(&out->output) && !gqa__present(&out->lse) && !gqa__present(&out->states.m)) {
        return gqa__fail(err, GQA_ERR_ARG, "output.output",
                         "this, output.lse or output.states is required");
    }
    if (gqa__present(&out->output)) {
        status = gqa__tensor_fit(&out->output, "output.output", GQA__FLOATS, 4, output, true,
                                 &out->output, err);
    }
    if (status == GQA_OK && gqa__present(&out->lse)) {
        status =
            gqa__tensor_fit(&out->lse, "output.lse", GQA__ONLY_F32, 3, lse, true, &out->lse, err);
    }
    if (status == GQA_OK && (gqa__present(&out->states.m) || gqa__present(&out->states.l) ||
                             gqa__present(&out->states.o))) {
        status = gqa__states_fit(&out->states, "output.states", lse, shape->dv, err);
    }
    if (status == GQA_OK && call->in.prior != NULL) {
        call->prior = *call->in.prior;
        status = gqa__states_fit(&call->prior, "inputs.prior", lse, shape->dv, err);
        if (status == GQA_OK && call->prior.key_end > call->in.range_begin) {
            status =
                gqa__fail(err, GQA_ERR_ARG, "inputs.prior", "ends at key %d, above range_begin %d",
                          call->prior.key_end, call->in.range_begin);
        }
    }
    return status;
}

static gqa_status check_call(struct gqa__attend_call *call, const gqa_layer *layer,
                             const gqa_cache *cache, const gqa_attend_inputs *inputs,
                             const gqa_attend_output *output, gqa_error *err)
{
    gqa_attend_inputs *in = &call->in;
    gqa_status status;

    memset(call, 0, sizeof *call);
    if (layer == NULL || inputs == NULL || output == NULL) {
        const char *field = layer == NULL ? "layer" : inputs == NULL ? "inputs" : "output";
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
    }
    status = gqa__import(in, sizeof *in, inputs, "inputs", err);
    if (status == GQA_OK) {
        status = gqa__import(&call->out, sizeof call->out, output, "output", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    call->params = &layer->params;
    call->runtime = &layer->runtime;
    call->cache = cache;
    if (cache != NULL) {
        const struct gqa__shape *shape = &layer->params.shape;
        status =
            gqa__cache_matches(cache, layer->params.row, shape->hkv, shape->dk, shape->dv, err);
    }
    if (status == GQA_OK) {
        status = check_tensors(call, err);
    }
    if (status == GQA_OK) {
        status = check_source(call, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_mask(&in->mask, "inputs.mask", GQA__MASKS, call->batch,
                                 layer->params.shape.hq, call->tokens, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_mask(&in->bias, "inputs.bias", GQA__FLOATS, call->batch,
                                 layer->params.shape.hq, call->tokens, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_bounds(in->key_begin, in->key_end, err);
    }
    if (status == GQA_OK) {
        status = gqa__check_phase(in->phase, err);
    }
    if (status == GQA_OK) {
        status = check_range(call, err);
    }
    if (status == GQA_OK) {
        status = check_outputs(call, err);
    }
    return status;
}

gqa_status gqa_attend_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                                     const gqa_attend_inputs *inputs,
                                     const gqa_attend_output *output, size_t *size, gqa_error *err)
{
    struct gqa__attend_call call;
    struct gqa__attend_work work;
    struct gqa__arena arena;
    gqa_status status;

    if (size == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "size", "is NULL");
    }
    status = check_call(&call, layer, cache, inputs, output, err);
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_count(&arena);
    gqa__attend_carve(&work, &call, &arena);
    if (arena.failed) {
        return gqa__fail(err, GQA_ERR_NOMEM, "workspace",
                         "the workspace of %d x %d queries exceeds the address space", call.batch,
                         call.tokens);
    }
    *size = arena.used;
    return GQA_OK;
}

/* The keys of batch row b. */
static gqa_status find_view(const struct gqa__attend_call *call, int32_t b,
                            struct gqa__attend_row *row, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    gqa_tensor key, value;
    int32_t length = call->keys;
    const int32_t *positions = NULL;

    if (call->cache != NULL) {
        gqa__view_cache(&row->view, call->cache, in->sequences != NULL ? in->sequences[b] : b);
        return GQA_OK;
    }
    if (in->key_lengths != NULL) {
        length = in->key_lengths[b];
        if (length < 0 || length > call->keys) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.key_lengths", "[%d] is %d; it must be 0..%d",
                             b, length, call->keys);
        }
    }
    if (in->key_position_ids != NULL) {
        positions = in->key_position_ids + (int64_t)b * call->keys;
    }
    for (int32_t i = 1; i < length && positions != NULL; i++) {
        if (positions[i] <= positions[i - 1] && !gqa__present(&in->mask) && in->key_begin == NULL) {
            return gqa__fail(err, GQA_ERR_ARG, "inputs.key_position_ids",
                             "row %d, key %d is %d; it must be above %d "
                             "(ids rise unless a mask is given)",
                             b, i, positions[i], positions[i - 1]);
        }
    }
    key = in->key;
    value = in->value;
    for (int i = 0; i < 3; i++) { /* drop the batch dimension */
        key.shape[i] = in->key.shape[i + 1];
        key.stride[i] = in->key.stride[i + 1];
        value.shape[i] = in->value.shape[i + 1];
        value.stride[i] = in->value.stride[i + 1];
    }
    key.rank = 3;
    value.rank = 3;
    key.data = (unsigned char *)in->key.data +
               (size_t)(b * in->key.stride[0]) * gqa__dtype_size(key.dtype);
    value.data = (unsigned char *)in->value.data +
                 (size_t)(b * in->value.stride[0]) * gqa__dtype_size(value.dtype);
    gqa__view_plain(&row->view, call->params->row, &key, &value, length, positions);
    return GQA_OK;
}

/* Mask and bias columns, and the end of the key range, against this row's keys. */
static gqa_status check_row(const struct gqa__attend_call *call, const struct gqa__attend_row *row,
                            int32_t b, gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    const gqa_tensor *tensors[2] = {&in->mask, &in->bias};
    const char *fields[2] = {"inputs.mask", "inputs.bias"};
    int32_t columns = call->cache != NULL ? row->view.sequence->columns : row->view.length;

    for (int i = 0; i < 2; i++) {
        if (gqa__present(tensors[i]) && tensors[i]->shape[3] < columns) {
            return gqa__fail(err, GQA_ERR_SHAPE, fields[i], "has %lld columns; row %d has %d keys",
                             (long long)tensors[i]->shape[3], b, columns);
        }
    }
    if (in->range_end % GQA__FOLD_BLOCK != 0 && in->range_end < row->view.length) {
        return gqa__fail(err, GQA_ERR_ARG, "inputs.range_end",
                         "is %d; it must be a multiple of %d or at least the %d "
                         "keys of row %d",
                         in->range_end, GQA__FOLD_BLOCK, row->view.length, b);
    }
    return GQA_OK;
}

static gqa_status check_rows(const struct gqa__attend_call *call, struct gqa__attend_row *rows,
                             gqa_error *err)
{
    const gqa_attend_inputs *in = &call->in;
    gqa_status status = GQA_OK;

    if (call->cache != NULL) {
        for (int32_t b = 0; b < call->batch; b++) {
            int32_t id = in->sequences != NULL ? in->sequences[b] : b;
            if (id < -1 || id >= call->cache->max_sequences) {
                return gqa__fail(err, GQA_ERR_ARG, "inputs.sequences",
                                 "[%d] is %d; the cache has sequences 0..%d", b, id,
                                 call->cache->max_sequences - 1);
            }
        }
    }
    for (int32_t b = 0; b < call->batch && status == GQA_OK; b++) {
        struct gqa__attend_row *row = &rows[b];
        memset(row, 0, sizeof *row);
        if (in->sequences != NULL && in->sequences[b] < 0) {
            continue;
        }
        status = gqa__check_valid(in->first_valid, in->lengths, b, call->tokens, &row->first_valid,
                                  &row->n, err);
        if (status == GQA_OK) {
            status = find_view(call, b, row, err);
        }
        if (status == GQA_OK) {
            status = check_row(call, row, b, err);
        }
        row->tkg = in->phase == GQA_PHASE_TKG ||
                   (in->phase == GQA_PHASE_AUTO && row->view.length > row->n);
    }
    return status;
}

/* Rows that are padding: zero output and lse, neutral states. */
static void clear_padding(const struct gqa__attend_call *call, const struct gqa__attend_row *rows)
{
    const gqa_tensor *out = &call->out.output;
    const gqa_tensor *lse = &call->out.lse;
    int32_t hq = call->params->shape.hq;

    for (int32_t b = 0; b < call->batch; b++) {
        for (int32_t t = 0; t < call->tokens; t++) {
            int32_t i = t - rows[b].first_valid;
            if (i >= 0 && i < rows[b].n) {
                continue;
            }
            for (int32_t h = 0; h < hq && gqa__present(out); h++) {
                gqa__store_zero(out, b * out->stride[0] + t * out->stride[1] + h * out->stride[2],
                                call->params->shape.dv);
            }
            if (gqa__present(lse)) {
                gqa__store_zero(lse, b * lse->stride[0] + t * lse->stride[1], hq);
            }
            if (gqa__present(&call->out.states.m)) {
                gqa__states_clear(&call->out.states, ((int64_t)b * call->tokens + t) * hq, hq,
                                  call->params->shape.dv);
            }
        }
    }
}

/* The range that the states cover, and the report. */
static void report(const struct gqa__attend_work *work, gqa_attend_output *output)
{
    const struct gqa__attend_call *call = work->call;
    gqa_attend_output result;
    int32_t longest = 0;
    bool tkg = call->batch > 0;

    for (int32_t b = 0; b < call->batch; b++) {
        longest = (int32_t)gqa__max(longest, work->rows[b].view.length);
        tkg = tkg && work->rows[b].tkg;
    }
    gqa__import(&result, sizeof result, output, "output", NULL);
    result.states.key_begin = call->in.prior != NULL ? call->prior.key_begin : call->in.range_begin;
    result.states.key_end = call->in.range_end != 0 ? call->in.range_end : longest;
    gqa__path_fill(&result.path, call->params, work->cut,
                   call->cache != NULL ? GQA_VIEW_PAGED : GQA_VIEW_PLAIN, tkg);
    gqa__export(output, &result, sizeof result);
}

gqa_status gqa_attend(const gqa_layer *layer, const gqa_cache *cache,
                      const gqa_attend_inputs *inputs, gqa_attend_output *output, void *workspace,
                      size_t size, gqa_error *err)
{
    struct gqa__attend_call call;
    struct gqa__attend_work work;
    struct gqa__arena arena;
    void *own = NULL;
    gqa_status status = check_call(&call, layer, cache, inputs, output, err);

    if (status == GQA_OK) {
        status = gqa__check_workspace(workspace, size, err);
    }
    if (status == GQA_OK && workspace == NULL) {
        status = gqa_attend_workspace_size(layer, cache, inputs, output, &size, err);
        if (status == GQA_OK && (own = gqa__alloc(call.runtime, size)) == NULL) {
            status = gqa__fail(err, GQA_ERR_NOMEM, "workspace",
                               "the allocator has no %zu bytes of workspace", size);
        }
        workspace = own;
    }
    if (status == GQA_OK) {
        gqa__arena_open(&arena, workspace, size);
        if (!gqa__attend_carve(&work, &call, &arena)) {
            status = gqa__fail(err, GQA_ERR_WORKSPACE, "size",
                               "the workspace has %zu bytes; this call needs what "
                               "gqa_attend_workspace_size says",
                               size);
        }
    }
    if (status == GQA_OK) {
        status = check_rows(&call, work.rows, err);
    }
    if (status == GQA_OK) {
        clear_padding(&call, work.rows);
        gqa__attend_run(&work);
        report(&work, output);
    }
    gqa__release(layer != NULL ? &layer->runtime : NULL, own);
    return status;
}
