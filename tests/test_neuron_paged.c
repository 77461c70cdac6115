/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_paged.c - the paged kernel of Neuron against a plain twin, bit by bit and with its
 * padding rows, and against the definition of attention; what it loads, refuses and says. */
#include <math.h>
#include <string.h>

#include "support/fewer_cases.h"
#include "support/host.h"
#include "support/native_twin.h"
#include "support/neuron_rig.h"
#include "support/paged_twin.h"
#include "support/program.h"
#include "support/random.h"

struct options {
    int hq, hkv, d, tokens;
    int requests, query_lens[PAGED_REQUESTS], context_lens[PAGED_REQUESTS];
    int block_size, q_tile, kv_tile;
    int padded;
    bool row_order, f32;
    float scale; /* 0 = 1 / sqrt(d) */
};

struct call {
    struct options o;
    struct neuron_rig rig;
    struct paged_twin twin;
};

/* Blocks of the contexts, in no order, some of the cache unused. */
static void draw_table(struct call *call)
{
    struct paged_twin *const twin = &call->twin;
    int32_t *const table =
        neuron_rig_memory(&call->rig, twin->requests * twin->width, sizeof *table);
    int free_blocks[PAGED_BLOCKS];

    for (int i = 0; i < twin->blocks; i++) {
        const int at = neuron_rig_number(&call->rig, i + 1);
        free_blocks[i] = free_blocks[at];
        free_blocks[at] = i;
    }
    for (int r = 0, next = 0; r < twin->requests; r++) {
        for (int b = 0; b * twin->block_size < twin->context_lens[r]; b++) {
            table[r * twin->width + b] = free_blocks[next++];
        }
    }
    twin->block_table = table;
}

static void fill_tensors(struct call *call)
{
    const struct options *const o = &call->o;
    const gqa_dtype io = o->f32 ? GQA_F32 : GQA_BF16;
    const struct neuron_shape q = {io, 1, o->tokens, o->hq, o->d};
    const struct neuron_shape k = {io, 1, o->tokens, o->hkv, o->d};
    const struct neuron_shape cache = {io, call->twin.blocks, o->hkv, o->block_size, o->d};
    gqa_neuron_call *const in = &call->rig.call;
    struct paged_twin *const twin = &call->twin;

    twin->q = neuron_rig_fill(&call->rig, &in->q, &q, 2.0f);
    twin->k = neuron_rig_fill(&call->rig, &in->k, &k, 2.0f);
    twin->v = neuron_rig_fill(&call->rig, &in->v, &k, 1.0f);
    twin->k_cache = neuron_rig_fill(&call->rig, &in->k_cache, &cache, 2.0f);
    twin->v_cache = neuron_rig_fill(&call->rig, &in->v_cache, &cache, 1.0f);
    twin->m = neuron_rig_memory(&call->rig, o->tokens * o->hq, sizeof(float));
    twin->l = neuron_rig_memory(&call->rig, o->tokens * o->hq, sizeof(float));
    twin->o = neuron_rig_memory(&call->rig, (int64_t)o->tokens * o->hq * o->d, sizeof(float));
    twin->out = neuron_rig_memory(&call->rig, (int64_t)o->tokens * o->hq * o->d, sizeof(float));
}

