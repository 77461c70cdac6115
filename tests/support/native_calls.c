/* SPDX-License-Identifier: Apache-2.0 */
/* native_calls.c - see native_calls.h. */
#include "support/native_calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

/* --- calls --------------------------------------------------------------------------------------
 */

static bool has_prior(const struct native_options *o)
{
    return o->profile != GQA_NEURON_NATIVE_PREFILL;
}

static uint8_t *draw_mask(struct native_call *call, gqa_tensor *tensor, int columns)
{
    const struct native_options *const o = &call->o;
    const struct neuron_shape shape = {o->mask == 2 ? GQA_BITS : GQA_U8,
                                       o->mask == 3 ? 1 : o->batch, 1, o->tokens, columns};
    const struct neuron_odds odds = {o->seen, 10};
    uint8_t *const bytes = neuron_rig_mask(&call->rig, tensor, &shape, &odds);

    for (int b = 0; b < shape.a && o->blind_row >= 0; b++) {
        memset(bytes + (b * o->tokens + o->blind_row) * columns, 0, (size_t)columns);
    }
    neuron_rig_remask(tensor, bytes);
    return bytes;
}

void native_call_open(struct native_call *call, const struct native_options *o, uint64_t seed)
{
    const gqa_dtype io = o->f32 ? GQA_F32 : GQA_BF16;
    const int active = has_prior(o) ? o->tokens : o->keys;
    const struct neuron_shape q = {io, o->batch, o->tokens, o->hq, o->d};
    const struct neuron_shape k = {io, o->batch, active, o->hkv, o->d};
    const struct neuron_shape prior = {io, o->batch, o->keys, o->hkv, o->d};
    const struct neuron_shape sinks = {io, o->hq, -1, 0, 0};
    gqa_neuron_call *const in = &call->rig.call;

    memset(call, 0, sizeof *call);
    call->o = *o;
    neuron_rig_open(&call->rig, o->profile, seed);
    in->divisor = o->divisor_f32 ? GQA_NEURON_SQRT_D_F32 : GQA_NEURON_SQRT_D_ROUNDED;
    call->q = neuron_rig_fill(&call->rig, &in->q, &q, 2.0f);
    call->k = neuron_rig_fill(&call->rig, &in->k, &k, 2.0f);
    call->v = neuron_rig_fill(&call->rig, &in->v, &k, 1.0f);
    if (has_prior(o)) {
        call->k_prior = neuron_rig_fill(&call->rig, &in->k_prior, &prior, 2.0f);
        call->v_prior = neuron_rig_fill(&call->rig, &in->v_prior, &prior, 1.0f);
    }
    if (o->sinks) {
        call->sinks = neuron_rig_fill(&call->rig, &in->sinks, &sinks, 3.0f);
    }
    if (o->mask != 0 && has_prior(o)) {
        call->prior_mask = draw_mask(call, &in->prior_mask, o->keys);
        call->active_mask = draw_mask(call, &in->active_mask, o->tokens);
    } else if (o->mask != 0) {
        call->mask = draw_mask(call, &in->mask, o->keys);
    }
}

void native_call_close(struct native_call *call)
{
    neuron_rig_close(&call->rig);
}

/* --- a row --------------------------------------------------------------------------------------
 */

void native_room_open(struct native_room *room, struct neuron_rig *rig, int keys, int d)
{
    for (int part = 0; part < 2; part++) {
        room->raw[part] = neuron_rig_memory(rig, keys, sizeof(float));
        room->s[part] = neuron_rig_memory(rig, keys, sizeof(float));
        room->p[part] = neuron_rig_memory(rig, keys, sizeof(float));
        room->o[part] = neuron_rig_memory(rig, d, sizeof(float));
    }
    room->out = neuron_rig_memory(rig, d, sizeof(float));
}

static const uint8_t *row_of_mask(const struct native_call *call, const uint8_t *mask, int batch,
                                  int token, int columns)
{
    const int entry = call->o.mask == 3 ? 0 : batch;

    return mask == NULL ? NULL : mask + (entry * call->o.tokens + token) * columns;
}

