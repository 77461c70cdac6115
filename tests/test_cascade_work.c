/* SPDX-License-Identifier: Apache-2.0 */
/* test_cascade_work.c - what is shared counts once (gqa_output.work), by hand: which sequences of a
 * call walk together, over which fold blocks; what a trace and a health report say of them; and
 * that one workspace serves all smaller calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "layer/layer.h"
#include "support/cascade.h"
#include "support/guarded_buffer.h"
#include "support/program.h"
#include "support/small_layer.h"

enum {
    HQ = CASCADE_HQ,
    HKV = CASCADE_HKV,
    DK = CASCADE_DK,
    DV = CASCADE_DV,
    N = CASCADE_TOKENS,
    MOST = CASCADE_KEYS,
    SEQUENCES = CASCADE_SEQUENCES
};

/* Sequences of the scalar kernels (tiles of 128 rows, panels of 16 keys), of which the first has
 * `held` tokens, and a decode of all of them on some threads. */
struct hand {
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_work work;
};

static void hand_open(struct cascade *s, struct hand *hand, int32_t held, int32_t threads)
{
    memset(s, 0, sizeof *s);
    s->config = attention_config(HQ, HKV, DK, DV);
    s->config.isa = GQA_ISA_SCALAR;
    assert_true(cascade_layer(s, threads, &s->plain));
    s->shared = cascade_cache(s, 32, GQA_F32, GQA_F32);
    cascade_append(s, 0, held);
    hand->layer = s->plain;
    hand->cache = s->shared;
}

static void fork_to(struct hand *hand, int32_t from, int32_t to, int32_t kept)
{
    assert_int_equal(gqa_cache_fork(hand->cache, from, to, NULL), GQA_OK);
    assert_int_equal(gqa_cache_truncate(hand->cache, to, kept, NULL), GQA_OK);
}

/* n tokens of each of `count` sequences: of each KV head, tiles, those that are shared, and the
 * keys that they read. The sequences are cut back afterwards. */
static void hand_expect(struct cascade *s, struct hand *hand, int32_t count, int32_t n,
                        int32_t tiles, int32_t shared, int32_t keys)
{
    gqa_inputs in;
    gqa_output out;
    int32_t held[SEQUENCES];

    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_work_init(&hand->work);
    in.q_proj = gqa_tensor_4d(s->q, GQA_F32, count, n, HQ, DK);
    in.k_proj = gqa_tensor_4d(s->k, GQA_F32, count, n, HKV, DK);
    in.v_proj = gqa_tensor_4d(s->v, GQA_F32, count, n, HKV, DV);
    out.attn = gqa_tensor_4d(s->a.attn, GQA_F32, count, n, HQ, DV);
    out.work = &hand->work;
    for (int32_t i = 0; i < count; i++) {
        held[i] = gqa_cache_length(hand->cache, i);
    }
    assert_int_equal(gqa_forward(hand->layer, hand->cache, &in, &out, NULL, 0, &s->err), GQA_OK);
    for (int32_t i = 0; i < count; i++) {
        assert_int_equal(gqa_cache_truncate(hand->cache, i, held[i], NULL), GQA_OK);
    }
    assert_int_equal(hand->work.tiles, HKV * tiles);
    assert_int_equal(hand->work.tiles_shared, HKV * shared);
    assert_int_equal(hand->work.tiles_skipped, 0);
    assert_int_equal(hand->work.keys_read, HKV * keys);
    assert_int_equal(hand->work.kv_bytes, HKV * keys * (DK + DV) * 4);
}