static void call_open(struct call *call, const struct options *o, uint64_t seed)
{
    struct paged_twin *const twin = &call->twin;
    gqa_neuron_call *const in = &call->rig.call;

    memset(call, 0, sizeof *call);
    call->o = *o;
    neuron_rig_open(&call->rig, GQA_NEURON_PAGED_SCHEDULE, seed);
    twin->hq = o->hq;
    twin->hkv = o->hkv;
    twin->d = o->d;
    twin->tokens = o->tokens;
    twin->requests = o->requests;
    twin->block_size = o->block_size;
    twin->query_lens = call->o.query_lens;
    twin->context_lens = call->o.context_lens;
    twin->q_tile = o->q_tile;
    twin->kv_tile = o->kv_tile;
    twin->padded = o->padded;
    twin->row_order = o->row_order;
    twin->scale = o->scale != 0.0f ? o->scale : (float)(1.0 / sqrt((double)o->d));
    twin->blocks = 3;
    for (int r = 0; r < o->requests; r++) {
        const int blocks = (o->context_lens[r] + o->block_size - 1) / o->block_size;
        twin->blocks += blocks;
        twin->width = blocks > twin->width ? blocks : twin->width;
    }
    assert_true(twin->blocks <= PAGED_BLOCKS);
    twin->width += 1;
    draw_table(call);
    fill_tensors(call);
    in->requests = o->requests;
    in->query_lens = call->o.query_lens;
    in->context_lens = call->o.context_lens;
    in->block_table = twin->block_table;
    in->block_table_width = twin->width;
    in->q_tile = o->q_tile;
    in->kv_tile = o->kv_tile;
    in->row_order = o->row_order;
    in->tiles_padded = o->padded;
    in->scale = o->scale;
    in->lift_limits = 1;
}

static void call_close(struct call *call)
{
    neuron_rig_close(&call->rig);
}

/* --- odd sizes ----------------------------------------------------------------------------------
 */

/* hq, hkv, d, T, requests, new tokens, contexts, block, q tile, kv tile, padded, row order, f32,
 * scale. Lengths of the kernel's own kind first, then such as it refuses. */
static const struct options sizes[] = {
    {2, 1, 16, 256, 3, {100, 1, 60}, {300, 500, 90}, 32, 128, 512, 0, false, false, 0.0f},
    {4, 2, 64, 256, 2, {130, 126}, {1, 700}, 16, 256, 1024, 7, false, false, 0.0f},
    {3, 3, 32, 128, 4, {1, 90, 1, 20}, {513, 0, 33, 129}, 4, 128, 512, 0, true, false, 0.3f},
    {2, 2, 16, 1024, 1, {1000}, {40}, 8, 128, 512, 0, false, false, 0.0f},     /* two sub-tiles */
    {2, 1, 16, 128, 2, {64, 64}, {0, 0}, 32, 128, 512, 0, false, false, 0.0f}, /* no context */
    {1, 1, 64, 128, 1, {128}, {600}, 1, 128, 512, 0, false, false, 0.0f}, /* blocks of one token */
    {2, 1, 20, 129, 2, {77, 50}, {130, 9}, 32, 128, 512, 0, false, false, 0.0f},
    {3, 1, 130, 7, 3, {1, 5, 1}, {3, 300, 127}, 24, 100, 384, 5, false, false, 0.0f},
    {2, 2, 1, 141, 5, {9, 0, 40, 1, 77}, {31, 65, 0, 1, 200}, 16, 96, 128, 0, true, false, 0.0f},
    {1, 1, 8, 0, 1, {0}, {90}, 32, 128, 512, 0, false, false, 0.0f}, /* no rows */
    {2, 1, 40, 600, 2, {333, 200}, {90, 260}, 64, 300, 640, 0, false, true, 0.0f},
};

static void expect(const struct options *o, bool good, const char *what, int64_t at)
{
    if (!good) {
        fail_msg(
            "%s at %lld: heads %d/%d d %d T %d requests %d block %d q_tile %d kv_tile %d padded "
            "%d row_order %d f32 %d",
            what, (long long)at, o->hq, o->hkv, o->d, o->tokens, o->requests, o->block_size,
            o->q_tile, o->kv_tile, o->padded, o->row_order, o->f32);
    }
}

/* What is told of m, l and the result, and of the order. */
struct told {
    const struct paged_twin *twin;
    float *m, *l; /* [tokens][hq] at the end */
    int schedule; /* the last tile that was told of; INT32_MAX = the active phase */
    int head;     /* KV head */
};