void native_row_of(const struct native_call *call, int batch, int head, int token,
                   const struct native_room *room, struct native_row *row)
{
    const struct native_options *const o = &call->o;
    const int group = head / (o->hq / o->hkv);
    const int active = has_prior(o) ? o->tokens : o->keys;
    const int64_t stride = (int64_t)o->hkv * o->d;
    const int64_t of_active = batch * active * stride + group * o->d;
    const int64_t of_prior = batch * o->keys * stride + group * o->d;
    const float lowest = o->f32 ? -FLT_MAX : native_twin_round(-0x1.fep127, true);
    static uint8_t causal[1024], all[1024];

    memset(row, 0, sizeof *row);
    row->d = o->d;
    row->bf16 = !o->f32;
    row->parts = has_prior(o);
    row->q = call->q + ((batch * o->tokens + token) * o->hq + head) * o->d;
    row->out = room->out;
    row->active = (struct native_keys){
        call->k + of_active, call->v + of_active, stride,     active,    NULL, lowest,
        room->raw[1],        room->s[1],          room->p[1], room->o[1]};
    row->prior = (struct native_keys){NULL,   NULL,         stride,     0,          NULL,
                                      lowest, room->raw[0], room->s[0], room->p[0], room->o[0]};
    memset(all, 1, sizeof all);
    if (!has_prior(o)) {
        row->active.mask = row_of_mask(call, call->mask, batch, token, o->keys);
        row->sink = o->sinks ? call->sinks + head : NULL;
        return;
    }
    row->prior.k = call->k_prior + of_prior;
    row->prior.v = call->v_prior + of_prior;
    row->prior.n = o->keys;
    row->active.mask = row_of_mask(call, call->active_mask, batch, token, o->tokens);
    if (o->profile == GQA_NEURON_NATIVE_TKG) {
        row->prior.mask = row_of_mask(call, call->prior_mask, batch, token, o->keys);
        row->active.mask = o->tokens == 1 ? NULL : row->active.mask;
        row->sink = o->sinks ? call->sinks + head : NULL;
    } else if (row->active.mask == NULL) { /* native_prefix: causal, no sink, no prior mask */
        memset(causal, 0, sizeof causal);
        memset(causal, 1, (size_t)token + 1);
        row->active.mask = causal;
    }
}

/* --- the trace ----------------------------------------------------------------------------------
 */

/* What a run told, part 0 = prior. */
struct told {
    const struct native_options *o;
    int columns[2];
    float *raw[2], *s[2], *p[2]; /* [B][hq][T][columns] */
    float *o_part[2], *out;      /* [B][hq][T][d] */
    float *m, *l;                /* [B][hq][T] */
};

static void take(float *to, const float *from, const gqa_neuron_tile *tile, int64_t at, int64_t n,
                 int64_t step)
{
    for (int32_t r = 0; r < tile->rows && from != NULL; r++) {
        memcpy(to + (at + r) * n, from + r * step, (size_t)n * sizeof *to);
    }
}

static void listen(void *user, const gqa_neuron_tile *tile)
{
    struct told *const told = user;
    const struct native_options *const o = told->o;
    const int part = tile->part == GQA_NEURON_PRIOR ? 0 : 1;
    const int64_t at = ((int64_t)tile->batch * o->hq + tile->head) * o->tokens + tile->query;
    const int64_t n = told->columns[part];

    assert_int_equal(tile->profile, o->profile);
    if (tile->event == GQA_NEURON_MM1) {
        assert_int_equal(tile->keys, n);
        assert_int_equal(tile->madds, (int64_t)tile->rows * n * o->d);
        take(told->raw[part], tile->s_raw, tile, at, n, tile->score_step);
        take(told->s[part], tile->s, tile, at, n, tile->score_step);
    } else if (tile->event == GQA_NEURON_EXP) {
        take(told->p[part], tile->p, tile, at, n, tile->score_step);
    } else if (tile->event == GQA_NEURON_SECTION) {
        take(told->o_part[part], tile->o, tile, at, o->d, o->d);
    } else if (tile->event == GQA_NEURON_ROWS) {
        take(told->m, tile->m, tile, at, 1, 1);
        take(told->l, tile->l, tile, at, 1, 1);
        take(told->out, tile->o, tile, at, o->d, o->d);
    }
}

