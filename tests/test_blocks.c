/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks.c - the host's own blocks and a block table give the bits of a cache that holds the
 * same values: gqa_attend, and gqa_forward, which writes new keys and values into them. Every
 * kernel set, format, order in memory and block size; blocks in any order, shared by entries, taken
 * again; what belongs to nobody is NaN. Then who goes where: skipped tokens, padding, flat calls,
 * positions, masks, calls that only read.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/host.h"
#include "support/host_keys.h"
#include "support/host_pool.h"
#include "support/program.h"
#include "support/random.h"

enum { MOST_TOKENS = 40, MOST_WIDTH = 8 * 128 };

static const struct host_shape shapes[] = {
    {8, 2, 64, 64}, {4, 2, 128, 128}, {6, 2, 40, 24}, {3, 1, 32, 48}};
static const struct host_types types[] = {{GQA_F32, GQA_F32}, {GQA_BF16, GQA_BF16},
                                          {GQA_F16, GQA_F16}, {GQA_I8, GQA_I8},
                                          {GQA_I8, GQA_BF16}, {GQA_F32, GQA_I8}};
enum { TYPES = sizeof types / sizeof types[0] };

struct answer {
    float output[HOST_BATCH * MOST_TOKENS * MOST_WIDTH], lse[HOST_BATCH * MOST_TOKENS * 8];
};

static void same(const struct answer *got, const struct answer *want, const char *what,
                 const struct host_set *set, const struct host_pool *p)
{
    if (memcmp(got, want, sizeof *got) != 0) {
        fail_msg(
            "%s: other bits than a cache (%s, types %d %d, blocks of %d, strides %d %d %d, %d/%d "
            "x %d, %d)",
            what, set->name, (int)p->types.k, (int)p->types.v, (int)p->block_size,
            (int)p->kv.key.stride[1], (int)p->kv.key.stride[2], (int)p->kv.key.stride[3],
            (int)p->shape.hq, (int)p->shape.hkv, (int)p->shape.dk, (int)p->shape.dv);
    }
}

static struct answer got, want;
static float q[HOST_BATCH * MOST_TOKENS * MOST_WIDTH];

/* --- gqa_attend ------------------------------------------------------------------------------ */

static void attend(const gqa_layer *layer, const gqa_cache *cache, const struct host_pool *p,
                   int32_t t, struct answer *answer)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_error err = {.message = ""};

    memset(answer, 0, sizeof *answer);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(q, GQA_F32, HOST_BATCH, t, p->shape.hq, p->shape.dk);
    in.blocks = cache == NULL ? &p->kv : NULL;
    out.output = gqa_tensor_4d(answer->output, GQA_F32, HOST_BATCH, t, p->shape.hq, p->shape.dv);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, HOST_BATCH, t, p->shape.hq);
    if (gqa_attend(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(out.path.view, cache == NULL ? GQA_VIEW_BLOCKS : GQA_VIEW_PAGED);
}

/* Entry 1 is a fork of entry 0: it shares its whole blocks, and goes on alone. Entry 2 is short. */
static void compare_attend(const gqa_layer *layer, const struct host_set *set, struct host_pool *p,
                           enum host_fill fill, uint64_t *random)
{
    const int32_t n = random_between(random, 200, 600), shared = n / p->block_size / 2;
    gqa_cache *cache = host_cache_like(layer, set, p, n);
    struct host_stream s;

    host_stream_open(&s, p, n, fill, random);
    p->lengths[0] = n;
    p->lengths[1] = (int32_t)random_between(random, shared * p->block_size + 1, n);
    p->lengths[2] = random_between(random, 0, 40);
    host_pool_take(p, 0, n);
    for (int32_t i = 0; i < shared; i++) {
        p->table[p->width + i] = p->table[i];
    }
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        const int32_t copied = b == 1 ? shared * p->block_size : 0;
        host_pool_take(p, b, p->lengths[b]);
        for (int32_t i = copied; i < p->lengths[b]; i++) {
            host_pool_put(p, &s, b, i);
        }
        if (p->lengths[b] > 0) {
            const gqa_tensor k0 = host_stream_tensor(&s, p, false, 0, 0, copied);
            const gqa_tensor v0 = host_stream_tensor(&s, p, true, 0, 0, copied);
            const gqa_tensor k =
                host_stream_tensor(&s, p, false, b, copied, p->lengths[b] - copied);
            const gqa_tensor v = host_stream_tensor(&s, p, true, b, copied, p->lengths[b] - copied);
            assert_int_equal(gqa_cache_append(cache, b, &k0, &v0, NULL, NULL), GQA_OK);
            assert_int_equal(gqa_cache_append(cache, b, &k, &v, NULL, NULL), GQA_OK);
        }
    }
    random_floats(random, q, HOST_BATCH * 3 * p->shape.hq * p->shape.dk, 1.0f);
    attend(layer, NULL, p, 3, &got);
    attend(layer, cache, p, 3, &want);
    same(&got, &want, "gqa_attend", set, p);
    gqa_cache_destroy(&cache);
    host_stream_close(&s);
}

