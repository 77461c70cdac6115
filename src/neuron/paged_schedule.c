/* SPDX-License-Identifier: Apache-2.0 */
/* paged_schedule.c - chunked prefill over a paged cache: flash_paged_attention_with_schedule
 * (modules/chunked_prefill/flash_pa_with_schedule.py, flash_attn_core.py; 2.26 and 2.27).
 *
 * The new tokens of all requests lie one after the other; so do the blocks of their contexts. What
 * pairs of tiles are to be computed, and in which order, GridTileScheduler has written down.
 *
 *   o = 0, m = -9984, l = -19968
 *   prior phase, tile by tile of the schedule:
 *     load the blocks of the tile's table; where it says `skip`, the blocks of the tile before stay
 *     for each 128 rows of its query tile, for each query head of the group: step, by the tile's
 * mask active phase: one tile of all new keys, causal within each request: step out = bf16(o exp(m
 * - l))
 *
 *   step: S   = q k           f32; invisible: -9984
 *         m'  = max(m, max S) alpha = exp(m - m')
 *         P   = bf16(exp(S - m')), its sum taken before that rounding, by 512 keys, then of these
 *         o   = o alpha + P v one product group over the whole tile
 *         l   = m' + log(exp(l - m') + sum)          l is a running log-sum-exp
 *
 * A load fills 128 partitions with a piece of a block each, so keys do not lie in the order of
 * their positions; masks have their columns in that order too. Rows behind the last request are
 * padding: they get an average over all that their tiles loaded, and the caller zeroes them. */
#include "neuron/neuron.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/schedule.h"

static const float MASKED = -9984.0f;   /* instead of minus infinity */
static const float L_START = -19968.0f; /* of the running log-sum-exp */

enum {
    SUB_TILE = GQA__PSUM_FREE, /* B_F_SIZE: keys that are summed at once */
    Q_TILE = 128,              /* chunked_prefill_config.kernel_q_tile_size */
    KV_TILE = 1024,            /* chunked_prefill_config.kernel_kv_tile_size */
    LEAST_DIM = 16,
    MOST_DIM = 128
};

/* --- limits ------------------------------------------------------------------------------------
 */

static bool power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static int32_t block_size(const struct gqa__neuron *call)
{
    return (int32_t)call->in.k_cache.shape[2];
}

static int32_t blocks_in_tile(const struct gqa__neuron *call)
{
    return call->in.kv_tile / block_size(call);
}

static gqa_neuron_schedule_input schedule_input(const struct gqa__neuron *call)
{
    const gqa_neuron_call *const in = &call->in;

    return (gqa_neuron_schedule_input){.requests = in->requests,
                                       .query_lens = in->query_lens,
                                       .context_lens = in->context_lens,
                                       .q_tile = in->q_tile,
                                       .kv_tile = in->kv_tile,
                                       .block_size = block_size(call),
                                       .row_order = in->row_order,
                                       .padded_tiles = in->tiles_padded,
                                       .skip_value = in->skip_value};
}

/* The asserts of the kernel. */
static gqa_status check_limits(struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const int32_t blocks = blocks_in_tile(call);
    const bool tiled =
        blocks >= GQA__PARTITIONS ||
        (GQA__PARTITIONS % blocks == 0 && block_size(call) % (GQA__PARTITIONS / blocks) == 0);
    const struct {
        bool holds;
        struct gqa__neuron_limit limit;
    } limits[] = {
        {power_of_two(call->dim) && call->dim >= LEAST_DIM && call->dim <= MOST_DIM,
         {"call.q", "head_dim", call->dim, "16, 32, 64 or 128 (the paged kernel asserts it)"}},
        {power_of_two(call->tokens),
         {"call.q", "the number of rows", call->tokens,
          "a power of two (the paged kernel asserts it)"}},
        {call->tokens % in->q_tile == 0,
         {"call.q", "the number of rows", call->tokens,
          "a multiple of q_tile (the paged kernel asserts it)"}},
        {in->q_tile % GQA__PARTITIONS == 0,
         {"call.q_tile", "it", in->q_tile, "a multiple of 128 (the paged kernel asserts it)"}},
        {in->kv_tile % SUB_TILE == 0,
         {"call.kv_tile", "it", in->kv_tile, "a multiple of 512 (the paged kernel asserts it)"}},
        {power_of_two(blocks),
         {"call.kv_tile", "the blocks of a tile", blocks,
          "a power of two (the paged kernel asserts it)"}},
        {tiled,
         {"call.k_cache", "the block size", block_size(call),
          "cut by 128 / (blocks of a tile) where these are below 128 (the paged kernel asserts "
          "it)"}},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        const gqa_status status = gqa__neuron_hold(call, limits[i].holds, &limits[i].limit, err);
        if (status != GQA_OK) {
            return status;
        }
    }
    return GQA_OK;
}

