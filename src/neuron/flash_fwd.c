/* SPDX-License-Identifier: Apache-2.0 */
/* flash_fwd.c - the sliding window and causal kernel of releases 2.26 and 2.27
 * (modules/sliding_window/attention.py, flash_fwd).
 *
 *   for each block of attn_core_tile query tiles, whose state (m, l, o) stays on the chip:
 *     for each large tile j of keys: load K and V
 *       for each query tile i of the block, unless the tile is skipped:
 *         S   = q k           one product group per sub-tile of 512 keys; invisible: -9984
 *         m'  = max(m, max S) alpha = exp(m - m')
 *         P   = bf16(exp(S - m')), row_sum = sum of the exponentials before that rounding
 *         o   = o alpha + P v one product group over the whole large tile
 *         l   = m' + log(exp(l - m') + row_sum)      l is a running log-sum-exp
 *     out = bf16(o exp(m - l))
 *
 * Everything but the products is f32. q is rounded to bf16, scaled, and rounded again. */
#include "neuron/neuron.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "neuron/flash_state.h"

static const float FLASH_MASKED = -9984.0f; /* NEG_INFINITY: instead of minus infinity */

enum {
    SUB_TILE = GQA__PSUM_FREE, /* B_F_SIZE */
    LEAST_LARGE_TILE = 512,    /* MIN_SLIDING_WINDOW_SEQ_TILE_SIZE */
    LARGE_TILE = 2048,         /* DEFAULT_SLIDING_WINDOW_SEQ_TILE_SIZE */
    CORE_TILE = 256,           /* FlashConfig.attn_core_tile_size */
    MOST_REDUCTION = 2048,     /* REDUCTION_TILE = min(2048, large tile / 2) */
    FLASH_MOST_DIM = 128
};

/* --- limits ------------------------------------------------------------------------------------
 */

static gqa_status check_flash_limits(struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const struct gqa__neuron_limit dim = {"call.q", "head_dim", call->dim,
                                          "at most 128 (flash_fwd asserts d <= 128)"};
    const struct gqa__neuron_limit keys = {
        "call.k", "the number of keys", call->keys,
        "a multiple of seq_tile (flash_fwd asserts seqlen_k % LARGE_TILE_SZ == 0)"};
    const struct gqa__neuron_limit window = {
        "call.window", "window", in->window,
        "a multiple of 256 (NxDI passes T = W and K = 2 W, and 512 must divide K)"};
    gqa_status status = gqa__neuron_hold(call, call->dim <= FLASH_MOST_DIM, &dim, err);

    if (status == GQA_OK) {
        status = gqa__neuron_hold(call, call->keys % in->seq_tile == 0, &keys, err);
    }
    if (status == GQA_OK && in->windowed_context_encoding != 0) {
        status = gqa__neuron_hold(call, in->window % 256 == 0, &window, err);
    }
    return status;
}

static gqa_status check_flash_arguments(struct gqa__neuron *call, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;

    if (in->release == GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.release",
                         "is 2.29, which no longer calls flash_fwd; it must be 2.26 or 2.27");
    }
    if (in->bidirectional != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.bidirectional",
                         "is %d; it must be 0: no window_size reaches flash_fwd without its causal "
                         "mask",
                         (int)in->bidirectional);
    }
    if (in->right_window != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.right_window",
                         "is %d; it must be 0 (flash_fwd asserts right_window_size < 0)",
                         (int)in->right_window);
    }
    if (in->seq_tile < LEAST_LARGE_TILE || in->seq_tile % SUB_TILE != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.seq_tile",
                         "is %d; it must be a multiple of %d (flash_fwd asserts at least %d, and "
                         "leaves out what 512 does not divide)",
                         (int)in->seq_tile, SUB_TILE, LEAST_LARGE_TILE);
    }
    if (in->attn_core_tile < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "call.attn_core_tile", "is %d; it must be at least 1",
                         (int)in->attn_core_tile);
    }
    if (in->windowed_context_encoding != 0 && in->release == GQA_NEURON_2_26) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.windowed_context_encoding",
                         "is 1, but release 2.26 has none; it must be 2.27");
    }
    if (in->windowed_context_encoding != 0 &&
        (in->window == 0 || in->window % GQA__PARTITIONS != 0)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.window",
                         "is %d; with windowed context encoding it must be a multiple of 128: "
                         "flash_fwd would score visible keys as 0",
                         (int)in->window);
    }
    return GQA_OK;
}

