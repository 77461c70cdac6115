/* SPDX-License-Identifier: Apache-2.0 */
/* test_cascade.c - sequences of one call that share pages read them once for all their rows, and
 * nothing but the record of work shows it: results are, bit by bit, those of the same sequences
 * copied to another cache, where they share nothing.
 *
 * Trees of forks at random lengths are drawn; calls of every kind go to both caches, one with some
 * threads, some way to cut, and a workspace of exactly the size that was asked for. Counts by hand:
 * test_cascade_work. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/storage.h"
#include "layer/layer.h"
#include "support/cascade.h"
#include "support/fewer_cases.h"
#include "support/guarded_buffer.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum {
    HQ = CASCADE_HQ,
    HKV = CASCADE_HKV,
    DK = CASCADE_DK,
    DV = CASCADE_DV,
    N = CASCADE_TOKENS,
    MOST = CASCADE_KEYS,
    SEQUENCES = CASCADE_SEQUENCES,
    CASES = 24
};

static int32_t between(struct cascade *s, int32_t low, int32_t high)
{
    return random_between(&s->random, low, high);
}

static bool one_in(struct cascade *s, int32_t n)
{
    return random_between(&s->random, 1, n) == 1;
}

static void draw_config(struct cascade *s, gqa_isa isa, gqa_numerics numerics)
{
    static const int32_t windows[] = {0, 0, 0, 0, 300, 5000}, chunks[] = {0, 0, 0, 0, 512};

    s->config = attention_config(HQ, HKV, DK, DV);
    s->config.isa = isa;
    s->config.numerics = numerics;
    s->config.sliding_window = windows[between(s, 0, 5)];
    s->config.attention_chunk_size = chunks[between(s, 0, 4)];
    s->config.bidirectional =
        one_in(s, 8) && s->config.attention_chunk_size == 0 && s->config.sliding_window == 0;
    s->config.softcap = one_in(s, 3) ? 3.0f : 0.0f;
    s->config.learned_sinks_size = one_in(s, 2);
    s->config.alibi_slopes = one_in(s, 3) ? s->slopes : NULL;
    for (int h = 0; h < HQ; h++) {
        s->sinks[h] = (float)between(s, -3, 3);
        s->slopes[h] = (float)between(s, 0, 8) / 64.0f;
    }
}

/* Forks of forks, cut anywhere, each with tokens of its own; and the same without sharing. */
static void draw_sequences(struct cascade *s)
{
    s->sequences = between(s, 2, SEQUENCES);
    cascade_append(s, 0, between(s, 256, 1100));
    for (int32_t i = 1; i < s->sequences; i++) {
        const int32_t from = between(s, 0, i - 1), held = gqa_cache_length(s->shared, from);
        assert_int_equal(gqa_cache_fork(s->shared, from, i, &s->err), GQA_OK);
        if (one_in(s, 2)) {
            const int32_t kept = between(s, held * 2 / 3, held);
            assert_int_equal(gqa_cache_truncate(s->shared, i, kept, &s->err), GQA_OK);
        }
        cascade_append(s, i, one_in(s, 3) ? 0 : between(s, 0, 80) >> between(s, 0, 3));
        cascade_append(s, from, one_in(s, 3) ? between(s, 1, 9) : 0);
    }
    for (int32_t i = 0; i < s->sequences; i++) {
        assert_int_equal(gqa_cache_copy(s->apart, i, s->shared, i, 0, &s->err), GQA_OK);
    }
}

/* How K, or V, is stored: any type that goes with the numerics, the plain ones more often; the
 * quantised ones rotated or not. */
static gqa_dtype draw_type(struct cascade *s, gqa_numerics numerics)
{
    static const gqa_dtype types[] = {GQA_BF16,     GQA_BF16, GQA_I8,  GQA_I4,  GQA_E4M3,
                                      GQA_E4M3_240, GQA_F16,  GQA_F32, GQA_F32, GQA_F32};

    return types[between(s, 0, numerics == GQA_NUMERICS_BF16 ? 5 : 9)];
}

