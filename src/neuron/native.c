/* SPDX-License-Identifier: Apache-2.0 */
/* native.c - see native.h. */
#include "neuron/native.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

float gqa__native_lowest(gqa_dtype type)
{
    return type == GQA_BF16 ? gqa__bf16_to_f32(0xff7fu) : -FLT_MAX;
}

/* --- checks -------------------------------------------------------------------------------------
 */

gqa_status gqa__native_check_new_tokens(const struct gqa__neuron *call, gqa_error *err)
{
    if (!gqa__present(&call->in.k_prior)) {
        return gqa__fail(err, GQA_ERR_ARG, "call.k_prior", "is absent; profile %s needs it",
                         call->path->name);
    }
    if (call->keys != call->tokens) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.k",
                         "shape[1] is %d; it must be call.q's, %d: the keys are those of the new "
                         "tokens",
                         (int)call->keys, (int)call->tokens);
    }
    return GQA_OK;
}

void gqa__native_drop_sinks(struct gqa__neuron *call, const char *text)
{
    if (gqa__present(&call->in.sinks)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_SINKS_DROPPED, "call.sinks", text);
        call->in.sinks.data = NULL;
    }
}

/* --- scratch ------------------------------------------------------------------------------------
 */

int32_t gqa__native_tile_rows(const struct gqa__neuron *call)
{
    return (int32_t)gqa__min(call->tokens, GQA__PARTITIONS);
}

void gqa__native_carve_rows(const struct gqa__neuron *call, struct gqa__arena *arena,
                            struct gqa__native_rows *rows)
{
    const int64_t n = gqa__native_tile_rows(call);

    rows->q = gqa__arena_take(arena, n * call->dim, sizeof *rows->q);
    rows->m = gqa__arena_take(arena, n, sizeof *rows->m);
    rows->l = gqa__arena_take(arena, n, sizeof *rows->l);
    rows->seen = gqa__arena_take(arena, n, sizeof *rows->seen);
}

void gqa__native_carve_part(const struct gqa__neuron *call, struct gqa__arena *arena, int32_t keys,
                            struct gqa__native_part *part)
{
    const int64_t n = gqa__native_tile_rows(call);
    const int64_t columns = keys;

    part->keys = keys;
    part->k_turned = gqa__arena_take(arena, call->dim * columns, sizeof *part->k_turned);
    part->v = gqa__arena_take(arena, columns * call->dim, sizeof *part->v);
    part->sees = gqa__arena_take(arena, n * columns, sizeof *part->sees);
    part->s_raw = gqa__arena_take(arena, n * columns, sizeof *part->s_raw);
    part->s = gqa__arena_take(arena, n * columns, sizeof *part->s);
    part->p = gqa__arena_take(arena, n * columns, sizeof *part->p);
    part->e = gqa__arena_take(arena, columns + 1, sizeof *part->e);
    part->o = gqa__arena_take(arena, n * call->dim, sizeof *part->o);
}

/* --- items --------------------------------------------------------------------------------------
 */

static int64_t row_tiles(const struct gqa__neuron *call)
{
    return ((int64_t)call->tokens + GQA__PARTITIONS - 1) / GQA__PARTITIONS;
}

int64_t gqa__native_items(const struct gqa__neuron *call)
{
    return (int64_t)call->batch * call->hq * row_tiles(call);
}

void gqa__native_open(const struct gqa__neuron_worker *worker, int64_t item,
                      struct gqa__native_rows *rows)
{
    const struct gqa__neuron *const call = worker->call;
    const int64_t head = item / row_tiles(call);

    rows->worker = worker;
    rows->batch = (int32_t)(head / call->hq);
    rows->head = (int32_t)(head % call->hq);
    rows->rank = 0;
    rows->first = (int32_t)(item % row_tiles(call)) * GQA__PARTITIONS;
    rows->rows = (int32_t)gqa__min(call->tokens - rows->first, GQA__PARTITIONS);
    rows->has_sink = gqa__present(&call->in.sinks);
    rows->sink = rows->has_sink ? gqa__neuron_sink(call, rows->head) : 0.0f;
    for (int32_t r = 0; r < rows->rows; r++) {
        rows->m[r] = rows->has_sink ? rows->sink : -INFINITY;
        rows->seen[r] = 0;
    }
    const struct gqa__neuron_rows queries = {&call->in.q, rows->batch, rows->first, rows->rows,
                                             rows->head};
    gqa__neuron_load(&queries, rows->q);
}

void gqa__native_load(const struct gqa__native_rows *rows, const struct gqa__native_source *source,
                      struct gqa__native_part *part)
{
    const struct gqa__neuron *const call = rows->worker->call;
    const int32_t kv_head = rows->head / call->group;
    const struct gqa__neuron_rows keys = {source->k, rows->batch, 0, part->keys, kv_head};
    const struct gqa__neuron_rows values = {source->v, rows->batch, 0, part->keys, kv_head};

    gqa__neuron_load_turned(&keys, part->k_turned, part->keys);
    gqa__neuron_load(&values, part->v);
}

