/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_decoding.c - flash decoding over any number of ranks, against a plain twin bit by
 * bit, against the definition of attention, and against native_tkg, which it must equal on one
 * rank. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/fewer_cases.h"
#include "support/host.h"
#include "support/native_twin.h"
#include "support/neuron_rig.h"
#include "support/program.h"
#include "support/random.h"

enum { MOST_RANKS = 12, MOST_SLOTS = 160, MOST_TOKENS = 140, MOST_DIM = 136 };

struct options {
    int ranks, batch, tokens, prior; /* prior: positions in the cache */
    int hq, hkv, d;
    bool f32;
    int from; /* position of the first new token, of entry 0; -1 = prior. Others are before it */
};

/* A call and its tensors as floats. */
struct call {
    struct options o;
    struct neuron_rig rig;
    float *q, *k, *v, *k_prior, *v_prior;
    int32_t *positions; /* [B][T] */
};

static void call_open(struct call *call, const struct options *o, uint64_t seed)
{
    const gqa_dtype io = o->f32 ? GQA_F32 : GQA_BF16;
    const struct neuron_shape q = {io, o->batch, o->tokens, o->hq, o->d};
    const struct neuron_shape k = {io, o->batch, o->tokens, o->hkv, o->d};
    const struct neuron_shape prior = {io, o->batch, o->prior, o->hkv, o->d};
    gqa_neuron_call *const in = &call->rig.call;

    memset(call, 0, sizeof *call);
    call->o = *o;
    neuron_rig_open(&call->rig, GQA_NEURON_FLASH_DECODING, seed);
    call->q = neuron_rig_fill(&call->rig, &in->q, &q, 2.0f);
    call->k = neuron_rig_fill(&call->rig, &in->k, &k, 2.0f);
    call->v = neuron_rig_fill(&call->rig, &in->v, &k, 1.0f);
    call->k_prior = neuron_rig_fill(&call->rig, &in->k_prior, &prior, 2.0f);
    call->v_prior = neuron_rig_fill(&call->rig, &in->v_prior, &prior, 1.0f);
    call->positions =
        neuron_rig_memory(&call->rig, (int64_t)o->batch * o->tokens, sizeof *call->positions);
    for (int b = 0; b < o->batch; b++) {
        const int most = o->from < 0 ? o->prior : o->from;
        const int first = b == 0 ? most : neuron_rig_number(&call->rig, most + 1);
        for (int t = 0; t < o->tokens; t++) {
            call->positions[b * o->tokens + t] = first + t;
        }
    }
    in->positions = call->positions;
    in->ranks = o->ranks;
    in->lift_limits = o->prior % o->ranks != 0 || o->hkv != 1;
}

static void call_close(struct call *call)
{
    neuron_rig_close(&call->rig);
}

/* --- the twin -----------------------------------------------------------------------------------
 */

/* What a rank holds of one row. */
struct rank {
    struct native_row row;
    float k[2][MOST_SLOTS * MOST_DIM], v[2][MOST_SLOTS * MOST_DIM];
    float raw[2][MOST_SLOTS], s[2][MOST_SLOTS], p[2][MOST_SLOTS], o[2][MOST_DIM];
    uint8_t mask[2][MOST_SLOTS];
    float m, l, out[MOST_DIM];
};

static struct native_keys part_of(struct rank *rank, int part, int n, int d)
{
    struct native_keys keys;

    memset(&keys, 0, sizeof keys);
    keys.k = rank->k[part];
    keys.v = rank->v[part];
    keys.stride = d;
    keys.n = n;
    keys.mask = rank->mask[part];
    keys.raw = rank->raw[part];
    keys.s = rank->s[part];
    keys.p = rank->p[part];
    keys.o = rank->o[part];
    return keys;
}

/* One key into a part of the rank. */
static void put_key(struct rank *rank, int part, int at, const float *k, const float *v, int d)
{
    memcpy(rank->k[part] + at * d, k, (size_t)d * sizeof *k);
    memcpy(rank->v[part] + at * d, v, (size_t)d * sizeof *v);
}

