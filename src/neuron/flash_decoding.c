/* SPDX-License-Identifier: Apache-2.0 */
/* flash_decoding.c - token generation with the keys of one KV head spread over the ranks that share
 * it: distributed_softmax and compute_for_flash_decoding (attention_base.py, flashdecode/utils.py;
 * 2.26 and 2.29). The ranks are computed one after the other, in one process.
 *
 * The token at position p lives on rank p % n, in slot p / n. A rank computes, for all query heads,
 *
 *     its scores, as native_tkg does; a prior slot that holds no token yet has T's smallest number,
 *     a new token that the rank does not own the smallest f32
 *     m_r and l_r of its own scores, which all ranks gather: M = max m_r, L = sum exp(m_r - M) l_r
 *     p = T(exp(s - M) / L), O_r = T(T(p.v) + T(p.v))
 *
 * and O_r is summed over the ranks in T. In which order is not documented: here exactly, rounded
 * once. There are no sinks. With several new tokens all of them see the slots before the first one;
 * among themselves the owner of a token sees it from its own row on. */
#include "neuron/native.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/tensor.h"

#define GQA__RANKS_MAX (1 << 16) /* so that sizes can be multiplied */

/* --- limits -------------------------------------------------------------------------------------
 */

/* Position of the first new token of a batch entry. */
static int32_t first_position(const struct gqa__neuron *call, int32_t batch)
{
    const int32_t *const positions = call->in.positions + (int64_t)batch * call->tokens;
    int32_t first = positions[0];

    for (int32_t t = 1; t < call->tokens; t++) {
        first = (int32_t)gqa__min(first, positions[t]);
    }
    return first;
}

static gqa_status check_positions(const struct gqa__neuron *call, gqa_error *err)
{
    if (call->in.positions == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "call.positions", "is NULL; flash_decoding needs it");
    }
    for (int32_t b = 0; b < call->batch && call->tokens > 0; b++) {
        const int32_t first = first_position(call, b);
        if (first < 0 || first > call->prior) {
            return gqa__fail(err, GQA_ERR_ARG, "call.positions",
                             "batch entry %d begins at %d; it must be 0..%d: call.k_prior has no "
                             "more slots",
                             (int)b, (int)first, (int)call->prior);
        }
    }
    return GQA_OK;
}

static gqa_status check_decoding(struct gqa__neuron *call, gqa_error *err)
{
    const int32_t ranks = call->in.ranks;
    const struct gqa__neuron_limit heads = {
        "call.k", "the number of heads", call->hkv,
        "1 (flash decoding spreads one KV head over its ranks)"};
    struct gqa__neuron_limit slots = {
        "call.k_prior", "shape[1]", call->prior,
        "a multiple of call.ranks (every rank's cache is seq_len / num_cores_per_group long)"};
    gqa_status status = gqa__native_check_new_tokens(call, err);

    gqa__native_drop_sinks(call, "flash_decoding drops learned sinks");
    if (status == GQA_OK && (ranks < 1 || ranks > GQA__RANKS_MAX)) {
        status = gqa__fail(err, GQA_ERR_ARG, "call.ranks", "is %d; it must be 1..%d", (int)ranks,
                           GQA__RANKS_MAX);
    }
    if (status == GQA_OK) {
        status = gqa__neuron_hold(call, call->hkv == 1, &heads, err);
    }
    if (status == GQA_OK) {
        status = gqa__neuron_hold(call, call->prior % ranks == 0, &slots, err);
    }
    return status == GQA_OK ? check_positions(call, err) : status;
}

/* --- the ranks ----------------------------------------------------------------------------------
 */

struct rank {
    struct gqa__native_part prior, active;
    float *m, *l; /* [rows] of the rank's own keys */
    float *o;     /* [rows][dim] */
};

struct decoding_work {
    struct gqa__native_rows rows; /* with m and l of the group */
    struct rank *ranks;           /* [ranks] */
    float *of_ranks;              /* [ranks] one value of each */
    float *out;                   /* [rows][dim] */
};

/* How many of the positions below `end` live on a rank. */
static int32_t owned(const struct gqa__neuron *call, int32_t rank, int32_t end)
{
    return end > rank ? (end - rank - 1) / call->in.ranks + 1 : 0;
}

