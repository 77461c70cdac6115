/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring_saved.c - sequences that have lost their beginning, as bytes and from cache to cache:
 * any layout takes any, going on gives the bits of full caches, and nobody takes one who would see
 * what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/saved.h"
#include "layer/layer.h"
#include "support/cache_kinds.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"

enum { WINDOW = 12 };
static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, WINDOW,
                                      false};
static const struct rig_more rings = {.rings = true};

struct text {
    unsigned char *bytes;
    size_t size;
};

static struct text save(const gqa_cache *cache, int32_t sequence)
{
    struct text text = {NULL, 0};
    assert_int_equal(gqa_cache_save_size(cache, sequence, &text.size, NULL), GQA_OK);
    text.bytes = malloc(text.size);
    assert_non_null(text.bytes);
    assert_int_equal(gqa_cache_save(cache, sequence, text.bytes, text.size, NULL), GQA_OK);
    return text;
}

static gqa_status load(gqa_cache *cache, int32_t sequence, const struct text *text)
{
    return gqa_cache_load(cache, sequence, text->bytes, text->size, 0, &refusal);
}

static uint32_t number(const struct text *text, size_t at)
{
    const unsigned char *const b = text->bytes + at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Pieces for sequence 0 until it has about n tokens. */
static void grow(struct lines *lines, int32_t n)
{
    while (lines->line[0].length < n) {
        const int32_t some = random_between(&lines->random, 1, 20);
        assert_int_equal(lines_append(lines, (const int32_t[]){0}, 1, some, false), GQA_OK);
    }
}

/* From a ring of one kind to one of another, as bytes and by copy; then both go on. */
static void move(const struct rig_kind *a, const struct rig_kind *b, const struct rig_more *more)
{
    static struct lines from, to;
    if (!rig_same_storage(a, b) || !lines_open_more(&from, a, more, 0)) {
        return;
    }
    if (!lines_open_more(&to, b, more, 0)) {
        lines_close(&from);
        return;
    }
    const int64_t pages = gqa_cache_free_pages(to.cache);
    grow(&from, a->page_size > 128 ? 560 : 200);
    for (int i = 0; i < 3; i++) {
        const struct text text = save(from.cache, 0);
        assert_int_equal(load(to.cache, 0, &text), GQA_OK);
        assert_int_equal(gqa_cache_copy(to.cache, 1, from.cache, 0, 0, NULL), GQA_OK);
        for (int32_t s = 0; s < 2; s++) {
            to.line[s] = from.line[0];
            assert_int_equal(gqa_cache_first(to.cache, s), gqa_cache_first(from.cache, 0));
            lines_compare(&to.rig, to.cache, s, &to.line[s]);
            const struct text again = save(to.cache, s);
            assert_int_equal(again.size, text.size);
            assert_memory_equal(again.bytes, text.bytes, text.size);
            free(again.bytes);
        }
        free(text.bytes);
        assert_int_equal(lines_append(&to, (const int32_t[]){1, 0}, 2, 5, false), GQA_OK);
        lines_cut(&to, 1, to.line[1].length - 5);
        assert_int_equal(lines_append(&to, (const int32_t[]){1}, 1, 30, false), GQA_OK);
        lines_cut(&to, 0, 0);
        lines_cut(&to, 1, 0);
        assert_int_equal(gqa_cache_free_pages(to.cache), pages);
        grow(&from, from.line[0].length + 7);
    }
    lines_close(&from);
    lines_close(&to);
}

static void any_layout_takes_any(void **state)
{
    (void)state;
    for (int i = 0; i < rig_kind_count * rig_kind_count; i++) {
        struct rig_kind a = rig_kinds[i / rig_kind_count], b = rig_kinds[i % rig_kind_count];
        a.window = b.window = i % 3 == 0 ? 0 : WINDOW;
        a.page_size = i % 5 == 0 ? 512 : 16 << i % 4; /* also beside panels of 32 */
        b.page_size = 16 << i / rig_kind_count % 4;
        move(&a, &b, &(struct rig_more){.chunk = i % 3 == 0 ? 20 : 0, .rings = true});
    }
}

/* Pages that lie in one way, of kernel sets whose panels are 16 and 64 keys. */
static gqa_cache *open_panels(struct gqa_layer *layer, struct gqa__kernels *kernels, int32_t panel)
{
    const struct cache_kind kind = {"f32", GQA_NUMERICS_F32, GQA_F32, GQA_F32, panel, 8, 8, false,
                                    false};
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    cache_kind_layer(layer, kernels, &kind, 1, 8, 8);
    layer->params.config.sliding_window = 3;
    layer->params.shape.window = 3;
    gqa_cache_options_init(&options, layer);
    gqa_cache_options_retain(&options, layer);
    options.max_sequences = 2;
    options.max_tokens = 200;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    return cache;
}

/* From index 96 on: the last of its panel of 64 begins at 64, whose pages the copy must have. */
static void wider_panels(void **state)
{
    struct gqa_layer layers[2];
    struct gqa__kernels kernels[2];
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const gqa_tensor row = gqa_tensor_3d(x, GQA_F32, 1, 1, 8);
    gqa_cache *narrow = open_panels(&layers[0], &kernels[0], 16);
    gqa_cache *wide = open_panels(&layers[1], &kernels[1], 64);
    (void)state;
    const int64_t pages = gqa_cache_free_pages(wide);
    for (int32_t i = 0; i < 100; i++) {
        assert_int_equal(gqa_cache_append(narrow, 0, &row, &row, NULL, NULL), GQA_OK);
    }
    assert_int_equal(gqa_cache_first(narrow, 0), 96);
    const struct text text = save(narrow, 0);
    assert_int_equal(gqa_cache_copy(wide, 0, narrow, 0, 0, NULL), GQA_OK);
    assert_int_equal(load(wide, 1, &text), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(wide), pages - 6);
    for (int32_t s = 0; s < 2; s++) {
        const struct text again = save(wide, s);
        assert_memory_equal(again.bytes, text.bytes, text.size);
        free(again.bytes);
        for (int32_t i = 64; i < 96; i++) { /* what lies before it is nothing */
            const struct gqa__sequence *const sequence = &wide->sequences[s];
            const int32_t page = gqa__cache_page(wide, sequence, i);
            const float *const k = (const void *)gqa__cache_k(wide, page, 0);
            assert_true(page >= 0);
            assert_true(k[(int64_t)(i % 16) * wide->layout.k_stride] == 0.0f);
        }
        assert_int_equal(gqa_cache_append(wide, s, &row, &row, NULL, NULL), GQA_OK);
        assert_int_equal(gqa_cache_first(wide, s), 96);
        assert_int_equal(gqa_cache_truncate(wide, s, 0, NULL), GQA_OK);
    }
    assert_int_equal(gqa_cache_free_pages(wide), pages);
    free(text.bytes);
    gqa_cache_destroy(&narrow);
    gqa_cache_destroy(&wide);
}

/* 60 tokens at positions 3, 5, 7, ..: what the header of the longer form says. */
static void the_format(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open_more(&lines, &plain, &rings, 0));
    for (int32_t i = 0; i < 60; i++) {
        struct rig_piece piece = {.n = 1};
        const struct rig_call call = {&piece, 1, 1, false};
        piece.token[0] = (struct rig_token){(uint64_t)i + 1, 3 + 2 * i, i};
        assert_int_equal(rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output),
                         GQA_OK);
        rig_grow(&lines.line[0], &piece, 1);
    }
    const struct text text = save(lines.cache, 0);
    const uint32_t want[][2] = {
        {8, 1},           {12, 72},     {24, 60 - 48}, {28, 60},           {52, 48},
        {64, 3},          {68, 3 + 94}, {72, 3 + 96},  {72 + 4 * 11, 121}, {72 + 4 * 12, 48},
        {72 + 4 * 23, 59}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(number(&text, want[i][0]), want[i][1]);
    }
    assert_int_equal(text.size, 72 + 12 * 8 + 12 * RIG_HKV * (RIG_DK + RIG_DV) * 4);
    for (size_t size = 0; size < text.size; size++) { /* cut short */
        unsigned char *const bytes = malloc(size + 1);
        assert_non_null(bytes);
        memcpy(bytes, text.bytes, size);
        assert_int_equal(gqa_cache_load(lines.cache, 1, bytes, size, 0, NULL), GQA_ERR_ARG);
        free(bytes);
    }
    free(text.bytes);
    lines_close(&lines);
}