static gqa_status check_numbers(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    if (in->release == GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.release",
                         "is 2.29, which has no chunked prefill; it must be 2.26 or 2.27");
    }
    if (call->batch != 1) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.q",
                         "shape[0] is %d; it must be 1 (the paged kernel asserts it): requests lie "
                         "one after the other",
                         (int)call->batch);
    }
    if (call->keys != call->tokens) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.k", "shape[1] is %d; it must be call.q's, %d",
                         (int)call->keys, (int)call->tokens);
    }
    if (block_size(call) < 1 || in->kv_tile < 1 || in->kv_tile % block_size(call) != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "call.kv_tile",
                         "is %d; it must be a multiple of the block size, %d", (int)in->kv_tile,
                         (int)block_size(call));
    }
    if (in->q_tile < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "call.q_tile", "is %d; it must be at least 1",
                         (int)in->q_tile);
    }
    if (in->skip_value < in->k_cache.shape[0]) {
        return gqa__fail(err, GQA_ERR_ARG, "call.skip_value",
                         "is %d; it must be no block of call.k_cache, at least %d",
                         (int)in->skip_value, (int)in->k_cache.shape[0]);
    }
    return GQA_OK;
}

/* A request's context lies in blocks of the cache. */
static gqa_status check_table(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    for (int32_t r = 0; r < in->requests; r++) {
        const int64_t blocks =
            gqa__round_up(in->context_lens[r], block_size(call)) / block_size(call);
        if (blocks > in->block_table_width || (blocks > 0 && in->block_table == NULL)) {
            return gqa__fail(err, GQA_ERR_SHAPE, "call.block_table",
                             "has %d blocks for a request; request %d has a context of %lld",
                             in->block_table == NULL ? 0 : (int)in->block_table_width, (int)r,
                             (long long)blocks);
        }
        for (int64_t b = 0; b < blocks; b++) {
            const int32_t block = in->block_table[(int64_t)r * in->block_table_width + b];
            if (block < 0 || block >= in->k_cache.shape[0]) {
                return gqa__fail(err, GQA_ERR_ARG, "call.block_table",
                                 "[%d, %lld] is %d; it must be 0..%lld", (int)r, (long long)b,
                                 (int)block, (long long)in->k_cache.shape[0] - 1);
            }
        }
    }
    return GQA_OK;
}

static int64_t valid_rows(const struct gqa__neuron *call)
{
    int64_t rows = 0;

    for (int32_t r = 0; r < call->in.requests; r++) {
        rows += call->in.query_lens[r];
    }
    return rows;
}

static void warn(struct gqa__neuron *call)
{
    if (gqa__present(&call->in.sinks)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_SINKS_DROPPED, "call.sinks",
                         "paged_schedule drops learned sinks");
    }
    if (valid_rows(call) < call->tokens) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_PADDING_ROWS, "call.query_lens",
                         "paged_schedule leaves averages in the rows behind the last request");
    }
    if (call->io == GQA_F32) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_OUT_ROUNDED, "output.out",
                         "paged_schedule rounds operands and result to bf16, for f32 I/O too");
    }
}

static void set_defaults(struct gqa__neuron *call)
{
    gqa_neuron_call *const in = &call->in;

    in->release = in->release == GQA_NEURON_NEWEST ? GQA_NEURON_2_27 : in->release;
    in->q_tile = in->q_tile == 0 ? Q_TILE : in->q_tile;
    in->kv_tile = in->kv_tile == 0 ? KV_TILE : in->kv_tile;
    if (in->skip_value == 0) { /* pa_num_blocks * 1000 */
        in->skip_value = (int32_t)gqa__min(in->k_cache.shape[0] * 1000, INT32_MAX);
    }
    if (in->scale == 0.0f) {
        in->scale = (float)(1.0 / sqrt((double)call->dim));
    }
}

