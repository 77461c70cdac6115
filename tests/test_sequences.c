/* SPDX-License-Identifier: Apache-2.0 */
/* test_sequences.c - which sequence ids a batch may have: two equal ones are found at any distance,
 * soon, and before anything is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "api/sequences.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { MANY = 1 << 18 };

/* 0 .. n-1 in a random order. */
static void shuffle(int32_t *ids, int32_t n, uint64_t *seed)
{
    for (int32_t i = 0; i < n; i++) {
        const int32_t j = random_between(seed, 0, i);
        ids[i] = ids[j];
        ids[j] = i;
    }
}

/* The rule said plainly: the first row that repeats an earlier one, and that one. */
static bool plainly(const int32_t *ids, int32_t n, int32_t *earlier, int32_t *repeat)
{
    for (int32_t b = 0; b < n; b++) {
        for (int32_t other = 0; other < b; other++) {
            if (ids[b] >= 0 && ids[other] == ids[b]) {
                *earlier = other;
                *repeat = b;
                return true;
            }
        }
    }
    return false;
}

/* Small batches of few ids, so that most have equal ones, and of all orders. */
static void equal_ids_as_the_rule_says(void **state)
{
    uint64_t seed = 3;
    int found = 0;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        int32_t ids[12], earlier = 0, repeat = 0;
        struct gqa__batch_entry rows[12];
        gqa_error err = {GQA_OK, NULL, ""};
        const int32_t n = random_between(&seed, 0, 12);
        const int32_t range = random_between(&seed, 2, 61);
        for (int32_t i = 0; i < n; i++) {
            ids[i] = random_between(&seed, -1, range - 2);
        }
        const bool equal = plainly(ids, n, &earlier, &repeat);
        const gqa_status status = gqa__check_distinct(ids, n, rows, &err);
        assert_int_equal(status, equal ? GQA_ERR_ARG : GQA_OK);
        if (equal) {
            char text[64];
            snprintf(text, sizeof text, "[%d] and [%d] are both %d", (int)earlier, (int)repeat,
                     (int)ids[repeat]);
            assert_non_null(strstr(err.message, text));
            found++;
        }
    }
    assert_true(found > 5000 && found < 15000);
}

static double seconds_since(clock_t begin)
{
    return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

/* gqa_forward of a quarter of a million sequences, one id of them twice: in every pair of rows
 * there are 2^35 comparisons, many seconds. */
static void many_sequences(void **state)
{
    static int32_t ids[MANY], none[MANY];
    static float row[SMALL_HIDDEN];
    static struct small_layer small;
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    gqa_inputs in;
    gqa_output out;
    uint64_t seed = 11;
    int32_t twice;
    clock_t begin;
    double rising, seconds;
    (void)state;
    small_layer_open(&small, NULL);
    gqa_cache_options_init(&options, small.layer);
    options.max_sequences = MANY;
    options.max_tokens = 16;
    options.page_size = 16;
    options.num_pages = 4;
    assert_int_equal(gqa_cache_create(&cache, small.layer, &options, &small.err), GQA_OK);
    for (int32_t i = 0; i < MANY; i++) {
        ids[i] = i;
    }
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(row, GQA_F32, MANY, 1, SMALL_HIDDEN);
    in.hidden_states.stride[0] = 0; /* the same row for all; no token is valid */
    in.sequences = ids;
    in.lengths = none;
    out.hidden_states = in.hidden_states;
    begin = clock();
    assert_int_equal(gqa_forward(small.layer, cache, &in, &out, NULL, 0, &small.err), GQA_OK);
    rising = seconds_since(begin);
    shuffle(ids, MANY, &seed);
    begin = clock();
    if (gqa_forward(small.layer, cache, &in, &out, NULL, 0, &small.err) != GQA_OK) {
        fail_msg("%s", small.err.message);
    }
    twice = ids[MANY - 1];
    ids[7] = twice;
    none[0] = 1; /* a token that must not be appended */
    assert_int_equal(gqa_forward(small.layer, cache, &in, &out, NULL, 0, &small.err), GQA_ERR_ARG);
    seconds = seconds_since(begin);
    assert_string_equal(small.err.field, "inputs.sequences");
    assert_non_null(strstr(small.err.message, "[7] and [262143]"));
    assert_int_equal(gqa_cache_free_pages(cache), 4);
    if (seconds > 1.0 + 300.0 * rising) { /* sorted: some 20 times; in pairs: thousands of times */
        fail_msg("rising ids take %.3f s, others %.3f s", rising, seconds);
    }
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_ids_as_the_rule_says),
        cmocka_unit_test(many_sequences),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