static void what_is_shared_counts_once(void **state)
{
    static struct cascade s;
    struct hand hand;

    (void)state;
    for (int32_t threads = 1; threads <= 4; threads++) {
        hand_open(&s, &hand, 600, threads);
        for (int32_t i = 1; i < 5; i++) {
            fork_to(&hand, 0, i, 600);
        }
        /* Blocks 0 and 1 of five sequences once, and what each has alone: keys 512 .. 600. */
        hand_expect(&s, &hand, 5, 1, 2 + 5, 2, 512 + 5 * 89);
        hand_expect(&s, &hand, 1, 1, 3, 0, 601);
        /* 14 tokens of 3 heads are 42 rows: three of five sequences fit a tile of 128, two are
         * another one. */
        hand_expect(&s, &hand, 5, 14, 2 * 2 + 5, 4, 2 * 512 + 5 * 102);
        /* 32 tokens of 3 heads: no two of them fit. */
        hand_expect(&s, &hand, 4, 32, 4 * 3, 0, 4 * 632);
        /* One that shares one block alone: with it, four read one block less each; without it,
         * three two blocks: it stays alone. */
        assert_int_equal(gqa_cache_truncate(hand.cache, 2, 300, NULL), GQA_OK);
        hand_expect(&s, &hand, 5, 1, 2 + 4 + 2, 2, 512 + 4 * 89 + 301);
        /* Three such ones make four and one: sequences 0 and 1 with two blocks would save two. */
        assert_int_equal(gqa_cache_truncate(hand.cache, 3, 300, NULL), GQA_OK);
        assert_int_equal(gqa_cache_truncate(hand.cache, 4, 270, NULL), GQA_OK);
        hand_expect(&s, &hand, 5, 1, 1 + 2 * 2 + 3, 1, 256 + 2 * 345 + 2 * 45 + 15);
        /* Less than a block is not shared. */
        cascade_close(&s);
        hand_open(&s, &hand, 255, threads);
        fork_to(&hand, 0, 1, 255);
        hand_expect(&s, &hand, 2, 1, 2, 0, 2 * 256);
        hand_expect(&s, &hand, 2, 2, 2 * 2, 0, 2 * 257);
        cascade_close(&s);
    }
}

/* Queries that are cached tokens themselves, at the end of two forks of two blocks: an active mask
 * that hides each from itself speaks of the second block, so one is shared. */
static void active_mask_over_shared_pages(void **state)
{
    static const uint8_t nothing[2] = {0};
    static struct cascade s;
    struct hand hand;
    gqa_inputs in;
    gqa_output out;

    (void)state;
    hand_open(&s, &hand, 512, 1);
    fork_to(&hand, 0, 1, 512);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_work_init(&hand.work);
    random_floats(&s.random, &s.q[0][0][0], (int64_t)2 * HQ * DK, 1.0f);
    in.q_proj = gqa_tensor_4d(s.q, GQA_F32, 2, 1, HQ, DK);
    in.borrow_cache = 1;
    out.attn = gqa_tensor_4d(s.a.attn, GQA_F32, 2, 1, HQ, DV);
    out.work = &hand.work;
    assert_int_equal(gqa_forward(hand.layer, hand.cache, &in, &out, NULL, 0, &s.err), GQA_OK);
    assert_int_equal(hand.work.tiles_shared, HKV * 2);
    in.q_proj = gqa_tensor_4d(s.q, GQA_F32, 2, 2, HQ, DK);
    out.attn = gqa_tensor_4d(s.a.attn, GQA_F32, 2, 2, HQ, DV); /* the first of two sees 511 keys */
    assert_int_equal(gqa_forward(hand.layer, hand.cache, &in, &out, NULL, 0, &s.err), GQA_OK);
    assert_int_equal(hand.work.tiles_shared, HKV * 1);
    in.q_proj = gqa_tensor_4d(s.q, GQA_F32, 2, 1, HQ, DK);
    out.attn = gqa_tensor_4d(s.a.attn, GQA_F32, 2, 1, HQ, DV);
    in.active_mask = gqa_tensor_3d(nothing, GQA_U8, 2, 1, 1);
    assert_int_equal(gqa_forward(hand.layer, hand.cache, &in, &out, NULL, 0, &s.err), GQA_OK);
    assert_int_equal(hand.work.tiles_shared, HKV * 1);
    assert_int_equal(gqa_cache_copy(hand.cache, 2, hand.cache, 0, 0, NULL), GQA_OK);
    for (int32_t b = 0; b < 2; b++) { /* the same, alone */
        const int32_t sequence = 2;
        in.sequences = &sequence;
        in.q_proj = gqa_tensor_4d(s.q[b], GQA_F32, 1, 1, HQ, DK);
        in.active_mask = gqa_tensor_3d(nothing, GQA_U8, 1, 1, 1);
        out.attn = gqa_tensor_4d(s.b.attn[b], GQA_F32, 1, 1, HQ, DV);
        assert_int_equal(gqa_forward(hand.layer, hand.cache, &in, &out, NULL, 0, &s.err), GQA_OK);
    }
    assert_memory_equal(s.a.attn, s.b.attn, sizeof s.a.attn[0] * 2);
    cascade_close(&s);
}