static gqa_status check(struct gqa__neuron *call, gqa_error *err)
{
    gqa_neuron_schedule schedule = {0};
    gqa_neuron_schedule_input input;
    gqa_status status;

    set_defaults(call);
    status = check_numbers(call, err);
    if (status == GQA_OK) {
        status = check_limits(call, err);
    }
    if (status == GQA_OK) {
        input = schedule_input(call);
        status = gqa__neuron_schedule_size(&input, &schedule, err);
    }
    if (status == GQA_OK && valid_rows(call) > call->tokens) {
        status = gqa__fail(err, GQA_ERR_SHAPE, "call.query_lens", "make %lld rows; call.q has %d",
                           (long long)valid_rows(call), (int)call->tokens);
    }
    if (status == GQA_OK) {
        status = check_table(call, err);
    }
    if (status == GQA_OK) {
        warn(call);
    }
    return status;
}

/* --- the schedule, for all items ---------------------------------------------------------------
 */

struct plan {
    gqa_neuron_schedule schedule; /* tile_block_tables: blocks that lie in the buffers */
    uint8_t *loads;   /* [tiles] 1: the tile loads its blocks, 0: it keeps the last ones */
    int32_t *request; /* [tokens] of each row; -1 = padding */
    int64_t context;  /* keys in the blocks of all contexts */
};

/* Blocks of the contexts, request by request (get_active_block_table). */
static void fill_active_table(const struct gqa__neuron *call, int32_t *table)
{
    const gqa_neuron_call *const in = &call->in;

    for (int32_t r = 0; r < in->requests; r++) {
        const int64_t blocks =
            gqa__round_up(in->context_lens[r], block_size(call)) / block_size(call);
        for (int64_t b = 0; b < blocks; b++) {
            *table++ = in->block_table[(int64_t)r * in->block_table_width + b];
        }
    }
}

/* A table that says `skip` means the blocks of the tile before. */
static void keep_blocks(const struct gqa__neuron *call, const struct plan *plan)
{
    const int64_t blocks = blocks_in_tile(call);

    for (int64_t i = 0; i < plan->schedule.tiles; i++) {
        int32_t *const table = plan->schedule.tile_block_tables + i * blocks;
        plan->loads[i] = table[0] != call->in.skip_value;
        if (plan->loads[i] == 0) {
            memcpy(table, table - blocks, (size_t)blocks * sizeof *table);
        }
    }
}

static void fill_requests(const struct gqa__neuron *call, int32_t *request)
{
    int64_t row = 0;

    for (int32_t r = 0; r < call->in.requests; r++) {
        for (int32_t t = 0; t < call->in.query_lens[r]; t++) {
            request[row++] = r;
        }
    }
    for (; row < call->tokens; row++) {
        request[row] = -1;
    }
}

static void *share(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct plan *const shared = gqa__arena_take(arena, 1, sizeof *shared);
    gqa_neuron_schedule_input input = schedule_input(call);
    struct plan plan = {0};
    gqa_neuron_schedule *const schedule = &plan.schedule;
    const int64_t context_blocks = gqa__neuron_context_blocks(&input);
    int32_t *active_table;
    int64_t tiles;

    (void)gqa__neuron_schedule_size(&input, schedule, NULL); /* checked before */
    tiles = schedule->tiles;
    plan.context = context_blocks * block_size(call);
    active_table = gqa__arena_take(arena, context_blocks, sizeof *active_table);
    plan.request = gqa__arena_take(arena, call->tokens, sizeof *plan.request);
    plan.loads = gqa__arena_take(arena, tiles, sizeof *plan.loads);
    schedule->tile_q_indices = gqa__arena_take(arena, tiles, sizeof(int32_t));
    schedule->tile_block_table_offsets = gqa__arena_take(arena, tiles, sizeof(int32_t));
    schedule->tile_q_seq_ids = gqa__arena_take(arena, tiles * call->in.q_tile, sizeof(int32_t));
    schedule->tile_kv_seq_ids = gqa__arena_take(arena, tiles * call->in.kv_tile, sizeof(int32_t));
    schedule->tile_block_tables =
        gqa__arena_take(arena, tiles * blocks_in_tile(call), sizeof(int32_t));
    schedule->key_order = gqa__arena_take(arena, call->in.kv_tile, sizeof(int32_t));
    if (arena->base == NULL || arena->failed) {
        return NULL;
    }
    fill_active_table(call, active_table);
    input.active_table = active_table;
    input.active_blocks = (int32_t)context_blocks;
    gqa__neuron_schedule_fill(&input, schedule);
    keep_blocks(call, &plan);
    fill_requests(call, plan.request);
    *shared = plan;
    return shared;
}

