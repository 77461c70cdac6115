/* SPDX-License-Identifier: Apache-2.0 */
/* states.c - gqa_merge_states and gqa_finish_states. */
#include "api/states.h"

#include <math.h>
#include <string.h>

#include "api/rules.h"
#include "attention/fold.h"
#include "attention/merge.h"
#include "base/error.h"
#include "base/fold.h"
#include "base/fpmode.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "base/units.h"
#include "kernel/contract/convert.h"
#include "stage/stage.h"

/* Rows of states [B, T, Hq]: none if an extent is 0, whatever the others are. */
static int64_t state_rows(const gqa_states *states)
{
    const int64_t *const shape = states->m.shape;

    return gqa__tensor_extent(&states->m) == 0 ? 0 : shape[0] * shape[1] * shape[2];
}

/* One tensor of a state: present, f32, packed. An empty one has no elements that strides could
 * place, and extents whose product may be any. */
static gqa_status fit_packed(gqa_tensor *t, const char *field, const char *name, int32_t rank,
                             const int64_t *shape, gqa_error *err)
{
    gqa_status status;
    int64_t step = 1;

    if (!gqa__present(t)) {
        return gqa__fail(err, GQA_ERR_ARG, field, "%s is absent; m, l and o go together", name);
    }
    status =
        gqa__tensor_fit(t, &(struct gqa__form){field, GQA__ONLY_F32, rank, shape, true}, t, err);
    if (status != GQA_OK || gqa__tensor_extent(t) == 0) {
        return status;
    }
    for (int32_t i = rank - 1; i >= 0; i--) { /* what is packed so far has an extent that fits */
        if (t->shape[i] > 1 && t->stride[i] != step) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             "%s.stride[%d] is %lld; states are packed (%lld)", name, i,
                             (long long)t->stride[i], (long long)step);
        }
        step *= t->shape[i];
    }
    return GQA_OK;
}

gqa_status gqa__states_fit(gqa_states *states, const char *field, const int64_t *shape, int32_t dv,
                           gqa_error *err)
{
    int64_t rows[4] = {shape[0], shape[1], shape[2], 1};
    int64_t values[4];
    gqa_status status = fit_packed(&states->m, field, "m", 3, rows, err);

    if (status == GQA_OK) {
        memcpy(rows, states->m.shape, 3 * sizeof rows[0]);
        status = fit_packed(&states->l, field, "l", 3, rows, err);
    }
    if (status == GQA_OK) {
        memcpy(values, rows, sizeof values);
        values[3] = dv;
        status = fit_packed(&states->o, field, "o", 4, values, err);
    }
    return status;
}

void gqa__states_clear(const gqa_states *states, int64_t row, int32_t n, int32_t dv)
{
    float *const m = (float *)states->m.data + row;
    float *const l = (float *)states->l.data + row;
    float *const o = (float *)states->o.data + row * dv;

    for (int32_t i = 0; i < n; i++) {
        m[i] = -INFINITY;
        l[i] = 0.0f;
    }
    for (int64_t i = 0; i < (int64_t)n * dv; i++) {
        o[i] = 0.0f;
    }
}

gqa_status gqa__states_range(const gqa_states *states, const char *field, gqa_error *err)
{
    if (states->key_begin < 0 || states->key_begin % GQA__FOLD_BLOCK != 0) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "key_begin is %d; it must be a multiple of %d, at least 0",
                         states->key_begin, GQA__FOLD_BLOCK);
    }
    if (states->key_end < states->key_begin) {
        return gqa__fail(err, GQA_ERR_ARG, field, "key_end is %d; it must be at least key_begin %d",
                         states->key_end, states->key_begin);
    }
    return GQA_OK;
}

bool gqa__states_empty(const gqa_states *states)
{
    return states->key_begin == states->key_end;
}

/* A state of no keys has no mass: nothing is lost where it is left out. */
static gqa_status check_empty(const gqa_states *states, int32_t i, gqa_error *err)
{
    const float *const l = states->l.data;
    const int64_t rows = state_rows(states);

    for (int64_t row = 0; row < rows; row++) {
        if (l[row] != 0.0f) {
            return gqa__fail(err, GQA_ERR_ARG, "states",
                             "[%d] covers no keys, [%d, %d), but its l is %g in row %lld; it must "
                             "be 0",
                             i, states->key_begin, states->key_end, (double)l[row], (long long)row);
        }
    }
    return GQA_OK;
}

