/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks_masks.c - who sees whom where the keys lie in the host's blocks: padding, masks over
 * columns, active masks, positions with gaps, windows, calls that only read, by memcmp with a
 * cache; on every kernel set and on backend reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/host_keys.h"
#include "support/host_pool.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

static const struct host_shape narrow = {6, 2, 40, 24};
static const struct host_types types[] = {{GQA_F32, GQA_F32}, {GQA_BF16, GQA_BF16},
                                          {GQA_F16, GQA_F16}, {GQA_I8, GQA_I8},
                                          {GQA_I8, GQA_F16},  {GQA_BF16, GQA_I8}};

/* --- who sees whom -----------------------------------------------------------------------------
 */

enum { COLUMNS = 6, MOST_KEYS = 340 }; /* of a call; positions and mask columns of an entry */

struct answer {
    float output[HOST_BATCH * COLUMNS * 6 * 24], lse[HOST_BATCH * COLUMNS * 6];
};

static struct answer got, want;
static float q[HOST_BATCH * COLUMNS * 6 * 40];

/* What the calls on blocks and on a cache have in common. */
struct rules {
    int32_t first[HOST_BATCH], counts[HOST_BATCH];
    int32_t positions[HOST_BATCH * HOST_MOST_BLOCKS * 16]; /* of keys */
    int32_t ids[HOST_BATCH * COLUMNS];                     /* of the call's columns */
    uint8_t mask[COLUMNS * MOST_KEYS], active[HOST_BATCH * COLUMNS * COLUMNS];
};

static void draw_rules(struct rules *r, struct host_pool *p, uint64_t *random)
{
    memset(r, 0, sizeof *r);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        int32_t *const positions = r->positions + (int64_t)b * p->width * p->block_size;
        p->lengths[b] = random_between(random, 0, 300);
        r->first[b] = random_between(random, 0, 2);
        r->counts[b] = COLUMNS - r->first[b];
        for (int32_t i = 0, at = 3; i < p->lengths[b] + COLUMNS; i++) {
            positions[i] = at += random_between(random, 1, 3);
        }
        for (int32_t i = 0; i < r->counts[b]; i++) {
            r->ids[b * COLUMNS + r->first[b] + i] = positions[p->lengths[b] + i];
        }
        host_pool_take(p, b, p->lengths[b] + r->counts[b]);
    }
    for (size_t i = 0; i < sizeof r->mask; i++) {
        r->mask[i] = random_u32(random) % 5 != 0;
    }
    for (size_t i = 0; i < sizeof r->active; i++) {
        r->active[i] = random_u32(random) % 3 != 0;
    }
}