/* --- scratch -----------------------------------------------------------------------------------
 */

/* Query heads of an item: those of a KV head, as in the kernel, if traced; one otherwise, for they
 * do not depend on one another. */
static int32_t heads_of_item(const struct gqa__neuron *call)
{
    return call->in.trace != NULL ? call->group : 1;
}

struct scratch {
    float *q;               /* [128][dim] bf16 values, scaled */
    float *k;               /* [dim][columns] bf16 values */
    float *v;               /* [columns][dim] bf16 values */
    float *s;               /* [128][columns] masked scores */
    float *p;               /* [128][columns] exponentials, then rounded to bf16 */
    float *pv;              /* [128][dim] */
    float *sums;            /* [columns / 512] of one row */
    float *alpha, *row_sum; /* [128] */
    float *m, *l;           /* [heads][tokens] */
    float *o;               /* [heads][tokens][dim] */
};

static void carve(const struct gqa__neuron *call, struct gqa__arena *arena, struct scratch *x)
{
    const int64_t rows = GQA__PARTITIONS;
    const int64_t columns = gqa__max(call->in.kv_tile, call->tokens);
    const int64_t state = (int64_t)heads_of_item(call) * call->tokens;
    const size_t f32 = sizeof(float);

    x->q = gqa__arena_take(arena, rows * call->dim, f32);
    x->k = gqa__arena_take(arena, call->dim * columns, f32);
    x->v = gqa__arena_take(arena, columns * call->dim, f32);
    x->s = gqa__arena_take(arena, rows * columns, f32);
    x->p = gqa__arena_take(arena, rows * columns, f32);
    x->pv = gqa__arena_take(arena, rows * call->dim, f32);
    x->sums = gqa__arena_take(arena, columns / SUB_TILE + 1, f32);
    x->alpha = gqa__arena_take(arena, rows, f32);
    x->row_sum = gqa__arena_take(arena, rows, f32);
    x->m = gqa__arena_take(arena, state, f32);
    x->l = gqa__arena_take(arena, state, f32);
    x->o = gqa__arena_take(arena, state * call->dim, f32);
}

static void count_scratch(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct scratch x;

    carve(call, arena, &x);
}

/* --- up to 128 rows of a query head against one tile of keys -----------------------------------
 */

struct step {
    const struct gqa__neuron_worker *worker;
    const struct gqa__neuron *call;
    const struct plan *plan;
    const struct scratch *x;
    int32_t kv_head;
    int32_t first_head, head; /* of the item; of this step */
    int32_t schedule;         /* the tile of the schedule; -1 = active phase */
    int32_t first, rows;      /* first row, and how many */
    int32_t keys;             /* columns of the tile */
    float *m, *l, *o;         /* state of the rows: [rows], [rows], [rows][dim] */
};

static gqa_neuron_tile event(const struct step *step, gqa_neuron_event kind)
{
    gqa_neuron_tile tile = gqa__neuron_event(step->worker, kind);

    tile.part = step->schedule >= 0 ? GQA_NEURON_PRIOR : GQA_NEURON_ACTIVE;
    tile.masking = GQA_NEURON_MASKING_TENSOR;
    tile.head = step->head;
    tile.schedule = step->schedule;
    tile.query = step->first;
    tile.rows = step->rows;
    tile.key = (int32_t)step->plan->context;
    if (step->schedule >= 0) {
        const int64_t blocks = blocks_in_tile(step->call);
        tile.key =
            step->plan->schedule.tile_block_table_offsets[step->schedule] * block_size(step->call);
        tile.blocks = step->plan->schedule.tile_block_tables + step->schedule * blocks;
        tile.blocks_count = (int32_t)blocks;
    }
    tile.keys = step->keys;
    tile.score_step = step->keys;
    return tile;
}