/* State i: a sound range that begins where the ranges before it have ended. Empty ones may stand
 * anywhere. */
static gqa_status check_order(const gqa_states *states, int32_t i, int32_t *end, gqa_error *err)
{
    if (gqa__states_range(states, "states", NULL) != GQA_OK) {
        return gqa__fail(err, GQA_ERR_ARG, "states",
                         "[%d] covers keys [%d, %d); key_begin must be a "
                         "multiple of %d, at least 0, and key_end at least key_begin",
                         i, states->key_begin, states->key_end, GQA__FOLD_BLOCK);
    }
    if (gqa__states_empty(states)) {
        return check_empty(states, i, err);
    }
    if (states->key_begin < *end) {
        return gqa__fail(err, GQA_ERR_ARG, "states",
                         "[%d] begins at key %d, before the end %d of those before it", i,
                         states->key_begin, *end);
    }
    *end = states->key_end;
    return GQA_OK;
}

/* All states fit each other, and their ranges rise without overlap. */
static gqa_status check_states(const gqa_states *const *states, int32_t n, gqa_states *own,
                               gqa_states *out, gqa_error *err)
{
    int64_t shape[4] = {-1, -1, -1, 1};
    int32_t end = 0;

    for (int32_t i = 0; i < n; i++) {
        gqa_status status;
        int32_t dv;
        if (states[i] == NULL) {
            return gqa__fail(err, GQA_ERR_ARG, "states", "[%d] is NULL", i);
        }
        *own = *states[i];
        dv = own->o.rank >= 1 && own->o.rank <= 4 ? (int32_t)own->o.shape[own->o.rank - 1] : 0;
        if (i > 0) {
            dv = (int32_t)out->o.shape[3];
        }
        status = gqa__states_fit(own, "states", shape, dv, err);
        if (status != GQA_OK) {
            return status;
        }
        if (i == 0) {
            memcpy(shape, own->m.shape, 3 * sizeof shape[0]);
            status = gqa__states_fit(out, "out", shape, dv, err);
            if (status != GQA_OK) {
                return status;
            }
        }
        status = check_order(own, i, &end, err);
        if (status != GQA_OK) {
            return status;
        }
    }
    return GQA_OK;
}

#define PIECE 32 /* values of o that are merged at a time */

/* The merge of one row's states, PIECE values of o at a time: a stack as in the walk. Ranges that
 * are not empty rise, so the waiting nodes shrink from the bottom of the stack to its top: there
 * are never more than the tree has levels, whatever n is. */
struct row_merge {
    struct gqa__fold_tree tree;
    int32_t width; /* values of this piece */
    float m[GQA__FOLD_DEPTH], l[GQA__FOLD_DEPTH];
    float o[GQA__FOLD_DEPTH][PIECE];
};

static void merge_two(void *arg, int32_t left)
{
    struct row_merge *const merge = arg;

    const struct gqa__row_state lower = {&merge->m[left], &merge->l[left], merge->o[left]};
    const struct gqa__row_state upper = {lower.m + 1, lower.l + 1, merge->o[left + 1]};

    gqa__merge_row(&lower, &upper, merge->width);
}

/* `width` values of one row of every state, merged into state 0. Each part stands where its first
 * block does; before the next one comes it has climbed as far as it reaches. */
static void merge_piece(struct row_merge *merge, const gqa_states *const *states, int32_t n,
                        int64_t row, int64_t at)
{
    merge->tree.depth = 0;
    for (int32_t i = 0; i < n; i++) {
        const gqa_states *const from = states[i];
        const int64_t begin = from->key_begin / GQA__FOLD_BLOCK;
        int32_t top;

        if (gqa__states_empty(from)) {
            continue;
        }
        gqa__fold_tree_settle(&merge->tree, begin, merge_two, merge);
        top = merge->tree.depth;
        merge->m[top] = ((const float *)from->m.data)[row];
        merge->l[top] = ((const float *)from->l.data)[row];
        memcpy(merge->o[top], (const float *)from->o.data + at,
               (size_t)merge->width * sizeof(float));
        gqa__fold_tree_push(&merge->tree, 0, begin, merge_two, merge);
    }
    gqa__fold_tree_end(&merge->tree, merge_two, merge);
}

