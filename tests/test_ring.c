/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring.c - sequences that give their first pages back: the bits of full caches, whatever is
 * done to them and whatever the pages hold afterwards; how many pages they take; what they refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/ring.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"

/* Windows and chunks shorter and longer than a page and than a call. */
static const struct sight {
    int32_t window, chunk;
} sights[] = {{1, 0}, {9, 0}, {33, 0}, {70, 0}, {0, 1}, {0, 16}, {0, 50}, {20, 64}};
enum { SIGHTS = sizeof sights / sizeof sights[0] };

/* Whatever a free page holds must not matter. */
static void poison_free_pages(gqa_cache *cache)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const size_t slots = (size_t)layout->page_size;

    for (int64_t i = 0; i < cache->free_count; i++) {
        const int32_t page = cache->free_pages[i];
        for (int32_t head = 0; head < layout->hkv; head++) {
            memset(gqa__cache_k(cache, page, head), 0xff, layout->k_bytes + layout->v_bytes);
        }
        memset(cache->positions + (size_t)page * slots, 0x3f, slots * sizeof(int32_t));
        memset(cache->columns + (size_t)page * slots, 0x3f, slots * sizeof(int32_t));
    }
}

/* Nothing that a later token sees is missing, and nothing is held that could have left: all pages
 * but those that the sequence's last call needed. */
static void check_held(const struct lines *lines, int32_t s, int32_t before, int32_t lowest)
{
    const gqa_cache *const cache = lines->cache;
    const struct rig_line *const line = &lines->line[s];
    const int32_t granule = cache->layout.page_size > cache->layout.kernels->panel_keys
                                ? cache->layout.page_size
                                : cache->layout.kernels->panel_keys;
    const int32_t window = lines->rig.kind.window, chunk = lines->rig.more.chunk;
    const int32_t origin = line->token[0].position;
    int32_t from = window > 0 ? lowest - window + 1 : 0, first = 0;

    if (chunk > 0) {
        const int32_t start = origin + (lowest - origin) / chunk * chunk;
        from = start > from ? start : from;
    }
    while (first + granule < before && line->token[first + granule - 1].position < from) {
        first += granule;
    }
    assert_int_equal(gqa_cache_first(cache, s), first);
}

/* Pieces of any length for sequence 0 and its fork, with drafts that are taken back across the
 * places where pages leave. */
static void wrap_around(const struct rig_kind *kind, const struct rig_more *more)
{
    static struct lines lines;
    const int32_t both[2] = {1, 0};
    if (!lines_open_more(&lines, kind, more, 0)) {
        return;
    }
    const int64_t pages = gqa_cache_free_pages(lines.cache);
    assert_true(pages ==
                RIG_BATCH * gqa__ring_most_pages(&(gqa_cache_options){.max_tokens = RIG_TOKENS,
                                                                      .page_size = kind->page_size,
                                                                      .retain_window = kind->window,
                                                                      .retain_chunk = more->chunk,
                                                                      .call_tokens = RIG_PIECE},
                                                 lines.cache->layout.kernels->panel_keys));
    lines_fill(&lines, RIG_PIECE);
    lines_fork(&lines, 0, 1);
    while (lines.line[0].length + 2 * RIG_PIECE <= RIG_TOKENS) {
        const int32_t *const which = both + random_between(&lines.random, 0, 1);
        const int32_t count = which == both ? random_between(&lines.random, 1, 2) : 1;
        const int32_t n = random_u32(&lines.random) % 3 == 0
                              ? random_between(&lines.random, 1, RIG_PIECE)
                              : random_between(&lines.random, 1, 4);
        const int32_t before = lines.line[0].length;
        const int32_t next = lines.line[0].token[before - 1].position + 1;

        assert_int_equal(lines_append(&lines, which, count, n, false), GQA_OK);
        poison_free_pages(lines.cache);
        if (lines.line[0].length > before) {
            check_held(&lines, 0, before, next);
        }
        for (int32_t i = 0; i < count; i++) {
            const struct rig_line *const line = &lines.line[which[i]];
            if (random_u32(&lines.random) % 2 == 0) { /* some of it was wrong, or all */
                lines_cut(&lines, which[i], line->length - random_between(&lines.random, 0, n));
                lines_compare(&lines.rig, lines.cache, which[i], line);
            }
            poison_free_pages(lines.cache);
        }
        if (lines.line[1].length > RIG_TOKENS - 2 * RIG_PIECE) {
            lines_cut(&lines, 1, 0);
            lines_fork(&lines, 0, 1);
        }
    }
    lines_cut(&lines, 0, 0);
    lines_cut(&lines, 1, 0);
    assert_int_equal(gqa_cache_free_pages(lines.cache), pages);
    assert_int_equal(gqa_cache_first(lines.cache, 0), 0);
    lines_close(&lines);
}

static void rings_give_the_bits_of_full_caches(void **state)
{
    (void)state;
    for (int i = 0; i < rig_kind_count * SIGHTS; i++) {
        struct rig_kind kind = rig_kinds[i / SIGHTS];
        kind.window = sights[i % SIGHTS].window;
        wrap_around(&kind, &(struct rig_more){.chunk = sights[i % SIGHTS].chunk, .rings = true});
    }
}

static void every_page_size(void **state)
{
    (void)state;
    for (int32_t page_size = 16; page_size <= 512; page_size *= 2) {
        const struct rig_kind kind = {GQA_ISA_AUTO, GQA_NUMERICS_BF16, GQA_BF16, page_size, 2, 21,
                                      false};
        wrap_around(&kind, &(struct rig_more){.rings = true});
    }
}

static void backend_reference(void **state)
{
    const struct rig_kind kind = {GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_F32, 16, 1, 21, false};
    (void)state;
    wrap_around(&kind, &(struct rig_more){.backend = GQA_BACKEND_REFERENCE, .rings = true});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_give_the_bits_of_full_caches),
        cmocka_unit_test(every_page_size),
        cmocka_unit_test(backend_reference),
    };
    return RUN_TESTS(argc, argv, tests);
}