/* Every set, shape, format, order and block size. f16 beside numerics bf16 has no cache: its
 * values, as they are, in a cache of bf16 are rounded as the products round them. */
static void attend_tables(void **state)
{
    static const int32_t sizes[] = {16, 32, 48, 80, 128, 272, 512};
    uint64_t random = 1;
    (void)state;

    for (int i = 0; i < host_set_count; i++) {
        for (int j = 0; j < 4 * 2; j++) {
            struct host host;
            const gqa_runtime runtime = host_start(&host, 1 + j % 3);
            const bool flush = j % 3 == 0;
            gqa_layer *layer =
                host_layer(&host_sets[i], &shapes[j / 2], j % 2 != 0 ? 70 : 0, flush, &runtime);
            for (int k = 0; k < TYPES * 3 * 7 && layer != NULL; k++) {
                struct host_pool p;
                if ((k + j + i) % 7 == 0) {
                    host_pool_open(&p, &shapes[j / 2], types[k % TYPES], sizes[k / TYPES / 3],
                                   (gqa_block_order)(k / TYPES % 3), &random);
                    p.flush = flush && host_sets[i].numerics == GQA_NUMERICS_F32;
                    compare_attend(layer, &host_sets[i], &p, (enum host_fill)(k % HOST_FILLS),
                                   &random);
                    host_pool_close(&p);
                }
            }
            gqa_destroy(&layer);
        }
    }
}

/* --- gqa_forward ----------------------------------------------------------------------------- */

/* One call: entry b gets counts[b] tokens of the stream, padded on the left, or flat. */
struct step {
    int32_t counts[HOST_BATCH], tokens; /* tokens: columns of a padded call */
    bool flat, skipped;                 /* all slots are -1 */
    const int64_t *slots;               /* of the pool's call */
};

static void forward(const gqa_layer *layer, gqa_cache *cache, struct host_pool *p,
                    const struct host_stream *s, const struct step *step, struct answer *answer)
{
    static float k[HOST_BATCH * MOST_TOKENS * MOST_WIDTH], v[HOST_BATCH * MOST_TOKENS * MOST_WIDTH];
    const struct host_shape *const shape = &p->shape;
    int32_t rows[HOST_BATCH + 1] = {0}, first[HOST_BATCH], lengths[HOST_BATCH], all = 0;
    gqa_inputs in;
    gqa_output out;
    gqa_error err = {.message = ""};

    memset(answer, 0, sizeof *answer);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        const int32_t n = step->counts[b];
        const int32_t at = step->flat ? all : (b + 1) * step->tokens - n;
        const int32_t past = p->lengths[b];
        const gqa_tensor key = host_stream_tensor(s, p, false, b, past, n);
        const gqa_tensor value = host_stream_tensor(s, p, true, b, past, n);
        memcpy(k + (int64_t)at * shape->hkv * shape->dk, key.data,
               (size_t)(n * shape->hkv * shape->dk) * sizeof *k);
        memcpy(v + (int64_t)at * shape->hkv * shape->dv, value.data,
               (size_t)(n * shape->hkv * shape->dv) * sizeof *v);
        for (int32_t i = 0; i < n && cache == NULL && step->skipped; i++) { /* not looked at */
            k[(int64_t)(at + i) * shape->hkv * shape->dk] = NAN;
            v[(int64_t)(at + i) * shape->hkv * shape->dv] = NAN;
        }
        first[b] = step->tokens - n;
        lengths[b] = n;
        all += n;
        rows[b + 1] = all;
    }
    const int32_t outer = step->flat ? 1 : HOST_BATCH, t = step->flat ? all : step->tokens;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.q_proj = gqa_tensor_4d(q, GQA_F32, outer, t, shape->hq, shape->dk);
    in.k_proj = gqa_tensor_4d(k, GQA_F32, outer, t, shape->hkv, shape->dk);
    in.v_proj = gqa_tensor_4d(v, GQA_F32, outer, t, shape->hkv, shape->dv);
    in.first_valid = step->flat ? NULL : first;
    in.lengths = step->flat ? NULL : lengths;
    in.row_begin = step->flat ? rows : NULL;
    in.batch = step->flat ? HOST_BATCH : 0;
    out.attn = gqa_tensor_4d(answer->output, GQA_F32, outer, t, shape->hq, shape->dv);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, outer, t, shape->hq);
    if (cache == NULL) {
        in.blocks = &p->kv;
        p->kv.slot_mapping = step->slots;
    }
    if (gqa_forward(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(out.path.view, cache == NULL ? GQA_VIEW_BLOCKS : GQA_VIEW_PAGED);
}

/* What the pool holds of entry b is what the stream says; any NaN is a NaN. flushed: keys whose
 * denormals are zeros; NULL: none. */
static void check_blocks(const struct host_pool *p, const struct host_stream *s, int32_t b,
                         const bool *flushed)
{
    for (int32_t i = 0; i < p->lengths[b]; i++) {
        if (!host_pool_holds(p, s, b, i, flushed != NULL && flushed[i])) {
            fail_msg("key %d of entry %d is another one (types %d %d, blocks of %d)", (int)i,
                     (int)b, (int)p->types.k, (int)p->types.v, (int)p->block_size);
        }
    }
}

/* Of int8 every byte of the pool's memory is what a host would have written that quantises by
 * itself. mirror: its pool, to which the call's tokens are written now. */
static void check_memory(const struct host_pool *p, struct host_pool *mirror,
                         const struct host_stream *s, const struct step *step)
{
    memcpy(mirror->table, p->table, sizeof p->table);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        for (int32_t i = 0; i < step->counts[b]; i++) {
            host_pool_put(mirror, s, b, p->lengths[b] + i);
        }
    }
    if (p->types.k == GQA_I8 && p->types.v == GQA_I8 && !host_pool_same_memory(p, mirror)) {
        fail_msg("blocks of %d hold other bytes than a host would have written", p->block_size);
    }
}