static void carve_rank(const struct gqa__neuron *call, struct gqa__arena *arena, int32_t number,
                       struct rank *rank)
{
    const int64_t n = gqa__native_tile_rows(call);

    gqa__native_carve_part(call, arena, owned(call, number, call->prior), &rank->prior);
    gqa__native_carve_part(call, arena, call->tokens, &rank->active);
    rank->m = gqa__arena_take(arena, n, sizeof *rank->m);
    rank->l = gqa__arena_take(arena, n, sizeof *rank->l);
    rank->o = gqa__arena_take(arena, n * call->dim, sizeof *rank->o);
}

static void carve_decoding(const struct gqa__neuron *call, struct gqa__arena *arena,
                           struct decoding_work *work)
{
    gqa__native_carve_rows(call, arena, &work->rows);
    work->ranks = gqa__arena_take(arena, call->in.ranks, sizeof *work->ranks);
    work->of_ranks = gqa__arena_take(arena, call->in.ranks, sizeof *work->of_ranks);
    work->out =
        gqa__arena_take(arena, (int64_t)gqa__native_tile_rows(call) * call->dim, sizeof *work->out);
    for (int32_t i = 0; i < call->in.ranks; i++) {
        struct rank rank;
        carve_rank(call, arena, i, &rank);
        if (work->ranks != NULL) {
            work->ranks[i] = rank;
        }
    }
}

static void decoding_scratch(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct decoding_work work;

    carve_decoding(call, arena, &work);
}

/* A rank's slots of a tensor that is stored by position. */
static gqa_tensor slots_of(const gqa_tensor *by_position, int32_t rank, int32_t ranks)
{
    gqa_tensor slots = *by_position;
    const int64_t bytes = (int64_t)gqa__dtype_size(slots.dtype);

    if (rank < slots.shape[1]) { /* else it has none */
        slots.data = (unsigned char *)slots.data + rank * slots.stride[1] * bytes;
    }
    slots.stride[1] *= ranks;
    return slots;
}

static void load_rank(const struct gqa__native_rows *rows, struct rank *rank)
{
    const gqa_neuron_call *const in = &rows->worker->call->in;
    const gqa_tensor k = slots_of(&in->k_prior, rows->rank, in->ranks);
    const gqa_tensor v = slots_of(&in->v_prior, rows->rank, in->ranks);
    const struct gqa__native_source cached = {&k, &v};
    const struct gqa__native_source given = {&in->k, &in->v};

    gqa__native_load(rows, &cached, &rank->prior);
    gqa__native_load(rows, &given, &rank->active);
}

/* Prior slots before the first new token, and the new tokens that the rank owns. */
static void look_rank(const struct gqa__native_rows *rows, struct rank *rank)
{
    const struct gqa__neuron *const call = rows->worker->call;
    const int32_t *const positions = call->in.positions + (int64_t)rows->batch * call->tokens;
    const int32_t filled = owned(call, rows->rank, first_position(call, rows->batch));

    for (int32_t r = 0; r < rows->rows; r++) {
        uint8_t *const prior = rank->prior.sees + (int64_t)r * rank->prior.keys;
        uint8_t *const active = rank->active.sees + (int64_t)r * rank->active.keys;
        for (int32_t slot = 0; slot < rank->prior.keys; slot++) {
            prior[slot] = slot < filled;
        }
        for (int32_t t = 0; t < rank->active.keys; t++) {
            active[t] = positions[t] % call->in.ranks == rows->rank && t <= rows->first + r;
        }
    }
}