/* Deal the positions out: the cache's to rank p % n, of the new tokens every rank gets a copy. */
static void deal(const struct call *call, int batch, int head, int token, struct rank *rank, int r)
{
    const struct options *const o = &call->o;
    const int32_t *const positions = call->positions + batch * o->tokens;
    const int group = head / (o->hq / o->hkv);
    int slots = 0;

    for (int p = 0; p < o->prior; p++) {
        const int64_t at = ((int64_t)(batch * o->prior + p) * o->hkv + group) * o->d;
        if (p % o->ranks == r) {
            rank->mask[0][slots] = p < positions[0];
            put_key(rank, 0, slots++, call->k_prior + at, call->v_prior + at, o->d);
        }
    }
    for (int t = 0; t < o->tokens; t++) {
        const int64_t at = ((int64_t)(batch * o->tokens + t) * o->hkv + group) * o->d;
        rank->mask[1][t] = positions[t] % o->ranks == r && t <= token;
        put_key(rank, 1, t, call->k + at, call->v + at, o->d);
    }
    memset(&rank->row, 0, sizeof rank->row);
    rank->row.d = o->d;
    rank->row.bf16 = !o->f32;
    rank->row.parts = true;
    rank->row.q = call->q + ((int64_t)(batch * o->tokens + token) * o->hq + head) * o->d;
    rank->row.prior = part_of(rank, 0, slots, o->d);
    rank->row.active = part_of(rank, 1, o->tokens, o->d);
    rank->row.prior.fill = o->f32 ? -FLT_MAX : -0x1.fep127f;
    rank->row.active.fill = -FLT_MAX;
}

static float sum_of_exponentials(const struct native_keys *keys, float m)
{
    double sum = 0.0;

    for (int j = 0; j < keys->n; j++) {
        sum += (double)native_twin_exp(keys->s[j] - m);
    }
    return (float)sum;
}

static float highest(const struct native_keys *keys, float m)
{
    for (int j = 0; j < keys->n; j++) {
        m = keys->s[j] > m ? keys->s[j] : m;
    }
    return m;
}

/* p = T(e / l) of the group's m and l, and the product with v. */
static void weigh(struct native_row *row, struct native_keys *keys, float m, float l)
{
    for (int j = 0; j < keys->n; j++) {
        const float e = native_twin_exp(keys->s[j] - m);
        keys->p[j] = native_twin_round((double)(e / l), row->bf16);
    }
    native_twin_product(row, keys);
}

struct group {
    struct rank ranks[MOST_RANKS];
    float m, l, out[MOST_DIM];
};

static void twin_row(const struct call *call, int batch, int head, int token, struct group *group)
{
    const struct options *const o = &call->o;
    double l = 0.0;

    group->m = -INFINITY;
    for (int r = 0; r < o->ranks; r++) {
        struct rank *const rank = &group->ranks[r];
        deal(call, batch, head, token, rank, r);
        native_twin_scores(&rank->row, &rank->row.prior, NATIVE_RIGHT);
        native_twin_scores(&rank->row, &rank->row.active, NATIVE_RIGHT);
        rank->m = highest(&rank->row.active, highest(&rank->row.prior, -INFINITY));
        rank->l = sum_of_exponentials(&rank->row.prior, rank->m);
        rank->l += sum_of_exponentials(&rank->row.active, rank->m);
        group->m = rank->m > group->m ? rank->m : group->m;
    }
    for (int r = 0; r < o->ranks; r++) {
        const float scaled = native_twin_exp(group->ranks[r].m - group->m) * group->ranks[r].l;
        l += (double)scaled;
    }
    group->l = (float)l;
    for (int r = 0; r < o->ranks; r++) {
        struct rank *const rank = &group->ranks[r];
        weigh(&rank->row, &rank->row.prior, group->m, group->l);
        weigh(&rank->row, &rank->row.active, group->m, group->l);
        for (int i = 0; i < o->d; i++) {
            rank->out[i] = native_twin_round((double)(rank->o[0][i] + rank->o[1][i]), !o->f32);
        }
    }
    for (int i = 0; i < o->d; i++) {
        double sum = 0.0;
        for (int r = 0; r < o->ranks; r++) {
            sum += (double)group->ranks[r].out[i];
        }
        group->out[i] = native_twin_round(sum, !o->f32);
    }
}

/* --- odd sizes ----------------------------------------------------------------------------------
 */