/* False if this machine has no such kernel set. */
static bool scene_open(struct cascade *s, gqa_isa isa, gqa_numerics numerics, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->random = seed;
    draw_config(s, isa, numerics);
    const int32_t threads = between(s, 1, 4);
    if (!cascade_layer(s, 1, &s->plain)) {
        return false;
    }
    assert_true(cascade_layer(s, threads, &s->other));
    s->other->params.knobs.force_key_cut = one_in(s, 3);
    s->other->params.knobs.mask_all_blocks = one_in(s, 6);
    s->other->params.knobs.token_block = one_in(s, 4) ? between(s, 1, 30) : 0;
    const gqa_dtype type_k = draw_type(s, numerics), type_v = draw_type(s, numerics);
    s->rotate_k = gqa__scaled(type_k) && one_in(s, 2);
    s->rotate_v = gqa__scaled(type_v) && one_in(s, 2);
    const int32_t page_size = 16 << between(s, 0, 5);
    s->shared = cascade_cache(s, page_size, type_k, type_v);
    s->apart = cascade_cache(s, page_size, type_k, type_v);
    draw_sequences(s);
    return true;
}

/* ---- calls ---- */

/* What is asked of both caches. */
struct question {
    int32_t row_begin[SEQUENCES + 2], sequences[SEQUENCES + 1], count;
    int32_t positions[N], begin[N], end[N];
    uint8_t active[N][N], mask[N][MOST + N];
    float bias[N][MOST + N];
    bool tree, masked, bounded, biased, append, borrow, states;
    bool half;                        /* queries of gqa_attend in f16 */
    bool health_shared, health_apart; /* a health report, too */
    int32_t range_begin, range_end;
    const gqa_states *prior;
};

/* Entries of some sequences, in any order, most of them with one token. */
static void draw_question(struct cascade *s, bool append_them, struct question *ask)
{
    int32_t n = 0;

    memset(ask, 0, sizeof *ask);
    ask->append = append_them;
    ask->half = one_in(s, 3);
    ask->health_shared = one_in(s, 3);
    ask->health_apart = one_in(s, 3);
    ask->count = between(s, 2, s->sequences);
    for (int32_t i = 0; i < ask->count; i++) {
        ask->sequences[i] = i;
    }
    for (int32_t i = ask->count - 1; i > 0; i--) {
        const int32_t j = between(s, 0, i), held = ask->sequences[i];
        ask->sequences[i] = ask->sequences[j];
        ask->sequences[j] = held;
    }
    if (!append_them && one_in(s, 3)) {
        ask->sequences[1] = ask->sequences[0];
    }
    for (int32_t i = 0; i < ask->count; i++) {
        const int32_t most = one_in(s, 8) ? 60 : one_in(s, 3) ? 7 : 1;
        const int32_t tokens = between(s, one_in(s, 9) ? 0 : 1, most);
        ask->row_begin[i] = n;
        n += tokens < N - n ? tokens : N - n;
    }
    ask->row_begin[ask->count] = n;
    random_floats(&s->random, &s->q[0][0][0], (int64_t)N * HQ * DK, 2.0f);
    cascade_keys(s, N);
}

/* A tree of drafts: positions that repeat and fall, and an active mask. */
static void draw_tree(struct cascade *s, struct question *ask)
{
    ask->tree = true;
    for (int32_t i = 0; i < ask->count; i++) {
        const int32_t last = gqa_cache_length(s->shared, ask->sequences[i]);
        for (int32_t t = ask->row_begin[i]; t < ask->row_begin[i + 1]; t++) {
            ask->positions[t] = last + between(s, 0, 3);
        }
    }
    for (int32_t i = 0; i < N * N; i++) {
        (&ask->active[0][0])[i] = one_in(s, 2);
    }
}

static void draw_mask(struct cascade *s, struct question *ask)
{
    const int kind = between(s, 0, 2);

    ask->masked = kind == 0;
    ask->bounded = kind == 1;
    ask->biased = kind == 2;
    for (int32_t i = 0; i < N * (MOST + N) && kind != 1; i++) {
        (&ask->mask[0][0])[i] = !one_in(s, 4);
        (&ask->bias[0][0])[i] = random_float(&s->random);
    }
    for (int32_t i = 0; i < N; i++) {
        ask->begin[i] = between(s, 0, 300);
        ask->end[i] = between(s, 250, MOST);
    }
}

static bool looks_at_health(const struct cascade *s, const gqa_cache *cache,
                            const struct question *ask)
{
    return cache == s->shared ? ask->health_shared : ask->health_apart;
}