/* First half: scores, and m_r and l_r, which all ranks gather. */
static void score_rank(const struct gqa__native_rows *group, struct rank *rank)
{
    struct gqa__native_rows rows = *group;

    rows.m = rank->m;
    rows.l = rank->l;
    memcpy(rows.m, group->m, (size_t)rows.rows * sizeof *rows.m);
    rank->prior.part = GQA_NEURON_PRIOR;
    rank->prior.first = 0;
    rank->prior.unseen = gqa__native_lowest(rows.worker->call->io);
    rank->active.part = GQA_NEURON_ACTIVE;
    rank->active.first = rows.worker->call->prior;
    rank->active.unseen = gqa__native_lowest(GQA_F32);
    load_rank(&rows, rank);
    look_rank(&rows, rank);
    gqa__native_scores(&rows, &rank->prior);
    gqa__native_scores(&rows, &rank->active);
    for (int32_t r = 0; r < rows.rows; r++) {
        const float of_prior = gqa__native_exponentials(&rows, &rank->prior, r, NULL);
        rows.l[r] = of_prior + gqa__native_exponentials(&rows, &rank->active, r, NULL);
    }
}

/* M and L of the group. */
static void gather_ranks(struct decoding_work *work)
{
    const gqa_neuron_call *const in = &work->rows.worker->call->in;

    for (int32_t r = 0; r < work->rows.rows; r++) {
        for (int32_t i = 0; i < in->ranks; i++) {
            work->of_ranks[i] = work->ranks[i].m[r];
        }
        work->rows.m[r] = gqa__engine_max(work->of_ranks, in->ranks);
        for (int32_t i = 0; i < in->ranks; i++) {
            const struct rank *const rank = &work->ranks[i];
            work->of_ranks[i] = gqa__engine_exp(rank->m[r] - work->rows.m[r]) * rank->l[r];
        }
        work->rows.l[r] = gqa__engine_sum(in->accumulation, work->of_ranks, in->ranks);
    }
}

/* Second half: the rank's share of the output. */
static void weigh_rank(const struct gqa__native_rows *group, struct rank *rank)
{
    const struct gqa__neuron *const call = group->worker->call;

    for (int32_t r = 0; r < group->rows; r++) {
        (void)gqa__native_exponentials(group, &rank->prior, r, NULL);
        gqa__native_weights(group, &rank->prior, r);
        (void)gqa__native_exponentials(group, &rank->active, r, NULL);
        gqa__native_weights(group, &rank->active, r);
    }
    gqa__native_product(group, &rank->prior);
    gqa__native_product(group, &rank->active);
    for (int64_t i = 0; i < (int64_t)group->rows * call->dim; i++) {
        rank->o[i] = gqa__engine_round(call->io, rank->prior.o[i] + rank->active.o[i]);
    }
    gqa__native_section(group, NULL, rank->m, rank->l, rank->o);
}

/* The sum over the ranks. */
static void reduce_ranks(struct decoding_work *work)
{
    const struct gqa__neuron *const call = work->rows.worker->call;

    for (int64_t i = 0; i < (int64_t)work->rows.rows * call->dim; i++) {
        for (int32_t rank = 0; rank < call->in.ranks; rank++) {
            work->of_ranks[rank] = work->ranks[rank].o[i];
        }
        work->out[i] = gqa__engine_round(
            call->io, gqa__engine_sum(call->in.accumulation, work->of_ranks, call->in.ranks));
    }
}

static void run_decoding(const struct gqa__neuron_worker *worker, struct gqa__arena *arena,
                         int64_t item)
{
    const int32_t ranks = worker->call->in.ranks;
    struct decoding_work work;

    carve_decoding(worker->call, arena, &work);
    gqa__native_open(worker, item, &work.rows);
    for (work.rows.rank = 0; work.rows.rank < ranks; work.rows.rank++) {
        score_rank(&work.rows, &work.ranks[work.rows.rank]);
    }
    gather_ranks(&work);
    for (work.rows.rank = 0; work.rows.rank < ranks; work.rows.rank++) {
        weigh_rank(&work.rows, &work.ranks[work.rows.rank]);
    }
    work.rows.rank = 0;
    reduce_ranks(&work);
    gqa__native_close(&work.rows, work.out);
}

const struct gqa__neuron_path gqa__neuron_flash_decoding = {
    .profile = GQA_NEURON_FLASH_DECODING,
    .name = "flash_decoding",
    .takes = GQA__TAKES_PRIOR | GQA__TAKES_RANKS | GQA__TAKES_DIVISOR,
    .drops = GQA__TAKES_SINKS,
    .check = check_decoding,
    .items = gqa__native_items,
    .scratch = decoding_scratch,
    .run = run_decoding,
};
