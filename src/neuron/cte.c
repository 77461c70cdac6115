/* SPDX-License-Identifier: Apache-2.0 */
/* cte.c - attention_cte, the context encoding kernel of release 2.29 (nki-library,
 * core/attention/attention_cte.py).
 *
 *   for each section of 8192 keys (one section for up to 10240):
 *     for each group of 128 queries:
 *       MM1  S = q k              tiles of 512 keys, scaled, masked with -FLT_MAX; tile maxima
 *       m'   = max(m, maxima)     section 0: and the sink; alpha = exp(m - m'), in section 0 zero
 *       EXP  P = bf16(exp(S - m'))  tile sums, before that rounding
 *       MM2  o = sum of P v       one PSUM group per 2048 keys, over its tiles of 128; added in f32
 *       l    = l alpha + sum of the tile sums, section 0: and of exp(sink - m')
 *       O    = O alpha + o        stored in the I/O type between sections
 *     after a group's last section: out = io(O (1 / l))
 *
 * The kernel overlaps three groups (MM1 of g + 2 beside EXP of g + 1 and MM2 of g), which changes
 * no number. The caller divides q by sqrt(D) in the I/O type; inside q, k, v and P are bf16. */
#include "neuron/cte.h"

#include <float.h>
#include <string.h>

#include "base/memory.h"
#include "base/tensor.h"

static const float CTE_MASKED = -FLT_MAX; /* _FLOAT32_MIN */

/* --- scratch -----------------------------------------------------------------------------------
 */

struct cte_scratch {
    float *q;                   /* [128][dim] bf16 values */
    float *k;                   /* [dim][512] bf16 values */
    float *v;                   /* [2048][dim] bf16 values of the V tiles that are computed */
    float *p;                   /* [128][2048] exponentials of the same keys */
    float *s;                   /* [128][width] scores of the section, then exponentials */
    float *o, *pv;              /* [128][dim] of the section; of one large tile */
    float *tile_max, *tile_sum; /* [128] */
    float *section_max, *alpha; /* [128] */
    float *sums;                /* [128][k_tiles + 1] tile sums, and the sink's exponential */
    float *m, *l;               /* [resident][128] */
    float *stored;              /* [resident][128][dim] O between sections */
};

/* Groups whose state one item keeps: all when traced, for a section is walked through all groups;
 * one otherwise, for groups do not depend on one another. */
static int32_t resident_groups(const struct gqa__neuron *call, const struct gqa__cte_plan *plan)
{
    return call->in.trace == NULL ? 1 : plan->groups;
}

static void carve_cte(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                      struct gqa__arena *arena, struct cte_scratch *x)
{
    const int64_t rows = GQA__PARTITIONS;
    const int64_t state = rows * resident_groups(call, plan);
    const int64_t width = (int64_t)plan->k_tiles * GQA__CTE_K_TILE;
    const size_t f32 = sizeof(float);

    x->q = gqa__arena_take(arena, rows * call->dim, f32);
    x->k = gqa__arena_take(arena, (int64_t)call->dim * GQA__CTE_K_TILE, f32);
    x->v = gqa__arena_take(arena, (int64_t)call->dim * GQA__CTE_LARGE_TILE, f32);
    x->p = gqa__arena_take(arena, rows * GQA__CTE_LARGE_TILE, f32);
    x->s = gqa__arena_take(arena, rows * width, f32);
    x->o = gqa__arena_take(arena, rows * call->dim, f32);
    x->pv = gqa__arena_take(arena, rows * call->dim, f32);
    x->tile_max = gqa__arena_take(arena, rows, f32);
    x->tile_sum = gqa__arena_take(arena, rows, f32);
    x->section_max = gqa__arena_take(arena, rows, f32);
    x->alpha = gqa__arena_take(arena, rows, f32);
    x->sums = gqa__arena_take(arena, rows * (plan->k_tiles + 1), f32);
    x->m = gqa__arena_take(arena, state, f32);
    x->l = gqa__arena_take(arena, state, f32);
    x->stored = gqa__arena_take(arena, state * call->dim, f32);
}

static void count_cte(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    const struct gqa__cte_plan plan = gqa__cte_plan(call);
    struct cte_scratch x;

    carve_cte(call, &plan, arena, &x);
}

/* --- one group in one section ------------------------------------------------------------------
 */