static void told_open(struct told *told, struct native_call *call)
{
    const struct native_options *const o = &call->o;
    const int64_t rows = (int64_t)o->batch * o->hq * o->tokens;

    told->o = o;
    told->columns[0] = has_prior(o) ? o->keys : 0;
    told->columns[1] = has_prior(o) ? o->tokens : o->keys;
    for (int part = 0; part < 2; part++) {
        told->raw[part] = neuron_rig_memory(&call->rig, rows * told->columns[part], sizeof(float));
        told->s[part] = neuron_rig_memory(&call->rig, rows * told->columns[part], sizeof(float));
        told->p[part] = neuron_rig_memory(&call->rig, rows * told->columns[part], sizeof(float));
        told->o_part[part] = neuron_rig_memory(&call->rig, rows * o->d, sizeof(float));
    }
    told->out = neuron_rig_memory(&call->rig, rows * o->d, sizeof(float));
    told->m = neuron_rig_memory(&call->rig, rows, sizeof(float));
    told->l = neuron_rig_memory(&call->rig, rows, sizeof(float));
}

/* --- comparing ----------------------------------------------------------------------------------
 */

static void describe(const struct native_options *o, const char *what, int64_t row)
{
    fail_msg("%s of row %lld: profile %d batch %d tokens %d keys %d heads %d/%d d %d f32 %d sinks "
             "%d divisor_f32 %d mask %d seen %d blind %d",
             what, (long long)row, (int)o->profile, o->batch, o->tokens, o->keys, o->hq, o->hkv,
             o->d, o->f32, o->sinks, o->divisor_f32, o->mask, o->seen, o->blind_row);
}

static void same(const struct native_options *o, const char *what, int64_t row, const float *got,
                 const float *want, int64_t n)
{
    if (n > 0 && memcmp(got, want, (size_t)n * sizeof *got) != 0) {
        describe(o, what, row);
    }
}

static void same_row(const struct told *told, const struct native_row *row, int64_t at)
{
    const struct native_options *const o = told->o;
    const struct native_keys *const parts[2] = {&row->prior, &row->active};

    for (int part = 0; part < 2; part++) {
        const int64_t n = told->columns[part];
        same(o, "s_raw", at, told->raw[part] + at * n, parts[part]->raw, n);
        same(o, "s", at, told->s[part] + at * n, parts[part]->s, n);
        same(o, "p", at, told->p[part] + at * n, parts[part]->p, n);
        if (has_prior(o)) {
            same(o, "o of a part", at, told->o_part[part] + at * o->d, parts[part]->o, o->d);
        }
    }
    same(o, "m", at, told->m + at, &row->m, 1);
    same(o, "l", at, told->l + at, &row->l, 1);
    same(o, "out as told", at, told->out + at * o->d, row->out, o->d);
}

static void near(const struct native_options *o, int64_t at, const float *got,
                 const struct native_row *row)
{
    const double bound = native_exact_bound(row);
    double exact[1024];

    native_exact_row(row, exact);
    for (int i = 0; i < o->d; i++) {
        if (!(fabs((double)got[i] - exact[i]) <= bound)) {
            describe(o, "out beyond its bound", at);
        }
    }
}

void native_call_check(struct native_call *call)
{
    const struct native_options *const o = &call->o;
    const enum native_wrong wrong = o->divisor_f32 ? NATIVE_SQRT_D_F32 : NATIVE_RIGHT;
    struct native_room room;
    struct told told;
    float *exact, *narrow;

    native_room_open(&room, &call->rig, o->keys > o->tokens ? o->keys : o->tokens, o->d);
    told_open(&told, call);
    call->rig.call.trace = listen;
    call->rig.call.trace_user = &told;
    exact = neuron_rig_run(&call->rig, NULL);
    call->rig.call.trace = NULL;
    call->rig.call.accumulation = GQA_NEURON_FLOAT32;
    narrow = neuron_rig_run(&call->rig, NULL);
    call->rig.call.accumulation = GQA_NEURON_EXACT;
    for (int b = 0; b < o->batch; b++) {
        for (int h = 0; h < o->hq; h++) {
            for (int t = 0; t < o->tokens; t++) {
                const int64_t at = ((int64_t)b * o->hq + h) * o->tokens + t;
                const int64_t out = (((int64_t)b * o->tokens + t) * o->hq + h) * o->d;
                struct native_row row;
                native_row_of(call, b, h, t, &room, &row);
                native_twin_row(&row, wrong);
                same_row(&told, &row, at);
                same(o, "out", at, exact + out, row.out, o->d);
                near(o, at, exact + out, &row);
                near(o, at, narrow + out, &row);
            }
        }
    }
}
