/* SPDX-License-Identifier: Apache-2.0 */
/* test_copy.c - sequences copied from one cache to another: alike or not, of other storage types,
 * full ones; the source is not changed, and what is copied shares nothing with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/cache_kinds.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"
#include "support/small_layer.h"

static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 0, false};
static const struct rig_kind halved = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_BF16, 16, 1, 0, false};

/* Copy sequence 0 of one to sequence 2 of the other, which goes on. */
static void copy_and_go_on(const struct lines *from, struct lines *to)
{
    const int32_t pair[2] = {2, 1};
    const int64_t pages = gqa_cache_free_pages(to->cache);
    if (gqa_cache_copy(to->cache, 2, from->cache, 0, 0, &refusal) != GQA_OK) {
        fail_msg("%s", refusal.message);
    }
    to->line[2] = from->line[0];
    lines_compare(&to->rig, to->cache, 2, &to->line[2]);
    lines_compare(&from->rig, from->cache, 0, &from->line[0]);
    const int32_t size = to->rig.kind.page_size;
    if (to->line[2].length % size != 0) { /* what others have behind the last token stays there */
        const struct gqa__sequence *const sequence = &to->cache->sequences[2];
        const int64_t slot = gqa__cache_slot(to->cache, sequence, to->line[2].length - 1) + 1;
        assert_int_equal(to->cache->positions[slot], 0);
    }
    assert_int_equal(gqa_cache_free_pages(to->cache),
                     pages - (to->line[2].length + size - 1) / size);
    assert_int_equal(lines_append(to, pair, 2, 3, true), GQA_OK);
    assert_int_equal(lines_append(to, pair, 2, 2, false), GQA_OK);
    lines_compare(&from->rig, from->cache, 0, &from->line[0]);
    lines_cut(to, 1, 0);
    lines_cut(to, 2, 0);
    assert_int_equal(gqa_cache_free_pages(to->cache), pages);
}

/* A history with a tree and padding behind it. cut: its last page is shared and holds more. */
static void make_history(struct lines *lines, int32_t n, bool cut)
{
    const int32_t first[1] = {0};
    lines_fill(lines, n);
    assert_int_equal(lines_append(lines, first, 1, 9, true), GQA_OK);
    if (cut) {
        lines_fork(lines, 0, 1);
        lines_cut(lines, 0, lines->line[0].length - 2);
    }
}

static void any_layout_takes_from_any(void **state)
{
    static struct lines from, to;
    (void)state;
    for (int i = 0; i < rig_kind_count; i++) {
        if (!lines_open(&from, &rig_kinds[i], 0)) {
            continue;
        }
        make_history(&from, 5 + 60 * (i % 5), i % 2 == 0);
        for (int j = 0; j < rig_kind_count; j++) {
            if (rig_same_storage(&rig_kinds[j], &rig_kinds[i]) &&
                lines_open(&to, &rig_kinds[j], 0)) {
                copy_and_go_on(&from, &to);
                lines_close(&to);
            }
        }
        lines_close(&from);
    }
}

/* A layer of these numerics whose pages are of one size and lie in one way with both: V of a page
 * has 32 rows of 32, by tokens or by elements. */
static gqa_cache *open_alike(struct gqa_layer *layer, struct gqa__kernels *kernels,
                             gqa_numerics numerics)
{
    const struct cache_kind kind = {"alike", numerics, GQA_BF16, GQA_BF16, 32,
                                    32,      32,       false,    false};
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    cache_kind_layer(layer, kernels, &kind, 1, 32, 32);
    kernels->v_transposed = false;
    gqa_cache_options_init(&options, layer);
    options.max_sequences = 2;
    options.max_tokens = 32;
    options.page_size = 32;
    options.dtype_k = options.dtype_v = GQA_BF16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    return cache;
}