struct cte_step {
    const struct gqa__neuron_worker *worker;
    const struct gqa__neuron *call;
    const struct gqa__cte_plan *plan;
    const struct cte_scratch *x;
    int32_t batch, head;
    int32_t section;
    int32_t group, rows;   /* rows of the group that are queries: the last one may have fewer */
    float *m, *l, *stored; /* state of the group: [128], [128], [128][dim] */
};

static int64_t score_step(const struct cte_step *step)
{
    return (int64_t)step->plan->k_tiles * GQA__CTE_K_TILE;
}

static gqa_neuron_tile cte_event(const struct cte_step *step, gqa_neuron_event kind)
{
    gqa_neuron_tile tile = gqa__neuron_event(step->worker, kind);

    tile.batch = step->batch;
    tile.head = step->head;
    tile.section = step->section;
    tile.query = step->group * GQA__CTE_GROUP;
    tile.rows = step->rows;
    tile.key = step->section * step->plan->section_len;
    tile.keys = (int32_t)gqa__min(step->plan->section_len, step->plan->slots - tile.key);
    return tile;
}

/* The same for tile number i of `size` keys of the section. */
static gqa_neuron_tile tile_event(const struct cte_step *step, gqa_neuron_event kind, int32_t i,
                                  const struct gqa__cte_tile *tile)
{
    gqa_neuron_tile tell = cte_event(step, kind);

    tell.tile = i;
    tell.key = tile->slot;
    tell.keys = tile->keys;
    tell.large = (tile->slot - step->section * step->plan->section_len) / GQA__CTE_LARGE_TILE;
    tell.part = tile->prior ? GQA_NEURON_PRIOR : GQA_NEURON_ACTIVE;
    tell.score_step = score_step(step);
    return tell;
}

/* Tile number i of `size` keys of the section: false where there are no keys. */
static bool tile_at(const struct cte_step *step, int32_t i, int32_t size,
                    struct gqa__cte_tile *tile, gqa_neuron_fate *fate)
{
    const int32_t slot = step->section * step->plan->section_len + i * size;

    *tile = gqa__cte_tile(step->call, step->plan, slot, size);
    *fate = gqa__cte_computes(step->call, step->plan, step->group, tile, size);
    return tile->keys > 0;
}

static struct gqa__neuron_rows cte_rows_of(const struct cte_step *step, const gqa_tensor *prior,
                                           const gqa_tensor *active,
                                           const struct gqa__cte_tile *tile)
{
    const struct gqa__neuron_rows rows = {tile->prior ? prior : active, step->batch,
                                          tile->prior ? tile->first
                                                      : tile->first + step->plan->active_offset,
                                          tile->keys, step->head / step->call->group};

    return rows;
}

/* q divided by sqrt(D) in the I/O type, which the caller does, or as it is where scores are
 * scaled; then bf16. */
static void load_cte_query(const struct cte_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t n = (int64_t)step->rows * call->dim;
    struct gqa__neuron_rows rows = {&call->in.q, step->batch, step->group * GQA__CTE_GROUP,
                                    step->rows, step->head};

    gqa__neuron_load(&rows, step->x->q);
    for (int64_t e = 0; call->in.scale == 1.0f && e < n; e++) {
        step->x->q[e] = gqa__engine_round(call->io, step->x->q[e] / call->divisor);
    }
    if (call->out.q_scaled.data != NULL) {
        rows.tensor = &call->out.q_scaled;
        gqa__neuron_store(&rows, step->x->q);
    }
    gqa__engine_round_all(GQA_BF16, step->x->q, n);
}

/* --- MM1 ---------------------------------------------------------------------------------------
 */

/* Scale and mask the scores of row r of a tile. A static mask is scaled with the scores. Returns
 * how many keys the row sees. */
static int64_t mask_cte_row(const struct cte_step *step, const struct gqa__cte_tile *tile,
                            int32_t r, gqa_neuron_masking masking, float *s)
{
    const float scale = step->call->in.scale;
    const float fill = masking == GQA_NEURON_MASKING_AFFINE ? CTE_MASKED * scale : CTE_MASKED;
    const struct gqa__cte_range sees =
        gqa__cte_sees(step->call, step->plan, step->group * GQA__CTE_GROUP + r, tile->prior);
    const int64_t begin = gqa__max(sees.begin - tile->first, 0);
    const int64_t end = gqa__min(sees.end - tile->first, tile->keys);

    for (int64_t c = 0; c < tile->keys; c++) {
        s[c] = c >= begin && c < end ? s[c] * scale : fill;
    }
    return gqa__max(end - begin, 0);
}