/* Rows of q: bf16, times the scale in f32, bf16. */
static void load_query(const struct step *step)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t n = (int64_t)step->rows * call->dim;
    struct gqa__neuron_rows rows = {&call->in.q, 0, step->first, step->rows, step->head};

    gqa__neuron_load(&rows, step->x->q);
    gqa__engine_round_all(GQA_BF16, step->x->q, n);
    for (int64_t i = 0; i < n; i++) {
        step->x->q[i] = gqa__round_bf16(step->x->q[i] * call->in.scale);
    }
    if (gqa__present(&call->out.q_scaled)) {
        rows.tensor = &call->out.q_scaled;
        gqa__neuron_store(&rows, step->x->q);
    }
}

/* May the row (of the step) see column c? By tile mask or active mask. */
static bool sees(const struct step *step, int32_t r, int32_t c)
{
    const gqa_neuron_call *const in = &step->call->in;
    const gqa_neuron_schedule *const schedule = &step->plan->schedule;
    const int64_t t = step->schedule;
    const int32_t row = step->first + r;

    if (t < 0) {
        const int32_t *const request = step->plan->request;
        return request[row] >= 0 && request[row] == request[c] && c <= row;
    }
    return schedule->tile_q_seq_ids[t * in->q_tile + row -
                                    (int64_t)schedule->tile_q_indices[t] * in->q_tile] ==
           schedule->tile_kv_seq_ids[t * in->kv_tile + schedule->key_order[c]];
}

/* Scores of one sub-tile, masked. Of the active tile those right of the diagonal are not computed:
 * q_tile * 128 >= k_i * 512. */
static void score_sub_tile(const struct step *step, int32_t first, int32_t keys)
{
    const struct gqa__neuron *const call = step->call;
    const struct scratch *const x = step->x;
    const bool computed = step->schedule >= 0 || step->first >= first;
    const struct gqa__psum scores = {call->in.accumulation,
                                     x->q,
                                     x->k + first,
                                     x->s + first,
                                     call->dim,
                                     step->keys,
                                     step->keys,
                                     step->rows,
                                     call->dim,
                                     keys};
    gqa_neuron_tile tell = event(step, GQA_NEURON_MM1);
    int64_t visible = 0;

    if (computed) {
        gqa__psum_group(&scores);
    }
    for (int32_t r = 0; r < step->rows; r++) {
        float *const s = x->s + (int64_t)r * step->keys + first;
        int32_t seen = 0;
        for (int32_t c = 0; c < keys; c++) {
            const bool keep = computed && sees(step, r, first + c);
            s[c] = keep ? s[c] : MASKED;
            seen += keep;
        }
        visible += seen;
        tell.rows_without_keys += seen == 0;
    }
    tell.fate = !computed                              ? GQA_NEURON_FILLED
                : visible == 0                         ? GQA_NEURON_ALL_MASKED
                : visible < (int64_t)step->rows * keys ? GQA_NEURON_MASKED
                                                       : GQA_NEURON_WHOLE;
    tell.tile = first / SUB_TILE;
    tell.key += first;
    tell.keys = keys;
    tell.s = x->s + first;
    tell.madds = computed ? (int64_t)step->rows * keys * call->dim : 0;
    gqa__neuron_emit(step->worker, &tell);
}

/* m, alpha, P, its sum and l of a row. */
static void update_row(const struct step *step, int32_t r)
{
    const struct scratch *const x = step->x;
    const gqa_neuron_accumulation accumulation = step->call->in.accumulation;
    const float *const s = x->s + (int64_t)r * step->keys;
    float *const p = x->p + (int64_t)r * step->keys;
    const float most = gqa__engine_max(s, step->keys);
    const float m = most > step->m[r] ? most : step->m[r];
    int32_t pieces = 0;

    for (int32_t c = 0; c < step->keys; c++) {
        p[c] = gqa__engine_exp(s[c] - m);
    }
    for (int32_t c = 0; c < step->keys; c += SUB_TILE) {
        x->sums[pieces++] =
            gqa__engine_sum(accumulation, p + c, gqa__min(SUB_TILE, step->keys - c));
    }
    gqa__engine_round_all(GQA_BF16, p, step->keys);
    x->alpha[r] = gqa__engine_exp(step->m[r] - m);
    x->row_sum[r] = gqa__engine_sum(accumulation, x->sums, pieces);
    step->m[r] = m;
    step->l[r] = m + gqa__engine_log(gqa__engine_exp(step->l[r] - m) + x->row_sum[r]);
}