/* A number of those bytes replaced, the checksum made right again. */
static const struct edit {
    size_t at;
    uint32_t value;
    const char *field, *words;
} edits[] = {
    {12, 64, "bytes", "say a header of 64 bytes; it must have 72"},
    {52, 0, "bytes", "say a header of 72 bytes; it must have 64"},
    {52, 0x80000000, "bytes", "say 2147483648 tokens that left"},
    {52, 0x7fffffff, "bytes", "after 2147483647 that left; it must be 1 .. 0"},
    {24, 0, "bytes", "say 0 tokens after 48 that left"},
    {64, 98, "bytes", "say position 98 of index 0 and 97 of what left"},
    {68, 0x80000000, "bytes", "and 2147483648 of what left"},
    {72 + 4 * 12, 47, "bytes", "give token 0 column 47; it must be 48 .."},
    {68, 111, "bytes", "a sequence without its first 48 tokens, up to position 111"},
    {68, 112, "bytes",
     "a sequence without its first 48 tokens, up to position 112, which a token at "
     "position 122 can see"},
};

static void unsound_bytes_are_refused(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open_more(&lines, &plain, &rings, 0));
    for (int32_t i = 0; i < 60; i++) {
        struct rig_piece piece = {.n = 1};
        const struct rig_call call = {&piece, 1, 1, false};
        piece.token[0] = (struct rig_token){(uint64_t)i + 1, 3 + 2 * i, i};
        assert_int_equal(rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output),
                         GQA_OK);
        rig_grow(&lines.line[0], &piece, 1);
    }
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        const struct text text = save(lines.cache, 0);
        for (int byte = 0; byte < 4; byte++) {
            text.bytes[edits[i].at + (size_t)byte] = (unsigned char)(edits[i].value >> 8 * byte);
        }
        const uint64_t sum = gqa__saved_checksum(text.bytes, text.size);
        for (int byte = 0; byte < 8; byte++) {
            text.bytes[56 + byte] = (unsigned char)(sum >> 8 * byte);
        }
        refused(load(lines.cache, 1, &text), GQA_ERR_ARG, edits[i].field, edits[i].words);
        assert_int_equal(gqa_cache_length(lines.cache, 1), 0);
        free(text.bytes);
    }
    lines_close(&lines);
}

