/* SPDX-License-Identifier: Apache-2.0 */
/* test_borrow.c - the columns of a call that only reads a cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/rig.h"

/* Two tokens and three of padding, then one more: columns 0, 1 and 5 of sequence 0. */
static void feed(struct rig *rig)
{
    const int32_t lengths[1] = {2};
    float out[5 * RIG_HIDDEN];
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.lengths = lengths;
    assert_int_equal(rig_forward(rig, rig->cache, &in, 1, 5, rig->x, out), GQA_OK);
    assert_int_equal(rig_forward(rig, rig->cache, NULL, 1, 1, rig->x, out), GQA_OK);
}

static gqa_status borrow(struct rig *rig, int tokens, int32_t first_valid, gqa_status with_mask)
{
    static const uint8_t ones[36] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int32_t length = tokens - first_valid < 3 ? tokens - first_valid : 3;
    float out[6 * RIG_HIDDEN], same[6 * RIG_HIDDEN];
    const uint64_t before = rig_cache_hash(rig->cache, 3);
    gqa_status status;
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.borrow_cache = 1;
    in.first_valid = &first_valid;
    in.lengths = &length;
    status = rig_forward(rig, rig->cache, &in, 1, tokens, rig->x, out);
    in.active_mask = gqa_tensor_3d(ones, GQA_U8, 1, tokens, tokens);
    assert_int_equal(rig_forward(rig, rig->cache, &in, 1, tokens, rig->x, same), with_mask);
    if (with_mask == GQA_OK) { /* an active mask of ones hides nothing */
        assert_memory_equal(out, same, (size_t)(tokens * RIG_HIDDEN) * sizeof *out);
    } else {
        assert_string_equal(rig->err.field, "inputs.active_mask");
    }
    assert_true(rig_cache_hash(rig->cache, 3) == before);
    return status;
}

static void active_mask(void **state)
{
    static struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    feed(&rig);
    assert_int_equal(borrow(&rig, 1, 0, GQA_OK), GQA_OK);      /* column 5 */
    assert_int_equal(borrow(&rig, 2, 0, GQA_ERR_ARG), GQA_OK); /* 1 and 5 are five columns */
    assert_int_equal(borrow(&rig, 4, 2, GQA_ERR_ARG),
                     GQA_OK); /* column 1 at column 2 of the call */
    assert_non_null(
        strstr(rig.err.message, "has 4 columns; the queries of batch entry 0 are columns 1..5"));
    assert_non_null(strstr(rig.err.message, "begin at column 2"));
    assert_int_equal(borrow(&rig, 6, 0, GQA_OK), GQA_OK); /* 0, 1 and 5 */
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(active_mask)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
