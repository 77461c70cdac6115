/* SPDX-License-Identifier: Apache-2.0 */
/* reference.c - attention as it is defined: every score of a row written down, then a softmax. */
#include "reference/reference.h"

#include <math.h>

#include "base/arena.h"
#include "base/fpmode.h"
#include "base/memory.h"
#include "reference/rule.h"
#include "reference/softmax.h"

/* The keys of one KV head in the segment's range, and room for one row. */
struct work {
    int32_t first, keys;        /* indices first .. first + keys - 1 */
    float *k;                   /* [keys][dk] */
    float *v;                   /* [keys][dv] */
    double *scores;             /* [keys] natural units, -inf where the row does not see */
    double *o;                  /* [dv] */
    int64_t pairs;              /* of row and key that see one another, so far */
    struct gqa__health *health; /* NULL = nobody looks */
};

static void carve_work(struct work *work, struct gqa__arena *arena, const struct gqa__shape *shape,
                       int32_t max_keys)
{
    work->k = gqa__arena_take(arena, (int64_t)max_keys * shape->dk, sizeof(float));
    work->v = gqa__arena_take(arena, (int64_t)max_keys * shape->dv, sizeof(float));
    work->scores = gqa__arena_take(arena, max_keys, sizeof(double));
    work->o = gqa__arena_take(arena, shape->dv, sizeof(double));
}

size_t gqa__reference_scratch_bytes(const struct gqa__params *params, int32_t max_keys)
{
    struct gqa__arena arena;
    struct work work;
    gqa__arena_count(&arena);
    carve_work(&work, &arena, &params->shape, max_keys);
    return arena.failed ? SIZE_MAX : arena.used;
}

/* sum of a[i] b[i], in f32 or in double. */
static double dot(const float *a, const float *b, int32_t n, bool f64)
{
    float narrow = 0.0f;
    double wide = 0.0;
    if (f64) {
        for (int32_t i = 0; i < n; i++) {
            wide += (double)a[i] * (double)b[i];
        }
        return wide;
    }
    for (int32_t i = 0; i < n; i++) {
        narrow += a[i] * b[i];
    }
    return (double)narrow;
}

/* scale q.k, softcap, ALiBi, bias: in this order. */
static double score(const struct gqa__params *params, const struct gqa__reference_row *row,
                    const struct gqa__reference_key *key, const float *k)
{
    const struct gqa__shape *shape = &params->shape;
    const float *q = (const float *)row->segment->q + row->token * row->segment->q_stride +
                     row->head * shape->dk;
    double softcap = (double)params->config.softcap;
    double s = dot(q, k, shape->dk, params->config.reference_f64 != 0);
    s *= (double)shape->score_scale;
    if (softcap > 0.0) {
        s = softcap * gqa__reference_tanh(s / softcap);
    }
    if (params->slopes != NULL) {
        int64_t away = row->position - key->position;
        s -= (double)params->slopes[row->head] * (double)(away < 0 ? -away : away);
    }
    return s + (double)gqa__reference_bias(row, key);
}

static void note_score(struct work *work, const struct gqa__reference_row *row, int32_t key,
                       double s)
{
    const struct gqa__segment *segment = row->segment;
    struct gqa__health_place place = {segment->entry, segment->column + row->token, row->head, key};

    if (work->health == NULL) {
        return;
    }
    if (s != s) {
        work->health->seen.nan_scores++;
    } else if (s != -INFINITY) {
        gqa__health_score(work->health, fabs(s), &place);
    }
}

/* A row over all its keys, before its sink. */
static void note_row(struct gqa__health *health, const struct gqa__reference_row *row,
                     const struct gqa__reference_state *state)
{
    const float *sinks = row->segment->sinks;

    health->seen.rows++;
    health->seen.empty_rows += state->l == 0.0 ? 1 : 0;
    health->seen.nan_rows += state->l != state->l ? 1 : 0;
    if (sinks != NULL && sinks[row->head] != -INFINITY &&
        gqa__health_has_share(state->m, state->l)) {
        gqa__health_sink(health, gqa__reference_share(state, sinks[row->head]));
    }
}