static gqa_status check_flash(struct gqa__neuron *call, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;
    gqa_status status;

    in->release = in->release == GQA_NEURON_NEWEST ? GQA_NEURON_2_27 : in->release;
    if (in->seq_tile == 0) { /* as NxDI chooses its FlashConfig */
        in->seq_tile = call->tokens >= LARGE_TILE ? LARGE_TILE : LEAST_LARGE_TILE;
    }
    in->attn_core_tile = in->attn_core_tile == 0 ? CORE_TILE : in->attn_core_tile;
    if (in->scale == 0.0f) {
        in->scale = (float)(1.0 / sqrt((double)call->dim));
    }
    status = check_flash_arguments(call, err);
    if (status == GQA_OK) {
        status = check_flash_limits(call, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (in->sinks.data != NULL) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_SINKS_DROPPED, "call.sinks",
                         "flash_fwd drops learned sinks");
    }
    if (in->mask.data != NULL) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "call.mask",
                         "flash_fwd has no mask but its causal one and the window");
    }
    if (call->tokens % GQA__PARTITIONS != 0) {
        gqa__neuron_warn(call,
                         in->lift_limits != 0 ? GQA_NEURON_WARN_LIMIT_LIFTED
                                              : GQA_NEURON_WARN_ROWS_NOT_WRITTEN,
                         "call.q", "flash_fwd writes no rows beyond the last whole tile of 128");
    }
    if (call->io == GQA_F32) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_OUT_ROUNDED, "output.out",
                         "flash_fwd rounds operands and result to bf16, for f32 I/O too");
    }
    return GQA_OK;
}

/* --- geometry ----------------------------------------------------------------------------------
 */

static int32_t tiles_of_128(int32_t n, int32_t by)
{
    return n / by + (n % by != 0);
}

static int32_t query_tiles(const struct gqa__neuron *call)
{
    return call->in.lift_limits != 0 ? tiles_of_128(call->tokens, GQA__PARTITIONS)
                                     : call->tokens / GQA__PARTITIONS;
}

/* Query tiles whose state one item keeps: a block of the kernel when traced, one otherwise, for
 * they do not depend on one another. */
static int32_t resident_tiles(const struct gqa__neuron *call)
{
    return call->in.trace == NULL ? 1
                                  : (int32_t)gqa__min(call->in.attn_core_tile, query_tiles(call));
}

/* Positions are int64_t: windows may be as large as a number can be. */
static gqa_neuron_fate large_tile_fate(const struct gqa__neuron *call, int32_t i, int32_t j)
{
    const bool previous_window = call->in.windowed_context_encoding != 0;
    const int64_t window = call->in.window;
    const int64_t query = (int64_t)i * GQA__PARTITIONS;
    const int64_t first = (int64_t)j * call->in.seq_tile;
    const int64_t last = first + call->in.seq_tile - 1;
    const int64_t reach = previous_window ? query + window : query;

    if (reach < first) {
        return GQA_NEURON_SKIPPED_CAUSAL;
    }
    if (window > 0 && last <= reach - window) {
        return GQA_NEURON_SKIPPED_WINDOW;
    }
    return GQA_NEURON_WHOLE;
}

/* --- scratch -----------------------------------------------------------------------------------
 */