void gqa__native_look(const struct gqa__native_rows *rows, const gqa_tensor *mask,
                      struct gqa__native_part *part)
{
    for (int32_t r = 0; r < rows->rows; r++) {
        uint8_t *const sees = part->sees + (int64_t)r * part->keys;
        for (int32_t c = 0; c < part->keys; c++) {
            sees[c] = gqa__neuron_sees(mask, rows->batch, rows->first + r, c);
        }
    }
}

/* --- events -------------------------------------------------------------------------------------
 */

static gqa_neuron_tile event_of(const struct gqa__native_rows *rows,
                                const struct gqa__native_part *part, gqa_neuron_event event)
{
    gqa_neuron_tile tile = gqa__neuron_event(rows->worker, event);

    tile.batch = rows->batch;
    tile.head = rows->head;
    tile.rank = rows->rank;
    tile.query = rows->first;
    tile.rows = rows->rows;
    if (part != NULL) {
        tile.part = part->part;
        tile.key = part->first;
        tile.keys = part->keys;
        tile.score_step = part->keys;
        tile.masking = GQA_NEURON_MASKING_TENSOR;
    }
    return tile;
}

/* One product, and its operand that is loaded: the keys or the values. */
static void count_product(gqa_neuron_tile *tile, const struct gqa__native_rows *rows)
{
    const struct gqa__neuron *const call = rows->worker->call;

    tile->hbm_bytes = (int64_t)tile->keys * call->dim * (int64_t)gqa__dtype_size(call->io);
    tile->madds = (int64_t)tile->rows * tile->keys * call->dim;
}

/* --- arithmetic ---------------------------------------------------------------------------------
 */

static int64_t count_seen(const uint8_t *sees, int32_t keys)
{
    int64_t seen = 0;

    for (int32_t c = 0; c < keys; c++) {
        seen += sees[c];
    }
    return seen;
}

static void emit_scores(const struct gqa__native_rows *rows, const struct gqa__native_part *part)
{
    gqa_neuron_tile tile = event_of(rows, part, GQA_NEURON_MM1);
    int64_t seen = 0;

    for (int32_t r = 0; r < rows->rows; r++) {
        const int64_t in_row = count_seen(part->sees + (int64_t)r * part->keys, part->keys);
        tile.rows_without_keys += in_row == 0;
        rows->seen[r] += in_row;
        seen += in_row;
    }
    tile.fate = seen == 0                                 ? GQA_NEURON_ALL_MASKED
                : seen < (int64_t)rows->rows * part->keys ? GQA_NEURON_MASKED
                                                          : GQA_NEURON_WHOLE;
    tile.s_raw = part->s_raw;
    tile.s = part->s;
    count_product(&tile, rows);
    gqa__neuron_emit(rows->worker, &tile);
}

void gqa__native_scores(const struct gqa__native_rows *rows, const struct gqa__native_part *part)
{
    const struct gqa__neuron *const call = rows->worker->call;
    const int32_t keys = part->keys;
    const int64_t n = (int64_t)rows->rows * keys;
    const struct gqa__psum psum = {.accumulation = call->in.accumulation,
                                   .a = rows->q,
                                   .b = part->k_turned,
                                   .out = part->s_raw,
                                   .a_step = call->dim,
                                   .b_step = keys,
                                   .out_step = keys,
                                   .rows = rows->rows,
                                   .inner = call->dim,
                                   .columns = keys};

    gqa__psum_group(&psum);
    gqa__engine_round_all(call->io, part->s_raw, n);
    for (int64_t i = 0; i < n; i++) {
        const float s = gqa__engine_round(call->io, part->s_raw[i] / call->divisor);
        part->s[i] = part->sees[i] != 0 ? s : part->unseen;
    }
    for (int32_t r = 0; r < rows->rows && keys > 0; r++) {
        const float most = gqa__engine_max(part->s + (int64_t)r * keys, keys);
        rows->m[r] = most > rows->m[r] ? most : rows->m[r];
    }
    emit_scores(rows, part);
}

float gqa__native_exponentials(const struct gqa__native_rows *rows,
                               const struct gqa__native_part *part, int32_t row, const float *sink)
{
    const float *const s = part->s + (int64_t)row * part->keys;
    const float m = rows->m[row];
    int64_t columns = part->keys;

    for (int32_t c = 0; c < part->keys; c++) {
        part->e[c] = gqa__engine_exp(s[c] - m);
    }
    if (sink != NULL) {
        part->e[columns++] = gqa__engine_exp(*sink - m);
    }
    return gqa__engine_sum(rows->worker->call->in.accumulation, part->e, columns);
}

void gqa__native_weights(const struct gqa__native_rows *rows, const struct gqa__native_part *part,
                         int32_t row)
{
    const gqa_dtype io = rows->worker->call->io;
    float *const p = part->p + (int64_t)row * part->keys;

    for (int32_t c = 0; c < part->keys; c++) {
        p[c] = gqa__engine_round(io, part->e[c] / rows->l[row]);
    }
}