/* o = o alpha + P v */
static void accumulate_output(const struct step *step)
{
    const struct gqa__neuron *const call = step->call;
    const struct scratch *const x = step->x;
    const struct gqa__psum values = {call->in.accumulation,
                                     x->p,
                                     x->v,
                                     x->pv,
                                     step->keys,
                                     call->dim,
                                     call->dim,
                                     step->rows,
                                     step->keys,
                                     call->dim};

    gqa__psum_group(&values);
    for (int32_t r = 0; r < step->rows; r++) {
        float *const o = step->o + (int64_t)r * call->dim;
        const float *const pv = x->pv + (int64_t)r * call->dim;
        for (int32_t d = 0; d < call->dim; d++) {
            const float scaled = o[d] * x->alpha[r];
            o[d] = scaled + pv[d];
        }
    }
}

static void run_step(const struct step *step, int64_t loaded_bytes)
{
    const struct scratch *const x = step->x;
    const int64_t q_values = (int64_t)step->rows * step->call->dim;
    gqa_neuron_tile tell = event(step, GQA_NEURON_EXP);

    load_query(step);
    for (int32_t first = 0; first < step->keys; first += SUB_TILE) {
        score_sub_tile(step, first, (int32_t)gqa__min(SUB_TILE, step->keys - first));
    }
    for (int32_t r = 0; r < step->rows; r++) {
        update_row(step, r);
    }
    tell.p = x->p;
    tell.row_sum = x->row_sum;
    gqa__neuron_emit(step->worker, &tell);
    accumulate_output(step);
    tell = event(step, GQA_NEURON_MM2);
    tell.p = x->p;
    tell.madds = q_values * step->keys;
    gqa__neuron_emit(step->worker, &tell);
    tell = event(step, GQA_NEURON_LARGE);
    tell.hbm_bytes = loaded_bytes + q_values * (int64_t)gqa__dtype_size(step->call->io);
    tell.s = x->s;
    tell.p = x->p;
    tell.m = step->m;
    tell.l = step->l;
    tell.alpha = x->alpha;
    tell.row_sum = x->row_sum;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

/* --- phases of one item ------------------------------------------------------------------------
 */

/* Rows [first, first + rows) of the n-th head of the item, and their state. */
static void choose(struct step *step, int32_t n, int32_t first, int32_t rows)
{
    const int64_t state = (int64_t)n * step->call->tokens + first;

    step->head = step->first_head + n;
    step->first = first;
    step->rows = rows;
    step->m = step->x->m + state;
    step->l = step->x->l + state;
    step->o = step->x->o + state * step->call->dim;
}

/* Rows [begin, end), 128 at a time, each query head of the item: a step, or what else is to be
 * done.
 */
static void each_rows(struct step *step, int32_t begin, int32_t end,
                      void (*act)(const struct step *step, int64_t loaded_bytes),
                      int64_t loaded_bytes)
{
    for (int32_t first = begin; first < end; first += GQA__PARTITIONS) {
        const int32_t rows = (int32_t)gqa__min(GQA__PARTITIONS, end - first);
        for (int32_t n = 0; n < heads_of_item(step->call); n++) {
            choose(step, n, first, rows);
            act(step, loaded_bytes);
            loaded_bytes = 0; /* of the first one only */
        }
    }
}

/* The keys of a tile of the schedule, in the order in which the kernel holds them. */
static void load_blocks(const struct step *step)
{
    const struct gqa__neuron *const call = step->call;
    const gqa_neuron_schedule *const schedule = &step->plan->schedule;
    const int32_t size = block_size(call);
    const int32_t *const blocks =
        schedule->tile_block_tables + (int64_t)step->schedule * blocks_in_tile(call);

    for (int32_t c = 0; c < step->keys; c++) {
        const int32_t place = schedule->key_order[c];
        /* A cache is [blocks, KV heads, tokens, dim]: block, head and token stand for entry, row
         * and head. */
        struct gqa__neuron_rows key = {&call->in.k_cache, blocks[place / size], step->kv_head, 1,
                                       place % size};
        gqa__neuron_load_turned(&key, step->x->k + c, step->keys);
        key.tensor = &call->in.v_cache;
        gqa__neuron_load(&key, step->x->v + (int64_t)c * call->dim);
    }
}

static void load_active(const struct step *step)
{
    const struct gqa__neuron *const call = step->call;
    struct gqa__neuron_rows keys = {&call->in.k, 0, 0, call->tokens, step->kv_head};

    gqa__neuron_load_turned(&keys, step->x->k, step->keys);
    keys.tensor = &call->in.v;
    gqa__neuron_load(&keys, step->x->v);
}

/* Keys and values to bf16; bytes that were loaded. */
static int64_t round_keys(const struct step *step)
{
    const int64_t n = (int64_t)step->keys * step->call->dim;

    gqa__engine_round_all(GQA_BF16, step->x->k, n);
    gqa__engine_round_all(GQA_BF16, step->x->v, n);
    return 2 * n * (int64_t)gqa__dtype_size(step->call->io);
}

static void prior_phase(struct step *step)
{
    const gqa_neuron_call *const in = &step->call->in;
    const struct plan *const plan = step->plan;
    int64_t bytes = 0;

    step->keys = in->kv_tile;
    for (step->schedule = 0; step->schedule < plan->schedule.tiles; step->schedule++) {
        const int64_t begin = (int64_t)plan->schedule.tile_q_indices[step->schedule] * in->q_tile;
        const int64_t end = gqa__min(begin + in->q_tile, step->call->tokens);
        if (plan->loads[step->schedule] != 0) {
            load_blocks(step);
            bytes = round_keys(step);
        }
        each_rows(step, (int32_t)begin, (int32_t)end, run_step, bytes);
        bytes = 0;
    }
}

static void tell_prior(const struct step *step, int64_t loaded_bytes)
{
    gqa_neuron_tile tell = event(step, GQA_NEURON_SECTION);

    (void)loaded_bytes;
    tell.part = GQA_NEURON_PRIOR;
    tell.key = 0;
    tell.keys = (int32_t)step->plan->context;
    tell.m = step->m;
    tell.l = step->l;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

/* out = bf16(o exp(m - l)) */
static void finish(const struct step *step, int64_t loaded_bytes)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__neuron_rows rows = {&call->out.out, 0, step->first, step->rows, step->head};
    gqa_neuron_tile tell = event(step, GQA_NEURON_ROWS);

    (void)loaded_bytes;
    for (int32_t r = 0; r < step->rows; r++) {
        const float factor = gqa__engine_exp(step->m[r] - step->l[r]);
        float *const o = step->o + (int64_t)r * call->dim;
        for (int32_t d = 0; d < call->dim; d++) {
            o[d] = gqa__round_bf16(o[d] * factor);
        }
    }
    gqa__neuron_store(&rows, step->o);
    tell.key = tell.keys = 0;
    tell.m = step->m;
    tell.l = step->l;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

static void active_phase(struct step *step)
{
    const int32_t tokens = step->call->tokens;
    int64_t bytes;

    step->schedule = -1;
    step->keys = tokens;
    load_active(step);
    bytes = round_keys(step);
    each_rows(step, 0, tokens, tell_prior, 0);
    each_rows(step, 0, tokens, run_step, bytes);
    each_rows(step, 0, tokens, finish, 0);
}

static int64_t items(const struct gqa__neuron *call)
{
    return call->tokens > 0 ? call->hq / heads_of_item(call) : 0;
}

/* The kernel's program: the query heads of a KV head, or one of them. */
static void run(const struct gqa__neuron_worker *worker, struct gqa__arena *scratch, int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    const int64_t state = (int64_t)heads_of_item(call) * call->tokens;
    struct scratch x;
    struct step step = {.worker = worker, .call = call, .plan = call->shared, .x = &x};

    carve(call, scratch, &x);
    step.first_head = (int32_t)item * heads_of_item(call);
    step.kv_head = step.first_head / call->group;
    for (int64_t r = 0; r < state; r++) {
        x.m[r] = MASKED;
        x.l[r] = L_START;
    }
    memset(x.o, 0, (size_t)(state * call->dim) * sizeof *x.o);
    prior_phase(&step);
    active_phase(&step);
}

const struct gqa__neuron_path gqa__neuron_paged_schedule = {
    .profile = GQA_NEURON_PAGED_SCHEDULE,
    .name = "paged_schedule",
    .takes = GQA__TAKES_CACHE | GQA__TAKES_SCALE | GQA__TAKES_SCHEDULE | GQA__TAKES_Q_SCALED,
    .drops = GQA__TAKES_SINKS,
    .check = check,
    .share = share,
    .items = items,
    .scratch = count_scratch,
    .run = run,
};
