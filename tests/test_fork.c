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
#include "support/sequence_rig.h"

static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 0};

/* A cache, what its sequences should hold, and its memory. */
struct scene {
    struct rig rig;
    gqa_cache *cache;
    size_t bytes;
    uint64_t random;
    struct rig_line line[RIG_BATCH];
    struct rig_output output;
};

static bool open_scene(struct scene *scene, const struct rig_kind *kind, int64_t pages)
{
    memset(scene, 0, sizeof *scene);
    scene->random = 7;
    if (!rig_open(&scene->rig, kind)) {
        return false;
    }
    scene->cache = rig_cache(&scene->rig, RIG_BATCH, RIG_TOKENS, pages);
    scene->bytes = scene->rig.host.size;
    return true;
}

static void close_scene(struct scene *scene)
{
    gqa_cache_destroy(&scene->cache);
    rig_close(&scene->rig);
}

/* One call with n more tokens for each of these sequences. */
static gqa_status append(struct scene *scene, const int32_t *sequences, int32_t count, int32_t n,
                         bool tree)
{
    struct rig_piece pieces[RIG_BATCH];
    const struct rig_call call = {pieces, count, RIG_PIECE, tree};
    for (int32_t b = 0; b < count; b++) {
        rig_draw(&scene->line[sequences[b]], sequences[b], n, tree, &scene->random, &pieces[b]);
    }
    const gqa_status status =
        rig_forward(&scene->rig, scene->cache, &call, scene->line, &scene->output);
    for (int32_t b = 0; b < count && status == GQA_OK; b++) {
        struct rig_line *const line = &scene->line[sequences[b]];
        if (!rig_as_alone(&scene->rig, &call, b, line, &scene->output)) {
            fail_msg("sequence %d does not give the bits of one alone (%d tokens; isa %d, numerics "
                     "%d, storage %d, page_size %d, %d threads)",
                     sequences[b], line->length, (int)scene->rig.kind.isa,
                     (int)scene->rig.kind.numerics, (int)scene->rig.kind.storage,
                     scene->rig.kind.page_size, scene->rig.kind.threads);
        }
        rig_grow(line, &pieces[b], call.columns);
        assert_int_equal(gqa_cache_length(scene->cache, sequences[b]), line->length);
    }
    return status;
}

static gqa_status append_one(struct scene *scene, int32_t sequence)
{
    return append(scene, &sequence, 1, 1, false);
}

/* Put n tokens into sequence 0, which holds none; V of the last one has a NaN. */
static void fill(struct scene *scene, int32_t n)
{
    struct rig_piece piece;
    while (n > 0) {
        const int32_t some = n < RIG_PIECE ? n : RIG_PIECE;
        rig_draw(&scene->line[0], 0, some, false, &scene->random, &piece);
        rig_grow(&scene->line[0], &piece, RIG_PIECE);
        n -= some;
    }
    scene->line[0].token[scene->line[0].length - 1].seed &= ~UINT64_C(63);
    rig_fill(scene->cache, 0, &scene->line[0]);
}

static void fork_to(struct scene *scene, int32_t from, int32_t to)
{
    const struct gqa__sequence *const a = &scene->cache->sequences[from];
    const struct gqa__sequence *const b = &scene->cache->sequences[to];
    const int64_t pages = gqa_cache_free_pages(scene->cache);
    assert_int_equal(gqa_cache_fork(scene->cache, from, to, NULL), GQA_OK);
    assert_true(a->ordered == b->ordered && a->origin == b->origin && a->last == b->last);
    assert_int_equal(gqa_cache_free_pages(scene->cache), pages);
    assert_int_equal(gqa_cache_length(scene->cache, to), scene->line[from].length);
    scene->line[to] = scene->line[from];
}

static void cut(struct scene *scene, int32_t sequence, int32_t length)
{
    assert_int_equal(gqa_cache_truncate(scene->cache, sequence, length, NULL), GQA_OK);
    rig_cut(&scene->line[sequence], length);
}