static void listen(void *user, const gqa_neuron_tile *tile)
{
    struct told *const told = user;
    const int head = tile->head / (told->twin->hq / told->twin->hkv);
    const int schedule = tile->schedule < 0 ? INT32_MAX : tile->schedule;

    assert_true(head > told->head || (head == told->head && schedule >= told->schedule));
    told->head = head;
    told->schedule = schedule;
    for (int32_t r = 0; tile->event == GQA_NEURON_ROWS && r < tile->rows; r++) {
        const int64_t at = (int64_t)(tile->query + r) * told->twin->hq + tile->head;
        told->m[at] = tile->m[r];
        told->l[at] = tile->l[r];
    }
}

/* The rounding of f32 inputs to bf16 is the caller's part of the twin. */
static void round_inputs(const struct call *call)
{
    const struct options *const o = &call->o;
    const int64_t rows = (int64_t)o->tokens * o->d;
    const int64_t cached = (int64_t)call->twin.blocks * o->hkv * o->block_size * o->d;
    const struct {
        const float *values;
        int64_t n;
    } all[] = {{call->twin.q, rows * o->hq},
               {call->twin.k, rows * o->hkv},
               {call->twin.v, rows * o->hkv},
               {call->twin.k_cache, cached},
               {call->twin.v_cache, cached}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        for (int64_t j = 0; j < all[i].n; j++) {
            ((float *)(uintptr_t)all[i].values)[j] =
                native_twin_round((double)all[i].values[j], true);
        }
    }
}

static void check_call(struct call *call)
{
    const struct options *const o = &call->o;
    struct paged_twin *const twin = &call->twin;
    struct told told = {twin, NULL, NULL, -1, 0};
    gqa_neuron_output counts;
    float *traced, *exact, *narrow;

    told.m = neuron_rig_memory(&call->rig, o->tokens * o->hq, sizeof(float));
    told.l = neuron_rig_memory(&call->rig, o->tokens * o->hq, sizeof(float));
    call->rig.call.trace = listen;
    call->rig.call.trace_user = &told;
    traced = neuron_rig_run(&call->rig, NULL);
    counts = call->rig.output;
    call->rig.call.trace = NULL;
    exact = neuron_rig_run(&call->rig, NULL);
    expect(o, call->rig.output.hbm_bytes == counts.hbm_bytes, "bytes of the traced call", 0);
    expect(o, call->rig.output.madds == counts.madds, "multiply-adds of the traced call", 0);
    expect(o, call->rig.output.tiles == counts.tiles, "tiles of the traced call", 0);
    call->rig.call.accumulation = GQA_NEURON_FLOAT32;
    narrow = neuron_rig_run(&call->rig, NULL);
    round_inputs(call);
    paged_twin_run(twin, PAGED_RIGHT);
    for (int at = 0; at < o->tokens * o->hq; at++) {
        const size_t bytes = (size_t)o->d * sizeof(float);
        double out[PAGED_DIM], bound;
        expect(o, memcmp(&told.m[at], &twin->m[at], sizeof(float)) == 0, "m", at);
        expect(o, memcmp(&told.l[at], &twin->l[at], sizeof(float)) == 0, "l", at);
        expect(o, memcmp(exact + at * o->d, twin->out + at * o->d, bytes) == 0, "out", at);
        expect(o, memcmp(traced + at * o->d, exact + at * o->d, bytes) == 0, "traced", at);
        if (!paged_exact_row(twin, at / o->hq, at % o->hq, out, &bound)) {
            continue; /* padding */
        }
        for (int i = 0; i < o->d; i++) {
            const int64_t value = (int64_t)at * o->d + i;
            expect(o, fabs((double)exact[value] - out[i]) <= bound, "exact sums", value);
            expect(o, fabs((double)narrow[value] - out[i]) <= bound, "float32 sums", value);
        }
    }
}

