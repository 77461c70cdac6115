/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring_layers.c - whole layers on rings and on full caches, call by call, with the same bits:
 * prompts longer than window and blocks of tokens, flat mixes of prompts and decodes, chunks,
 * sinks, windows to both sides, layers that borrow the cache, attention on parts of the keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

enum { HIDDEN = 20, HQ = 6, HKV = 2, DK = 10, DV = 9, ENTRIES = 3, MOST = 400, LONGEST = 1400 };

struct setup {
    const char *name;
    gqa_isa isa;
    gqa_numerics numerics;
    gqa_backend backend;
    int32_t window, chunk, right;
    bool bidirectional, sinks;
    int32_t page_size, threads;
};

static const struct setup setups[] = {
    {"gpt-oss", 0, GQA_NUMERICS_BF16, 0, 128, 0, 0, false, true, 128, 2},
    {"gpt-oss in f32", 0, GQA_NUMERICS_F32, 0, 128, 0, 0, false, true, 16, 1},
    {"gpt-oss, scalar", GQA_ISA_SCALAR, GQA_NUMERICS_BF16, 0, 128, 0, 0, false, true, 16, 1},
    {"gpt-oss, AVX2", GQA_ISA_AVX2, GQA_NUMERICS_F32, 0, 128, 0, 0, false, true, 64, 3},
    {"gpt-oss, AVX-512", GQA_ISA_AVX512, GQA_NUMERICS_BF16, 0, 128, 0, 0, false, true, 16, 2},
    {"gpt-oss, NEON", GQA_ISA_NEON, GQA_NUMERICS_F32, 0, 128, 0, 0, false, true, 64, 3},
    {"llama4", 0, GQA_NUMERICS_BF16, 0, 0, 96, 0, false, false, 32, 4},
    {"llama4 in f32", 0, GQA_NUMERICS_F32, 0, 0, 96, 0, false, false, 64, 1},
    {"both sides", 0, GQA_NUMERICS_BF16, 0, 50, 0, 7, true, false, 16, 2},
    {"all later ones", 0, GQA_NUMERICS_F32, 0, 50, 0, 0, true, false, 64, 1},
    {"window in chunk", 0, GQA_NUMERICS_F32, 0, 40, 100, 0, false, true, 32, 2},
    {"reference", 0, GQA_NUMERICS_F32, GQA_BACKEND_REFERENCE, 40, 0, 0, false, true, 16, 1},
};

struct model {
    struct host host;
    struct weight_set set;
    gqa_layer *layer;
    gqa_cache *full, *ring;
    uint64_t random;
    int32_t length[ENTRIES];
};

static gqa_cache *make_cache(const struct model *m, const struct setup *setup, bool ring)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_cache_options_init(&options, m->layer);
    options.max_sequences = ENTRIES;
    options.max_tokens = LONGEST;
    options.page_size = ring ? setup->page_size : 128;
    options.call_tokens = MOST;
    if (ring) {
        gqa_cache_options_retain(&options, m->layer);
    }
    assert_int_equal(gqa_cache_create(&cache, m->layer, &options, NULL), GQA_OK);
    return cache;
}

static bool open_model(struct model *m, const struct setup *setup)
{
    memset(m, 0, sizeof *m);
    weight_set_init(&m->set);
    m->set.scale = 0.3f;
    m->set.config.isa = setup->isa;
    m->set.config.numerics = setup->numerics;
    m->set.config.backend = setup->backend;
    m->set.config.sliding_window = setup->window;
    m->set.config.attention_chunk_size = setup->chunk;
    m->set.config.bidirectional = setup->bidirectional;
    m->set.config.right_window = setup->right;
    m->set.config.learned_sinks_size = setup->sinks;
    m->set.config.rope = GQA_ROPE_HALF;
    m->random = 11;
    weight_set_fill(&m->set);
    const gqa_runtime runtime = host_start(&m->host, setup->threads);
    const gqa_status status =
        create_unforced(&m->layer, &m->set.config, &m->set.weights, &runtime, NULL);
    if (status == GQA_ERR_UNSUPPORTED) {
        weight_set_free(&m->set);
        return false;
    }
    assert_int_equal(status, GQA_OK);
    m->full = make_cache(m, setup, false);
    m->ring = make_cache(m, setup, true);
    return true;
}

static void close_model(struct model *m)
{
    gqa_cache_destroy(&m->full);
    gqa_cache_destroy(&m->ring);
    gqa_destroy(&m->layer);
    weight_set_free(&m->set);
    assert_int_equal(m->host.live, 0);
}

struct results {
    gqa_work work;
    float y[ENTRIES * MOST][HIDDEN], attn[ENTRIES * MOST][HQ][DV], lse[ENTRIES * MOST][HQ];
};

