/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_types.c - pack_q of queries of 16 bits, and finish to outputs of 16 bits, by every
 * kernel set: the bytes that the entries load and store beside those of f32 give. Names and
 * repetition as in test_kernels.c.
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

#include "base/number.h"
#include "support/guarded_buffer.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

enum { CASES = 60 };

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

/* Rows of some tokens of one KV head, in a tensor [tokens][heads][dim]. */
struct rows {
    struct gqa__row_map map;
    int32_t ld, dim, heads;
    int64_t values; /* of the tensor */
};

static struct rows draw_rows(uint64_t *state, const struct gqa__kernels *kernels)
{
    static const int32_t dims[] = {1, 7, 16, 24, 31, 32, 33, 64, 80, 128, 200};
    struct rows rows = {.dim = dims[random_between(state, 0, 10)]};
    const int32_t group = random_between(state, 1, 8);
    const int32_t tokens = random_between(state, 1, 20);

    rows.heads = group * random_between(state, 1, 2);
    rows.map.group = group;
    rows.map.first = random_between(state, 0, tokens * group - 1);
    rows.map.count = random_between(state, 1, tokens * group - rows.map.first);
    rows.map.count = rows.map.count < kernels->tile_rows ? rows.map.count : kernels->tile_rows;
    rows.map.head_stride = rows.dim;
    rows.map.token_stride = (int64_t)rows.heads * rows.dim;
    rows.ld = (rows.map.count + kernels->lanes - 1) / kernels->lanes * kernels->lanes;
    rows.values = (int64_t)tokens * rows.map.token_stride;
    return rows;
}

static void describe(const struct kernels_under_test *test, int32_t i, const struct rows *rows,
                     gqa_dtype type)
{
    snprintf(current, sizeof current, "%s case %d: rows=%d dim=%d group=%d type=%d\n", test->name,
             (int)i, (int)rows->map.count, (int)rows->dim, (int)rows->map.group, (int)type);
}

static void queries(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *kernels = test->kernels;

    for (int32_t i = 0; i < CASES; i++) {
        uint64_t seed = (uint64_t)i + 1;
        const gqa_dtype type = i % 2 == 0 ? GQA_BF16 : GQA_F16;
        const struct rows rows = draw_rows(&seed, kernels);
        struct guarded_buffer half = guarded_new((size_t)rows.values * 2);
        struct guarded_buffer wide = guarded_new((size_t)rows.values * 4);
        struct guarded_buffer got = guarded_new(kernels->q_bytes(rows.dim, rows.ld));
        struct guarded_buffer want = guarded_new(kernels->q_bytes(rows.dim, rows.ld));
        struct gqa__pack_q_args args = {.dst = want.data,
                                        .q = wide.data,
                                        .map = &rows.map,
                                        .ld = rows.ld,
                                        .dk = rows.dim,
                                        .scale = 0.18f,
                                        .flush = i % 3 == 0};
        describe(test, i, &rows, type);
        for (int64_t k = 0; k < rows.values; k++) { /* any bits: NaN, Inf and denormals too */
            ((uint16_t *)half.data)[k] = (uint16_t)random_u32(&seed);
        }
        kernels->load(wide.data, half.data, rows.values, type);
        kernels->pack_q(&args);
        args.dst = got.data;
        args.q = half.data;
        args.q_type = type;
        kernels->pack_q(&args);
        check(memcmp(got.data, want.data, want.size) == 0);
        check(guarded_free(&half) && guarded_free(&wide));
        check(guarded_free(&got) && guarded_free(&want));
    }
}

/* A state of any rows: some see nothing, some are not finite. */
static void draw_state(uint64_t *seed, const struct rows *rows, float *m, float *l, float *o)
{
    random_floats(seed, m, rows->ld, 20.0f);
    random_floats(seed, o, (int64_t)rows->dim * rows->ld, 300.0f);
    for (int32_t r = 0; r < rows->ld; r++) {
        l[r] = 1.0f + 9.0f * (float)random_unit(seed);
        if (random_between(seed, 0, 4) == 0) {
            m[r] = -INFINITY;
            l[r] = 0.0f;
        }
    }
    for (int32_t n = 0; n < 4; n++) {
        static const float odd[] = {NAN, INFINITY, 1e-40f, 3e38f};
        o[random_u32(seed) % (uint32_t)(rows->dim * rows->ld)] = odd[n];
    }
}

static void outputs(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *kernels = test->kernels;

    for (int32_t i = 0; i < CASES; i++) {
        uint64_t seed = (uint64_t)i + 500;
        const gqa_dtype type = i % 2 == 0 ? GQA_BF16 : GQA_F16;
        const struct rows rows = draw_rows(&seed, kernels);
        const size_t lanes = (size_t)rows.ld;
        struct guarded_buffer m = guarded_new(lanes * 4), l = guarded_new(lanes * 4);
        struct guarded_buffer o = guarded_new((size_t)rows.dim * lanes * 4);
        struct guarded_buffer sink = guarded_new(lanes * 4);
        struct guarded_buffer wide = guarded_new((size_t)rows.values * 4);
        struct guarded_buffer got = guarded_new((size_t)rows.values * 2);
        struct guarded_buffer want = guarded_new((size_t)rows.values * 2);
        struct gqa__finish finish = {.m = m.data,
                                     .l = l.data,
                                     .o = o.data,
                                     .ld = rows.ld,
                                     .dv = rows.dim,
                                     .sink = i % 3 == 0 ? sink.data : NULL,
                                     .out = wide.data,
                                     .out_map = rows.map,
                                     .stream = i % 4 < 2};
        describe(test, i, &rows, type);
        draw_state(&seed, &rows, m.data, l.data, o.data);
        random_floats(&seed, sink.data, rows.ld, 20.0f);
        kernels->finish(&finish);
        for (int32_t r = 0; r < rows.map.count; r++) {
            const int64_t at = gqa__row_offset(&rows.map, r);
            kernels->store((uint16_t *)want.data + at, (float *)wide.data + at, rows.dim, type);
        }
        finish.out = got.data;
        finish.out_type = type;
        kernels->finish(&finish);
        check(memcmp(got.data, want.data, want.size) == 0);
        check(guarded_free(&m) && guarded_free(&l) && guarded_free(&o) && guarded_free(&sink));
        check(guarded_free(&wide) && guarded_free(&got) && guarded_free(&want));
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {{"queries", queries}, {"outputs", outputs}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], true);
}
