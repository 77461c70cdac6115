/* SPDX-License-Identifier: Apache-2.0 */
/* test_fork.c - sequences that share pages: pages are counted once, copied when somebody appends to
 * a shared one and not before, and each sequence gives the bits of one alone. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"

static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 0, false};

static void a_page_is_copied_by_who_appends_first(void **state)
{
    static struct lines lines;
    const int32_t first[1] = {0};
    (void)state;
    assert_true(lines_open(&lines, &plain, 3));
    lines_fill(&lines, 20); /* two pages, the second with 4 tokens */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    lines_fork(&lines, 0, 1);
    lines_fork(&lines, 1, 2);
    assert_int_equal(lines_append_one(&lines, 1), GQA_OK); /* a copy */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    assert_int_equal(lines_append_one(&lines, 1), GQA_OK); /* its own by now */
    lines_refuse_full(&lines, first, 1, "needs 1 pages; 0 of 3 are free");
    lines_cut(&lines, 2, 0); /* what it shared is not free: 0 holds it */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    assert_int_equal(lines_append_one(&lines, 0), GQA_OK); /* nobody shares it any more */
    lines_cut(&lines, 0, 16);                              /* its second page goes */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    lines_cut(&lines, 0, 0); /* the first is shared with 1 */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    assert_int_equal(lines_append_one(&lines, 1), GQA_OK);
    lines_cut(&lines, 1, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 3);
    lines_close(&lines);
}

/* Which slots of the first page hold zeros only, in K of head 0. */
static unsigned zero_slots(const gqa_cache *cache, int32_t page)
{
    const float *const k = (const void *)gqa__cache_k(cache, page, 0);
    unsigned zero = 0;
    for (int32_t slot = 0; slot < 16; slot++) {
        bool all = true;
        for (int64_t d = 0; d < cache->layout.k_stride; d++) {
            all = all && k[slot * cache->layout.k_stride + d] == 0.0f;
        }
        zero |= all ? 1u << slot : 0u;
    }
    return zero;
}

/* A draft that is taken back costs what it was, not what its page is: slots that no token was in
 * since the page was taken are not written, here those that the test marks. */
static void a_cut_clears_what_was_held(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    lines_fill(&lines, 9);
    gqa_cache *const c = lines.cache;
    const int32_t page = gqa__cache_page(c, &c->sequences[0], 0);
    float *const k = (void *)gqa__cache_k(c, page, 0);
    assert_int_equal(zero_slots(c, page), 0xfe00);
    k[12 * c->layout.k_stride] = 1.0f;
    lines_cut(&lines, 0, 5);
    assert_int_equal(zero_slots(c, page), 0xefe0);
    lines_cut(&lines, 0, 0);
    lines_fill(&lines, 20); /* all slots of the first page, and some of the next */
    lines_cut(&lines, 0, 3);
    assert_int_equal(zero_slots(c, gqa__cache_page(c, &c->sequences[0], 0)), 0xfff8);
    lines_close(&lines);
}

