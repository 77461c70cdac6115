/* SPDX-License-Identifier: Apache-2.0 */
/* test_rotation_loss.c - what quantising loses of rows with channels that stand out, rotated and
 * not. `test_rotation_loss table` prints the table of docs/cache.md.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/gqa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { MOST = 128 };

/* Squares of what a cache of one row of `dim` loses of K. */
static double lost(const float *x, int32_t dim, gqa_dtype type, int32_t rotate)
{
    const gqa_config config = attention_config(1, 1, dim, 8);
    gqa_runtime runtime;
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    float v[8] = {0}, read[MOST];
    const gqa_tensor k = gqa_tensor_3d((void *)(uintptr_t)x, GQA_F32, 1, 1, dim);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 1, 1, 8);
    const gqa_tensor to = gqa_tensor_3d(read, GQA_F32, 1, 1, dim);
    double sum = 0.0;
    gqa_runtime_init(&runtime);
    gqa_layer *layer = attention_layer(&config, &runtime);
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 16;
    options.page_size = 16;
    options.dtype_k = type;
    options.rotate_k = rotate;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(cache, 0, &k, &value, NULL, NULL), GQA_OK);
    assert_int_equal(gqa_cache_read(cache, 0, 0, &to, NULL, NULL, NULL), GQA_OK);
    for (int d = 0; d < dim; d++) {
        sum += ((double)read[d] - (double)x[d]) * ((double)read[d] - (double)x[d]);
    }
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return sum;
}

/* int8, 64 elements below 1 in size but one of 256. Without rotation the scale is 256/127, above 2,
 * so all others become 0: their squares are lost. Rotated no element exceeds (256 + 63)/8, so a
 * code is off by at most half of that/127, and so many squares of 64 elements are all that is lost
 * (H keeps lengths; 1.01 is for roundings in f32). */
static void int8_keeps_what_stands_beside_a_large_channel(void **state)
{
    uint64_t random = 5;
    (void)state;
    for (int i = 0; i < 20; i++) {
        float x[64];
        double others = 0.0;
        random_floats(&random, x, 64, 1.0f);
        x[3 * i] = 256.0f;
        for (int d = 0; d < 64; d++) {
            others += d == 3 * i ? 0.0 : (double)x[d] * (double)x[d];
        }
        const double plain = lost(x, 64, GQA_I8, 0), turned = lost(x, 64, GQA_I8, 1);
        const double half = (256.0 + 63.0) / 8.0 / 127.0 / 2.0;
        assert_true(fabs(plain - others) <= 1e-6 * others);
        assert_true(turned <= 1.01 * 64.0 * half * half);
        assert_true(8.0 * turned < plain);
    }
}

/* int4, 128 elements, one of each group of 32 of which is 12 in size: without rotation the scale is
 * 12/7, so others become 0 below 6/7 and 12/7 above. Of others that are uniform below 1 that loses
 * a mean square of 0.30, a row 124 times that, 37. Rotated, an element is a sum of four times
 * 12/sqrt(128) and of the others, about normal with a deviation of sqrt(1/3): at most 4.2 + 3 *
 * 0.6. So scales are at most 6/7, and 128 roundings with a mean square of scale^2/12 lose 8 at
 * most. Half way between the two, as a ratio, is 2. */
static void int4_keeps_more_beside_large_channels(void **state)
{
    uint64_t random = 6;
    double plain = 0.0, turned = 0.0;
    (void)state;
    for (int i = 0; i < 20; i++) {
        float x[128];
        random_floats(&random, x, 128, 1.0f);
        for (int g = 0; g < 4; g++) {
            x[32 * g + random_between(&random, 0, 31)] = g % 2 == 0 ? 12.0f : -12.0f;
        }
        plain += lost(x, 128, GQA_I4, 0);
        turned += lost(x, 128, GQA_I4, 1);
    }
    assert_true(2.0 * turned < plain);
}

/* Rows of 128 elements, uniform in -1..1, `large` of which are of size `size`. */
static void draw_row(float *x, int large, float size, uint64_t *random)
{
    random_floats(random, x, MOST, 1.0f);
    for (int i = 0; i < large; i++) {
        x[i * MOST / large + 5 * i] = random_u32(random) % 2 != 0 ? size : -size;
    }
}

static void print_table(void)
{
    static const struct {
        int large;
        float size;
    } rows[] = {{0, 0.0f}, {1, 10.0f}, {1, 100.0f}, {4, 10.0f}, {4, 30.0f}, {8, 10.0f}};
    static const gqa_dtype types[] = {GQA_I8, GQA_I4, GQA_E4M3};
    printf("| elements that stand out | int8 | rotated | int4 | rotated | e4m3 | rotated |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double sum[3][2] = {{0.0}};
        uint64_t random = 1;
        for (int n = 0; n < 1000; n++) {
            float x[MOST];
            draw_row(x, rows[i].large, rows[i].size, &random);
            for (int t = 0; t < 3; t++) {
                sum[t][0] += lost(x, MOST, types[t], 0) / 1000;
                sum[t][1] += lost(x, MOST, types[t], 1) / 1000;
            }
        }
        printf("| %d of size %g | %.2g | %.2g | %.2g | %.2g | %.2g | %.2g |\n", rows[i].large,
               (double)rows[i].size, sum[0][0], sum[0][1], sum[1][0], sum[1][1], sum[2][0],
               sum[2][1]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_keeps_what_stands_beside_a_large_channel),
        cmocka_unit_test(int4_keeps_more_beside_large_channels),
    };
    if (argc > 1 && strcmp(argv[1], "table") == 0) {
        print_table();
        return 0;
    }
    return RUN_TESTS(argc, argv, tests);
}