struct flash_scratch {
    float *q;                          /* [128][dim] bf16 values, scaled */
    float *k;                          /* [dim][seq_tile] bf16 values */
    float *v;                          /* [seq_tile][dim] bf16 values */
    float *s;                          /* [128][seq_tile] masked scores */
    float *p;                          /* [128][seq_tile] exponentials, then rounded to bf16 */
    float *pv;                         /* [128][dim] */
    float *tile_max, *alpha, *row_sum; /* [128] */
    float *m, *l;                      /* [resident][128] */
    float *o;                          /* [resident][128][dim] */
};

static void carve_flash(const struct gqa__neuron *call, struct gqa__arena *arena,
                        struct flash_scratch *x)
{
    const int64_t rows = GQA__PARTITIONS;
    const int64_t state = rows * resident_tiles(call);
    const int64_t tile = call->in.seq_tile;
    const size_t f32 = sizeof(float);

    x->q = gqa__arena_take(arena, rows * call->dim, f32);
    x->k = gqa__arena_take(arena, call->dim * tile, f32);
    x->v = gqa__arena_take(arena, tile * call->dim, f32);
    x->s = gqa__arena_take(arena, rows * tile, f32);
    x->p = gqa__arena_take(arena, rows * tile, f32);
    x->pv = gqa__arena_take(arena, rows * call->dim, f32);
    x->tile_max = gqa__arena_take(arena, rows, f32);
    x->alpha = gqa__arena_take(arena, rows, f32);
    x->row_sum = gqa__arena_take(arena, rows, f32);
    x->m = gqa__arena_take(arena, state, f32);
    x->l = gqa__arena_take(arena, state, f32);
    x->o = gqa__arena_take(arena, state * call->dim, f32);
}

static void count_flash(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct flash_scratch x;

    carve_flash(call, arena, &x);
}

/* --- one query tile against one large tile -----------------------------------------------------
 */

/* Query tile i of a head against large tile j. */
struct flash_step {
    const struct gqa__neuron_worker *worker;
    const struct gqa__neuron *call;
    const struct flash_scratch *x;
    int32_t batch, head;
    int32_t i, rows;  /* query tile, and its rows */
    int32_t j, keys;  /* large tile, and its keys */
    float *m, *l, *o; /* state of the query tile: [128], [128], [128][dim] */
};

static gqa_neuron_tile flash_event(const struct flash_step *step, gqa_neuron_event kind)
{
    gqa_neuron_tile tile = gqa__neuron_event(step->worker, kind);

    tile.batch = step->batch;
    tile.head = step->head;
    tile.large = step->j;
    tile.query = step->i * GQA__PARTITIONS;
    tile.rows = step->rows;
    tile.key = step->j * step->call->in.seq_tile;
    tile.keys = step->keys;
    tile.score_step = step->call->in.seq_tile;
    return tile;
}

/* Rows of q: bf16, times the scale in f32, bf16. */
static void load_flash_query(const struct flash_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t n = (int64_t)step->rows * call->dim;
    struct gqa__neuron_rows rows = {&call->in.q, step->batch, step->i * GQA__PARTITIONS, step->rows,
                                    step->head};

    gqa__neuron_load(&rows, step->x->q);
    gqa__engine_round_all(GQA_BF16, step->x->q, n);
    for (int64_t e = 0; e < n; e++) {
        step->x->q[e] = gqa__round_bf16(step->x->q[e] * call->in.scale);
    }
    if (call->out.q_scaled.data != NULL) {
        rows.tensor = &call->out.q_scaled;
        gqa__neuron_store(&rows, step->x->q);
    }
}

/* Keep the keys that row t sees of the sub-tile at key k0, and replace the others. Returns how many
 * it sees. */
static int32_t mask_flash_row(const struct flash_step *step, float *s, int64_t t, int64_t k0,
                              int32_t keys)
{
    const int64_t window = step->call->in.window;
    const int64_t reach = step->call->in.windowed_context_encoding != 0 ? t + window : t;
    const int64_t begin = window > 0 ? gqa__max(reach - window + 1 - k0, 0) : 0;
    const int64_t end = gqa__min(reach + 1 - k0, keys);

    for (int64_t c = 0; c < keys; c++) {
        s[c] = c >= begin && c < end ? s[c] : FLASH_MASKED;
    }
    return (int32_t)gqa__max(end - begin, 0);
}