static void score_cte_tile(const struct cte_step *step, int32_t i, const struct gqa__cte_tile *tile)
{
    const struct gqa__neuron *const call = step->call;
    const struct cte_scratch *const x = step->x;
    const gqa_neuron_masking masking = gqa__cte_masking(call, step->plan, step->group, tile);
    const struct gqa__neuron_rows keys = cte_rows_of(step, &call->in.k_prior, &call->in.k, tile);
    float *const s = x->s + (int64_t)i * GQA__CTE_K_TILE;
    const struct gqa__psum scores = {.accumulation = call->in.accumulation,
                                     .a = x->q,
                                     .a_step = call->dim,
                                     .b = x->k,
                                     .b_step = GQA__CTE_K_TILE,
                                     .out = s,
                                     .out_step = score_step(step),
                                     .rows = step->rows,
                                     .inner = call->dim,
                                     .columns = tile->keys};
    gqa_neuron_tile tell = tile_event(step, GQA_NEURON_MM1, i, tile);
    int64_t visible = 0;

    gqa__neuron_load_turned(&keys, x->k, GQA__CTE_K_TILE);
    for (int64_t d = 0; d < call->dim; d++) {
        gqa__engine_round_all(GQA_BF16, x->k + d * GQA__CTE_K_TILE, tile->keys);
    }
    gqa__psum_group(&scores);
    for (int32_t r = 0; r < step->rows; r++) {
        float *const row = s + r * score_step(step);
        const int64_t seen = mask_cte_row(step, tile, r, masking, row);
        x->tile_max[r] = gqa__engine_max(row, tile->keys);
        x->section_max[r] = x->tile_max[r] > x->section_max[r] ? x->tile_max[r] : x->section_max[r];
        visible += seen;
        tell.rows_without_keys += seen == 0;
    }
    tell.fate = visible == (int64_t)step->rows * tile->keys ? GQA_NEURON_WHOLE
                : visible > 0                               ? GQA_NEURON_MASKED
                                                            : GQA_NEURON_ALL_MASKED;
    tell.masking = masking;
    tell.s = s;
    tell.tile_max = x->tile_max;
    tell.madds = (int64_t)step->rows * tile->keys * call->dim;
    gqa__neuron_emit(step->worker, &tell);
}

static void score_section(const struct cte_step *step)
{
    struct gqa__cte_tile tile;
    gqa_neuron_fate fate;

    for (int32_t i = 0; i < step->plan->k_tiles; i++) {
        if (!tile_at(step, i, GQA__CTE_K_TILE, &tile, &fate)) {
            continue;
        }
        if (fate == GQA_NEURON_WHOLE) {
            score_cte_tile(step, i, &tile);
        } else {
            gqa_neuron_tile tell = tile_event(step, GQA_NEURON_MM1, i, &tile);
            tell.fate = fate;
            tell.rows_without_keys = step->rows;
            gqa__neuron_emit(step->worker, &tell);
        }
    }
}

/* --- EXP ---------------------------------------------------------------------------------------
 */

static void exponentiate_tile(const struct cte_step *step, int32_t i,
                              const struct gqa__cte_tile *tile)
{
    const struct cte_scratch *const x = step->x;
    float *const s = x->s + (int64_t)i * GQA__CTE_K_TILE;
    gqa_neuron_tile tell = tile_event(step, GQA_NEURON_EXP, i, tile);

    for (int32_t r = 0; r < step->rows; r++) {
        float *const p = s + r * score_step(step);
        for (int32_t c = 0; c < tile->keys; c++) {
            p[c] = gqa__engine_exp(p[c] - step->m[r]);
        }
        x->tile_sum[r] = gqa__engine_sum(step->call->in.accumulation, p, tile->keys);
        x->sums[r * (step->plan->k_tiles + 1) + i] = x->tile_sum[r];
        gqa__engine_round_all(GQA_BF16, p, tile->keys);
    }
    tell.p = s;
    tell.row_sum = x->tile_sum;
    gqa__neuron_emit(step->worker, &tell);
}