static gqa_status forward_in(struct cascade *s, gqa_layer *layer, gqa_cache *cache,
                             const struct question *ask, struct cascade_answer *answer)
{
    const int32_t n = ask->row_begin[ask->count];
    gqa_inputs in;
    gqa_output out;
    size_t size;

    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_work_init(&answer->work);
    gqa_health_init(&answer->health);
    in.q_proj = gqa_tensor_4d(s->q, GQA_F32, 1, n, HQ, DK);
    if (ask->borrow) {
        in.borrow_cache = 1;
    } else {
        in.k_proj = gqa_tensor_4d(s->k, GQA_F32, 1, n, HKV, DK);
        in.v_proj = gqa_tensor_4d(s->v, GQA_F32, 1, n, HKV, DV);
    }
    in.sequences = ask->sequences;
    in.row_begin = ask->row_begin;
    in.batch = ask->count;
    if (ask->tree) {
        in.position_ids = ask->positions;
        in.active_mask = gqa_tensor_3d(ask->active, GQA_U8, 1, n, N);
    }
    if (ask->masked) {
        in.mask = gqa_tensor_4d(ask->mask, GQA_U8, 1, 1, n, MOST + N);
    }
    if (ask->biased) {
        in.bias = gqa_tensor_4d(ask->bias, GQA_F32, 1, 1, n, MOST + N);
    }
    in.key_begin = ask->bounded ? ask->begin : NULL;
    in.key_end = ask->bounded ? ask->end : NULL;
    out.attn = gqa_tensor_4d(answer->attn, GQA_F32, 1, n, HQ, DV);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, 1, n, HQ);
    out.work = &answer->work;
    out.health = looks_at_health(s, cache, ask) ? &answer->health : NULL;
    assert_int_equal(gqa_workspace_size(layer, cache, &in, &out, &size, &s->err), GQA_OK);
    struct guarded_buffer workspace = guarded_new(size);
    const gqa_status status = gqa_forward(layer, cache, &in, &out, workspace.data, size, &s->err);
    assert_true(guarded_free(&workspace));
    return status;
}

/* The queries, rounded to f16. */
static gqa_tensor half_queries(struct cascade *s, int32_t n)
{
    static uint16_t half[N * HQ * DK];
    const gqa_tensor q = gqa_tensor_4d(s->q, GQA_F32, 1, n, HQ, DK);
    const gqa_tensor to = gqa_tensor_4d(half, GQA_F16, 1, n, HQ, DK);

    assert_int_equal(gqa_convert(&q, &to, &s->err), GQA_OK);
    return to;
}

static gqa_status attend_in(struct cascade *s, gqa_layer *layer, gqa_cache *cache,
                            const struct question *ask, struct cascade_answer *answer)
{
    const int32_t n = ask->row_begin[ask->count];
    gqa_attend_inputs in;
    gqa_attend_output out;
    size_t size;

    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    gqa_work_init(&answer->work);
    gqa_health_init(&answer->health);
    in.query = ask->half ? half_queries(s, n) : gqa_tensor_4d(s->q, GQA_F32, 1, n, HQ, DK);
    in.sequences = ask->sequences;
    in.row_begin = ask->row_begin;
    in.batch = ask->count;
    in.range_begin = ask->range_begin;
    in.range_end = ask->range_end;
    in.prior = ask->prior;
    out.output = gqa_tensor_4d(answer->attn, GQA_F32, 1, n, HQ, DV);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, 1, n, HQ);
    if (ask->states) {
        out.states.m = gqa_tensor_3d(answer->m, GQA_F32, 1, n, HQ);
        out.states.l = gqa_tensor_3d(answer->l, GQA_F32, 1, n, HQ);
        out.states.o = gqa_tensor_4d(answer->o, GQA_F32, 1, n, HQ, DV);
    }
    out.work = &answer->work;
    out.health = looks_at_health(s, cache, ask) ? &answer->health : NULL;
    assert_int_equal(gqa_attend_workspace_size(layer, cache, &in, &out, &size, &s->err), GQA_OK);
    struct guarded_buffer workspace = guarded_new(size);
    const gqa_status status = gqa_attend(layer, cache, &in, &out, workspace.data, size, &s->err);
    assert_true(guarded_free(&workspace));
    return status;
}