/* `n` tokens of sequences 0 and 1 into `answer`, in a workspace of exactly the size. */
static void two_entries(struct cascade *s, struct hand *hand, int32_t n, const gqa_inputs *more,
                        gqa_health *health, struct cascade_answer *answer)
{
    gqa_inputs in = *more;
    gqa_output out;
    size_t size;

    gqa_output_init(&out);
    gqa_work_init(&answer->work);
    in.q_proj = gqa_tensor_4d(s->q, GQA_F32, 2, n, HQ, DK);
    in.k_proj = gqa_tensor_4d(s->k, GQA_F32, 2, n, HKV, DK);
    in.v_proj = gqa_tensor_4d(s->v, GQA_F32, 2, n, HKV, DV);
    out.attn = gqa_tensor_4d(answer->attn, GQA_F32, 2, n, HQ, DV);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, 2, n, HQ);
    out.work = &answer->work;
    out.health = health;
    assert_int_equal(gqa_workspace_size(hand->layer, hand->cache, &in, &out, &size, NULL), GQA_OK);
    struct guarded_buffer workspace = guarded_new(size);
    assert_int_equal(
        gqa_forward(hand->layer, hand->cache, &in, &out, workspace.data, size, &s->err), GQA_OK);
    assert_true(guarded_free(&workspace));
}

/* The same of a fork of `held` tokens and of a copy: `a` and `b`, with `n` tokens each. positions
 * [2][n] or NULL. */
static void fork_and_copy(struct cascade *s, struct hand *hand, int32_t held, int32_t n,
                          const int32_t *positions)
{
    gqa_inputs in;

    gqa_inputs_init(&in);
    in.position_ids = positions;
    random_floats(&s->random, &s->q[0][0][0], (int64_t)2 * n * HQ * DK, 1.0f);
    fork_to(hand, 0, 1, held);
    two_entries(s, hand, n, &in, NULL, &s->a);
    assert_int_equal(gqa_cache_truncate(hand->cache, 0, held, NULL), GQA_OK);
    assert_int_equal(gqa_cache_truncate(hand->cache, 1, 0, NULL), GQA_OK);
    assert_int_equal(gqa_cache_copy(hand->cache, 1, hand->cache, 0, 0, NULL), GQA_OK);
    two_entries(s, hand, n, &in, NULL, &s->b);
    assert_memory_equal(s->a.attn, s->b.attn, sizeof s->a.attn[0] * 2 * (size_t)n);
    assert_memory_equal(s->a.lse, s->b.lse, sizeof s->a.lse[0] * 2 * (size_t)n);
    assert_int_equal(s->b.work.tiles_shared, 0);
}

/* Seven blocks are shared: while the eighth is walked, three states wait beside its own. */
static void as_many_states_as_can_wait(void **state)
{
    static struct cascade s;
    struct hand hand;

    (void)state;
    hand_open(&s, &hand, 7 * 256 + 40, 1);
    fork_and_copy(&s, &hand, 7 * 256 + 40, 1, NULL);
    assert_int_equal(s.a.work.tiles_shared, HKV * 7);
    cascade_close(&s);
}