/* Exponentials of the tiles that were computed, and the sink's in section 0: its place is the last
 * of the sums. */
static void exponentiate_section(const struct cte_step *step)
{
    const struct cte_scratch *const x = step->x;
    const int32_t width = step->plan->k_tiles + 1;
    const bool sink = step->call->in.sinks.data != NULL && step->section == 0;
    const float logit = sink ? gqa__neuron_sink(step->call, step->head) : 0.0f;
    struct gqa__cte_tile tile;
    gqa_neuron_fate fate;

    memset(x->sums, 0, (size_t)width * GQA__PARTITIONS * sizeof *x->sums);
    for (int32_t i = 0; i < step->plan->k_tiles; i++) {
        if (tile_at(step, i, GQA__CTE_K_TILE, &tile, &fate) && fate == GQA_NEURON_WHOLE) {
            exponentiate_tile(step, i, &tile);
        }
    }
    for (int32_t r = 0; sink && r < step->rows; r++) {
        x->sums[r * width + width - 1] = gqa__engine_exp(logit - step->m[r]);
    }
}

/* --- MM2 ---------------------------------------------------------------------------------------
 */

/* V tile number i joins the PSUM group of its large tile, which has `keys` keys so far. */
static void gather_tile(const struct cte_step *step, int32_t i, const struct gqa__cte_tile *tile,
                        int32_t keys)
{
    const struct gqa__neuron *const call = step->call;
    const struct cte_scratch *const x = step->x;
    const struct gqa__neuron_rows values = cte_rows_of(step, &call->in.v_prior, &call->in.v, tile);
    float *const v = x->v + (int64_t)keys * call->dim;
    gqa_neuron_tile tell = tile_event(step, GQA_NEURON_MM2, i, tile);

    gqa__neuron_load(&values, v);
    gqa__engine_round_all(GQA_BF16, v, (int64_t)tile->keys * call->dim);
    for (int32_t r = 0; r < step->rows; r++) {
        memcpy(x->p + (int64_t)r * GQA__CTE_LARGE_TILE + keys,
               x->s + r * score_step(step) + (int64_t)i * GQA__CTE_V_TILE,
               (size_t)tile->keys * sizeof *x->p);
    }
    tell.madds = (int64_t)step->rows * tile->keys * call->dim;
    gqa__neuron_emit(step->worker, &tell);
}

/* o += P v over the V tiles of large tile number j that are computed. */
static void multiply_large_tile(const struct cte_step *step, int32_t j)
{
    const struct gqa__neuron *const call = step->call;
    const struct cte_scratch *const x = step->x;
    const int32_t per_large = GQA__CTE_LARGE_TILE / GQA__CTE_V_TILE;
    const int32_t end = (int32_t)gqa__min((j + 1) * per_large, step->plan->v_tiles);
    struct gqa__psum values = {.accumulation = call->in.accumulation,
                               .a = x->p,
                               .a_step = GQA__CTE_LARGE_TILE,
                               .b = x->v,
                               .b_step = call->dim,
                               .out = x->pv,
                               .out_step = call->dim,
                               .rows = step->rows,
                               .columns = call->dim};
    gqa_neuron_tile tell = cte_event(step, GQA_NEURON_LARGE);
    struct gqa__cte_tile tile;
    gqa_neuron_fate fate;

    for (int32_t i = j * per_large; i < end; i++) {
        if (!tile_at(step, i, GQA__CTE_V_TILE, &tile, &fate)) {
            continue;
        }
        if (fate == GQA_NEURON_WHOLE) {
            gather_tile(step, i, &tile, values.inner);
            values.inner += tile.keys;
        } else {
            gqa_neuron_tile skipped = tile_event(step, GQA_NEURON_MM2, i, &tile);
            skipped.fate = fate;
            gqa__neuron_emit(step->worker, &skipped);
        }
    }
    if (values.inner > 0) {
        gqa__psum_group(&values);
        for (int64_t e = 0; e < (int64_t)step->rows * call->dim; e++) {
            x->o[e] += x->pv[e];
        }
    }
    tell.large = j;
    tell.o = x->o;
    gqa__neuron_emit(step->worker, &tell);
}

/* --- state -------------------------------------------------------------------------------------
 */