/* Asks both caches, and returns the tiles with rows of several entries. */
static int64_t ask_both(struct cascade *s, const struct question *ask, const char *what, int seed)
{
    gqa_status (*const run)(struct cascade *, gqa_layer *, gqa_cache *, const struct question *,
                            struct cascade_answer *) =
        ask->append || ask->borrow ? forward_in : attend_in;
    const size_t works = offsetof(struct cascade_answer, work);

    memset(&s->a, 0, sizeof s->a);
    memset(&s->b, 0, sizeof s->b);
    if (run(s, s->other, s->shared, ask, &s->a) != GQA_OK ||
        run(s, s->plain, s->apart, ask, &s->b) != GQA_OK) {
        fail_msg("%s, seed %d: %s", what, seed, s->err.message);
    }
    if (memcmp(&s->a, &s->b, works) != 0) {
        fail_msg("%s, seed %d: other bits (kernels %s, page %d, types %d %d)", what, seed,
                 s->plain->params.kernels->name, s->shared->layout.page_size,
                 (int)s->shared->layout.dtype_k, (int)s->shared->layout.dtype_v);
    }
    if (ask->health_shared && ask->health_apart) { /* padding of the struct left out */
        const size_t from = offsetof(gqa_health, hidden_states);
        assert_memory_equal((char *)&s->a.health + from, (char *)&s->b.health + from,
                            sizeof s->a.health - from);
        assert_true(s->a.health.rows > 0 || ask->row_begin[ask->count] == 0);
    }
    assert_true(!ask->append || s->b.work.tiles_shared == 0);
    assert_true(s->a.work.tiles_shared <= s->a.work.tiles);
    assert_true(s->a.work.keys_read <= s->b.work.keys_read ||
                s->other->params.knobs.mask_all_blocks || s->other->params.knobs.token_block > 0);
    return s->a.work.tiles_shared;
}

/* One scene: decodes and prompts, a tree that is taken back, masks, reading calls. */
static int64_t random_scene(struct cascade *s, int seed)
{
    static struct question ask;
    static float m[N][HQ], l[N][HQ], o[N][HQ][DV];
    gqa_states prior = {.key_begin = 0, .key_end = 256};
    int32_t lengths[SEQUENCES];
    int64_t shared = 0;

    draw_question(s, true, &ask);
    shared += ask_both(s, &ask, "forward", seed);
    for (int32_t i = 0; i < s->sequences; i++) {
        lengths[i] = gqa_cache_length(s->shared, i);
    }
    draw_question(s, true, &ask);
    draw_tree(s, &ask);
    shared += ask_both(s, &ask, "tree", seed);
    for (int32_t i = 0; i < s->sequences; i++) {
        assert_int_equal(gqa_cache_truncate(s->shared, i, lengths[i], NULL), GQA_OK);
        assert_int_equal(gqa_cache_truncate(s->apart, i, lengths[i], NULL), GQA_OK);
    }
    for (int tree = 0; tree < 2; tree++) {
        draw_question(s, true, &ask);
        ask.append = false;
        ask.borrow = true;
        if (tree == 1) {
            draw_tree(s, &ask);
        }
        shared += ask_both(s, &ask, tree == 1 ? "tree of cached tokens" : "cached tokens", seed);
    }
    draw_question(s, true, &ask);
    draw_mask(s, &ask);
    assert_int_equal(ask_both(s, &ask, "masks", seed), 0);
    draw_question(s, false, &ask);
    ask.states = true;
    shared += ask_both(s, &ask, "attend", seed);
    ask.range_end = 256;
    ask_both(s, &ask, "first range", seed);
    memcpy(m, s->a.m, sizeof m);
    memcpy(l, s->a.l, sizeof l);
    memcpy(o, s->a.o, sizeof o);
    const int32_t n = ask.row_begin[ask.count];
    prior.m = gqa_tensor_3d(m, GQA_F32, 1, n, HQ);
    prior.l = gqa_tensor_3d(l, GQA_F32, 1, n, HQ);
    prior.o = gqa_tensor_4d(o, GQA_F32, 1, n, HQ, DV);
    ask.prior = &prior;
    ask.range_begin = 256;
    ask.range_end = 0;
    return shared + ask_both(s, &ask, "the rest, with prior states", seed);
}

static const gqa_isa sets[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX,
                               GQA_ISA_NEON};

static void bits_of_sequences_apart(void **state)
{
    static struct cascade s;

    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        for (int numerics = 0; numerics < 2; numerics++) {
            int64_t shared = 0;
            int run = 0;
            for (int seed = 1; seed <= fewer_cases(CASES); seed++) {
                if (scene_open(&s, sets[i], (gqa_numerics)numerics, (uint64_t)seed)) {
                    shared += random_scene(&s, seed);
                    cascade_close(&s);
                    run++;
                }
            }
            assert_true(run < CASES || shared > 5 * CASES); /* nothing would be tested else */
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_of_sequences_apart)};
    return RUN_TESTS(argc, argv, tests);
}