void gqa__native_product(const struct gqa__native_rows *rows, const struct gqa__native_part *part)
{
    const struct gqa__neuron *const call = rows->worker->call;
    const struct gqa__psum psum = {.accumulation = call->in.accumulation,
                                   .a = part->p,
                                   .b = part->v,
                                   .out = part->o,
                                   .a_step = part->keys,
                                   .b_step = call->dim,
                                   .out_step = call->dim,
                                   .rows = rows->rows,
                                   .inner = part->keys,
                                   .columns = call->dim};
    gqa_neuron_tile exponentials = event_of(rows, part, GQA_NEURON_EXP);
    gqa_neuron_tile product = event_of(rows, part, GQA_NEURON_MM2);

    exponentials.p = part->p;
    gqa__neuron_emit(rows->worker, &exponentials);
    gqa__psum_group(&psum);
    gqa__engine_round_all(call->io, part->o, (int64_t)rows->rows * call->dim);
    count_product(&product, rows);
    gqa__neuron_emit(rows->worker, &product);
}

void gqa__native_section(const struct gqa__native_rows *rows, const struct gqa__native_part *part,
                         const float *m, const float *l, const float *o)
{
    gqa_neuron_tile tile = event_of(rows, part, GQA_NEURON_SECTION);

    tile.m = m;
    tile.l = l;
    tile.o = o;
    gqa__neuron_emit(rows->worker, &tile);
}

void gqa__native_close(const struct gqa__native_rows *rows, const float *o)
{
    const struct gqa__neuron *const call = rows->worker->call;
    const struct gqa__neuron_rows out = {&call->out.out, rows->batch, rows->first, rows->rows,
                                         rows->head};
    gqa_neuron_tile tile = event_of(rows, NULL, GQA_NEURON_ROWS);

    for (int32_t r = 0; r < rows->rows; r++) {
        rows->worker->count->rows_without_keys += rows->seen[r] == 0 && !rows->has_sink;
    }
    gqa__neuron_store(&out, o);
    tile.m = rows->m;
    tile.l = rows->l;
    tile.o = o;
    gqa__neuron_emit(rows->worker, &tile);
}

/* --- prior and active keys ----------------------------------------------------------------------
 */

static void carve_pair(const struct gqa__neuron *call, struct gqa__arena *arena,
                       struct gqa__native_pair *pair)
{
    gqa__native_carve_rows(call, arena, &pair->rows);
    gqa__native_carve_part(call, arena, call->prior, &pair->prior);
    gqa__native_carve_part(call, arena, call->keys, &pair->active);
    pair->o =
        gqa__arena_take(arena, (int64_t)gqa__native_tile_rows(call) * call->dim, sizeof *pair->o);
}

void gqa__native_pair_scratch(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct gqa__native_pair pair;

    carve_pair(call, arena, &pair);
}

void gqa__native_pair_open(const struct gqa__neuron_worker *worker, struct gqa__arena *arena,
                           int64_t item, struct gqa__native_pair *pair)
{
    const struct gqa__neuron *const call = worker->call;
    const struct gqa__native_source cached = {&call->in.k_prior, &call->in.v_prior};
    const struct gqa__native_source given = {&call->in.k, &call->in.v};

    carve_pair(call, arena, pair);
    pair->prior.part = GQA_NEURON_PRIOR;
    pair->prior.first = 0;
    pair->active.part = GQA_NEURON_ACTIVE;
    pair->active.first = call->prior;
    pair->prior.unseen = pair->active.unseen = gqa__native_lowest(call->io);
    gqa__native_open(worker, item, &pair->rows);
    gqa__native_load(&pair->rows, &cached, &pair->prior);
    gqa__native_load(&pair->rows, &given, &pair->active);
}

void gqa__native_pair_attend(struct gqa__native_pair *pair)
{
    struct gqa__native_rows *const rows = &pair->rows;
    const struct gqa__neuron *const call = rows->worker->call;
    const struct gqa__native_part *const prior = &pair->prior;
    const struct gqa__native_part *const active = &pair->active;
    const float *const sink = rows->has_sink ? &rows->sink : NULL;
    const int64_t n = (int64_t)rows->rows * call->dim;

    gqa__native_scores(rows, prior);
    gqa__native_scores(rows, active);
    for (int32_t r = 0; r < rows->rows; r++) {
        const float of_prior = gqa__native_exponentials(rows, prior, r, sink);
        rows->l[r] = of_prior + gqa__native_exponentials(rows, active, r, NULL);
        gqa__native_weights(rows, prior, r);
        gqa__native_weights(rows, active, r);
    }
    gqa__native_product(rows, prior);
    gqa__native_section(rows, prior, NULL, NULL, prior->o);
    gqa__native_product(rows, active);
    gqa__native_section(rows, active, NULL, NULL, active->o);
    for (int64_t i = 0; i < n; i++) {
        pair->o[i] = gqa__engine_round(call->io, prior->o[i] + active->o[i]);
    }
    gqa__native_close(rows, pair->o);
}
