/* SPDX-License-Identifier: Apache-2.0 */
/* test_properties.c - the invariances of docs/numerics.md by memcmp, on backend cpu.
 *
 * Random layers (every option of the config, both numerics) of odd sizes, each run in many ways:
 * threads, batches, pages, prefill in pieces, kernel set, cuts, modes of the host's thread. The
 * first way is the yardstick. A failure prints the layer, the way and the first float that differs.
 * GQA_TEST_BRIEF=N: one of N layers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/fewer_cases.h"
#include "support/program.h"
#include "support/same_bits.h"

enum { FTZ_DAZ = 0x8040, ROUND_DOWN = 0x2000, ROUND_UP = 0x4000, ROUND_TO_ZERO = 0x6000 };

static const int backwards[SAME_BITS_BATCH] = {2, 1, 0};
static const int turned[SAME_BITS_BATCH] = {1, 2, 0};

/* Bits that hold for every layer. */
static const same_bits_way ways[] = {
    {.name = "one call"},
    {.name = "the same call three times on one layer", .repeat = 2},
    {.name = "no cache", .no_cache = true},
    {.name = "pages of 16", .page_size = 16},
    {.name = "pages of 32", .page_size = 32},
    {.name = "pages of 64", .page_size = 64},
    {.name = "pages of 256", .page_size = 256},
    {.name = "pages of 512", .page_size = 512},
    {.name = "each sequence alone", .alone = true},
    {.name = "batch backwards", .order = backwards},
    {.name = "batch turned, no cache", .order = turned, .no_cache = true},
    {.name = "flat", .flat = true},
    {.name = "flat, batch backwards, no cache, 3 threads",
     .flat = true,
     .order = backwards,
     .no_cache = true,
     .threads = 3},
    {.name = "flat, taps, strided and unaligned input", .flat = true, .taps = true, .gaps = true},
    {.name = "flat, second kernel set, cut by keys, workspace of the caller",
     .flat = true,
     .second_kernels = true,
     .knobs = {.force_key_cut = true},
     .workspace = true},
    {.name = "1 thread", .threads = 1},
    {.name = "2 threads", .threads = 2},
    {.name = "3 threads", .threads = 3},
    {.name = "7 threads", .threads = 7},
    {.name = "7 tasks, last first", .threads = 7, .reversed = true},
    {.name = "taps", .taps = true},
    {.name = "taps, 3 threads", .taps = true, .threads = 3},
    {.name = "strided and unaligned input", .gaps = true},
    {.name = "workspace of the caller", .workspace = true},
    {.name = "flush to zero, denormals are zero", .mode = FTZ_DAZ},
    {.name = "host rounds down", .mode = ROUND_DOWN},
    {.name = "host rounds up, 2 threads", .mode = ROUND_UP, .threads = 2},
    {.name = "host rounds to zero", .mode = ROUND_TO_ZERO},
    {.name = "all blocks masked", .knobs = {.mask_all_blocks = true}},
    {.name = "cut by keys", .knobs = {.force_key_cut = true}},
    {.name = "cut by keys, 3 threads", .knobs = {.force_key_cut = true}, .threads = 3},
    {.name = "cut by keys, all blocks masked, pages of 16",
     .knobs = {.force_key_cut = true, .mask_all_blocks = true},
     .page_size = 16},
    {.name = "token blocks of 7", .knobs = {.token_block = 7}},
    {.name = "token blocks of 1, 2 threads", .knobs = {.token_block = 1}, .threads = 2},
    {.name = "second kernel set", .second_kernels = true},
    {.name = "weights in place", .in_place = true},
    {.name = "weights in place, second kernel set, 3 threads, workspace of the caller",
     .in_place = true,
     .second_kernels = true,
     .threads = 3,
     .workspace = true},
    {.name = "second kernel set, no cache, 3 threads, cut by keys",
     .second_kernels = true,
     .no_cache = true,
     .threads = 3,
     .knobs = {.force_key_cut = true}},
};