static void write_scores(const struct gqa__params *params, struct work *work,
                         const struct gqa__reference_row *row)
{
    const struct gqa__kv_view *view = &row->segment->view;
    for (int32_t j = 0; j < work->keys; j++) {
        struct gqa__reference_key key;
        key.position = gqa__view_position(view, work->first + j);
        key.column = gqa__view_column(view, work->first + j);
        work->scores[j] = -INFINITY;
        if (gqa__reference_visible(&params->shape, row, &key)) {
            work->scores[j] = score(params, row, &key, work->k + (int64_t)j * params->shape.dk);
            work->pairs++;
            note_score(work, row, work->first + j, work->scores[j]);
        }
    }
}

/* Everything that is wanted of one finished row. */
static void store(const struct gqa__reference_row *row, struct gqa__reference_state *state,
                  int64_t at)
{
    const struct gqa__segment *segment = row->segment;
    if (segment->m != NULL) { /* before the sink */
        gqa__reference_export(state, segment->m + at, segment->l + at, segment->o + at * state->dv);
    }
    if (segment->sinks != NULL) {
        gqa__reference_sink(state, segment->sinks[row->head]);
    }
    if (segment->out != NULL) {
        gqa__reference_output(state, (float *)segment->out + row->token * segment->out_stride +
                                         (int64_t)row->head * state->dv);
    }
    if (segment->lse != NULL) {
        segment->lse[at] = gqa__reference_lse(state);
    }
}

static void attend_row(const struct gqa__params *params, struct work *work,
                       const struct gqa__reference_row *row)
{
    const struct gqa__segment *segment = row->segment;
    struct gqa__reference_state state;
    int64_t at = (int64_t)row->token * params->shape.hq + row->head;
    state.o = work->o;
    state.dv = params->shape.dv;
    state.f64 = params->config.reference_f64 != 0;
    write_scores(params, work, row);
    gqa__reference_exponentiate(&state, work->scores, work->v, work->keys);
    if (segment->prior_m != NULL) {
        gqa__reference_merge(&state, segment->prior_m[at], segment->prior_l[at],
                             segment->prior_o + at * state.dv);
    }
    if (work->health != NULL) {
        note_row(work->health, row, &state);
    }
    store(row, &state, at);
}

static void attend_head(const struct gqa__params *params, const struct gqa__segment *segment,
                        int32_t kv_head, struct work *work)
{
    const struct gqa__shape *shape = &params->shape;
    struct gqa__reference_row row;
    for (int32_t j = 0; j < work->keys; j++) {
        gqa__view_load(&segment->view, kv_head, work->first + j, work->k + (int64_t)j * shape->dk,
                       work->v + (int64_t)j * shape->dv);
    }
    row.segment = segment;
    for (row.token = 0; row.token < segment->n; row.token++) {
        row.position = segment->positions[row.token];
        for (int32_t g = 0; g < shape->group; g++) {
            row.head = kv_head * shape->group + g;
            attend_row(params, work, &row);
        }
    }
}

static void count(const struct gqa__params *params, const struct gqa__segment *segment,
                  const struct work *work, gqa_work *to)
{
    const int64_t keys = (int64_t)work->keys * params->shape.hkv;
    to->keys_read += keys;
    to->kv_bytes += keys * gqa__view_key_bytes(&segment->view);
    to->score_madds += work->pairs * params->shape.dk;
    to->value_madds += work->pairs * params->shape.dv;
}

static void attend_segment(const struct gqa__params *params, const struct gqa__segment *segment,
                           void *scratch, const struct gqa__reference_record *record)
{
    int64_t end = segment->range_end > 0 ? gqa__min(segment->range_end, segment->view.length)
                                         : segment->view.length;
    struct gqa__arena arena;
    struct work work;
    work.first = (int32_t)gqa__max(segment->range_begin, segment->view.first);
    work.keys = (int32_t)gqa__max(0, end - work.first);
    work.pairs = 0;
    work.health = record->health;
    gqa__arena_open(&arena, scratch, gqa__reference_scratch_bytes(params, work.keys));
    carve_work(&work, &arena, &params->shape, work.keys);
    for (int32_t kv_head = 0; kv_head < params->shape.hkv; kv_head++) {
        attend_head(params, segment, kv_head, &work);
    }
    if (record->work != NULL) {
        count(params, segment, &work, record->work);
    }
}

void gqa__reference_attend(const struct gqa__params *params, const struct gqa__segment *segments,
                           int32_t n, void *scratch, const struct gqa__reference_record *record)
{
    gqa__fpmode saved = gqa__fpmode_enter();
    for (int32_t i = 0; i < n; i++) {
        attend_segment(params, &segments[i], scratch, record);
    }
    gqa__fpmode_leave(saved);
}