/* Drawn ones. */
static void any_sizes(void **state)
{
    static const int blocks[] = {1, 3, 8, 16, 24, 32};
    uint64_t random = 55;

    (void)state;
    for (int i = 0; i < fewer_cases(30); i++) {
        static struct call call;
        struct options o = {.scale = i % 5 == 0 ? 0.3f : 0.0f};

        o.block_size = blocks[random_between(&random, 0, 5)];
        o.kv_tile = (o.block_size % 3 == 0 ? 384 : 128) * random_between(&random, 1, 2);
        o.q_tile = random_between(&random, 1, 150);
        o.hkv = random_between(&random, 1, 2);
        o.hq = o.hkv * random_between(&random, 1, 3);
        o.d = random_between(&random, 1, i % 4 == 0 ? PAGED_DIM : 20);
        o.f32 = i % 3 == 0;
        o.row_order = i % 2 == 0;
        o.requests = random_between(&random, 1, 5);
        for (int r = 0; r < o.requests; r++) {
            o.query_lens[r] = random_between(&random, 0, 40);
            o.context_lens[r] = random_between(&random, 0, 200);
            o.tokens += o.query_lens[r];
        }
        o.tokens += random_between(&random, 0, 5); /* padding */
        call_open(&call, &o, 900 + (uint64_t)i);
        check_call(&call);
        call_close(&call);
    }
}

static void odd(void **state)
{
    const int n = (int)(sizeof sizes / sizeof sizes[0]);

    (void)state;
    for (int k = 0; k < fewer_cases(n); k++) {
        static struct call call;
        const int i = (k + 6) % n; /* small ones first */
        call_open(&call, &sizes[i], (uint64_t)(40 + i));
        check_call(&call);
        call_close(&call);
    }
}

static void threads(void **state)
{
    static struct call call;
    struct host host;
    gqa_runtime runtime;
    float *alone, *many;

    (void)state;
    call_open(&call, &sizes[1], 6);
    alone = neuron_rig_run(&call.rig, NULL);
    runtime = host_start(&host, 3);
    many = neuron_rig_run(&call.rig, &runtime);
    assert_memory_equal(alone, many, (size_t)(256 * 4 * 64) * sizeof *many);
    call_close(&call);
}

/* --- what is loaded -----------------------------------------------------------------------------
 */

/* The worked example of the schedule has tiles 0..5 of which 1, 3 and 5 load nothing; here the same
 * lengths in tiles of 128 x 512 with blocks of 256: contexts of 3, 6 and 5 blocks lie as
 * [0 0 0 | 1 1 1 1 1 1 | 2 2 2 2 2] in key tiles of two blocks. */
struct loads {
    int64_t bytes; /* of keys */
    int tiles[64]; /* first block in the buffers of each tile, -1 = not told of */
    int64_t rows[64];
};

static void see_loads(void *user, const gqa_neuron_tile *tile)
{
    struct loads *const loads = user;

    if (tile->event == GQA_NEURON_LARGE && tile->schedule >= 0) {
        assert_int_equal(tile->blocks_count, 2);
        loads->tiles[tile->schedule] = tile->blocks[0];
        loads->rows[tile->schedule] = tile->query;
        loads->bytes += tile->hbm_bytes - (int64_t)tile->rows * tile->dim * 2;
    }
}