/* What a run told of the ranks. */
struct told {
    const struct options *o;
    float *m, *l; /* [ranks][B][hq][T] */
    float *out;   /* [ranks][B][hq][T][d] */
};

static void listen(void *user, const gqa_neuron_tile *tile)
{
    struct told *const told = user;
    const struct options *const o = told->o;
    const int64_t at =
        ((int64_t)(tile->rank * o->batch + tile->batch) * o->hq + tile->head) * o->tokens +
        tile->query;

    if (tile->event == GQA_NEURON_SECTION) {
        memcpy(told->m + at, tile->m, (size_t)tile->rows * sizeof *told->m);
        memcpy(told->l + at, tile->l, (size_t)tile->rows * sizeof *told->l);
        memcpy(told->out + at * o->d, tile->o, (size_t)(tile->rows * o->d) * sizeof *told->out);
    }
}

static void expect(const struct options *o, bool good, const char *what)
{
    if (!good) {
        fail_msg("%s: ranks %d batch %d tokens %d prior %d heads %d/%d d %d f32 %d from %d", what,
                 o->ranks, o->batch, o->tokens, o->prior, o->hq, o->hkv, o->d, o->f32, o->from);
    }
}

/* All keys of the row as one part: positions before the first new token, and new ones up to it. */
static void check_exact(const struct call *call, const struct group *group, const float *exact,
                        const float *narrow)
{
    static struct rank whole;
    const struct options *const o = &call->o;
    double out[MOST_DIM];
    int n = 0;

    whole.row = group->ranks[0].row;
    for (int r = 0; r < o->ranks; r++) {
        const struct native_row *const row = &group->ranks[r].row;
        const struct native_keys *const parts[2] = {&row->prior, &row->active};
        for (int part = 0; part < 2; part++) {
            for (int j = 0; j < parts[part]->n; j++) {
                if (parts[part]->mask[j] != 0) {
                    put_key(&whole, 0, n++, parts[part]->k + j * o->d, parts[part]->v + j * o->d,
                            o->d);
                }
            }
        }
    }
    whole.row.prior = part_of(&whole, 0, n, o->d);
    whole.row.prior.mask = NULL;
    whole.row.active.n = 0;
    native_exact_row(&whole.row, out);
    for (int i = 0; i < o->d; i++) {
        const double bound = native_exact_bound(&whole.row);
        expect(o, fabs((double)exact[i] - out[i]) <= bound, "exact sums beyond the bound");
        expect(o, fabs((double)narrow[i] - out[i]) <= bound, "float32 sums beyond the bound");
    }
}

static void check_call(struct call *call)
{
    static struct group group;
    const struct options *const o = &call->o;
    const int64_t rows = (int64_t)o->batch * o->hq * o->tokens;
    struct told told = {o, NULL, NULL, NULL};
    float *exact, *narrow;

    told.m = neuron_rig_memory(&call->rig, o->ranks * rows, sizeof(float));
    told.l = neuron_rig_memory(&call->rig, o->ranks * rows, sizeof(float));
    told.out = neuron_rig_memory(&call->rig, o->ranks * rows * o->d, sizeof(float));
    call->rig.call.trace = listen;
    call->rig.call.trace_user = &told;
    exact = neuron_rig_run(&call->rig, NULL);
    call->rig.call.trace = NULL;
    call->rig.call.accumulation = GQA_NEURON_FLOAT32;
    narrow = neuron_rig_run(&call->rig, NULL);
    for (int64_t i = 0; i < rows; i++) {
        const int token = (int)(i / o->hq);
        const int batch = token / o->tokens;
        const int head = (int)(i % o->hq);
        twin_row(call, batch, head, token % o->tokens, &group);
        for (int r = 0; r < o->ranks; r++) {
            const int64_t at =
                ((int64_t)(r * o->batch + batch) * o->hq + head) * o->tokens + token % o->tokens;
            const struct rank *const rank = &group.ranks[r];
            expect(o, memcmp(told.m + at, &rank->m, sizeof(float)) == 0, "m of a rank");
            expect(o, memcmp(told.l + at, &rank->l, sizeof(float)) == 0, "l of a rank");
            expect(o, memcmp(told.out + at * o->d, rank->out, (size_t)o->d * sizeof(float)) == 0,
                   "o of a rank");
        }
        expect(o, memcmp(exact + i * o->d, group.out, (size_t)o->d * sizeof(float)) == 0, "out");
        check_exact(call, &group, exact + i * o->d, narrow + i * o->d);
    }
}