/* Which values of V are special depends on the numerics: 2^70 is with bf16 only. */
static void large_values_are_told_again(void **state)
{
    struct gqa_layer layers[2];
    struct gqa__kernels kernels[2];
    gqa_cache *caches[2];
    float k[32] = {0}, v[32] = {0x1p70f};
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, 1, 1, 32);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 1, 1, 32);
    (void)state;
    for (int i = 0; i < 2; i++) {
        caches[i] =
            open_alike(&layers[i], &kernels[i], i == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16);
        assert_int_equal(gqa_cache_append(caches[i], 0, &key, &value, NULL, NULL), GQA_OK);
    }
    for (int i = 0; i < 2; i++) {
        const gqa_cache *const to = caches[i];
        assert_int_equal(gqa_cache_copy(caches[i], 1, caches[1 - i], 0, 0, NULL), GQA_OK);
        assert_int_equal(to->special[to->sequences[0].pages[0]], i);
        assert_int_equal(to->special[to->sequences[1].pages[0]], i);
    }
    gqa_cache_destroy(&caches[0]);
    gqa_cache_destroy(&caches[1]);
}

/* Denormal keys and values, stored by a layer that keeps or flushes them. */
static gqa_cache *open_denormals(gqa_denormals denormals)
{
    gqa_config config = attention_config(1, 1, 32, 0);
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    float x[20 * 32];
    config.isa = GQA_ISA_SCALAR;
    config.denormals = denormals;
    gqa_layer *layer = attention_layer(&config, NULL);
    gqa_cache_options_init(&options, layer);
    options.max_sequences = 2;
    options.max_tokens = 32;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    gqa_destroy(&layer);
    for (int i = 0; i < 20 * 32; i++) {
        x[i] = (i % 2 == 0 ? 0x1p-140f : -0x1p-140f) * (float)(i % 3);
    }
    const gqa_tensor rows = gqa_tensor_3d(x, GQA_F32, 20, 1, 32);
    assert_int_equal(gqa_cache_append(cache, 0, &rows, &rows, NULL, NULL), GQA_OK);
    return cache;
}

static void read_all(const gqa_cache *cache, int32_t sequence, float k[20 * 32], float v[20 * 32])
{
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, 1, 20, 32);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 1, 20, 32);
    assert_int_equal(gqa_cache_read(cache, sequence, 0, &key, &value, NULL, NULL), GQA_OK);
}

/* What a cache stores as zero it also does when a copy or saved bytes bring it; a cache that keeps
 * denormals keeps what the other one has. */
static void denormals_as_the_cache_stores_them(void **state)
{
    gqa_cache *caches[2] = {open_denormals(GQA_DENORMALS_KEEP),
                            open_denormals(GQA_DENORMALS_FLUSH)};
    float k[4][20 * 32], v[4][20 * 32];
    (void)state;
    for (int i = 0; i < 2; i++) {
        size_t size;
        assert_int_equal(gqa_cache_save_size(caches[1 - i], 0, &size, NULL), GQA_OK);
        unsigned char *const bytes = malloc(size);
        assert_non_null(bytes);
        assert_int_equal(gqa_cache_save(caches[1 - i], 0, bytes, size, NULL), GQA_OK);
        read_all(caches[1], 0, k[0], v[0]); /* flushed: what both copies hold */
        assert_int_equal(gqa_cache_copy(caches[i], 1, caches[1 - i], 0, 0, NULL), GQA_OK);
        read_all(caches[i], 1, k[1], v[1]);
        assert_int_equal(gqa_cache_truncate(caches[i], 1, 0, NULL), GQA_OK);
        assert_int_equal(gqa_cache_load(caches[i], 1, bytes, size, 0, NULL), GQA_OK);
        read_all(caches[i], 1, k[2], v[2]);
        for (int way = 1; way <= 2; way++) {
            assert_memory_equal(k[way], k[0], sizeof k[0]);
            assert_memory_equal(v[way], v[0], sizeof v[0]);
        }
        assert_int_equal(gqa_cache_truncate(caches[i], 1, 0, NULL), GQA_OK);
        free(bytes);
    }
    read_all(caches[0], 0, k[3], v[3]);
    assert_memory_not_equal(k[3], k[0], sizeof k[0]);
    gqa_cache_destroy(&caches[0]);
    gqa_cache_destroy(&caches[1]);
}