/* Bits that hold where no row may see a later token. */
static const same_bits_way pieces[] = {
    {.name = "one by one", .cut = 1},
    {.name = "one by one, each alone, pages of 16", .cut = 1, .alone = true, .page_size = 16},
    {.name = "pieces of 5", .cut = 5},
    {.name = "pieces of 16, pages of 16", .cut = 16, .page_size = 16},
    {.name = "3, then the rest", .cut_at = 3},
    {.name = "half, then one by one", .cut_at = 18, .cut = 1},
    {.name = "first 131, then pieces of 64, 7 threads", .cut_at = 131, .cut = 64, .threads = 7},
    {.name = "first 256, then the rest, second kernel set", .cut_at = 256, .second_kernels = true},
    {.name = "ring, one by one, pages of 16", .cut = 1, .ring = true, .page_size = 16},
    {.name = "ring, pieces of 5, all blocks masked, pages of 16",
     .cut = 5,
     .ring = true,
     .page_size = 16,
     .knobs = {.mask_all_blocks = true}},
    {.name = "ring, flat, a prompt beside pieces of 1 and 7, cut by keys, 3 threads",
     .flat = true,
     .mixed = true,
     .ring = true,
     .page_size = 32,
     .knobs = {.force_key_cut = true},
     .threads = 3},
    {.name = "ring, first 131, then pieces of 64, second kernel set, token blocks of 7",
     .cut_at = 131,
     .cut = 64,
     .ring = true,
     .page_size = 16,
     .second_kernels = true,
     .knobs = {.token_block = 7}},
    {.name = "pieces of 9 backwards", .cut = 9, .order = backwards},
    {.name = "flat, pieces of 5", .flat = true, .cut = 5},
    {.name = "flat, a prompt beside pieces of 1 and 7", .flat = true, .mixed = true},
    {.name = "flat, a prompt beside pieces of 1 and 7, turned, token blocks of 7, 2 threads",
     .flat = true,
     .mixed = true,
     .order = turned,
     .knobs = {.token_block = 7},
     .threads = 2},
};

/* Bits of caches in another format, among themselves. */
static const same_bits_way rounded[] = {
    {.name = "bf16 cache", .dtype_k = GQA_BF16, .dtype_v = GQA_BF16},
    {.name = "bf16 cache, pages of 16", .dtype_k = GQA_BF16, .dtype_v = GQA_BF16, .page_size = 16},
    {.name = "bf16 cache, each alone, 3 threads",
     .dtype_k = GQA_BF16,
     .dtype_v = GQA_BF16,
     .alone = true,
     .threads = 3},
    {.name = "bf16 cache, second kernel set",
     .dtype_k = GQA_BF16,
     .dtype_v = GQA_BF16,
     .second_kernels = true},
};
static const same_bits_way in_f16[] = {
    {.name = "f16 cache", .dtype_k = GQA_F16, .dtype_v = GQA_F16},
    {.name = "f16 cache, pages of 32, 3 threads",
     .dtype_k = GQA_F16,
     .dtype_v = GQA_F16,
     .page_size = 32,
     .threads = 3},
    {.name = "f16 cache, flat, cut by keys",
     .dtype_k = GQA_F16,
     .dtype_v = GQA_F16,
     .flat = true,
     .knobs = {.force_key_cut = true}},
    {.name = "f16 cache, second kernel set",
     .dtype_k = GQA_F16,
     .dtype_v = GQA_F16,
     .second_kernels = true},
};
/* A cache of these types in several ways, both numerics. */
#define IN_TYPES(k, v, r)                                                                          \
    {.name = "one call", .dtype_k = k, .dtype_v = v, .rotate = r},                                 \
        {.name = "pages of 16, 3 threads",                                                         \
         .dtype_k = k,                                                                             \
         .dtype_v = v,                                                                             \
         .rotate = r,                                                                              \
         .page_size = 16,                                                                          \
         .threads = 3},                                                                            \
        {.name = "pages of 512, flat, cut by keys",                                                \
         .dtype_k = k,                                                                             \
         .dtype_v = v,                                                                             \
         .rotate = r,                                                                              \
         .page_size = 512,                                                                         \
         .flat = true,                                                                             \
         .knobs = {.force_key_cut = true}},                                                        \
        {.name = "each alone, all blocks masked",                                                  \
         .dtype_k = k,                                                                             \
         .dtype_v = v,                                                                             \
         .rotate = r,                                                                              \
         .alone = true,                                                                            \
         .knobs = {.mask_all_blocks = true}},                                                      \
    {                                                                                              \
        .name = "second kernel set, pages of 32", .dtype_k = k, .dtype_v = v, .rotate = r,         \
        .page_size = 32, .second_kernels = true                                                    \
    }
static const same_bits_way in_int8[] = {IN_TYPES(GQA_I8, GQA_I8, false)};
static const same_bits_way in_e4m3[] = {IN_TYPES(GQA_E4M3, GQA_E4M3_240, false)};
static const same_bits_way in_int4[] = {IN_TYPES(GQA_I4, GQA_I4, false)};
static const same_bits_way in_mixed[] = {IN_TYPES(GQA_I8, GQA_BF16, false)};
static const same_bits_way rotated_int8[] = {IN_TYPES(GQA_I8, GQA_I4, true),
                                             {.name = "ring, pieces of 5, pages of 16, 2 threads",
                                              .dtype_k = GQA_I8,
                                              .dtype_v = GQA_I4,
                                              .rotate = true,
                                              .ring = true,
                                              .cut = 5,
                                              .page_size = 16,
                                              .threads = 2}};