/* Appends COLUMNS tokens of the stream, or asks once more for those that were appended. */
static void forward_masked(const gqa_layer *layer, gqa_cache *cache, struct host_pool *p,
                           const struct host_stream *s, const struct rules *r, bool read)
{
    struct answer *const answer = cache == NULL ? &got : &want;
    gqa_inputs in;
    gqa_output out;
    gqa_error err = {.message = ""};

    memset(answer, 0, sizeof *answer);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.q_proj = gqa_tensor_4d(q, GQA_F32, HOST_BATCH, COLUMNS, p->shape.hq, p->shape.dk);
    if (!read) { /* the stream's first tokens: what they are does not matter here */
        in.k_proj = gqa_tensor_4d(s->k, GQA_F32, HOST_BATCH, COLUMNS, p->shape.hkv, p->shape.dk);
        in.v_proj = gqa_tensor_4d(s->v, GQA_F32, HOST_BATCH, COLUMNS, p->shape.hkv, p->shape.dv);
    }
    in.borrow_cache = read;
    in.first_valid = r->first;
    in.mask = gqa_tensor_4d(r->mask, GQA_U8, 1, 1, COLUMNS, MOST_KEYS);
    if (!read) {
        in.active_mask = gqa_tensor_3d(r->active, GQA_U8, HOST_BATCH, COLUMNS, COLUMNS);
    }
    in.position_ids = cache != NULL || p->lengths[0] % 2 != 0 || read ? r->ids : NULL;
    out.attn =
        gqa_tensor_4d(answer->output, GQA_F32, HOST_BATCH, COLUMNS, p->shape.hq, p->shape.dv);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, HOST_BATCH, COLUMNS, p->shape.hq);
    in.blocks = cache == NULL ? &p->kv : NULL;
    if (gqa_forward(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

static void same(const char *what, const struct host_set *set, const struct host_pool *p)
{
    if (memcmp(&got, &want, sizeof got) != 0) {
        fail_msg("%s: other bits than a cache (%s, types %d %d)", what, set->name, (int)p->types.k,
                 (int)p->types.v);
    }
}

static void compare_masked(const gqa_layer *layer, const struct host_set *set, struct host_pool *p,
                           uint64_t *random)
{
    static struct rules r;
    gqa_cache *cache = host_cache_like(layer, set, p, MOST_KEYS);
    struct host_stream s;

    host_stream_open(&s, p, MOST_KEYS, HOST_PLAIN, random);
    draw_rules(&r, p, random);
    p->kv.position_ids = r.positions;
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        const gqa_tensor k = host_stream_tensor(&s, p, false, b, 0, p->lengths[b]);
        const gqa_tensor v = host_stream_tensor(&s, p, true, b, 0, p->lengths[b]);
        assert_int_equal(gqa_cache_append(cache, b, &k, &v,
                                          r.positions + (int64_t)b * p->width * p->block_size,
                                          NULL),
                         GQA_OK);
        for (int32_t i = 0; i < p->lengths[b]; i++) {
            host_pool_put(p, &s, b, i);
        }
    }
    random_floats(random, q, HOST_BATCH * COLUMNS * p->shape.hq * p->shape.dk, 1.0f);
    forward_masked(layer, cache, p, &s, &r, false);
    forward_masked(layer, NULL, p, &s, &r, false);
    same("masks and positions", set, p);
    for (int32_t b = 0; b < HOST_BATCH; b++) {
        p->lengths[b] += r.counts[b];
    }
    if (r.first[0] + r.first[1] + r.first[2] == 0) { /* else the cache's columns have gaps */
        forward_masked(layer, cache, p, &s, &r, true);
        forward_masked(layer, NULL, p, &s, &r, true);
        same("a call that only reads", set, p);
    }
    gqa_cache_destroy(&cache);
    host_stream_close(&s);
}

static void masks_and_positions(void **state)
{
    uint64_t random = 3;
    (void)state;

    for (int i = 0; i < host_set_count; i++) {
        gqa_layer *layer = host_layer(&host_sets[i], &narrow, 150, false, NULL);
        for (int j = 0; j < 60 && layer != NULL; j++) {
            struct host_pool p;
            const int own = host_sets[i].numerics == GQA_NUMERICS_F32 ? 0 : 1;
            host_pool_open(&p, &narrow, types[j / 3 % 3 == 2 ? 3 : own], 16,
                           (gqa_block_order)(j % 3), &random);
            compare_masked(layer, &host_sets[i], &p, &random);
            host_pool_close(&p);
        }
        gqa_destroy(&layer);
    }
}

/* Backend reference reads the same keys. */
static void backend_reference(void **state)
{
    const struct host_set set = {GQA_ISA_AUTO, GQA_NUMERICS_F32, "reference"};
    gqa_config config = attention_config(6, 2, 40, 24);
    gqa_layer *layer = NULL;
    uint64_t random = 4;
    (void)state;

    config.backend = GQA_BACKEND_REFERENCE;
    if (gqa_create(&layer, &config, NULL, NULL, NULL) != GQA_OK) {
        skip(); /* built without it */
    }
    for (int i = 0; i < 18; i++) {
        struct host_pool p;
        host_pool_open(&p, &narrow, types[i % 6], 16, (gqa_block_order)(i / 6), &random);
        compare_masked(layer, &set, &p, &random);
        host_pool_close(&p);
    }
    gqa_destroy(&layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_and_positions),
                                       cmocka_unit_test(backend_reference)};

    return RUN_TESTS(argc, argv, tests);
}