static void a_call_counts_copies_for_all_its_sequences(void **state)
{
    static struct lines lines;
    const int32_t both[2] = {1, 0}, three[3] = {2, 0, 1};
    (void)state;
    assert_true(lines_open(&lines, &plain, 3));
    lines_fill(&lines, 17);
    lines_fork(&lines, 0, 1);
    lines_fork(&lines, 0, 2);
    lines_refuse_full(&lines, three, 3,
                      "needs 2 pages; 1 of 3 are free"); /* the last needs no copy */
    lines_refuse_full(&lines, both, 2, "needs 2 pages"); /* sequence 2 keeps the page as it is */
    lines_cut(&lines, 2, 0);
    assert_int_equal(lines_append(&lines, both, 2, 2, false), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    lines_cut(&lines, 0, 0);
    lines_cut(&lines, 1, 0);

    /* Where the shared pages are full nothing is copied: a page for each, and both are new. */
    lines_fill(&lines, 16);
    lines_fork(&lines, 0, 1);
    lines_fork(&lines, 0, 2);
    lines_refuse_full(&lines, three, 3, "needs 3 pages; 2 of 3 are free");
    assert_int_equal(lines_append(&lines, both, 2, 1, false), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    lines_cut(&lines, 2, 16); /* nothing happens */
    lines_cut(&lines, 0, 0);
    lines_cut(&lines, 1, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 2);
    lines_cut(&lines, 2, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), 3);
    lines_close(&lines);
}

/* gqa_cache_append counts in the same way. */
static void append_of_plain_keys(void **state)
{
    static struct lines lines;
    float k[RIG_HKV * RIG_DK] = {0}, v[RIG_HKV * RIG_DV] = {0};
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, 1, RIG_HKV, RIG_DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 1, RIG_HKV, RIG_DV);
    (void)state;
    assert_true(lines_open(&lines, &plain, 2));
    lines_fill(&lines, 20);
    lines_fork(&lines, 0, 1);
    refused(gqa_cache_append(lines.cache, 1, &key, &value, NULL, &refusal), GQA_ERR_CACHE_FULL,
            "cache", "1 tokens for sequence 1 bring the call to 1 new pages; 0 of 2 are free");
    lines_cut(&lines, 0, 0);
    assert_int_equal(gqa_cache_append(lines.cache, 1, &key, &value, NULL, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(lines.cache, 0, &key, &value, NULL, NULL),
                     GQA_ERR_CACHE_FULL);
    lines_close(&lines);
}

static void sequences_are_checked(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    lines_fill(&lines, 3);
    gqa_cache *const c = lines.cache;
    refused(gqa_cache_fork(NULL, 0, 1, &refusal), GQA_ERR_ARG, "cache", "is NULL");
    refused(gqa_cache_fork(c, -1, 1, &refusal), GQA_ERR_ARG, "from", "is -1; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 4, 1, &refusal), GQA_ERR_ARG, "from", "is 4; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 0, 4, &refusal), GQA_ERR_ARG, "to", "is 4; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 1, 1, &refusal), GQA_ERR_ARG, "to", "is 1, and from too");
    refused(gqa_cache_fork(c, 1, 0, &refusal), GQA_ERR_ARG, "to",
            "is 0, which holds 3 tokens; it must hold none");
    lines_fork(&lines, 1, 2); /* of nothing comes nothing */
    lines_fork(&lines, 0, 2);
    lines_close(&lines);
}

/* Forks, tokens for some or all sequences, trees, cuts in the midst of shared pages, and tokens
 * behind such a cut, where the page still holds what other sequences had there. */
static void bits_of_a_kind(const struct rig_kind *kind)
{
    static struct lines lines;
    const int32_t all[4] = {0, 1, 2, 3}, some[3] = {3, 0, 2}, pair[2] = {2, 3};
    if (!lines_open(&lines, kind, 0)) {
        return;
    }
    const int64_t pages = gqa_cache_free_pages(lines.cache);
    lines_fill(&lines, 270);
    lines_fork(&lines, 0, 1);
    lines_fork(&lines, 0, 2);
    lines_fork(&lines, 1, 3);
    assert_int_equal(lines_append(&lines, some, 3, 1, false), GQA_OK);
    assert_int_equal(lines_append(&lines, all, 4, 23, false), GQA_OK);
    assert_int_equal(lines_append(&lines, all, 4, 7, true), GQA_OK);
    lines_cut(&lines, 2, 0);
    lines_fork(&lines, 3, 2);
    lines_cut(&lines, 2, 300);
    lines_cut(&lines, 3, 0); /* sequence 2 is alone with a page that was once fuller */
    assert_int_equal(lines_append_one(&lines, 2), GQA_OK);
    lines_fork(&lines, 2, 3);
    lines_cut(&lines, 3, 261);
    assert_int_equal(lines_append(&lines, pair, 2, 5, true), GQA_OK);
    assert_int_equal(lines_append(&lines, all, 4, 2, false), GQA_OK);
    for (int32_t s = 0; s < RIG_BATCH; s++) {
        lines_cut(&lines, s, 0);
    }
    assert_int_equal(gqa_cache_free_pages(lines.cache), pages);
    lines_close(&lines);
}

static void forks_give_the_bits_of_sequences_alone(void **state)
{
    (void)state;
    for (int i = 0; i < rig_kind_count; i++) {
        bits_of_a_kind(&rig_kinds[i]);
    }
}

/* ---- reading beside a call that changes other sequences ---- */

struct reader {
    const gqa_layer *layer;
    const gqa_cache *cache;
    atomic_int stop, rounds, differ;
};

/* One query on sequence 0, again and again. */
static void *read_on(void *arg)
{
    struct reader *const reader = arg;
    float q[RIG_HQ * RIG_DK], first[RIG_HQ * RIG_DV] = {0}, again[RIG_HQ * RIG_DV];
    uint64_t random = 3;
    size_t size = 0;
    gqa_attend_inputs in;
    gqa_attend_output out;

    random_floats(&random, q, RIG_HQ * RIG_DK, 1.0f);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(q, GQA_F32, 1, RIG_HQ, RIG_DK);
    out.output = gqa_tensor_3d(again, GQA_F32, 1, RIG_HQ, RIG_DV);
    gqa_attend_workspace_size(reader->layer, reader->cache, &in, &out, &size, NULL);
    void *const workspace = aligned_alloc(64, (size + 63) / 64 * 64);
    for (int i = 0; atomic_load(&reader->stop) == 0 || i < 2; i++) {
        const gqa_status status =
            gqa_attend(reader->layer, reader->cache, &in, &out, workspace, size, NULL);
        if (i == 0) {
            memcpy(first, again, sizeof first);
        }
        if (status != GQA_OK || memcmp(first, again, sizeof first) != 0 ||
            gqa_cache_length(reader->cache, 0) != 40) {
            atomic_store(&reader->differ, 1);
        }
        atomic_fetch_add(&reader->rounds, 1);
    }
    free(workspace);
    return NULL;
}

static void reading_beside_a_writer(void **state)
{
    static struct lines lines;
    struct reader reader = {0};
    pthread_t thread;
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    lines_fill(&lines, 40);
    reader.layer = lines.rig.layer;
    reader.cache = lines.cache;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    while (atomic_load(&reader.rounds) == 0) {
    }
    for (int i = 0; i < 20; i++) {
        const int32_t pair[2] = {1, 2};
        lines_fork(&lines, 0, 1);
        lines_fork(&lines, 1, 2);
        assert_int_equal(lines_append(&lines, pair, 2, 3, false), GQA_OK);
        lines_cut(&lines, 1, 0);
        lines_cut(&lines, 2, 37);
        assert_int_equal(lines_append_one(&lines, 2), GQA_OK);
        lines_cut(&lines, 2, 0);
    }
    atomic_store(&reader.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&reader.differ), 0);
    lines_close(&lines);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_copied_by_who_appends_first),
        cmocka_unit_test(a_cut_clears_what_was_held),
        cmocka_unit_test(a_call_counts_copies_for_all_its_sequences),
        cmocka_unit_test(append_of_plain_keys),
        cmocka_unit_test(sequences_are_checked),
        cmocka_unit_test(forks_give_the_bits_of_sequences_alone),
        cmocka_unit_test(reading_beside_a_writer),
    };
    return RUN_TESTS(argc, argv, tests);
}