/* Tokens 511 and 512 of chunks of 512 see other keys: nothing is shared. Tokens 512 and 513 of
 * sequences that share two blocks of another chunk have nothing in common; 800 and 801 have the
 * block from 512 on. */
static void rows_of_two_chunks(void **state)
{
    static const int32_t held[] = {511, 512, 800}, shared[] = {0, 0, 1};
    static struct cascade s;
    struct hand hand;

    (void)state;
    for (int i = 0; i < 3; i++) {
        hand_open(&s, &hand, held[i], 1);
        hand.layer->params.shape.chunk = 512;
        fork_and_copy(&s, &hand, held[i], 2, NULL);
        assert_int_equal(s.a.work.tiles_shared, HKV * shared[i]);
        cascade_close(&s);
    }
}

/* Rings share what they still hold: of chunks of 512 the sequences lost all before key 512. */
static void rings(void **state)
{
    static struct cascade s;
    struct hand hand;

    (void)state;
    memset(&s, 0, sizeof s);
    s.config = attention_config(HQ, HKV, DK, DV);
    s.config.isa = GQA_ISA_SCALAR;
    s.config.attention_chunk_size = 512;
    s.rings = true;
    assert_true(cascade_layer(&s, 2, &s.plain));
    s.shared = cascade_cache(&s, 32, GQA_F32, GQA_F32);
    hand = (struct hand){.layer = s.plain, .cache = s.shared};
    for (int i = 0; i < 8; i++) {
        cascade_append(&s, 0, 100);
    }
    assert_true(s.shared->sequences[0].first > 256); /* it lost some */
    fork_and_copy(&s, &hand, 800, 1, NULL);
    assert_int_equal(s.a.work.tiles_shared, HKV);
    cascade_close(&s);
}

/* A gap among the positions: the first token's window begins at key 512, the second one's at 768.
 */
static void rows_of_two_windows(void **state)
{
    static const int32_t positions[4] = {1279, 1535, 1279, 1535};
    static struct cascade s;
    struct hand hand;

    (void)state;
    hand_open(&s, &hand, 1024, 1);
    hand.layer->params.shape.window = 768;
    fork_and_copy(&s, &hand, 1024, 2, positions);
    assert_int_equal(s.a.work.tiles_shared, 0);
    cascade_close(&s);
}

/* A trace is told of each entry by itself, and work has what it is told. */
struct told {
    int64_t tiles, bytes;
};

static void tell(void *user, const gqa_tile *tile)
{
    struct told *const told = user;
    const bool computed = tile->fate == GQA_TILE_WHOLE || tile->fate == GQA_TILE_MASKED;

    told->tiles += computed;
    told->bytes += tile->kv_bytes;
    assert_int_equal(tile->rows, HQ / HKV);
}

static void traced(void **state)
{
    static struct cascade s;
    struct told told = {0};
    struct hand hand;
    gqa_inputs in;

    (void)state;
    hand_open(&s, &hand, 600, 2);
    fork_to(&hand, 0, 1, 600);
    gqa_inputs_init(&in);
    two_entries(&s, &hand, 1, &in, NULL, &s.a);
    assert_int_equal(s.a.work.tiles_shared, HKV * 2);
    assert_int_equal(gqa_cache_truncate(hand.cache, 0, 600, NULL), GQA_OK);
    assert_int_equal(gqa_cache_truncate(hand.cache, 1, 600, NULL), GQA_OK);
    in.trace = tell;
    in.trace_user = &told;
    two_entries(&s, &hand, 1, &in, NULL, &s.b);
    assert_memory_equal(s.a.attn, s.b.attn, sizeof s.a.attn[0] * 2);
    assert_int_equal(s.b.work.tiles_shared, 0);
    assert_int_equal(s.b.work.tiles, told.tiles);
    assert_int_equal(s.b.work.kv_bytes, told.bytes);
    assert_int_equal(told.tiles, HKV * 2 * 3);
    cascade_close(&s);
}

