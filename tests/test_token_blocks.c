/* SPDX-License-Identifier: Apache-2.0 */
/* test_token_blocks.c - tokens that a layer without projections takes at once: fewer where rows see
 * few keys and q or the output is copied, so that the copies stay in a cache. They are where their
 * heads do not lie side by side; f32 and bf16 tensors whose heads do are used where they are. The
 * bits are the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "gqa/gqa.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"

enum { T = 300, HQ = 64, HKV = 8, D = 64, MIB = 1 << 20 };

/* How the heads of a tensor lie: side by side, in f32 or bf16, or with a gap between them. */
enum lie { SIDE_BY_SIDE, HALVES, APART, GAP = 8 };

static gqa_tensor heads_that(enum lie lie, const void *data)
{
    gqa_tensor t = gqa_tensor_3d(data, lie == HALVES ? GQA_BF16 : GQA_F32, T, HQ, D);
    if (lie == APART) {
        t.stride[1] = D + GAP;
        t.stride[0] = HQ * (D + GAP);
    }
    return t;
}

static gqa_layer *new_layer(void (*edit)(gqa_config *config), int32_t threads)
{
    gqa_config config;
    gqa_runtime runtime;
    gqa_layer *layer = NULL;
    gqa_config_init(&config);
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    edit(&config);
    gqa_runtime_init(&runtime);
    if (threads > 1) {
        runtime.num_threads = threads;
        runtime.parallel_for = parallel_threads;
    }
    assert_int_equal(gqa_create(&layer, &config, NULL, &runtime, NULL), GQA_OK);
    return layer;
}

static void window(gqa_config *c)
{
    c->sliding_window = 128;
}

static void chunk(gqa_config *c)
{
    c->attention_chunk_size = 1024;
}

static void both_sides(gqa_config *c)
{
    c->bidirectional = 1;
    c->sliding_window = 1000;
    c->right_window = 24;
}

static void full(gqa_config *c)
{
    (void)c;
}

static void wide_window(gqa_config *c)
{
    c->sliding_window = 1025;
}

static void wide_chunk(gqa_config *c)
{
    c->attention_chunk_size = 1025;
}

static void all_to_the_right(gqa_config *c)
{
    c->bidirectional = 1;
    c->sliding_window = 128;
}

static void wide_to_the_right(gqa_config *c)
{
    both_sides(c);
    c->right_window = 25;
}

/* Tiles of 128 tokens. */
static void one_to_one(gqa_config *c)
{
    window(c);
    c->num_key_value_heads = HQ;
}

/* A prefill of T tokens. */
static void make_call(gqa_inputs *in, gqa_output *out, enum lie q, enum lie attn, int32_t hkv)
{
    static float any[T * HQ * (D + GAP)];
    gqa_inputs_init(in);
    gqa_output_init(out);
    in->q_proj = heads_that(q, any);
    in->k_proj = gqa_tensor_3d(any, GQA_F32, T, hkv, D);
    in->v_proj = gqa_tensor_3d(any, GQA_F32, T, hkv, D);
    out->attn = heads_that(attn, any);
}

static size_t workspace_of(void (*edit)(gqa_config *), int32_t threads, enum lie q, enum lie attn)
{
    gqa_layer *layer = new_layer(edit, threads);
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    make_call(&in, &out, q, attn, edit == one_to_one ? HQ : HKV);
    assert_int_equal(gqa_workspace_size(layer, NULL, &in, &out, &size, NULL), GQA_OK);
    gqa_destroy(&layer);
    return size;
}

/* What copies of q and of the output add to the workspace: a token's are 16 KiB each. With fewer
 * tokens at once it has less of other things. */
static int64_t copies_of(void (*edit)(gqa_config *), int32_t threads, enum lie q, enum lie attn)
{
    return (int64_t)workspace_of(edit, threads, q, attn) -
           (int64_t)workspace_of(edit, threads, SIDE_BY_SIDE, SIDE_BY_SIDE);
}