static void forward(const struct model *m, gqa_cache *cache, const int32_t *rows, const float *x,
                    bool borrow, struct results *r)
{
    const int32_t n = rows[ENTRIES];
    gqa_error err = {0};
    gqa_inputs in;
    gqa_output out;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    memset(r, 0, sizeof *r);
    gqa_work_init(&r->work);
    in.hidden_states = gqa_tensor_3d(x, GQA_F32, 1, n, HIDDEN);
    in.row_begin = rows;
    in.batch = ENTRIES;
    in.borrow_cache = borrow;
    out.hidden_states = gqa_tensor_3d(r->y, GQA_F32, 1, n, HIDDEN);
    out.attn = gqa_tensor_4d(r->attn, GQA_F32, 1, n, HQ, DV);
    out.work = &r->work;
    out.lse = gqa_tensor_3d(r->lse, GQA_F32, 1, n, HQ);
    if (gqa_forward(m->layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("gqa_forward: %s", err.message);
    }
}

/* One query on keys [begin, end) of sequence 0, as states. */
static void attend(const struct model *m, const gqa_cache *cache, int32_t begin, int32_t end,
                   float *state)
{
    float q[HQ * DK];
    uint64_t random = 5;
    gqa_error err = {0};
    gqa_attend_inputs in;
    gqa_attend_output out;
    random_floats(&random, q, HQ * DK, 1.0f);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(q, GQA_F32, 1, HQ, DK);
    in.range_begin = begin;
    in.range_end = end;
    out.states.m = gqa_tensor_2d(state, GQA_F32, 1, HQ);
    out.states.l = gqa_tensor_2d(state + HQ, GQA_F32, 1, HQ);
    out.states.o = gqa_tensor_3d(state + 2 * HQ, GQA_F32, 1, HQ, DV);
    if (gqa_attend(m->layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("gqa_attend: %s", err.message);
    }
}

static void compare_parts(const struct model *m)
{
    float a[HQ * (2 + DV)], b[HQ * (2 + DV)];
    for (int32_t begin = 0; begin < m->length[0]; begin += 256) {
        attend(m, m->full, begin, begin + 256, a);
        attend(m, m->ring, begin, begin + 256, b);
        assert_memory_equal(a, b, sizeof a);
        attend(m, m->full, begin, 0, a);
        attend(m, m->ring, begin, 0, b);
        assert_memory_equal(a, b, sizeof a);
    }
}

/* Flat calls: one entry has many tokens, now and then; the others few or none. */
static void run(const struct setup *setup)
{
    static struct results full, ring;
    static float x[ENTRIES * MOST * HIDDEN];
    struct model m;
    if (!open_model(&m, setup)) {
        return;
    }
    for (int call = 0; call < 14; call++) {
        int32_t rows[ENTRIES + 1] = {0};
        for (int32_t b = 0; b < ENTRIES; b++) {
            int32_t n = random_between(&m.random, 0, 3);
            if (call % 4 == b) {
                n = random_between(&m.random, 100, MOST);
            }
            n = m.length[b] + n <= LONGEST ? n : 0;
            m.length[b] += n;
            rows[b + 1] = rows[b] + n;
        }
        random_floats(&m.random, x, rows[ENTRIES] * HIDDEN, 1.0f);
        for (int borrow = 0; borrow < 2; borrow++) { /* again, by a layer that reads the cache */
            forward(&m, m.full, rows, x, borrow == 1, &full);
            forward(&m, m.ring, rows, x, borrow == 1, &ring);
            if (memcmp(full.y, ring.y, sizeof full.y) != 0 ||
                memcmp(full.attn, ring.attn, sizeof full.attn) != 0 ||
                memcmp(full.lse, ring.lse, sizeof full.lse) != 0) {
                fail_msg("%s: call %d of a ring gives other bits (borrow %d)", setup->name, call,
                         borrow);
            }
        }
        if (setup->backend == GQA_BACKEND_REFERENCE) { /* it reads what there is */
            assert_true(call < 8 || ring.work.keys_read < full.work.keys_read);
        } else {
            assert_memory_equal(&ring.work, &full.work, sizeof full.work);
        }
        compare_parts(&m);
    }
    for (int32_t b = 0; b < ENTRIES; b++) {
        assert_int_equal(gqa_cache_length(m.ring, b), m.length[b]);
        assert_true(gqa_cache_first(m.ring, b) > 0);
    }
    close_model(&m);
}

static void layers_have_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
        run(&setups[i]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_have_the_same_bits)};
    return RUN_TESTS(argc, argv, tests);
}