static void update_max(const struct cte_step *step)
{
    for (int32_t r = 0; r < step->rows; r++) {
        const float most = step->x->section_max[r];
        const float m_new = most > step->m[r] ? most : step->m[r];
        step->x->alpha[r] = step->section == 0 ? 0.0f : gqa__engine_exp(step->m[r] - m_new);
        step->m[r] = m_new;
    }
}

static void update_sum(const struct cte_step *step)
{
    const int32_t width = step->plan->k_tiles + 1;

    for (int32_t r = 0; r < step->rows; r++) {
        const float sum =
            gqa__engine_sum(step->call->in.accumulation, step->x->sums + r * width, width);
        const float scaled = step->l[r] * step->x->alpha[r];
        step->l[r] = scaled + sum;
    }
}

/* O = O alpha + o; in section 0 there is no O yet. */
static void update_output(const struct cte_step *step)
{
    const int32_t dim = step->call->dim;

    for (int32_t r = 0; r < step->rows; r++) {
        float *const stored = step->stored + (int64_t)r * dim;
        const float *const o = step->x->o + (int64_t)r * dim;
        for (int32_t d = 0; d < dim; d++) {
            const float scaled = stored[d] * step->x->alpha[r];
            stored[d] = step->section == 0 ? o[d] : scaled + o[d];
        }
    }
}

/* Entry [p, g] of the kernel's softmax cache; 0 where p is no query. */
static void store_softmax(const struct cte_step *step, const gqa_tensor *cache, const float *from)
{
    for (int32_t p = 0; cache->data != NULL && p < GQA__PARTITIONS; p++) {
        gqa__store_f32(cache,
                       step->batch * cache->stride[0] + step->head * cache->stride[1] +
                           p * cache->stride[2] + step->group,
                       &from[p], 1);
    }
}

/* out = io(O (1 / l)) */
static void finish_group(const struct cte_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__neuron_rows rows = {&call->out.out, step->batch, step->group * GQA__CTE_GROUP,
                                          step->rows, step->head};
    float recip[GQA__PARTITIONS] = {0.0f}, neg_max[GQA__PARTITIONS] = {0.0f};
    gqa_neuron_tile tell = cte_event(step, GQA_NEURON_ROWS);

    for (int32_t r = 0; r < step->rows; r++) {
        recip[r] = 1.0f / step->l[r];
        neg_max[r] = -step->m[r];
        float *const o = step->stored + (int64_t)r * call->dim;
        for (int32_t d = 0; d < call->dim; d++) {
            o[d] = gqa__engine_round(call->io, o[d] * recip[r]);
        }
    }
    gqa__neuron_store(&rows, step->stored);
    store_softmax(step, &call->out.neg_max, neg_max);
    store_softmax(step, &call->out.recip, recip);
    tell.key = tell.keys = 0;
    tell.m = step->m;
    tell.l = step->l;
    tell.o = step->stored;
    gqa__neuron_emit(step->worker, &tell);
}

/* Bytes that the section loads for this group: its q; K and V with the first group, for all of
 * them; and O of the sections before. */
static int64_t section_bytes(const struct cte_step *step, bool computed)
{
    const int64_t width = (step->call->io == GQA_BF16 ? 2 : 4) * (int64_t)step->call->dim;
    const int32_t begin = step->section * step->plan->section_len;
    const int32_t end = (int32_t)gqa__min(begin + step->plan->section_len, step->plan->slots);
    const int64_t padding =
        gqa__max(0, gqa__min(end, step->plan->prior_padded) - gqa__max(begin, step->call->prior));
    int64_t rows = computed ? step->rows : 0;

    if (step->group == 0) {
        rows += 2 * (end - begin - padding);
    }
    if (computed && step->section > 0) {
        rows += step->rows;
    }
    return rows * width;
}

static void skip_section(const struct cte_step *step)
{
    gqa_neuron_tile tell = cte_event(step, GQA_NEURON_SECTION);

    score_section(step); /* tells of each tile that it is skipped */
    tell.fate = GQA_NEURON_SKIPPED_CAUSAL;
    tell.hbm_bytes = section_bytes(step, false);
    gqa__neuron_emit(step->worker, &tell);
}

static void start_max(const struct cte_step *step)
{
    const bool sink = step->call->in.sinks.data != NULL && step->section == 0;
    const float logit = sink ? gqa__neuron_sink(step->call, step->head) : CTE_MASKED;

    for (int32_t r = 0; r < step->rows; r++) {
        step->x->section_max[r] = logit > CTE_MASKED ? logit : CTE_MASKED;
    }
}