static void skipped_loads(void **state)
{
    /* New tokens 130 and 126: request 0 in query tiles 0 and 1, request 1 in tile 1. Contexts of 2
     * blocks and 1: key tile 0 holds request 0 and meets both query tiles, key tile 1 meets tile 1.
     * By columns: (0,0) (1,0) (1,1); the second loads nothing. Padded to 5: (0,-) (0,-) load
     * nothing either, and keep the keys of key tile 1. */
    const struct options o = {1,   1,   16,  256, 2,     {130, 126}, {512, 256},
                              256, 128, 512, 5,   false, false,      0.0f};
    static struct call call;
    struct loads loads = {0, {-1, -1, -1, -1, -1, -1}, {0}};

    (void)state;
    call_open(&call, &o, 11);
    call.rig.call.trace = see_loads;
    call.rig.call.trace_user = &loads;
    neuron_rig_run(&call.rig, NULL);
    assert_int_equal(loads.tiles[0], call.twin.block_table[0]);
    assert_int_equal(loads.tiles[1], call.twin.block_table[0]);
    assert_int_equal(loads.tiles[2], call.twin.block_table[call.twin.width]);
    assert_int_equal(loads.tiles[3], call.twin.block_table[call.twin.width]);
    assert_int_equal(loads.tiles[4], call.twin.block_table[call.twin.width]);
    assert_int_equal(loads.tiles[5], -1);
    assert_int_equal(loads.rows[0], 0);
    assert_int_equal(loads.rows[1], 128);
    assert_int_equal(loads.rows[2], 128);
    assert_int_equal(loads.rows[3], 0);
    assert_int_equal(loads.bytes, 2 * 2 * 512 * 16 * 2); /* two loads of k and v, bf16 */
    call_close(&call);
}

/* 1024 new tokens are two sub-tiles of 512; the second one is not computed for the first four of
 * eight row tiles, two heads each. The prior phase computes all: one key tile, eight row tiles. */
static void right_of_the_diagonal(void **state)
{
    static struct call call;

    (void)state;
    call_open(&call, &sizes[3], 6);
    neuron_rig_run(&call.rig, NULL);
    assert_int_equal(call.rig.output.tiles_skipped, 4 * 2);
    assert_int_equal(call.rig.output.tiles, (8 + 8 + 4) * 2);
    call_close(&call);
}

/* --- what it says and refuses -------------------------------------------------------------------
 */

static void warnings(void **state)
{
    const struct neuron_shape sinks = {GQA_BF16, 2, -1, 0, 0};
    const size_t bytes = (size_t)(256 * 2 * 16) * sizeof(float);
    static struct call call;
    float *with, *without;

    (void)state;
    call_open(&call, &sizes[0], 6);
    call.rig.call.lift_limits = 0;
    without = neuron_rig_run(&call.rig, NULL);
    assert_int_equal(call.rig.output.warning_count, 1);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_PADDING_ROWS), 1);
    call.o.query_lens[2] = 155; /* no row is padding */
    neuron_rig_fill(&call.rig, &call.rig.call.sinks, &sinks, 3.0f);
    neuron_rig_run(&call.rig, NULL);
    assert_int_equal(call.rig.output.warning_count, 1);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_SINKS_DROPPED), 1);
    call.o.query_lens[2] = 60;
    with = neuron_rig_run(&call.rig, NULL);
    assert_memory_equal(with, without, bytes);
    call_close(&call);
    call_open(&call, &sizes[10], 6);
    neuron_rig_run(&call.rig, NULL);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_OUT_ROUNDED), 1);
    assert_true(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_LIMIT_LIFTED) > 0);
    call_close(&call);
}