static void within_one_cache(void **state)
{
    static struct lines lines;
    const int32_t pair[2] = {2, 0};
    (void)state;
    assert_true(lines_open(&lines, &plain, 5));
    lines_fill(&lines, 20);
    assert_int_equal(gqa_cache_copy(lines.cache, 2, lines.cache, 0, 0, NULL), GQA_OK);
    lines.line[2] = lines.line[0];
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    assert_int_equal(lines_append(&lines, pair, 2, 3, false), GQA_OK); /* nothing to copy */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    assert_int_equal(gqa_cache_copy(lines.cache, 1, lines.cache, 3, 0, NULL), GQA_OK); /* empty */
    lines_close(&lines);
}

static void types_are_converted_if_asked(void **state)
{
    static struct lines wide, narrow;
    (void)state;
    assert_true(lines_open(&wide, &plain, 0));
    assert_true(lines_open(&narrow, &halved, 0));
    make_history(&wide, 40, true);
    refused(gqa_cache_copy(narrow.cache, 0, wide.cache, 0, 0, &refusal), GQA_ERR_ARG, "from",
            "K of GQA_F32; the cache that it goes to stores GQA_BF16: convert must be 1");
    assert_int_equal(gqa_cache_copy(narrow.cache, 0, wide.cache, 0, 1, NULL), GQA_OK);
    lines_compare(&narrow.rig, narrow.cache, 0, &wide.line[0]);
    assert_int_equal(gqa_cache_copy(wide.cache, 2, narrow.cache, 0, 1, NULL), GQA_OK);
    assert_int_equal(gqa_cache_copy(narrow.cache, 1, wide.cache, 2, 1, NULL), GQA_OK);
    lines_compare(&narrow.rig, narrow.cache, 1, &wide.line[0]);
    lines_close(&wide);
    lines_close(&narrow);
}

static void what_is_refused_changes_nothing(void **state)
{
    static struct lines from, to;
    (void)state;
    assert_true(lines_open(&from, &plain, 0));
    assert_true(lines_open(&to, &plain, 2));
    lines_fill(&from, 33);
    unsigned char *const before = malloc(to.bytes);
    assert_non_null(before);
    memcpy(before, to.cache, to.bytes);
    gqa_cache *const a = from.cache, *const b = to.cache;
    refused(gqa_cache_copy(NULL, 0, a, 0, 0, &refusal), GQA_ERR_ARG, "to", "is NULL");
    refused(gqa_cache_copy(b, 0, NULL, 0, 0, &refusal), GQA_ERR_ARG, "from", "is NULL");
    refused(gqa_cache_copy(b, 4, a, 0, 0, &refusal), GQA_ERR_ARG, "to_sequence", "is 4");
    refused(gqa_cache_copy(b, 0, a, -1, 0, &refusal), GQA_ERR_ARG, "from_sequence", "is -1");
    refused(gqa_cache_copy(a, 0, b, 0, 0, &refusal), GQA_ERR_ARG, "to_sequence",
            "is 0, which holds 33 tokens; it must hold none");
    refused(gqa_cache_copy(b, 1, b, 1, 0, &refusal), GQA_ERR_ARG, "to_sequence",
            "is 1, and from_sequence too");
    refused(gqa_cache_copy(b, 0, a, 0, 3, &refusal), GQA_ERR_ARG, "convert", "is 3");
    refused(gqa_cache_copy(b, 0, a, 0, 0, &refusal), GQA_ERR_CACHE_FULL, "cache",
            "3 new pages; 2 of 2 are free");
    from.cache->layout.hkv++; /* as a cache of another layer */
    refused(gqa_cache_copy(b, 0, a, 0, 0, &refusal), GQA_ERR_SHAPE, "from",
            "of 3 KV heads; the cache that it goes to has 2");
    from.cache->layout.hkv--;
    assert_memory_equal(before, to.cache, to.bytes);
    free(before);
    lines_close(&from);
    lines_close(&to);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_layout_takes_from_any),
        cmocka_unit_test(large_values_are_told_again),
        cmocka_unit_test(denormals_as_the_cache_stores_them),
        cmocka_unit_test(within_one_cache),
        cmocka_unit_test(types_are_converted_if_asked),
        cmocka_unit_test(what_is_refused_changes_nothing),
    };
    return RUN_TESTS(argc, argv, tests);
}