/* The call needs more pages than are free, and changes no byte of the cache. */
static void refuse_full(struct scene *scene, const int32_t *sequences, int32_t count,
                        const char *words)
{
    unsigned char *const before = malloc(scene->bytes);
    assert_non_null(before);
    memcpy(before, scene->cache, scene->bytes);
    assert_int_equal(append(scene, sequences, count, 1, false), GQA_ERR_CACHE_FULL);
    assert_non_null(strstr(scene->rig.err.message, words));
    assert_memory_equal(before, scene->cache, scene->bytes);
    free(before);
}

static void a_page_is_copied_by_who_appends_first(void **state)
{
    static struct scene scene;
    const int32_t first[1] = {0};
    (void)state;
    assert_true(open_scene(&scene, &plain, 3));
    fill(&scene, 20); /* two pages, the second with 4 tokens */
    assert_int_equal(gqa_cache_free_pages(scene.cache), 1);
    fork_to(&scene, 0, 1);
    fork_to(&scene, 1, 2);
    assert_int_equal(append_one(&scene, 1), GQA_OK); /* a copy */
    assert_int_equal(gqa_cache_free_pages(scene.cache), 0);
    assert_int_equal(append_one(&scene, 1), GQA_OK); /* its own by now */
    refuse_full(&scene, first, 1, "needs 1 pages; 0 of 3 are free");
    cut(&scene, 2, 0); /* what it shared is not free: 0 holds it */
    assert_int_equal(gqa_cache_free_pages(scene.cache), 0);
    assert_int_equal(append_one(&scene, 0), GQA_OK); /* nobody shares it any more */
    cut(&scene, 0, 16);                              /* its second page goes */
    assert_int_equal(gqa_cache_free_pages(scene.cache), 1);
    cut(&scene, 0, 0); /* the first is shared with 1 */
    assert_int_equal(gqa_cache_free_pages(scene.cache), 1);
    assert_int_equal(append_one(&scene, 1), GQA_OK);
    cut(&scene, 1, 0);
    assert_int_equal(gqa_cache_free_pages(scene.cache), 3);
    close_scene(&scene);
}

static void a_call_counts_copies_for_all_its_sequences(void **state)
{
    static struct scene scene;
    const int32_t both[2] = {1, 0}, three[3] = {2, 0, 1};
    (void)state;
    assert_true(open_scene(&scene, &plain, 3));
    fill(&scene, 17);
    fork_to(&scene, 0, 1);
    fork_to(&scene, 0, 2);
    refuse_full(&scene, three, 3, "needs 2 pages; 1 of 3 are free"); /* the last needs no copy */
    refuse_full(&scene, both, 2, "needs 2 pages"); /* sequence 2 keeps the page as it is */
    cut(&scene, 2, 0);
    assert_int_equal(append(&scene, both, 2, 2, false), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(scene.cache), 0);
    cut(&scene, 0, 0);
    cut(&scene, 1, 0);

    /* Where the shared pages are full nothing is copied: a page for each, and both are new. */
    fill(&scene, 16);
    fork_to(&scene, 0, 1);
    fork_to(&scene, 0, 2);
    refuse_full(&scene, three, 3, "needs 3 pages; 2 of 3 are free");
    assert_int_equal(append(&scene, both, 2, 1, false), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(scene.cache), 0);
    cut(&scene, 2, 16); /* nothing happens */
    cut(&scene, 0, 0);
    cut(&scene, 1, 0);
    assert_int_equal(gqa_cache_free_pages(scene.cache), 2);
    cut(&scene, 2, 0);
    assert_int_equal(gqa_cache_free_pages(scene.cache), 3);
    close_scene(&scene);
}

/* gqa_cache_append counts in the same way. */
static void append_of_plain_keys(void **state)
{
    static struct scene scene;
    float k[RIG_HKV * RIG_DK] = {0}, v[RIG_HKV * RIG_DV] = {0};
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, 1, RIG_HKV, RIG_DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 1, RIG_HKV, RIG_DV);
    (void)state;
    assert_true(open_scene(&scene, &plain, 2));
    fill(&scene, 20);
    fork_to(&scene, 0, 1);
    refused(gqa_cache_append(scene.cache, 1, &key, &value, NULL, &refusal), GQA_ERR_CACHE_FULL,
            "cache", "1 tokens for sequence 1 bring the call to 1 new pages; 0 of 2 are free");
    cut(&scene, 0, 0);
    assert_int_equal(gqa_cache_append(scene.cache, 1, &key, &value, NULL, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(scene.cache, 0, &key, &value, NULL, NULL),
                     GQA_ERR_CACHE_FULL);
    close_scene(&scene);
}