/* The limits of the kernel: each sizes[0] with one number changed. */
static void limits(void **state)
{
    static const struct {
        struct options o;
        const char *field, *words;
    } cases[] = {
        {{2, 1, 24, 256, 1, {9}, {300}, 32, 128, 512, 0, false, false, 0.0f}, "call.q", "head_dim"},
        {{2, 1, 8, 256, 1, {9}, {300}, 32, 128, 512, 0, false, false, 0.0f}, "call.q", "head_dim"},
        {{2, 1, 16, 384, 1, {9}, {300}, 32, 128, 512, 0, false, false, 0.0f},
         "call.q",
         "a power of two"},
        {{2, 1, 16, 64, 1, {9}, {300}, 32, 128, 512, 0, false, false, 0.0f},
         "call.q",
         "a multiple of q_tile"},
        {{2, 1, 16, 256, 1, {9}, {300}, 32, 64, 512, 0, false, false, 0.0f},
         "call.q_tile",
         "a multiple of 128"},
        {{2, 1, 16, 256, 1, {9}, {300}, 32, 128, 256, 0, false, false, 0.0f},
         "call.kv_tile",
         "a multiple of 512"},
        {{2, 1, 16, 256, 1, {9}, {300}, 64, 128, 1536, 0, false, false, 0.0f},
         "call.kv_tile",
         "a power of two"},
        {{2, 1, 16, 256, 1, {9}, {300}, 64, 128, 576, 0, false, false, 0.0f},
         "call.kv_tile",
         "fill 128 partitions"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct call call;
        const bool always = strcmp(cases[i].words, "fill 128 partitions") == 0;
        call_open(&call, &cases[i].o, 6);
        call.rig.call.lift_limits = always;
        neuron_rig_refused(&call.rig, always ? GQA_ERR_ARG : GQA_ERR_UNSUPPORTED, cases[i].field,
                           cases[i].words);
        if (!always) {
            call.rig.call.lift_limits = 1;
            neuron_rig_run(&call.rig, NULL);
        }
        call_close(&call);
    }
}

static void refusals(void **state)
{
    static struct call call;
    gqa_neuron_call *const in = &call.rig.call;
    int32_t *table;

    (void)state;
    call_open(&call, &sizes[0], 6);
    table = (int32_t *)(uintptr_t)in->block_table;
    in->release = GQA_NEURON_2_29;
    neuron_rig_refused(&call.rig, GQA_ERR_UNSUPPORTED, "call.release", "no chunked prefill");
    in->release = GQA_NEURON_2_26;
    in->requests = 0;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.requests", "at least 1");
    in->requests = 3;
    call.o.query_lens[1] = -1;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.query_lens", "[1] is -1");
    call.o.query_lens[1] = 97;
    neuron_rig_refused(&call.rig, GQA_ERR_SHAPE, "call.query_lens", "make 257 rows");
    call.o.query_lens[1] = 1;
    in->context_lens = NULL;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.context_lens", "is NULL");
    in->context_lens = call.o.context_lens;
    in->tiles_padded = 2;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.tiles_padded", "at least the 3 tiles");
    in->tiles_padded = 0;
    in->skip_value = 5;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.skip_value", "no block");
    in->skip_value = 0;
    in->kv_tile = 500;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.kv_tile", "a multiple of the block size");
    in->kv_tile = 512;
    table[1] = call.twin.blocks;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.block_table", "[0, 1] is");
    table[1] = 0;
    in->block_table_width = 1;
    neuron_rig_refused(&call.rig, GQA_ERR_SHAPE, "call.block_table", "a context of");
    in->block_table = NULL;
    neuron_rig_refused(&call.rig, GQA_ERR_SHAPE, "call.block_table", "has 0 blocks");
    in->block_table = table;
    in->block_table_width = call.twin.width;
    in->q.shape[0] = in->k.shape[0] = in->v.shape[0] = 2;
    in->q.shape[1] = in->k.shape[1] = in->v.shape[1] = 128;
    call.rig.output.out.data = NULL;
    neuron_rig_refused(&call.rig, GQA_ERR_UNSUPPORTED, "call.q", "shape[0] is 2");
    call_close(&call);
}

/* "Can't skip the first tile": padding for a batch without any context. */
static void empty_schedule(void **state)
{
    static struct call call;

    (void)state;
    call_open(&call, &sizes[4], 6);
    call.rig.call.tiles_padded = 4;
    neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.tiles_padded", "cannot be skipped");
    call_close(&call);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd),
        cmocka_unit_test(any_sizes),
        cmocka_unit_test(threads),
        cmocka_unit_test(skipped_loads),
        cmocka_unit_test(warnings),
        cmocka_unit_test(limits),
        cmocka_unit_test(refusals),
        cmocka_unit_test(right_of_the_diagonal),
        cmocka_unit_test(empty_schedule),
    };
    return RUN_TESTS(argc, argv, tests);
}