/* A health report of sequences that share is that of sequences apart, places included: the largest
 * score lies in the shared keys and is of the second entry's last token. */
static void one_health_report(void **state)
{
    static struct cascade s;
    gqa_health health[2];
    struct hand hand;
    gqa_inputs in;

    (void)state;
    for (int32_t threads = 1; threads <= 4; threads++) {
        hand_open(&s, &hand, 600, threads);
        gqa_inputs_init(&in);
        random_floats(&s.random, &s.q[0][0][0], (int64_t)4 * HQ * DK, 1.0f);
        for (int d = 0; d < HQ * DK; d++) { /* the last token has the largest queries */
            (&s.q[3][0][0])[d] *= 8.0f;
        }
        for (int copies = 0; copies < 2; copies++) {
            if (copies == 0) {
                fork_to(&hand, 0, 1, 600);
            } else {
                assert_int_equal(gqa_cache_copy(hand.cache, 1, hand.cache, 0, 0, NULL), GQA_OK);
            }
            gqa_health_init(&health[copies]);
            two_entries(&s, &hand, 2, &in, &health[copies], copies == 0 ? &s.a : &s.b);
            assert_int_equal(gqa_cache_truncate(hand.cache, 0, 600, NULL), GQA_OK);
            assert_int_equal(gqa_cache_truncate(hand.cache, 1, 0, NULL), GQA_OK);
        }
        assert_int_equal(s.a.work.tiles_shared, HKV * 2);
        assert_int_equal(s.b.work.tiles_shared, 0);
        assert_memory_equal(&health[0], &health[1], sizeof health[0]);
        assert_int_equal(health[0].rows, 4 * HQ);
        assert_int_equal(health[0].largest_entry, 1);
        assert_int_equal(health[0].largest_token, 1);
        assert_true(health[0].largest_key < 512); /* of 602: the numbers are fixed */
        cascade_close(&s);
    }
}

/* More entries and more tokens never need less: one workspace serves all smaller calls. */
static void workspaces_grow(void **state)
{
    static struct cascade s;
    struct hand hand;

    (void)state;
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        hand_open(&s, &hand, 10, threads);
        size_t size[SEQUENCES + 1][N + 1] = {{0}};
        for (int32_t batch = 1; batch <= SEQUENCES; batch++) {
            for (int32_t n = 1; n <= N; n++) {
                gqa_inputs in;
                gqa_output out;
                gqa_inputs_init(&in);
                gqa_output_init(&out);
                in.q_proj = gqa_tensor_4d(s.q, GQA_F32, 1, n, HQ, DK);
                in.k_proj = gqa_tensor_4d(s.k, GQA_F32, 1, n, HKV, DK);
                in.v_proj = gqa_tensor_4d(s.v, GQA_F32, 1, n, HKV, DV);
                in.row_begin = (const int32_t *)s.q; /* not read */
                in.batch = batch;
                out.attn = gqa_tensor_4d(s.a.attn, GQA_F32, 1, n, HQ, DV);
                assert_int_equal(
                    gqa_workspace_size(hand.layer, hand.cache, &in, &out, &size[batch][n], &s.err),
                    GQA_OK);
                assert_true(size[batch][n] >= size[batch - 1][n]);
                assert_true(size[batch][n] >= size[batch][n - 1]);
            }
        }
        cascade_close(&s);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_shared_counts_once),
        cmocka_unit_test(active_mask_over_shared_pages),
        cmocka_unit_test(as_many_states_as_can_wait),
        cmocka_unit_test(rows_of_two_chunks),
        cmocka_unit_test(rings),
        cmocka_unit_test(rows_of_two_windows),
        cmocka_unit_test(traced),
        cmocka_unit_test(one_health_report),
        cmocka_unit_test(workspaces_grow),
    };
    return RUN_TESTS(argc, argv, tests);
}
