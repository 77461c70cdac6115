/* SPDX-License-Identifier: Apache-2.0 */
/* test_keep.c - gqa_cache_keep: of the last tokens of a sequence some are kept, and it goes on as
 * one that never had the others; who shares its pages sees nothing of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"

static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 0, false};

static void compare_all(const struct lines *lines)
{
    for (int32_t s = 0; s < RIG_BATCH; s++) {
        lines_compare(&lines->rig, lines->cache, s, &lines->line[s]);
    }
}

/* Trees of drafts on three sequences that begin alike, of each another path kept. */
static void bits_of_a_kind(const struct rig_kind *kind)
{
    static struct lines lines;
    const int32_t all[3] = {0, 1, 2}, first[1] = {0};
    const int32_t path[5] = {0, 1, 7, 12, 13}, late[3] = {9, 10, 18}, every[3] = {0, 1, 2};
    if (!lines_open(&lines, kind, 0)) {
        return;
    }
    const int64_t pages = gqa_cache_free_pages(lines.cache);
    lines_fill(&lines, 253); /* of pages of 16: the last has 13 */
    lines_fork(&lines, 0, 1);
    assert_int_equal(lines_append(&lines, all, 3, 19, true), GQA_OK);
    lines_fork(&lines, 0, 3); /* shares the drafts */
    lines_keep(&lines, 0, 19, path, 5);
    compare_all(&lines);
    lines_keep(&lines, 1, 19, late, 3);
    lines_keep(&lines, 2, 19, late, 3); /* it held nothing but drafts: another origin */
    compare_all(&lines);
    assert_int_equal(lines_append(&lines, all, 3, 2, false), GQA_OK);
    assert_int_equal(lines_append(&lines, all, 3, 11, true), GQA_OK);
    lines_keep(&lines, 0, 3, every, 3); /* nothing moves */
    lines_keep(&lines, 1, 11, NULL, 0);
    lines_keep(&lines, 2, 0, NULL, 0);
    compare_all(&lines);
    assert_int_equal(lines_append(&lines, all, 3, 1, false), GQA_OK);
    lines_keep(&lines, 0, lines.line[0].length, late, 3);
    compare_all(&lines);
    assert_int_equal(lines_append(&lines, first, 1, 30, true), GQA_OK);
    lines_keep(&lines, 0, lines.line[0].length, NULL, 0);
    for (int32_t s = 1; s < RIG_BATCH; s++) {
        lines_cut(&lines, s, 0);
    }
    assert_int_equal(gqa_cache_free_pages(lines.cache), pages);
    lines_close(&lines);
}

static void a_kept_path_gives_the_bits_of_its_tokens_alone(void **state)
{
    (void)state;
    for (int i = 0; i < rig_kind_count; i++) {
        bits_of_a_kind(&rig_kinds[i]);
    }
}

/* The call is refused and changes no byte. */
static void refuse_keep(const struct lines *lines, int32_t sequence, int32_t last,
                        const int32_t *kept, int32_t n)
{
    unsigned char *const before = malloc(lines->bytes);
    assert_non_null(before);
    memcpy(before, lines->cache, lines->bytes);
    const gqa_status status = gqa_cache_keep(lines->cache, sequence, last, kept, n, &refusal);
    assert_int_equal(status, refusal.status);
    assert_memory_equal(before, lines->cache, lines->bytes);
    free(before);
}

static void arguments_are_checked(void **state)
{
    static struct lines lines;
    const int32_t good[2] = {0, 2}, low[2] = {-1, 2}, high[2] = {0, 5}, equal[2] = {2, 2};
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    lines_fill(&lines, 7);
    refused(gqa_cache_keep(NULL, 0, 5, good, 2, &refusal), GQA_ERR_ARG, "cache", "is NULL");
    refuse_keep(&lines, 4, 5, good, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "sequence", "is 4; it must be 0 .. 3");
    refuse_keep(&lines, 0, 8, good, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "last",
            "is 8; it must be 0 .. 7, the tokens that sequence 0");
    refuse_keep(&lines, 0, -1, good, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "last", "is -1");
    refuse_keep(&lines, 0, 5, good, 6);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "n", "is 6; it must be 0 .. 5");
    refuse_keep(&lines, 0, 5, good, -1);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "n", "is -1");
    refuse_keep(&lines, 0, 5, NULL, 1);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "kept", "is NULL; n is 1");
    refuse_keep(&lines, 0, 5, low, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "kept", "[0] is -1; it must be 0 .. 4");
    refuse_keep(&lines, 0, 5, high, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "kept", "[1] is 5; it must be 0 .. 4");
    refuse_keep(&lines, 0, 5, equal, 2);
    refused(GQA_ERR_ARG, GQA_ERR_ARG, "kept", "[1] is 2 after 2; they must rise");
    lines_close(&lines);
}

/* Tokens that move within shared pages need copies of exactly those. */
static void copies_are_counted(void **state)
{
    static struct lines lines;
    const int32_t behind[20] = {0,  1,  2,  3,  4,  6,  7,  8,  9,  10,
                                11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    const int32_t stay[4] = {0, 1, 2, 3}, beyond[8] = {0, 1, 2, 3, 4, 5, 7, 9};
    (void)state;
    assert_true(lines_open(&lines, &plain, 4));
    lines_fill(&lines, 48);
    lines_fork(&lines, 0, 1);
    /* Of the last 22, from index 26 on: 6 moves to index 31, 7 .. 20 to 32 .. 45: two pages. */
    refuse_keep(&lines, 0, 22, behind, 20);
    refused(GQA_ERR_CACHE_FULL, GQA_ERR_CACHE_FULL, "cache",
            "sequence 0 move within 2 pages that others share; 1 of 4 are free");
    lines_keep(&lines, 0, 22, behind, 5); /* none moves: 31 tokens, its third page is 1's alone */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    compare_all(&lines);
    lines_cut(&lines, 0, 0);
    lines_fork(&lines, 1, 0);
    lines_keep(&lines, 0, 22, beyond, 8); /* six stay in the second page, two move in the third */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    compare_all(&lines);
    lines_cut(&lines, 0, 0);
    lines_fork(&lines, 1, 0);
    lines_keep(&lines, 0, 15, behind, 10); /* from index 33 on: one page */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    compare_all(&lines);
    lines_keep(&lines, 0, 4, stay, 4);
    lines_keep(&lines, 0, 5, behind + 1, 3); /* its own page by now */
    lines_cut(&lines, 1, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    compare_all(&lines);
    lines_cut(&lines, 0, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 4);
    lines_close(&lines);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_path_gives_the_bits_of_its_tokens_alone),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(copies_are_counted),
    };
    return RUN_TESTS(argc, argv, tests);
}