static void copies_stay_in_a_cache(void **state)
{
    void (*const few[])(gqa_config *) = {window, chunk, both_sides};
    void (*const many[])(gqa_config *) = {
        full, wide_window, wide_chunk, all_to_the_right, wide_to_the_right, one_to_one};
    (void)state;
    for (size_t i = 0; i < sizeof few / sizeof few[0]; i++) {
        assert_int_equal(copies_of(few[i], 1, HALVES, HALVES), 0);
        assert_in_range(copies_of(few[i], 1, APART, APART), MIB * 3 / 4, MIB);
        assert_in_range(copies_of(few[i], 1, APART, SIDE_BY_SIDE), MIB * 3 / 4, MIB);
        assert_in_range(copies_of(few[i], 1, SIDE_BY_SIDE, APART), MIB * 3 / 4, MIB);
        assert_in_range(copies_of(few[i], 4, APART, APART), 3 * MIB, 4 * MIB);
    }
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        assert_in_range(copies_of(many[i], 1, APART, APART), 8 * MIB, 8 * MIB);
    }
}

/* The output [T][HQ][D] of bf16 values, from queries that lie like `lie` to an output that lies
 * like `to`. What lies between heads is NaN, and stays as it was. */
static void run(const gqa_layer *layer, enum lie lie, enum lie to, float *out)
{
    static float apart[T * HQ * (D + GAP)], spread[T * HQ * (D + GAP)];
    const bool halves = lie == HALVES;
    static float q[T * HQ * D], k[T * HKV * D], v[T * HKV * D];
    static uint16_t q16[T * HQ * D], k16[T * HKV * D], v16[T * HKV * D];
    float *const all[] = {q, k, v};
    uint16_t *const all16[] = {q16, k16, v16};
    const gqa_dtype dtype = halves ? GQA_BF16 : GQA_F32;
    gqa_inputs in;
    gqa_output result;
    uint64_t seed = 5;
    for (int a = 0; a < 3; a++) {
        for (int i = 0; i < T * (a == 0 ? HQ : HKV) * D; i++) {
            all16[a][i] = gqa__f32_to_bf16(2.0f * random_float(&seed));
            all[a][i] = gqa__bf16_to_f32(all16[a][i]);
        }
    }
    gqa_inputs_init(&in);
    gqa_output_init(&result);
    memset(apart, 0xff, sizeof apart); /* NaN */
    memset(spread, 0xff, sizeof spread);
    for (int i = 0; i < T * HQ * D; i++) {
        apart[i / D * (D + GAP) + i % D] = q[i];
    }
    in.q_proj = heads_that(lie, halves ? (const void *)q16 : lie == APART ? apart : q);
    in.k_proj = gqa_tensor_3d(halves ? (const void *)k16 : k, dtype, T, HKV, D);
    in.v_proj = gqa_tensor_3d(halves ? (const void *)v16 : v, dtype, T, HKV, D);
    result.attn = to == APART ? heads_that(APART, spread) : gqa_tensor_3d(out, GQA_F32, T, HQ, D);
    assert_int_equal(gqa_forward(layer, NULL, &in, &result, NULL, 0, NULL), GQA_OK);
    for (int i = 0; i < T * HQ * (D + GAP) && to == APART; i++) {
        const int d = i % (D + GAP);
        const unsigned char *const bytes = (const unsigned char *)&spread[i];
        if (d < D) {
            out[i / (D + GAP) * D + d] = spread[i];
        } else {
            assert_int_equal(bytes[0] & bytes[1] & bytes[2] & bytes[3], 0xff);
        }
    }
}

static void same_bits(void **state)
{
    void (*const edits[])(gqa_config *) = {window, both_sides};
    const size_t bytes = (size_t)T * HQ * D * sizeof(float);
    float *const want = malloc(bytes), *const got = malloc(bytes);
    (void)state;
    assert_non_null(want);
    assert_non_null(got);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        for (int32_t threads = 1; threads <= 3; threads += 2) {
            gqa_layer *layer = new_layer(edits[i], threads);
            run(layer, SIDE_BY_SIDE, SIDE_BY_SIDE, want);
            for (int way = 0; way < 5; way++) {
                const enum lie lies[] = {SIDE_BY_SIDE, HALVES, APART};
                run(layer, lies[(way + 1) % 3], way < 2 ? SIDE_BY_SIDE : APART, got);
                assert_memory_equal(got, want, bytes);
            }
            gqa_destroy(&layer);
        }
    }
    free(want);
    free(got);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_stay_in_a_cache),
        cmocka_unit_test(same_bits),
    };
    return RUN_TESTS(argc, argv, tests);
}
