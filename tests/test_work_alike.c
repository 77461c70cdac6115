/* SPDX-License-Identifier: Apache-2.0 */
/* test_work_alike.c - the record of work and the trace are the same whoever computes, and whatever
 * else a call asks for: threads 1 to 4, a report of health, an output of 16 bits, a tap. 5 query
 * heads of a KV head do not fill tiles, and where a window is short q and the output pass in short
 * blocks of tokens, so that a block of another length would have other tiles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layer/layer.h"
#include "support/forced_isa.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { TOKENS = 500, GROUP = 5, KV = 4, DIM = 64, MOST_TILES = 4096 };

/* What was told of a tile. */
struct told {
    int32_t fate, head, row, rows, block, key, keys;
};

struct record {
    struct told tile[MOST_TILES];
    int32_t tiles;
};

static void note(void *user, const gqa_tile *tile)
{
    struct record *const record = user;

    assert_true(record->tiles < MOST_TILES);
    record->tile[record->tiles++] = (struct told){
        (int32_t)tile->fate, tile->head, tile->row, tile->rows, tile->block, tile->key, tile->keys};
}

static void look(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    (void)user;
    (void)stage;
    (void)b;
    (void)first;
    (void)tensor;
}

static float queries[TOKENS * GROUP * KV * DIM], keys[TOKENS * KV * DIM];
static float result[TOKENS * GROUP * KV * DIM]; /* or as many of 16 bits */

/* A way to call: bits. */
enum { THREADS = 1, MORE_THREADS = 2, HEALTH = 4, HALF = 8, TAP = 16, WAYS = 32 };

struct call {
    gqa_layer *layer;
    gqa_inputs in;
    gqa_output out;
    gqa_health health;
};

static void open_layer(struct call *call, int way)
{
    gqa_config config = attention_config(GROUP * KV, KV, DIM, DIM);
    gqa_runtime runtime;

    config.sliding_window = 128;
    config.rope = GQA_ROPE_HALF;
    skip_refused(&config);
    gqa_runtime_init(&runtime);
    runtime.num_threads = 1 + (way & (THREADS | MORE_THREADS));
    runtime.parallel_for = runtime.num_threads > 1 ? parallel_threads : NULL;
    assert_int_equal(gqa_create(&call->layer, &config, NULL, &runtime, NULL), GQA_OK);
}

static void open_call(struct call *call, int way)
{
    const gqa_dtype type = (way & HALF) != 0 ? GQA_BF16 : GQA_F32;

    open_layer(call, way);
    gqa_inputs_init(&call->in);
    gqa_output_init(&call->out);
    gqa_health_init(&call->health);
    call->in.q_proj = gqa_tensor_3d(queries, GQA_F32, TOKENS, GROUP * KV, DIM);
    call->in.k_proj = gqa_tensor_3d(keys, GQA_F32, TOKENS, KV, DIM);
    call->in.v_proj = gqa_tensor_3d(keys, GQA_F32, TOKENS, KV, DIM);
    call->in.tap = (way & TAP) != 0 ? look : NULL;
    call->out.attn = gqa_tensor_3d(result, type, TOKENS, GROUP * KV, DIM);
    call->out.health = (way & HEALTH) != 0 ? &call->health : NULL;
}

static size_t workspace_of(const struct call *call)
{
    size_t size;

    assert_int_equal(gqa_workspace_size(call->layer, NULL, &call->in, &call->out, &size, NULL),
                     GQA_OK);
    return size;
}

static void make(struct call *call)
{
    assert_int_equal(gqa_forward(call->layer, NULL, &call->in, &call->out, NULL, 0, NULL), GQA_OK);
    gqa_destroy(&call->layer);
}

static void the_same_work(void **state)
{
    gqa_work first, work;

    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct call call;

        open_call(&call, way);
        const size_t bare = workspace_of(&call);
        gqa_work_init(&work);
        call.out.work = &work;
        assert_true(workspace_of(&call) <= bare); /* forward.h: one size for many calls */
        make(&call);
        first = way == 0 ? work : first;
        assert_true(work.tiles > 0);
        assert_memory_equal(&work, &first, sizeof work);
    }
}

static void the_same_trace(void **state)
{
    static struct record first, record;

    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct call call;

        open_call(&call, way);
        record.tiles = 0;
        call.in.trace = note;
        call.in.trace_user = &record;
        make(&call);
        if (way == 0) {
            first = record;
        }
        assert_true(record.tiles > 0);
        assert_int_equal(record.tiles, first.tiles);
        assert_memory_equal(record.tile, first.tile, (size_t)record.tiles * sizeof *record.tile);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_work),
                                              cmocka_unit_test(the_same_trace)};

    return run_test_program(argc, argv, tests, sizeof tests / sizeof tests[0], NULL, NULL);
}
