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
 *     for each 128 rows of its query tile, for each query head of the group:
 *       step, by the tile's mask
 *   active phase: one tile of all new keys, causal within each request: step
 *   out = bf16(o exp(m - l))
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
#include "neuron/paged.h"

#include <string.h>

#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/flash_state.h"

static const float M_START = -9984.0f;
static const float L_START = -19968.0f;

/* --- the schedule, for all items ---------------------------------------------------------------
 */

/* Blocks of the contexts, request by request (get_active_block_table). */
static void fill_active_table(const struct gqa__neuron *call, int32_t *table)
{
    const gqa_neuron_call *const in = &call->in;

    for (int32_t r = 0; r < in->requests; r++) {
        const int64_t blocks = gqa__paged_context_blocks(call, r);
        for (int64_t b = 0; b < blocks; b++) {
            *table++ = in->block_table[(int64_t)r * in->block_table_width + b];
        }
    }
}

/* A table that says `skip` means the blocks of the tile before. */
static void keep_blocks(const struct gqa__neuron *call, const struct gqa__paged_plan *plan)
{
    const int64_t blocks = gqa__paged_blocks(call);

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

static void *share_plan(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct gqa__paged_plan *const shared = gqa__arena_take(arena, 1, sizeof *shared);
    gqa_neuron_schedule_input input = gqa__paged_input(call);
    struct gqa__paged_plan plan = {0};
    gqa_neuron_schedule *const schedule = &plan.schedule;
    const int64_t context_blocks = gqa__neuron_context_blocks(&input);
    int32_t *active_table;
    int64_t tiles;

    (void)gqa__neuron_schedule_size(&input, schedule, NULL); /* checked before */
    tiles = schedule->tiles;
    plan.context = context_blocks * gqa__paged_block_size(call);
    active_table = gqa__arena_take(arena, context_blocks, sizeof *active_table);
    plan.request = gqa__arena_take(arena, call->tokens, sizeof *plan.request);
    plan.loads = gqa__arena_take(arena, tiles, sizeof *plan.loads);
    schedule->tile_q_indices = gqa__arena_take(arena, tiles, sizeof(int32_t));
    schedule->tile_block_table_offsets = gqa__arena_take(arena, tiles, sizeof(int32_t));
    schedule->tile_q_seq_ids = gqa__arena_take(arena, tiles * call->in.q_tile, sizeof(int32_t));
    schedule->tile_kv_seq_ids = gqa__arena_take(arena, tiles * call->in.kv_tile, sizeof(int32_t));
    schedule->tile_block_tables =
        gqa__arena_take(arena, tiles * gqa__paged_blocks(call), sizeof(int32_t));
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

static void carve_paged(const struct gqa__neuron *call, struct gqa__arena *arena,
                        struct gqa__paged_scratch *x)
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
    x->sums = gqa__arena_take(arena, columns / GQA__PSUM_FREE + 1, f32);
    x->alpha = gqa__arena_take(arena, rows, f32);
    x->row_sum = gqa__arena_take(arena, rows, f32);
    x->m = gqa__arena_take(arena, state, f32);
    x->l = gqa__arena_take(arena, state, f32);
    x->o = gqa__arena_take(arena, state * call->dim, f32);
}

static void paged_scratch(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct gqa__paged_scratch x;

    carve_paged(call, arena, &x);
}

/* --- phases of one item ------------------------------------------------------------------------
 */

/* Rows [first, first + rows) of the n-th head of the item, and their state. */
static void choose_rows(struct gqa__paged_step *step, int32_t n, int32_t first, int32_t rows)
{
    const int64_t state = (int64_t)n * step->call->tokens + first;

    step->head = step->first_head + n;
    step->first = first;
    step->rows = rows;
    step->m = step->x->m + state;
    step->l = step->x->l + state;
    step->o = step->x->o + state * step->call->dim;
}

/* Rows [begin, end), 128 at a time, each query head of the item: act on them. */
static void each_rows(struct gqa__paged_step *step, int32_t begin, int32_t end,
                      void (*act)(const struct gqa__paged_step *step, int64_t loaded_bytes),
                      int64_t loaded_bytes)
{
    for (int32_t first = begin; first < end; first += GQA__PARTITIONS) {
        const int32_t rows = (int32_t)gqa__min(GQA__PARTITIONS, end - first);
        for (int32_t n = 0; n < heads_of_item(step->call); n++) {
            choose_rows(step, n, first, rows);
            act(step, loaded_bytes);
            loaded_bytes = 0; /* of the first one only */
        }
    }
}

/* The keys of a tile of the schedule, in the order in which the kernel holds them. */
static void load_blocks(const struct gqa__paged_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const gqa_neuron_schedule *const schedule = &step->plan->schedule;
    const int32_t size = gqa__paged_block_size(call);
    const int32_t *const blocks =
        schedule->tile_block_tables + (int64_t)step->schedule * gqa__paged_blocks(call);

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

static void load_active(const struct gqa__paged_step *step)
{
    const struct gqa__neuron *const call = step->call;
    struct gqa__neuron_rows keys = {&call->in.k, 0, 0, call->tokens, step->kv_head};

    gqa__neuron_load_turned(&keys, step->x->k, step->keys);
    keys.tensor = &call->in.v;
    gqa__neuron_load(&keys, step->x->v);
}

/* Keys and values to bf16; bytes that the kernel has loaded, once for all query heads of a KV head.
 */
static int64_t round_keys(const struct gqa__paged_step *step)
{
    const int64_t n = (int64_t)step->keys * step->call->dim;

    gqa__engine_round_all(GQA_BF16, step->x->k, n);
    gqa__engine_round_all(GQA_BF16, step->x->v, n);
    if (step->first_head % step->call->group != 0) { /* an item before has counted them */
        return 0;
    }
    return 2 * n * (int64_t)gqa__dtype_size(step->call->io);
}

static void prior_phase(struct gqa__paged_step *step)
{
    const gqa_neuron_call *const in = &step->call->in;
    const struct gqa__paged_plan *const plan = step->plan;
    int64_t bytes = 0;

    step->keys = in->kv_tile;
    for (step->schedule = 0; step->schedule < plan->schedule.tiles; step->schedule++) {
        const int64_t begin = (int64_t)plan->schedule.tile_q_indices[step->schedule] * in->q_tile;
        const int64_t end = gqa__min(begin + in->q_tile, step->call->tokens);
        if (plan->loads[step->schedule] != 0) {
            load_blocks(step);
            bytes = round_keys(step);
        }
        each_rows(step, (int32_t)begin, (int32_t)end, gqa__paged_step_run, bytes);
        bytes = 0;
    }
}

static void tell_prior(const struct gqa__paged_step *step, int64_t loaded_bytes)
{
    gqa_neuron_tile tell = gqa__paged_event(step, GQA_NEURON_SECTION);

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
static void finish_paged_rows(const struct gqa__paged_step *step, int64_t loaded_bytes)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__neuron_rows rows = {&call->out.out, 0, step->first, step->rows, step->head};
    gqa_neuron_tile tell = gqa__paged_event(step, GQA_NEURON_ROWS);

    (void)loaded_bytes;
    gqa__flash_normalise(step->o, step->m, step->l, step->rows, call->dim);
    gqa__neuron_store(&rows, step->o);
    tell.key = tell.keys = 0;
    tell.m = step->m;
    tell.l = step->l;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}

static void active_phase(struct gqa__paged_step *step)
{
    const int32_t tokens = step->call->tokens;
    int64_t bytes;

    step->schedule = -1;
    step->keys = tokens;
    load_active(step);
    bytes = round_keys(step);
    each_rows(step, 0, tokens, tell_prior, 0);
    each_rows(step, 0, tokens, gqa__paged_step_run, bytes);
    each_rows(step, 0, tokens, finish_paged_rows, 0);
}

static int64_t paged_items(const struct gqa__neuron *call)
{
    return call->tokens > 0 ? call->hq / heads_of_item(call) : 0;
}

/* The kernel's program: the query heads of a KV head, or one of them. */
static void run_paged(const struct gqa__neuron_worker *worker, struct gqa__arena *scratch,
                      int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    const int64_t state = (int64_t)heads_of_item(call) * call->tokens;
    struct gqa__paged_scratch x;
    struct gqa__paged_step step = {.worker = worker, .call = call, .plan = call->shared, .x = &x};

    carve_paged(call, scratch, &x);
    step.first_head = (int32_t)item * heads_of_item(call);
    step.kv_head = step.first_head / call->group;
    for (int64_t r = 0; r < state; r++) {
        x.m[r] = M_START;
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
    .check = gqa__paged_check,
    .share = share_plan,
    .items = paged_items,
    .scratch = paged_scratch,
    .run = run_paged,
};