/* Drawn ones: all positions of a row must fit into one rank of the twin. */
static void any_sizes(void **state)
{
    uint64_t random = 33;

    (void)state;
    for (int i = 0; i < fewer_cases(40); i++) {
        struct options o = {.from = -1};
        struct call call;

        o.ranks = random_between(&random, 1, MOST_RANKS);
        o.batch = random_between(&random, 1, 2);
        o.tokens = random_between(&random, 0, 6);
        o.prior = random_between(&random, 0, MOST_SLOTS - o.tokens);
        o.hkv = random_between(&random, 1, 2);
        o.hq = o.hkv * random_between(&random, 1, 3);
        o.d = random_between(&random, 1, i % 4 == 0 ? MOST_DIM : 20);
        o.f32 = i % 3 == 0;
        o.from = i % 2 == 0 ? random_between(&random, 0, o.prior) : -1;
        call_open(&call, &o, 700 + (uint64_t)i);
        check_call(&call);
        call_close(&call);
    }
}

static void odd(void **state)
{
    static const struct options sizes[] = {
        {1, 1, 1, 1, 1, 1, 1, false, -1},
        {3, 2, 0, 9, 2, 1, 8, false, -1}, /* no rows */
        {2, 2, 1, 46, 4, 1, 64, false, -1},
        {3, 3, 1, 96, 5, 1, 20, false, 2},  /* rank 2 holds no key yet, and the new token */
        {4, 2, 5, 64, 2, 1, 72, false, 19}, /* several tokens, owned by several ranks */
        {5, 2, 3, 73, 6, 2, 17, false, -1}, /* slots that not every rank has; two KV heads */
        {7, 2, 2, 5, 3, 1, 33, false, -1},  /* ranks without any slot */
        {8, 3, 1, 160, 8, 1, 128, false, -1},
        {12, 1, 129, 24, 2, 1, 7, false, -1}, /* one over a tile of rows */
        {6, 2, 2, 60, 4, 1, 40, true, 33},
        {3, 2, 4, 0, 2, 1, 24, false, -1}, /* an empty cache */
        {9, 2, 7, 90, 2, 1, 130, true, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct call call;
        call_open(&call, &sizes[i], 300 + i);
        check_call(&call);
        call_close(&call);
    }
}

/* --- one rank is native_tkg ---------------------------------------------------------------------
 */

static void one_rank(void **state)
{
    const struct options o = {1, 2, 5, 43, 6, 1, 80, false, 31};
    const struct neuron_shape prior = {GQA_U8, 2, 1, 5, 43};
    const struct neuron_shape active = {GQA_U8, 2, 1, 5, 5};
    const struct neuron_odds all = {1, 1};
    struct call call;
    uint8_t *prior_mask, *active_mask;
    float *decoding, *tkg;

    (void)state;
    call_open(&call, &o, 8);
    decoding = neuron_rig_run(&call.rig, NULL);
    call.rig.call.profile = GQA_NEURON_NATIVE_TKG;
    call.rig.call.ranks = 0;
    call.rig.call.positions = NULL;
    prior_mask = neuron_rig_mask(&call.rig, &call.rig.call.prior_mask, &prior, &all);
    active_mask = neuron_rig_mask(&call.rig, &call.rig.call.active_mask, &active, &all);
    for (int i = 0; i < 2 * 5 * 43; i++) {
        prior_mask[i] = i % 43 < call.positions[i / (5 * 43) * 5];
    }
    for (int i = 0; i < 2 * 5 * 5; i++) {
        active_mask[i] = i % 5 <= i / 5 % 5;
    }
    neuron_rig_remask(&call.rig.call.prior_mask, prior_mask);
    neuron_rig_remask(&call.rig.call.active_mask, active_mask);
    tkg = neuron_rig_run(&call.rig, NULL);
    assert_memory_equal(decoding, tkg, (size_t)(2 * 5 * 6 * 80) * sizeof *tkg);
    call_close(&call);
}

/* Spec 8.8: four ranks at position 19: 5, 5, 5 and 4 slots, and rank 3 owns the new token. */
static void count_keys(void *user, const gqa_neuron_tile *tile)
{
    int *const seen = user;

    for (int32_t c = 0; tile->event == GQA_NEURON_MM1 && c < tile->keys; c++) {
        seen[2 * tile->rank + (tile->part == GQA_NEURON_ACTIVE)] += tile->s[c] > -3e38f;
    }
}

static void worked_example(void **state)
{
    const struct options o = {4, 1, 1, 24, 1, 1, 16, false, 19};
    static const int want[8] = {5, 0, 5, 0, 5, 0, 4, 1};
    int seen[8] = {0};
    struct call call;

    (void)state;
    call_open(&call, &o, 4);
    call.rig.call.trace = count_keys;
    call.rig.call.trace_user = seen;
    neuron_rig_run(&call.rig, NULL);
    assert_memory_equal(seen, want, sizeof want);
    call_close(&call);
}

static void threads(void **state)
{
    const struct options o = {3, 3, 2, 33, 4, 1, 24, false, -1};
    struct host host;
    gqa_runtime runtime;
    struct call call;
    float *alone, *many;

    (void)state;
    call_open(&call, &o, 21);
    alone = neuron_rig_run(&call.rig, NULL);
    runtime = host_start(&host, 4);
    many = neuron_rig_run(&call.rig, &runtime);
    assert_memory_equal(alone, many, (size_t)(3 * 2 * 4 * 24) * sizeof *many);
    call_close(&call);
}

/* --- what it says and refuses -------------------------------------------------------------------
 */

static void drops_sinks(void **state)
{
    const struct options o = {2, 1, 1, 8, 2, 1, 16, false, -1};
    const struct neuron_shape sinks = {GQA_BF16, 2, -1, 0, 0};
    struct call call;
    float *with, *without;

    (void)state;
    call_open(&call, &o, 2);
    without = neuron_rig_run(&call.rig, NULL);
    assert_int_equal(call.rig.output.warning_count, 0);
    neuron_rig_fill(&call.rig, &call.rig.call.sinks, &sinks, 3.0f);
    with = neuron_rig_run(&call.rig, NULL);
    assert_memory_equal(with, without, 2 * 16 * sizeof *with);
    assert_int_equal(call.rig.output.warning_count, 1);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_SINKS_DROPPED), 1);
    call_close(&call);
}