/* The keys from the first to the last of the ranges; all of them empty: the first one. */
static void join_ranges(const gqa_states *const *states, int32_t n, int32_t *begin, int32_t *end)
{
    bool any = false;

    *begin = states[0]->key_begin;
    *end = states[0]->key_end;
    for (int32_t i = 0; i < n; i++) {
        if (!gqa__states_empty(states[i])) {
            *begin = any ? *begin : states[i]->key_begin;
            *end = states[i]->key_end;
            any = true;
        }
    }
}

/* out may be one of the states: its m and l are written after the row's last piece. */
static void merge_rows(const gqa_states *const *states, int32_t n, const gqa_states *to)
{
    const int32_t dv = (int32_t)to->o.shape[3];
    const int64_t rows = state_rows(to);
    struct row_merge merge;

    for (int64_t row = 0; row < rows; row++) {
        int32_t d = 0;
        do {
            merge.width = (int32_t)gqa__min(PIECE, dv - d);
            merge_piece(&merge, states, n, row, row * dv + d);
            memcpy((float *)to->o.data + row * dv + d, merge.o[0],
                   (size_t)merge.width * sizeof(float));
            d += PIECE;
        } while (d < dv);
        ((float *)to->m.data)[row] = merge.m[0];
        ((float *)to->l.data)[row] = merge.l[0];
    }
}

gqa_status gqa_merge_states(const gqa_states *const *states, int32_t n, gqa_states *out,
                            gqa_error *err)
{
    gqa_states to, own;
    gqa__fpmode mode;
    int32_t begin, end;
    gqa_status status;

    if (states == NULL || out == NULL || n < 1) {
        const char *const field = states == NULL ? "states" : out == NULL ? "out" : "n";
        return gqa__fail(err, GQA_ERR_ARG, field, "is %s", n < 1 ? "below 1" : "NULL");
    }
    to = *out;
    status = check_states(states, n, &own, &to, err);
    if (status != GQA_OK) {
        return status;
    }
    mode = gqa__fpmode_enter();
    join_ranges(states, n, &begin, &end);
    if (begin == end) {
        const int64_t rows = state_rows(&to);
        for (int64_t row = 0; row < rows; row++) {
            gqa__states_clear(&to, row, 1, (int32_t)to.o.shape[3]);
        }
    } else {
        merge_rows(states, n, &to);
    }
    out->key_begin = begin;
    out->key_end = end;
    gqa__fpmode_leave(mode);
    return GQA_OK;
}

/* gqa_finish_states: what its rows read and write. */
struct finish_call {
    const struct gqa__params *params;
    gqa_states states;
    const float *sinks;     /* [hq] or NULL */
    gqa_tensor output, lse; /* data NULL = not wanted */
    float *m, *l, *sink;    /* [lanes] */
    float *o;               /* [dv][lanes] */
    float *rows, *row_lse;  /* [lanes][dv], [lanes] */
};

/* End `count` rows (at most the kernel set's lanes) from row `first` on. */
static void finish_some(const struct finish_call *call, int64_t first, int32_t count)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int32_t ld = call->params->kernels->lanes;
    const int32_t dv = shape->dv;
    struct gqa__finish finish = {.m = call->m, .l = call->l, .o = call->o, .ld = ld, .dv = dv};

    for (int32_t r = 0; r < ld; r++) {
        const int64_t row = first + (r < count ? r : 0);
        call->m[r] = ((const float *)call->states.m.data)[row];
        call->l[r] = ((const float *)call->states.l.data)[row];
        call->sink[r] =
            call->sinks != NULL ? gqa__to_units((double)call->sinks[row % shape->hq]) : -INFINITY;
        for (int32_t d = 0; d < dv; d++) {
            call->o[(int64_t)d * ld + r] = ((const float *)call->states.o.data)[row * dv + d];
        }
    }
    finish.sink = call->sinks != NULL ? call->sink : NULL;
    finish.out = call->rows;
    finish.out_map = (struct gqa__row_map){dv, 0, 1, 0, count};
    finish.lse = call->row_lse;
    finish.lse_map = (struct gqa__row_map){1, 0, 1, 0, count};
    call->params->kernels->finish(&finish);
}