static void sequences_are_checked(void **state)
{
    static struct scene scene;
    (void)state;
    assert_true(open_scene(&scene, &plain, 0));
    fill(&scene, 3);
    gqa_cache *const c = scene.cache;
    refused(gqa_cache_fork(NULL, 0, 1, &refusal), GQA_ERR_ARG, "cache", "is NULL");
    refused(gqa_cache_fork(c, -1, 1, &refusal), GQA_ERR_ARG, "from", "is -1; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 4, 1, &refusal), GQA_ERR_ARG, "from", "is 4; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 0, 4, &refusal), GQA_ERR_ARG, "to", "is 4; it must be 0 .. 3");
    refused(gqa_cache_fork(c, 1, 1, &refusal), GQA_ERR_ARG, "to", "is 1, and from too");
    refused(gqa_cache_fork(c, 1, 0, &refusal), GQA_ERR_ARG, "to",
            "is 0, which holds 3 tokens; it must hold none");
    fork_to(&scene, 1, 2); /* of nothing comes nothing */
    fork_to(&scene, 0, 2);
    close_scene(&scene);
}

/* Forks, tokens for some or all sequences, trees, cuts in the midst of shared pages, and tokens
 * behind such a cut, where the page still holds what other sequences had there. */
static void bits_of_a_kind(const struct rig_kind *kind)
{
    static struct scene scene;
    const int32_t all[4] = {0, 1, 2, 3}, some[3] = {3, 0, 2}, pair[2] = {2, 3};
    if (!open_scene(&scene, kind, 0)) {
        return;
    }
    const int64_t pages = gqa_cache_free_pages(scene.cache);
    fill(&scene, 270);
    fork_to(&scene, 0, 1);
    fork_to(&scene, 0, 2);
    fork_to(&scene, 1, 3);
    assert_int_equal(append(&scene, some, 3, 1, false), GQA_OK);
    assert_int_equal(append(&scene, all, 4, 23, false), GQA_OK);
    assert_int_equal(append(&scene, all, 4, 7, true), GQA_OK);
    cut(&scene, 2, 0);
    fork_to(&scene, 3, 2);
    cut(&scene, 2, 300);
    cut(&scene, 3, 0); /* sequence 2 is alone with a page that was once fuller */
    assert_int_equal(append_one(&scene, 2), GQA_OK);
    fork_to(&scene, 2, 3);
    cut(&scene, 3, 261);
    assert_int_equal(append(&scene, pair, 2, 5, true), GQA_OK);
    assert_int_equal(append(&scene, all, 4, 2, false), GQA_OK);
    for (int32_t s = 0; s < RIG_BATCH; s++) {
        cut(&scene, s, 0);
    }
    assert_int_equal(gqa_cache_free_pages(scene.cache), pages);
    close_scene(&scene);
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
    static struct scene scene;
    struct reader reader = {0};
    pthread_t thread;
    (void)state;
    assert_true(open_scene(&scene, &plain, 0));
    fill(&scene, 40);
    reader.layer = scene.rig.layer;
    reader.cache = scene.cache;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    while (atomic_load(&reader.rounds) == 0) {
    }
    for (int i = 0; i < 20; i++) {
        const int32_t pair[2] = {1, 2};
        fork_to(&scene, 0, 1);
        fork_to(&scene, 1, 2);
        assert_int_equal(append(&scene, pair, 2, 3, false), GQA_OK);
        cut(&scene, 1, 0);
        cut(&scene, 2, 37);
        assert_int_equal(append_one(&scene, 2), GQA_OK);
        cut(&scene, 2, 0);
    }
    atomic_store(&reader.stop, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&reader.differ), 0);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_copied_by_who_appends_first),
        cmocka_unit_test(a_call_counts_copies_for_all_its_sequences),
        cmocka_unit_test(append_of_plain_keys),
        cmocka_unit_test(sequences_are_checked),
        cmocka_unit_test(forks_give_the_bits_of_sequences_alone),
        cmocka_unit_test(reading_beside_a_writer),
    };
    return RUN_TESTS(argc, argv, tests);
}