/* Scores of one sub-tile of 512 keys, masked, and their maximum. */
static void score_flash_sub_tile(const struct flash_step *step, int32_t sub)
{
    const struct gqa__neuron *const call = step->call;
    const struct flash_scratch *const x = step->x;
    const int64_t tile = call->in.seq_tile;
    const int32_t first = sub * SUB_TILE; /* within the large tile */
    const int32_t keys = (int32_t)gqa__min(SUB_TILE, step->keys - first);
    const int64_t k0 = step->j * tile + first;
    const int64_t query = (int64_t)step->i * GQA__PARTITIONS;
    const int64_t reach = call->in.windowed_context_encoding != 0 ? query + call->in.window : query;
    const bool computed = reach >= k0; /* multiplication_required_selection */
    const struct gqa__psum scores = {call->in.accumulation,
                                     x->q,
                                     x->k + first,
                                     x->s + first,
                                     call->dim,
                                     tile,
                                     tile,
                                     step->rows,
                                     call->dim,
                                     keys};
    gqa_neuron_tile tell = flash_event(step, GQA_NEURON_MM1);
    int64_t visible = 0;

    if (computed) {
        gqa__psum_group(&scores);
    }
    for (int32_t r = 0; r < step->rows; r++) {
        float *const s = x->s + r * tile + first;
        if (!computed) {
            memset(s, 0, (size_t)keys * sizeof *s);
        }
        const int32_t seen = mask_flash_row(step, s, query + r, k0, keys);
        const float most = gqa__engine_max(s, keys);
        x->tile_max[r] = sub == 0 || most > x->tile_max[r] ? most : x->tile_max[r];
        visible += seen;
        tell.rows_without_keys += seen == 0;
    }
    tell.tile = sub;
    tell.key = (int32_t)k0;
    tell.keys = keys;
    tell.masking = GQA_NEURON_MASKING_AFFINE;
    tell.s = x->s + first;
    tell.fate = !computed                               ? GQA_NEURON_FILLED
                : visible == (int64_t)step->rows * keys ? GQA_NEURON_WHOLE
                : visible > 0                           ? GQA_NEURON_MASKED
                                                        : GQA_NEURON_ALL_MASKED;
    tell.madds = computed ? (int64_t)step->rows * keys * call->dim : 0;
    gqa__neuron_emit(step->worker, &tell);
}

/* Exponentials of a row against its new maximum, their sum by pieces of the reduction tile, and
 * their rounding. */
static float exponentiate_flash_row(const struct flash_step *step, int32_t r, float m)
{
    const gqa_neuron_accumulation accumulation = step->call->in.accumulation;
    const int32_t tile = step->call->in.seq_tile;
    const int32_t reduction = (int32_t)gqa__min(MOST_REDUCTION, tile / 2);
    const float *const s = step->x->s + (int64_t)r * tile;
    float *const p = step->x->p + (int64_t)r * tile;
    float partial[GQA__PSUM_FREE];
    int32_t pieces = 0;
    float sum = 0.0f;

    for (int32_t c = 0; c < step->keys; c++) {
        p[c] = gqa__engine_exp(s[c] - m);
    }
    for (int32_t c = 0; c < step->keys; c += reduction) {
        if (pieces == GQA__PSUM_FREE) { /* beyond 512 pieces, a million keys: sum as it comes */
            sum = gqa__engine_sum(accumulation, partial, pieces);
            partial[0] = sum;
            pieces = 1;
        }
        partial[pieces++] =
            gqa__engine_sum(accumulation, p + c, gqa__min(reduction, step->keys - c));
    }
    sum = gqa__engine_sum(accumulation, partial, pieces);
    gqa__engine_round_all(GQA_BF16, p, step->keys);
    return sum;
}