static void refusals(void **state)
{
    const struct options o = {3, 1, 2, 9, 4, 2, 16, false, 4};
    struct call call;
    gqa_neuron_call *const in = &call.rig.call;

    (void)state;
    call_open(&call, &o, 2);
    in->lift_limits = 0;
    neuron_rig_refused(&call.rig, GQA_ERR_UNSUPPORTED, "call.k", "spreads one KV head");
    in->lift_limits = 1;
    neuron_rig_run(&call.rig, NULL);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_LIMIT_LIFTED), 1);
    in->ranks = 0;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.ranks", "it must be 1..65536");
    in->ranks = 65537;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.ranks", "it must be 1..65536");
    in->ranks = 3;
    call.positions[0] = 10;
    call.positions[1] = 11;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.positions", "begins at 10; it must be 0..9");
    call.positions[1] = -1;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.positions", "begins at -1; it must be 0..9");
    in->positions = NULL;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.positions", "is NULL");
    in->positions = call.positions;
    call.positions[0] = call.positions[1] = 1;
    in->k_prior.data = in->v_prior.data = NULL;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.k_prior", "needs it");
    call_close(&call);
}

static void uneven_slots(void **state)
{
    const struct options o = {4, 1, 1, 9, 2, 1, 16, false, 4};
    struct call call;

    (void)state;
    call_open(&call, &o, 2);
    call.rig.call.lift_limits = 0;
    neuron_rig_refused(&call.rig, GQA_ERR_UNSUPPORTED, "call.k_prior", "a multiple of call.ranks");
    call_close(&call);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd),      cmocka_unit_test(any_sizes),
        cmocka_unit_test(one_rank), cmocka_unit_test(worked_example),
        cmocka_unit_test(threads),  cmocka_unit_test(drops_sinks),
        cmocka_unit_test(refusals), cmocka_unit_test(uneven_slots),
    };
    return RUN_TESTS(argc, argv, tests);
}
