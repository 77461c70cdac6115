/* SPDX-License-Identifier: Apache-2.0 */
/* test_fold.c - the stack of states that wait: room for exactly what can wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attention/fold.h"
#include "support/program.h"

static void count_merge(void *arg, int32_t left)
{
    (void)left;
    ++*(int *)arg;
}

/* States that are in memory at once while blocks first .. last - 1 are folded one by one: those
 * that wait, and the one being built. In the end prior states are loaded beside the result. */
static int states_needed(int64_t first, int64_t last)
{
    struct gqa__fold_tree tree = {.depth = 0};
    int merges = 0;
    int most = 2;
    for (int64_t i = first; i < last; i++) {
        most = tree.depth + 1 > most ? tree.depth + 1 : most;
        gqa__fold_tree_push(&tree, 0, i, count_merge, &merges);
    }
    gqa__fold_tree_end(&tree, count_merge, &merges);
    assert_int_equal(tree.depth, 1);
    assert_int_equal(merges, last - first - 1);
    return most;
}

/* The capacity for n blocks is what the worst range of them needs, and no state more. */
static void capacity_is_what_can_wait(void **state)
{
    (void)state;
    for (int64_t blocks = 1; blocks <= 140; blocks++) {
        int most = 0;
        for (int64_t first = 0; first < blocks; first++) {
            int needed = states_needed(first, blocks);
            most = needed > most ? needed : most;
        }
        assert_int_equal(gqa__fold_capacity(blocks * GQA__FOLD_BLOCK), most);
        assert_int_equal(gqa__fold_capacity(blocks * GQA__FOLD_BLOCK - 1), most);
        assert_int_equal(gqa__fold_capacity((blocks - 1) * GQA__FOLD_BLOCK + 1), most);
    }
}

/* No keys still need a neutral state and the prior's; the longest sequence fits the tree's arrays.
 */
static void capacity_at_the_ends(void **state)
{
    (void)state;
    assert_int_equal(gqa__fold_capacity(0), 2);
    assert_int_equal(gqa__fold_capacity(1), 2);
    assert_int_equal(gqa__fold_capacity(INT64_C(1) << 31), 24); /* 2^23 blocks: 23 wait */
    assert_true(gqa__fold_capacity(INT64_C(1) << 31) <= GQA__FOLD_DEPTH);
    assert_int_equal(gqa__fold_capacity(INT64_MAX / 2), GQA__FOLD_DEPTH);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capacity_is_what_can_wait),
        cmocka_unit_test(capacity_at_the_ends),
    };
    return RUN_TESTS(argc, argv, tests);
}