static void update_flash_row(const struct flash_step *step, int32_t r)
{
    const struct flash_scratch *const x = step->x;
    const float m_new = x->tile_max[r] > step->m[r] ? x->tile_max[r] : step->m[r];

    x->alpha[r] = gqa__engine_exp(step->m[r] - m_new);
    x->row_sum[r] = exponentiate_flash_row(step, r, m_new);
    step->m[r] = m_new;
    step->l[r] = m_new + gqa__engine_log(gqa__engine_exp(step->l[r] - m_new) + x->row_sum[r]);
}

/* o = o alpha + P v */
static void flash_output(const struct flash_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const struct flash_scratch *const x = step->x;
    const struct gqa__psum values = {call->in.accumulation,
                                     x->p,
                                     x->v,
                                     x->pv,
                                     call->in.seq_tile,
                                     call->dim,
                                     call->dim,
                                     step->rows,
                                     step->keys,
                                     call->dim};

    gqa__psum_group(&values);
    gqa__flash_add(step->o, x->alpha, x->pv, step->rows, call->dim);
}

static void flash_step(const struct flash_step *step)
{
    const struct flash_scratch *const x = step->x;
    gqa_neuron_tile tell = flash_event(step, GQA_NEURON_EXP);

    load_flash_query(step);
    for (int32_t sub = 0; sub * SUB_TILE < step->keys; sub++) {
        score_flash_sub_tile(step, sub);
    }
    for (int32_t r = 0; r < step->rows; r++) {
        update_flash_row(step, r);
    }
    tell.p = x->p;
    tell.row_sum = x->row_sum;
    gqa__neuron_emit(step->worker, &tell);
    flash_output(step);
    tell = flash_event(step, GQA_NEURON_MM2);
    tell.p = x->p;
    tell.madds = (int64_t)step->rows * step->keys * step->call->dim;
    gqa__neuron_emit(step->worker, &tell);
}

/* A skipped tile leaves the state as it was. */
static void skip_flash_step(const struct flash_step *step, gqa_neuron_fate fate)
{
    for (int32_t r = 0; r < step->rows; r++) {
        step->x->alpha[r] = 1.0f;
        step->x->row_sum[r] = 0.0f;
    }
    for (int32_t sub = 0; sub * SUB_TILE < step->keys; sub++) {
        gqa_neuron_tile tell = flash_event(step, GQA_NEURON_MM1);
        tell.fate = fate;
        tell.tile = sub;
        tell.key += sub * SUB_TILE;
        tell.keys = (int32_t)gqa__min(SUB_TILE, step->keys - sub * SUB_TILE);
        tell.rows_without_keys = step->rows;
        gqa__neuron_emit(step->worker, &tell);
    }
}

/* --- a block of query tiles --------------------------------------------------------------------
 */

static void load_flash_keys(const struct gqa__neuron *call, const struct flash_scratch *x,
                            const struct flash_step *step)
{
    const int64_t tile = call->in.seq_tile;
    struct gqa__neuron_rows rows = {&call->in.k, step->batch, step->j * (int32_t)tile, step->keys,
                                    step->head / call->group};

    gqa__neuron_load_turned(&rows, x->k, tile);
    rows.tensor = &call->in.v;
    gqa__neuron_load(&rows, x->v);
    for (int64_t d = 0; d < call->dim; d++) {
        gqa__engine_round_all(GQA_BF16, x->k + d * tile, step->keys);
    }
    gqa__engine_round_all(GQA_BF16, x->v, (int64_t)step->keys * call->dim);
}