/* Store `count` finished rows into the caller's tensors. */
static void store_rows(const struct finish_call *call, int64_t first, int32_t count)
{
    const int32_t hq = call->params->shape.hq;
    const int32_t dv = call->params->shape.dv;
    const int64_t tokens = call->states.m.shape[1];

    for (int32_t r = 0; r < count; r++) {
        const int64_t row = first + r;
        const int64_t h = row % hq;
        const int64_t t = row / hq % tokens;
        const int64_t b = row / hq / tokens;
        const gqa_tensor *const out = &call->output;
        const gqa_tensor *const lse = &call->lse;
        if (gqa__present(out)) {
            gqa__store(call->params->kernels, out,
                       b * out->stride[0] + t * out->stride[1] + h * out->stride[2],
                       call->rows + (int64_t)r * dv, dv);
        }
        if (gqa__present(lse)) {
            gqa__store_f32(lse, b * lse->stride[0] + t * lse->stride[1] + h, call->row_lse + r, 1);
        }
    }
}

/* Fit the outputs to the states' shape. */
static gqa_status finish_check(struct finish_call *call, gqa_error *err)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t rows[3] = {-1, -1, shape->hq};
    int64_t values[4];
    const struct gqa__form output = {"output", GQA__FLOATS, 4, values, true};
    const struct gqa__form lse = {"lse", GQA__ONLY_F32, 3, values, true};
    gqa_status status = gqa__states_fit(&call->states, "states", rows, shape->dv, err);

    if (status == GQA_OK) {
        status = gqa__states_range(&call->states, "states", err);
    }
    if (status == GQA_OK && !gqa__present(&call->output) && !gqa__present(&call->lse)) {
        status = gqa__fail(err, GQA_ERR_ARG, output.field, "this or lse is required");
    }
    memcpy(values, call->states.m.shape, sizeof values);
    values[3] = shape->dv;
    if (status == GQA_OK && gqa__present(&call->output)) {
        status = gqa__tensor_fit(&call->output, &output, &call->output, err);
    }
    if (status == GQA_OK && gqa__present(&call->lse)) {
        status = gqa__tensor_fit(&call->lse, &lse, &call->lse, err);
    }
    return status;
}

/* All rows, through one set of lanes from the layer's allocator. */
static gqa_status finish_all(struct finish_call *call, const gqa_runtime *runtime, gqa_error *err)
{
    const int64_t lanes = call->params->kernels->lanes;
    const int64_t floats = lanes * (4 + 2 * (int64_t)call->params->shape.dv);
    const int64_t rows = state_rows(&call->states);
    void *block;
    const gqa_status status = gqa__alloc(runtime, (size_t)floats * sizeof(float), "workspace",
                                         "a workspace", &block, err);
    gqa__fpmode mode;

    if (status != GQA_OK) {
        return status;
    }
    call->m = block;
    call->l = call->m + lanes;
    call->sink = call->l + lanes;
    call->row_lse = call->sink + lanes;
    call->o = call->row_lse + lanes;
    call->rows = call->o + lanes * call->params->shape.dv;
    mode = gqa__fpmode_enter();
    for (int64_t row = 0; row < rows; row += lanes) {
        const int32_t count = (int32_t)gqa__min(lanes, rows - row);
        finish_some(call, row, count);
        store_rows(call, row, count);
    }
    gqa__fpmode_leave(mode);
    gqa__release(runtime, block);
    return GQA_OK;
}

gqa_status gqa_finish_states(const gqa_layer *layer, const gqa_states *states, gqa_phase phase,
                             int32_t leave_out_sinks, const gqa_tensor *output,
                             const gqa_tensor *lse, gqa_error *err)
{
    struct finish_call call = {0};
    gqa_status status;

    if (layer == NULL || states == NULL) {
        const char *const field = layer == NULL ? "layer" : "states";
        return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
    }
    if (leave_out_sinks != 0 && leave_out_sinks != 1) {
        return gqa__fail(err, GQA_ERR_ARG, "leave_out_sinks", "is %d; it must be 0 or 1",
                         leave_out_sinks);
    }
    call.params = &layer->params;
    call.states = *states;
    if (output != NULL) {
        call.output = *output;
    }
    if (lse != NULL) {
        call.lse = *lse;
    }
    status = gqa__check_phase(phase, err);
    if (status == GQA_OK) {
        call.sinks = leave_out_sinks ? NULL : gqa__stage_sinks(call.params, phase == GQA_PHASE_TKG);
        status = finish_check(&call, err);
    }
    return status == GQA_OK ? finish_all(&call, &layer->runtime, err) : status;
}
