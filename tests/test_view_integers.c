/* SPDX-License-Identifier: Apache-2.0 */
/* test_view_integers.c - K and V of int8 and int4 as a view gives them to the integer kernels: the
 * rows of each run, padding and scales, against support/stored_row.h. Odd dims and lengths, every
 * page size.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/view.h"
#include "support/cache_kinds.h"
#include "support/host.h"
#include "support/random.h"
#include "support/stored_row.h"

enum { HEADS = 2, MOST_KEYS = 300, MOST_DIM = 70 };

static float k_values[MOST_KEYS][HEADS][MOST_DIM], v_values[MOST_KEYS][HEADS][MOST_DIM];

static const struct {
    gqa_numerics numerics;
    gqa_dtype k, v;
} pairs[] = {{GQA_NUMERICS_F32, GQA_I8, GQA_I8},
             {GQA_NUMERICS_F32, GQA_I4, GQA_F32},
             {GQA_NUMERICS_BF16, GQA_I8, GQA_I4},
             {GQA_NUMERICS_BF16, GQA_BF16, GQA_I4},
             {GQA_NUMERICS_BF16, GQA_I4, GQA_E4M3}};

static void draw(float x[MOST_KEYS][HEADS][MOST_DIM], uint64_t *state)
{
    for (int32_t i = 0; i < MOST_KEYS * HEADS * MOST_DIM; i++) {
        x[i / MOST_DIM / HEADS][i / MOST_DIM % HEADS][i % MOST_DIM] =
            cache_value(state, i % 997 < 3);
    }
}

/* Key i of the rows against the values that were appended. */
static void check_row(const struct gqa__integer_rows *rows, int32_t i, const float *x, int32_t dim,
                      gqa_dtype type)
{
    unsigned char want[STORED_ROW_MOST] = {0};
    struct stored_row row;

    stored_row(&row, x, dim, type);
    for (int32_t d = 0; d < dim; d++) {
        want[stored_byte(d, type)] |=
            (unsigned char)(stored_bits(&row, d, type) << stored_shift(d, type));
    }
    assert_int_equal(rows->row_step, (type == GQA_I8 ? (dim + 15) / 16 : (dim + 31) / 32) * 16);
    assert_memory_equal(rows->row + i * rows->row_step, want, (size_t)rows->row_step);
    for (int32_t g = 0; g < row.scales; g++) {
        const float scale = rows->scale[g * rows->scale_step + i];
        assert_true(isnan(row.scale[g]) ? isnan(scale)
                                        : float_bits(scale) == float_bits(row.scale[g]));
    }
}

static void check_runs(const struct gqa__kv_view *view, size_t pair)
{
    const int32_t length = view->length, page_size = view->cache->layout.page_size;
    struct gqa__integer_run run;

    for (int32_t head = 0; head < HEADS; head++) {
        for (int32_t first = 0; first < length; first += run.keys) {
            const int32_t most = (length - first + 15) / 16 * 16;
            gqa__view_integer_run(view, head, first, most, NULL, &run);
            assert_true(run.keys > 0 && run.keys % 16 == 0 && run.keys <= most);
            assert_true(run.keys == most || (first + run.keys) % page_size == 0);
            for (int32_t i = 0; i < run.keys && first + i < length; i++) {
                if (stored_integer(pairs[pair].k)) {
                    check_row(&run.k, i, k_values[first + i][head], view->dk, pairs[pair].k);
                }
                if (stored_integer(pairs[pair].v)) {
                    check_row(&run.v, i, v_values[first + i][head], view->dv, pairs[pair].v);
                }
            }
        }
    }
}

static void runs_of(size_t pair, int32_t page_size, int32_t length, uint64_t *state)
{
    const struct cache_kind kind = {
        "", pairs[pair].numerics, pairs[pair].k, pairs[pair].v, 0, 0, 0, false, false};
    struct gqa__kernels kernels;
    struct gqa_layer layer;
    struct host host;
    struct gqa__kv_view view;
    gqa_cache *cache = NULL;
    gqa_cache_options options;

    cache_kind_layer(&layer, &kernels, &kind, HEADS, random_between(state, 1, MOST_DIM),
                     random_between(state, 1, MOST_DIM));
    layer.runtime = host_start(&host, 1);
    gqa_cache_options_init(&options, &layer);
    options.max_tokens = length;
    options.page_size = page_size;
    options.dtype_k = kind.dtype_k;
    options.dtype_v = kind.dtype_v;
    assert_int_equal(gqa_cache_create(&cache, &layer, &options, NULL), GQA_OK);
    gqa__cache_extend(cache, 0, length, NULL, NULL, length);
    for (int32_t head = 0; head < HEADS; head++) {
        const struct gqa__kv_rows rows = {.k = k_values[0][head],
                                          .v = v_values[0][head],
                                          .k_step = HEADS * MOST_DIM,
                                          .v_step = HEADS * MOST_DIM};
        gqa__cache_write(cache, 0, head, 0, length, &rows);
    }
    gqa__view_cache(&view, cache, 0);
    check_runs(&view, pair);
    gqa_cache_destroy(&cache);
    assert_int_equal(host.live, 0);
}

static void rows_of_every_page(void **unused)
{
    static const int32_t lengths[] = {1, 15, 16, 17, 130, 257, MOST_KEYS};
    uint64_t state = 5;

    (void)unused;
    draw(k_values, &state);
    draw(v_values, &state);
    for (size_t pair = 0; pair < sizeof pairs / sizeof pairs[0]; pair++) {
        for (int32_t page_size = 16; page_size <= 512; page_size *= 2) {
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                runs_of(pair, page_size, lengths[i], &state);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_every_page)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