/* Prefills in pieces, then steps; blocks that a finished sequence leaves are taken again. */
static void compare_forward(const gqa_layer *layer, const struct host_set *set, struct host_pool *p,
                            bool flush, uint64_t *random)
{
    gqa_cache *cache = host_cache_like(layer, set, p, 400);
    bool wrote[HOST_BATCH][400]; /* by the calls */
    struct host_pool mirror;
    struct host_stream s;

    host_pool_copy(&mirror, p);
    host_stream_open(&s, p, 400, (enum host_fill)(random_u32(random) % HOST_FILLS), random);
    for (int32_t round = 0; round < 8; round++) {
        struct step step = {.flat = round % 2 != 0, .skipped = round == 5 || round == 6};
        static int64_t slots[HOST_BATCH * MOST_TOKENS];
        int32_t at = 0;
        for (int32_t b = 0; b < HOST_BATCH; b++) {
            const bool longer = round < 4 && b != 1;
            step.counts[b] = random_between(random, 0, longer ? MOST_TOKENS : 2);
            step.tokens = step.counts[b] > step.tokens ? step.counts[b] : step.tokens;
        }
        for (int32_t b = 0; b < HOST_BATCH; b++) {
            const int32_t n = step.counts[b];
            host_pool_take(p, b, p->lengths[b] + n);
            for (int32_t i = 0; i < n; i++) {
                const int32_t index = p->lengths[b] + i;
                const int32_t column = step.flat ? at + i : (b + 1) * step.tokens - n + i;
                slots[column] =
                    (int64_t)p->table[b * p->width + index / p->block_size] * p->block_size +
                    index % p->block_size;
                wrote[b][index] = !step.skipped;
                if (step.skipped) { /* somebody has computed them */
                    host_pool_put(p, &s, b, index);
                    slots[column] = -1;
                }
            }
            at += n;
        }
        step.slots = round % 3 != 0 || round > 4 ? slots : NULL;
        random_floats(random, q, HOST_BATCH * MOST_TOKENS * p->shape.hq * p->shape.dk, 1.0f);
        if (at > 0) {
            forward(layer, NULL, p, &s, &step, &got);
            forward(layer, cache, p, &s, &step, &want);
            same(&got, &want, "gqa_forward", set, p);
        }
        check_memory(p, &mirror, &s, &step);
        for (int32_t b = 0; b < HOST_BATCH; b++) {
            p->lengths[b] += step.counts[b];
            check_blocks(p, &s, b, flush && set->numerics == GQA_NUMERICS_F32 ? wrote[b] : NULL);
        }
    }
    gqa_cache_destroy(&cache);
    host_stream_close(&s);
    host_pool_close(&mirror);
}

static void forward_tables(void **state)
{
    static const int32_t sizes[] = {16, 48, 128};
    uint64_t random = 2;
    (void)state;

    for (int i = 0; i < host_set_count; i++) {
        for (int j = 0; j < 4 * 2; j++) {
            struct host host;
            const bool flush = j % 4 == 3;
            const gqa_runtime runtime = host_start(&host, 1 + j % 2);
            gqa_layer *layer =
                host_layer(&host_sets[i], &shapes[j / 2], j % 2 != 0 ? 50 : 0, flush, &runtime);
            for (int k = 0; k < TYPES * 3 * 3 && layer != NULL; k++) {
                struct host_pool p;
                /* A cache of bf16 rounds once, blocks of f16 twice: not the same values. */
                const bool alike =
                    host_sets[i].numerics == GQA_NUMERICS_F32 || types[k % TYPES].k != GQA_F16;
                if (alike && (k + j + i) % 7 == 0) {
                    host_pool_open(&p, &shapes[j / 2], types[k % TYPES], sizes[k / TYPES / 3],
                                   (gqa_block_order)(k / TYPES % 3), &random);
                    p.flush = flush && host_sets[i].numerics == GQA_NUMERICS_F32;
                    compare_forward(layer, &host_sets[i], &p, flush, &random);
                    host_pool_close(&p);
                }
            }
            gqa_destroy(&layer);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(attend_tables),
                                       cmocka_unit_test(forward_tables)};

    return RUN_TESTS(argc, argv, tests);
}