/* One group in one section. */
static void run_cte_group(const struct cte_step *step)
{
    const struct gqa__cte_plan *const plan = step->plan;
    gqa_neuron_tile tell = cte_event(step, GQA_NEURON_SECTION);
    bool last;

    if (!gqa__cte_computes_section(step->call, plan, step->group, step->section)) {
        skip_section(step);
        return;
    }
    last = step->section == plan->sections - 1 ||
           !gqa__cte_computes_section(step->call, plan, step->group, step->section + 1);
    load_cte_query(step);
    start_max(step);
    score_section(step);
    update_max(step);
    exponentiate_section(step);
    memset(step->x->o, 0, GQA__PARTITIONS * (size_t)step->call->dim * sizeof *step->x->o);
    for (int32_t j = 0; j < plan->large_tiles; j++) {
        multiply_large_tile(step, j);
    }
    update_sum(step);
    update_output(step);
    if (!last) {
        gqa__engine_round_all(step->call->io, step->stored, (int64_t)step->rows * step->call->dim);
    }
    tell.fate = GQA_NEURON_WHOLE;
    tell.hbm_bytes = section_bytes(step, true);
    tell.m = step->m;
    tell.l = step->l;
    tell.alpha = step->x->alpha;
    tell.o = last ? NULL : step->stored;
    gqa__neuron_emit(step->worker, &tell);
    if (last) {
        finish_group(step);
    }
}

/* --- items -------------------------------------------------------------------------------------
 */

static int64_t cte_items(const struct gqa__neuron *call)
{
    const struct gqa__cte_plan plan = gqa__cte_plan(call);
    const int64_t heads = (int64_t)call->batch * call->hq;

    return call->in.trace == NULL ? heads * plan.groups : plan.groups > 0 ? heads : 0;
}

/* Some groups of one head, through all sections. */
static void run_cte(const struct gqa__neuron_worker *worker, struct gqa__arena *scratch,
                    int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    const struct gqa__cte_plan plan = gqa__cte_plan(call);
    const int32_t resident = resident_groups(call, &plan);
    const int64_t head = item / (plan.groups / resident);
    const int32_t begin = (int32_t)(item % (plan.groups / resident)) * resident;
    const int64_t state = (int64_t)resident * GQA__PARTITIONS;
    struct cte_scratch x;
    struct cte_step step = {.worker = worker, .call = call, .plan = &plan, .x = &x};

    carve_cte(call, &plan, scratch, &x);
    step.batch = (int32_t)(head / call->hq);
    step.head = (int32_t)(head % call->hq);
    for (int64_t r = 0; r < state; r++) {
        x.m[r] = CTE_MASKED;
        x.l[r] = 0.0f;
    }
    memset(x.stored, 0, (size_t)(state * call->dim) * sizeof *x.stored);
    for (step.section = 0; step.section < plan.sections; step.section++) {
        for (int32_t n = 0; n < resident; n++) {
            step.group = begin + n;
            step.rows =
                (int32_t)gqa__min(GQA__CTE_GROUP, call->tokens - step.group * GQA__CTE_GROUP);
            step.m = x.m + (int64_t)n * GQA__PARTITIONS;
            step.l = x.l + (int64_t)n * GQA__PARTITIONS;
            step.stored = x.stored + (int64_t)n * GQA__PARTITIONS * call->dim;
            run_cte_group(&step);
        }
    }
}

const struct gqa__neuron_path gqa__neuron_cte = {
    GQA_NEURON_CTE,
    "cte",
    GQA__TAKES_PRIOR | GQA__TAKES_SINKS | GQA__TAKES_WINDOW | GQA__TAKES_BIDIRECTIONAL |
        GQA__TAKES_SCALE | GQA__TAKES_DIVISOR | GQA__TAKES_PRIOR_USED | GQA__TAKES_CP |
        GQA__TAKES_BOUNDS | GQA__TAKES_SOFTMAX_CACHE | GQA__TAKES_Q_SCALED,
    GQA__TAKES_MASK | GQA__TAKES_PRIOR_MASK,
    gqa__cte_check,
    NULL,
    cte_items,
    count_cte,
    run_cte,
};
