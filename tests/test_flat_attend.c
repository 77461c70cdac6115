/* SPDX-License-Identifier: Apache-2.0 */
/* test_flat_attend.c - flat calls of gqa_attend: each entry with the bits, the states and the
 * traced tiles of a call of its own, on plain keys and on a cache, over a part of the keys and the
 * rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { B = 3, N = 14, K = 300, HQ = 6, HKV = 2, D = 12 };

static const int32_t begin[B + 1] = {0, 9, 9, N}; /* nine queries, none, five */
static const int32_t sequences[B] = {2, 0, 1};

struct attend_case {
    float q[N * HQ * D], k[B * K * HKV * D], v[B * K * HKV * D];
    float out[N * HQ * D], lse[N * HQ], m[N * HQ], l[N * HQ], o[N * HQ * D];
    float bias[HQ * N * K];
    int32_t positions[N], lengths[B];
};

static void fill_case(struct attend_case *a)
{
    struct small_layer small;
    small_layer_open(&small, NULL);
    const int count = (int)(sizeof small.x / sizeof small.x[0]);
    float *const all[] = {a->q, a->k, a->v, a->bias};
    const int sizes[] = {N * HQ * D, B * K * HKV * D, B * K * HKV * D, HQ * N * K};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < sizes[i]; j++) {
            all[i][j] = small.x[(j + 1000 * i + j / count) % count];
        }
    }
    for (int t = 0; t < N; t++) {
        a->positions[t] = 7 * (N - t);
    }
    a->lengths[0] = K;
    a->lengths[1] = 5;
    a->lengths[2] = 260;
    small_layer_close(&small);
}

/* The tiles that a call told of, by batch entry: which rows, which keys. */
enum { TILES = 64 };
struct tiles {
    int count[B];
    int32_t seen[B][TILES][6];
};

static void keep_tile(void *user, const gqa_tile *tile)
{
    struct tiles *const tiles = user;
    const int32_t seen[6] = {(int32_t)tile->fate, tile->head, tile->row,
                             tile->rows,          tile->key,  tile->keys};
    int *const count = &tiles->count[tile->batch];
    assert_true(tile->batch >= 0 && tile->batch < B && *count < TILES);
    memcpy(tiles->seen[tile->batch][(*count)++], seen, sizeof seen);
}

/* Queries first .. first + n - 1 of the case; entry < 0: the flat call of all. */
static void attend(const gqa_layer *layer, const gqa_cache *cache, struct attend_case *a, int entry,
                   bool second, struct tiles *tiles)
{
    const int first = entry < 0 ? 0 : begin[entry], n = entry < 0 ? N : begin[entry + 1] - first;
    const int keys = entry < 0 ? 0 : entry;
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_states prior = {.key_end = 256};
    gqa_error err = {0};
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(a->q + first * HQ * D, GQA_F32, 1, n, HQ, D);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(a->k + keys * K * HKV * D, GQA_F32, entry < 0 ? B : 1, K, HKV, D);
        in.value = gqa_tensor_4d(a->v + keys * K * HKV * D, GQA_F32, entry < 0 ? B : 1, K, HKV, D);
        in.key_lengths = a->lengths + keys;
    } else {
        in.sequences = sequences + keys;
    }
    in.bias = gqa_tensor_4d(a->bias + first * K, GQA_F32, 1, HQ, n, K);
    in.bias.stride[3] = 1;
    in.bias.stride[2] = K;
    in.bias.stride[1] = (int64_t)N * K;
    in.bias.stride[0] = (int64_t)HQ * N * K;
    in.position_ids = a->positions + first;
    in.trace = tiles != NULL ? keep_tile : NULL;
    in.trace_user = tiles;
    if (entry < 0) {
        in.row_begin = begin;
        in.batch = B;
    }
    if (second) { /* the keys from 256 on, and what the first part left in m, l and o */
        in.range_begin = 256;
        prior.m = gqa_tensor_3d(a->m + first * HQ, GQA_F32, 1, n, HQ);
        prior.l = gqa_tensor_3d(a->l + first * HQ, GQA_F32, 1, n, HQ);
        prior.o = gqa_tensor_4d(a->o + first * HQ * D, GQA_F32, 1, n, HQ, D);
        in.prior = &prior;
    } else {
        in.range_end = 256;
        out.states.m = gqa_tensor_3d(a->m + first * HQ, GQA_F32, 1, n, HQ);
        out.states.l = gqa_tensor_3d(a->l + first * HQ, GQA_F32, 1, n, HQ);
        out.states.o = gqa_tensor_4d(a->o + first * HQ * D, GQA_F32, 1, n, HQ, D);
    }
    out.output = gqa_tensor_4d(a->out + first * HQ * D, GQA_F32, 1, n, HQ, D);
    out.lse = gqa_tensor_3d(a->lse + first * HQ, GQA_F32, 1, n, HQ);
    if (gqa_attend(layer, cache, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

static gqa_cache *cache_of(const gqa_layer *layer, const struct attend_case *a)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_cache_options_init(&options, layer);
    options.max_sequences = B;
    options.max_tokens = K;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    for (int b = 0; b < B; b++) {
        const gqa_tensor k = gqa_tensor_3d(a->k + b * K * HKV * D, GQA_F32, a->lengths[b], HKV, D);
        const gqa_tensor v = gqa_tensor_3d(a->v + b * K * HKV * D, GQA_F32, a->lengths[b], HKV, D);
        assert_int_equal(gqa_cache_append(cache, sequences[b], &k, &v, NULL, NULL), GQA_OK);
    }
    return cache;
}

static void attend_alone(void **state)
{
    static struct attend_case flat, alone;
    static struct tiles of_flat, of_alone;
    gqa_config config = attention_config(HQ, HKV, D, D);
    (void)state;
    for (int backend = 0; backend < 2; backend++) {
        const bool told = backend == GQA_BACKEND_CPU;
        config.backend = (gqa_backend)backend;
        gqa_layer *layer = attention_layer(&config, NULL);
        fill_case(&flat);
        fill_case(&alone);
        gqa_cache *cache = cache_of(layer, &flat);
        for (int way = 0; way < 4; way++) { /* plain and cached, the first keys and the rest */
            const gqa_cache *const keys = way < 2 ? NULL : cache;
            memset(&of_flat, 0, sizeof of_flat);
            attend(layer, keys, &flat, -1, way % 2 != 0, told ? &of_flat : NULL);
            for (int b = 0; b < B; b++) {
                memset(&of_alone, 0, sizeof of_alone);
                attend(layer, keys, &alone, b, way % 2 != 0, told ? &of_alone : NULL);
                assert_int_equal(of_flat.count[b], of_alone.count[0]);
                assert_memory_equal(of_flat.seen[b], of_alone.seen[0], sizeof of_flat.seen[b]);
            }
            assert_true(!told || of_flat.count[0] > 0);
            assert_memory_equal(&flat, &alone, sizeof flat);
        }
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(attend_alone)};
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