/* A cache that keeps more, and one that keeps everything. */
static void who_would_see_what_is_missing(void **state)
{
    static struct lines from, full, wide;
    struct rig_kind kind = plain;
    (void)state;
    assert_true(lines_open_more(&from, &plain, &rings, 0));
    assert_true(lines_open(&full, &plain, 3));
    kind.window = 100;
    assert_true(lines_open_more(&wide, &kind, &rings, 0));
    grow(&from, 100);
    const struct text text = save(from.cache, 0);
    refused(load(full.cache, 0, &text), GQA_ERR_ARG, "bytes", "a sequence without its first");
    refused(load(wide.cache, 0, &text), GQA_ERR_ARG, "bytes", "a sequence without its first");
    refused(gqa_cache_copy(full.cache, 0, from.cache, 0, 0, &refusal), GQA_ERR_ARG, "from",
            "a sequence without its first");
    assert_int_equal(gqa_cache_free_pages(full.cache), 3);
    free(text.bytes);

    /* A ring takes all that a full cache holds, if there is room, and lets it go later. */
    lines_fill(&full, 40);
    assert_int_equal(gqa_cache_copy(from.cache, 1, full.cache, 0, 0, NULL), GQA_OK);
    from.line[1] = full.line[0];
    lines_compare(&from.rig, from.cache, 1, &from.line[1]);
    assert_int_equal(gqa_cache_first(from.cache, 1), 0);
    assert_int_equal(lines_append_one(&from, 1), GQA_OK);
    assert_int_equal(gqa_cache_first(from.cache, 1), 16);
    lines_close(&from);
    lines_close(&full);
    lines_close(&wide);
}

/* What is held decides how many pages it takes. */
static void room(void **state)
{
    static struct lines from, to;
    (void)state;
    assert_true(lines_open_more(&from, &plain, &rings, 0));
    grow(&from, 200);
    const int32_t first = gqa_cache_first(from.cache, 0), length = from.line[0].length;
    const int32_t pages = (length - 1) / 16 + 1 - first / 16;
    const struct text text = save(from.cache, 0);
    assert_true(first > 0);
    assert_true(lines_open_more(&to, &plain, &rings, pages));
    assert_int_equal(lines_append_one(&to, 1), GQA_OK);
    refused(load(to.cache, 0, &text), GQA_ERR_CACHE_FULL, "cache", "new pages");
    refused(gqa_cache_copy(to.cache, 0, from.cache, 0, 0, &refusal), GQA_ERR_CACHE_FULL, "cache",
            "new pages");
    lines_cut(&to, 1, 0);
    assert_int_equal(load(to.cache, 0, &text), GQA_OK);
    assert_int_equal(gqa_cache_free_pages(to.cache), 0);
    free(text.bytes);
    lines_close(&from);
    lines_close(&to);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_layout_takes_any),
        cmocka_unit_test(wider_panels),
        cmocka_unit_test(the_format),
        cmocka_unit_test(unsound_bytes_are_refused),
        cmocka_unit_test(who_would_see_what_is_missing),
        cmocka_unit_test(room),
    };
    return RUN_TESTS(argc, argv, tests);
}