static void flash_tile(struct flash_step *step, bool first_of_block)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t width = call->io == GQA_BF16 ? 2 : 4;
    const gqa_neuron_fate fate = large_tile_fate(call, step->i, step->j);
    gqa_neuron_tile tell = flash_event(step, GQA_NEURON_LARGE);

    if (fate == GQA_NEURON_WHOLE) {
        flash_step(step);
        tell.hbm_bytes = (int64_t)step->rows * call->dim * width; /* q is loaded each time */
        tell.s = step->x->s;
        tell.p = step->x->p;
    } else {
        skip_flash_step(step, fate);
    }
    if (first_of_block) { /* K and V, once for the block, used or not */
        tell.hbm_bytes += 2 * (int64_t)step->keys * call->dim * width;
    }
    tell.fate = fate;
    tell.m = step->m;
    tell.l = step->l;
    tell.alpha = step->x->alpha;
    tell.row_sum = step->x->row_sum;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

/* out = bf16(o exp(m - l)) */
static void finish_flash(struct flash_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__neuron_rows rows = {&call->out.out, step->batch, step->i * GQA__PARTITIONS,
                                          step->rows, step->head};
    gqa_neuron_tile tell = flash_event(step, GQA_NEURON_ROWS);

    gqa__flash_normalise(step->o, step->m, step->l, step->rows, call->dim);
    gqa__neuron_store(&rows, step->o);
    tell.key = tell.keys = 0;
    tell.m = step->m;
    tell.l = step->l;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

/* Query tile i with its state, the n-th of those that are resident. */
static void choose_query_tile(struct flash_step *step, int32_t i, int32_t n)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t state = (int64_t)n * GQA__PARTITIONS;

    step->i = i;
    step->rows = (int32_t)gqa__min(GQA__PARTITIONS, call->tokens - i * GQA__PARTITIONS);
    step->m = step->x->m + state;
    step->l = step->x->l + state;
    step->o = step->x->o + state * call->dim;
}

static int64_t flash_items(const struct gqa__neuron *call)
{
    return (int64_t)call->batch * call->hq *
           tiles_of_128(query_tiles(call), resident_tiles(call) > 0 ? resident_tiles(call) : 1);
}

/* Some query tiles of one head: the kernel's program, from its loop over blocks on. */
static void run_flash(const struct gqa__neuron_worker *worker, struct gqa__arena *scratch,
                      int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    const int32_t resident = resident_tiles(call);
    const int32_t tiles = query_tiles(call);
    const int32_t blocks = tiles_of_128(tiles, resident);
    const int32_t begin = (int32_t)(item % blocks) * resident;
    const int32_t end = (int32_t)gqa__min(begin + resident, tiles);
    struct flash_scratch x;
    struct flash_step step = {worker, call, &x, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL};

    carve_flash(call, scratch, &x);
    step.batch = (int32_t)(item / blocks / call->hq);
    step.head = (int32_t)(item / blocks % call->hq);
    for (int64_t r = 0; r < (int64_t)resident * GQA__PARTITIONS; r++) {
        x.m[r] = x.l[r] = FLASH_MASKED;
    }
    memset(x.o, 0, (size_t)resident * GQA__PARTITIONS * (size_t)call->dim * sizeof *x.o);
    for (step.j = 0; (int64_t)step.j * call->in.seq_tile < call->keys; step.j++) {
        step.keys = (int32_t)gqa__min(call->in.seq_tile, call->keys - step.j * call->in.seq_tile);
        load_flash_keys(call, &x, &step);
        for (int32_t i = begin; i < end; i++) {
            choose_query_tile(&step, i, i - begin);
            flash_tile(&step, i % call->in.attn_core_tile == 0);
        }
    }
    for (int32_t i = begin; i < end; i++) {
        choose_query_tile(&step, i, i - begin);
        finish_flash(&step);
    }
}

const struct gqa__neuron_path gqa__neuron_flash_fwd = {
    GQA_NEURON_FLASH_FWD,
    "flash_fwd",
    GQA__TAKES_WINDOW | GQA__TAKES_BIDIRECTIONAL | GQA__TAKES_SCALE | GQA__TAKES_FLASH |
        GQA__TAKES_Q_SCALED,
    GQA__TAKES_SINKS | GQA__TAKES_MASK,
    check_flash,
    NULL,
    flash_items,
    count_flash,
    run_flash,
};
