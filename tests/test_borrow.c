/* SPDX-License-Identifier: Apache-2.0 */
/* test_borrow.c - the columns of a call that only reads a cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/small_layer.h"

/* Two tokens and three of padding, then one more: columns 0, 1 and 5 of sequence 0. */
static void feed(struct small_layer *small)
{
    const int32_t lengths[1] = {2};
    float out[5 * SMALL_HIDDEN];
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.lengths = lengths;
    assert_int_equal(small_layer_forward(small, small->cache, &in, 1, 5, small->x, out), GQA_OK);
    assert_int_equal(small_layer_forward(small, small->cache, NULL, 1, 1, small->x, out), GQA_OK);
}

static gqa_status borrow(struct small_layer *small, int tokens, int32_t first_valid,
                         gqa_status with_mask)
{
    static const uint8_t ones[36] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int32_t length = tokens - first_valid < 3 ? tokens - first_valid : 3;
    float out[6 * SMALL_HIDDEN], same[6 * SMALL_HIDDEN];
    const uint64_t before = small_layer_cache_hash(small->cache, 3);
    gqa_status status;
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.borrow_cache = 1;
    in.first_valid = &first_valid;
    in.lengths = &length;
    status = small_layer_forward(small, small->cache, &in, 1, tokens, small->x, out);
    in.active_mask = gqa_tensor_3d(ones, GQA_U8, 1, tokens, tokens);
    assert_int_equal(small_layer_forward(small, small->cache, &in, 1, tokens, small->x, same),
                     with_mask);
    if (with_mask == GQA_OK) { /* an active mask of ones hides nothing */
        assert_memory_equal(out, same, (size_t)(tokens * SMALL_HIDDEN) * sizeof *out);
    } else {
        assert_string_equal(small->err.field, "inputs.active_mask");
    }
    assert_true(small_layer_cache_hash(small->cache, 3) == before);
    return status;
}

static void active_mask(void **state)
{
    static struct small_layer small;
    (void)state;
    small_layer_open(&small, NULL);
    feed(&small);
    assert_int_equal(borrow(&small, 1, 0, GQA_OK), GQA_OK);      /* column 5 */
    assert_int_equal(borrow(&small, 2, 0, GQA_ERR_ARG), GQA_OK); /* 1 and 5 are five columns */
    assert_int_equal(borrow(&small, 4, 2, GQA_ERR_ARG),
                     GQA_OK); /* column 1 at column 2 of the call */
    assert_non_null(
        strstr(small.err.message, "has 4 columns; the queries of batch entry 0 are columns 1..5"));
    assert_non_null(strstr(small.err.message, "begin at column 2"));
    assert_int_equal(borrow(&small, 6, 0, GQA_OK), GQA_OK); /* 0, 1 and 5 */
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(active_mask)};
    return RUN_TESTS(argc, argv, tests);
}