static const same_bits_way rotated_e4m3[] = {IN_TYPES(GQA_E4M3, GQA_E4M3, true)};
static const same_bits_way half_rounded[] = {
    {.name = "bf16 keys", .dtype_k = GQA_BF16},
    {.name = "bf16 keys, pages of 32, cut by keys",
     .dtype_k = GQA_BF16,
     .page_size = 32,
     .knobs = {.force_key_cut = true}},
    {.name = "bf16 keys, second kernel set", .dtype_k = GQA_BF16, .second_kernels = true},
};

static int compare(const same_bits_model *model, const same_bits_way *way, const float *want,
                   size_t count)
{
    size_t got_count;
    float *got = same_bits_run(model, way, &got_count);
    bool same = got != NULL && memcmp(got, want, count * sizeof *got) == 0;
    if (!same) {
        size_t i = 0;
        while (got != NULL && i < count && memcmp(&got[i], &want[i], sizeof *got) == 0) {
            i++;
        }
        fprintf(stderr, "\"%s\" differs, %d tokens, float %zu of %zu: %.9g, not %.9g\n", way->name,
                model->n, i, count, got != NULL ? (double)got[i] : 0.0, (double)want[i]);
        fprintf(stderr, "positions %d mask %d bias %d bounds %d ", model->positions,
                model->mask.data != NULL, model->bias.data != NULL, model->key_begin != NULL);
        random_print(stderr, &model->c);
    }
    free(got);
    return same ? 0 : 1;
}

/* Every way of the list against the first. */
static int compare_all(const same_bits_model *model, const same_bits_way *list, size_t n)
{
    size_t count;
    float *want = same_bits_run(model, &list[0], &count);
    int failures = want == NULL ? 1 : 0;
    for (size_t i = 1; i < n && want != NULL; i++) {
        failures += compare(model, &list[i], want, count);
    }
    free(want);
    return failures;
}

static int compare_pieces(const same_bits_model *model)
{
    size_t count;
    float *want = same_bits_run(model, &ways[0], &count);
    int failures = want == NULL ? 1 : 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces && want != NULL; i++) {
        failures += compare(model, &pieces[i], want, count);
    }
    free(want);
    return failures;
}

static int run_models(uint64_t first, int models, int n)
{
    const int count = fewer_cases(models);
    int failures = 0;
    for (int i = 0; i < count && failures < 10; i++) {
        same_bits_model model;
        same_bits_model_init(&model, first + (uint64_t)i, n);
        failures += compare_all(&model, ways, sizeof ways / sizeof *ways);
        if (model.c.config.bidirectional == 0) {
            failures += compare_pieces(&model);
        }
        failures += compare_all(&model, in_int8, sizeof in_int8 / sizeof *in_int8);
        failures += compare_all(&model, in_e4m3, sizeof in_e4m3 / sizeof *in_e4m3);
        failures += compare_all(&model, in_int4, sizeof in_int4 / sizeof *in_int4);
        failures += compare_all(&model, in_mixed, sizeof in_mixed / sizeof *in_mixed);
        failures += compare_all(&model, rotated_int8,
                                sizeof rotated_int8 / sizeof *rotated_int8 -
                                    (model.c.config.bidirectional != 0 ? 1 : 0));
        failures += compare_all(&model, rotated_e4m3, sizeof rotated_e4m3 / sizeof *rotated_e4m3);
        if (model.c.config.numerics == GQA_NUMERICS_F32) {
            failures += compare_all(&model, rounded, sizeof rounded / sizeof *rounded);
            failures += compare_all(&model, in_f16, sizeof in_f16 / sizeof *in_f16);
            failures +=
                compare_all(&model, half_rounded, sizeof half_rounded / sizeof *half_rounded);
        }
        same_bits_model_free(&model);
    }
    return failures;
}

static void test_1_token(void **state)
{
    (void)state;
    assert_int_equal(run_models(100, 16, 1), 0);
}

static void test_17_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(200, 16, 17), 0);
}

static void test_37_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(300, 16, 37), 0);
}

static void test_131_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(400, 10, 131), 0);
}

static void test_277_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(500, 6, 277), 0);
}

static void test_531_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(600, 6, 531), 0);
}

/* Five fold blocks: a tree of three levels, and rows that see only its right part. */
static void test_1203_tokens(void **state)
{
    (void)state;
    assert_int_equal(run_models(700, 6, 1203), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_1_token),     cmocka_unit_test(test_17_tokens),
        cmocka_unit_test(test_37_tokens),   cmocka_unit_test(test_131_tokens),
        cmocka_unit_test(test_277_tokens),  cmocka_unit_test(test_531_tokens),
        cmocka_unit_test(test_1203_tokens),
    };
    return RUN_TESTS(argc, argv, tests);
}
