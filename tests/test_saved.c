/* SPDX-License-Identifier: Apache-2.0 */
/* test_saved.c - sequences saved as bytes and loaded: the format byte by byte, other page sizes and
 * kernel sets, conversions, and everything that bytes can be but a saved sequence. */
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
#include "support/random.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"
#include "support/stored_row.h"

static const struct rig_kind plain = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 0, false};
static const struct rig_kind halved = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_BF16, 32, 1, 0, false};

/* ---- the format, written once more from its description ---- */

struct text {
    unsigned char *bytes;
    size_t size;
};

static void put(struct text *text, uint64_t x, int n)
{
    for (int i = 0; i < n; i++) {
        text->bytes[text->size++] = (unsigned char)(x >> 8 * i);
    }
}

static void pad(struct text *text)
{
    while (text->size % 8 != 0) {
        put(text, 0, 1);
    }
}

/* A row of x as it is stored by a kind. */
static struct stored_row row_of(const float *x, int dim, const struct rig_kind *kind)
{
    struct stored_row row;
    float y[STORED_ROW_MOST];
    memcpy(y, x, (size_t)dim * sizeof *y);
    if (kind->rotate) {
        stored_rotate(y, dim);
    }
    stored_row(&row, y, dim, kind->storage);
    return row;
}

/* Rows of dim numbers; of int4 whole groups of 16 bytes. */
static void put_rows(struct text *text, const float *x, int rows, int dim,
                     const struct rig_kind *kind)
{
    const gqa_dtype storage = kind->storage;
    const int wide = storage == GQA_I4 ? (dim + 31) / 32 * 16 : dim;
    for (int i = 0; i < rows; i++) {
        uint32_t codes[STORED_ROW_MOST] = {0};
        const struct stored_row row = row_of(x + i * dim, dim, kind);
        for (int d = 0; d < dim; d++) {
            codes[stored_byte(d, storage)] |= stored_bits(&row, d, storage)
                                              << stored_shift(d, storage);
        }
        for (int j = 0; j < wide; j++) {
            put(text, codes[j], storage == GQA_F32 ? 4 : stored_scaled(storage) ? 1 : 2);
        }
    }
    pad(text);
}

static void put_scales(struct text *text, const float *x, int rows, int dim,
                       const struct rig_kind *kind)
{
    for (int i = 0; i < rows; i++) {
        const struct stored_row row = row_of(x + i * dim, dim, kind);
        for (int g = 0; g < row.scales; g++) {
            put(text, float_bits(row.scale[g]), 4);
        }
    }
    pad(text);
}

static uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) {
        word |= (uint64_t)bytes[i] << 8 * i;
    }
    return word;
}

static void set_checksum(struct text *text)
{
    uint64_t h = 0;
    for (size_t at = 0; at < text->size; at += 8) {
        h = (h ^ (at == 56 ? 0 : word_at(text->bytes + at))) * UINT64_C(0x9e3779b97f4a7c15);
        h = h ^ (h >> 32);
    }
    const size_t size = text->size;
    text->size = 56;
    put(text, h, 8);
    text->size = size;
}

/* Room for a sequence of any length. */
static struct text new_text(void)
{
    struct text text = {malloc(1 << 20), 0};
    assert_non_null(text.bytes);
    return text;
}

static struct text write_line(const struct rig_line *line, const struct rig_kind *kind)
{
    const uint32_t type = (uint32_t)kind->storage + (kind->rotate ? 256 : 0);
    static float k[RIG_TOKENS * RIG_HKV * RIG_DK], v[RIG_TOKENS * RIG_HKV * RIG_DV];
    struct text text = new_text();
    const uint32_t header[] = {
        1,      64,   0,    0, (uint32_t)line->length, (uint32_t)line->columns, RIG_HKV, RIG_DK,
        RIG_DV, type, type, 0};
    memcpy(text.bytes, "gqaseq\r\n", 8);
    text.size = 8;
    for (size_t i = 0; i < sizeof header / sizeof header[0]; i++) {
        put(&text, header[i], 4);
    }
    put(&text, 0, 8);
    for (int32_t i = 0; i < line->length; i++) {
        put(&text, (uint32_t)line->token[i].position, 4);
    }
    pad(&text);
    for (int32_t i = 0; i < line->length; i++) {
        put(&text, (uint32_t)line->token[i].column, 4);
        rig_numbers(line->token[i].seed, k + i * RIG_HKV * RIG_DK, v + i * RIG_HKV * RIG_DV);
    }
    pad(&text);
    put_rows(&text, k, line->length * RIG_HKV, RIG_DK, kind);
    put_rows(&text, v, line->length * RIG_HKV, RIG_DV, kind);
    put_scales(&text, k, line->length * RIG_HKV, RIG_DK, kind);
    put_scales(&text, v, line->length * RIG_HKV, RIG_DV, kind);
    const size_t size = text.size;
    text.size = 16;
    put(&text, size, 8);
    text.size = size;
    set_checksum(&text);
    return text;
}

/* gqa_cache_save to memory of just its size, at an odd address. */
static struct text save(const gqa_cache *cache, int32_t sequence)
{
    struct text text = {NULL, 0};
    gqa_error err;
    assert_int_equal(gqa_cache_save_size(cache, sequence, &text.size, &err), GQA_OK);
    text.bytes = malloc(text.size + 1);
    assert_non_null(text.bytes);
    assert_int_equal(gqa_cache_save(cache, sequence, text.bytes + 1, text.size, &err), GQA_OK);
    memmove(text.bytes, text.bytes + 1, text.size);
    return text;
}

static void expect_text(const gqa_cache *cache, int32_t sequence, const struct text *want)
{
    const struct text text = save(cache, sequence);
    assert_int_equal(text.size, want->size);
    assert_memory_equal(text.bytes, want->bytes, want->size);
    free(text.bytes);
}

/* gqa_cache_load from memory of just so many bytes, at an odd address. */
static gqa_status load(gqa_cache *cache, int32_t sequence, const struct text *text, size_t size,
                       int32_t convert)
{
    unsigned char *const bytes = malloc(size + 1);
    assert_non_null(bytes);
    memcpy(bytes + 1, text->bytes, size);
    const gqa_status status = gqa_cache_load(cache, sequence, bytes + 1, size, convert, &refusal);
    free(bytes);
    return status;
}

/* A history with trees, padding and odd sizes in sequence 0, of n tokens and a few more. */
static void make_history(struct lines *lines, int32_t n)
{
    const int32_t first[1] = {0};
    lines_fill(lines, n);
    assert_int_equal(lines_append(lines, first, 1, 6, true), GQA_OK);
    assert_int_equal(lines_append(lines, first, 1, 1, false), GQA_OK);
}

/* ---- saved here, loaded there ---- */

/* The bytes go to a cache of another kind, which goes on with them and gives them back. */
static void load_into(const struct rig_kind *kind, const struct text *text,
                      const struct rig_line *line)
{
    static struct lines lines;
    const int32_t pair[2] = {2, 1};
    if (!lines_open(&lines, kind, 0)) {
        return;
    }
    if (load(lines.cache, 2, text, text->size, 0) != GQA_OK) {
        fail_msg("%s", refusal.message);
    }
    lines.line[2] = *line;
    lines_compare(&lines.rig, lines.cache, 2, line);
    expect_text(lines.cache, 2, text);
    assert_int_equal(lines_append(&lines, pair, 2, 3, false), GQA_OK);
    assert_int_equal(lines_append(&lines, pair, 2, 3, true), GQA_OK);
    lines_close(&lines);
}

static void any_layout_loads_any(void **state)
{
    static struct lines lines;
    (void)state;
    for (int i = 0; i < rig_kind_count; i++) {
        if (!lines_open(&lines, &rig_kinds[i], 0)) {
            continue;
        }
        make_history(&lines, 5 + 60 * (i % 5));
        const struct text text = write_line(&lines.line[0], &rig_kinds[i]);
        expect_text(lines.cache, 0, &text);
        for (int j = 0; j < rig_kind_count; j++) {
            if (rig_same_storage(&rig_kinds[j], &rig_kinds[i])) {
                load_into(&rig_kinds[j], &text, &lines.line[0]);
            }
        }
        free(text.bytes);
        lines_close(&lines);
    }
}

static void an_empty_sequence_keeps_its_columns(void **state)
{
    static struct lines lines;
    struct rig_line line = {.columns = 7};
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    rig_fill(lines.cache, 0, &line);
    const struct text text = write_line(&line, &plain);
    assert_int_equal(text.size, 64);
    expect_text(lines.cache, 0, &text);
    assert_int_equal(load(lines.cache, 1, &text, text.size, 0), GQA_OK);
    expect_text(lines.cache, 1, &text);
    free(text.bytes);
    lines_close(&lines);
}

static void types_are_converted_if_asked(void **state)
{
    static struct lines wide, narrow;
    (void)state;
    assert_true(lines_open(&wide, &plain, 0));
    assert_true(lines_open(&narrow, &halved, 0));
    make_history(&wide, 33);
    const struct text f32 = save(wide.cache, 0);
    refused(load(narrow.cache, 0, &f32, f32.size, 0), GQA_ERR_ARG, "bytes",
            "K of GQA_F32; the cache that it goes to stores GQA_BF16: convert must be 1");
    assert_int_equal(load(narrow.cache, 0, &f32, f32.size, 1), GQA_OK);
    lines_compare(&narrow.rig, narrow.cache, 0, &wide.line[0]); /* rounded */

    /* bf16 to f32 loses nothing. */
    const struct text bf16 = save(narrow.cache, 0);
    refused(load(wide.cache, 1, &bf16, bf16.size, 0), GQA_ERR_ARG, "bytes",
            "K of GQA_BF16; the cache that it goes to stores GQA_F32");
    assert_int_equal(load(wide.cache, 1, &bf16, bf16.size, 1), GQA_OK);
    const struct text again = save(wide.cache, 1);
    assert_int_equal(load(narrow.cache, 1, &again, again.size, 1), GQA_OK);
    expect_text(narrow.cache, 1, &bf16);
    assert_int_equal(load(narrow.cache, 2, &bf16, bf16.size, 1), GQA_OK); /* nothing to convert */
    expect_text(narrow.cache, 2, &bf16);
    refused(load(narrow.cache, 3, &bf16, bf16.size, 2), GQA_ERR_ARG, "convert",
            "is 2; it must be 0 or 1");
    free(f32.bytes);
    free(bf16.bytes);
    free(again.bytes);
    lines_close(&wide);
    lines_close(&narrow);
}

/* ---- what is no saved sequence ---- */

/* Loading is refused, with this status if it is not 0, and changes no byte of the cache. */
static void refuse_load(const struct lines *lines, const struct text *text, size_t size,
                        gqa_status want)
{
    unsigned char *const before = malloc(lines->bytes);
    assert_non_null(before);
    memcpy(before, lines->cache, lines->bytes);
    const gqa_status status = load(lines->cache, 1, text, size, 0);
    assert_true(want == GQA_OK ? status == GQA_ERR_ARG || status == GQA_ERR_UNSUPPORTED
                               : status == want);
    assert_memory_equal(before, lines->cache, lines->bytes);
    free(before);
}

static void damage_is_seen(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open(&lines, &plain, 3));
    make_history(&lines, 3);
    const struct text text = save(lines.cache, 0);
    for (size_t at = 0; at < text.size; at++) {
        const unsigned char byte = text.bytes[at];
        for (int bit = 0; bit < 8; bit++) {
            text.bytes[at] = (unsigned char)(byte ^ 1u << bit);
            refuse_load(&lines, &text, text.size, GQA_OK);
        }
        text.bytes[at] = byte;
        refuse_load(&lines, &text, at, GQA_ERR_ARG); /* cut short */
    }
    struct text longer = {calloc(text.size + 8, 1), text.size + 8};
    assert_non_null(longer.bytes);
    memcpy(longer.bytes, text.bytes, text.size);
    refuse_load(&lines, &longer, text.size + 1, GQA_ERR_ARG);
    refuse_load(&lines, &longer, text.size + 8, GQA_ERR_ARG);
    assert_int_equal(load(lines.cache, 1, &text, text.size, 0), GQA_OK);
    free(longer.bytes);
    free(text.bytes);
    lines_close(&lines);
}

/* One u32 of sound bytes replaced, and the checksum made right again. */
struct edit {
    size_t at;
    uint32_t value;
    gqa_status status;
    const char *field, *words;
};

/* Of ten tokens: positions at 64, columns at 104, K at 144, 20 * 10 floats, V at 944. */
static const struct edit edits[] = {
    {0, 0x20617167, GQA_ERR_ARG, "bytes", "are no saved sequence"},
    {8, 2, GQA_ERR_UNSUPPORTED, "bytes", "are of version 2; this library reads version 1"},
    {12, 72, GQA_ERR_ARG, "bytes", "say a header of 72 bytes; it must have 64"},
    {16, 1672, GQA_ERR_ARG, "bytes", "say a size of 1672; size is 1664"},
    {20, 1, GQA_ERR_ARG, "bytes", "say a size of 42949"},
    {24, 11, GQA_ERR_ARG, "size", "is 1664; 11 tokens of 2 KV heads"},
    {24, 0x7fffffff, GQA_ERR_ARG, "size", "is 1664; 2147483647 tokens"},
    {24, 0x80000000, GQA_ERR_ARG, "bytes", "say 2147483648 tokens; the most is 2147483647"},
    {28, 0, GQA_ERR_ARG, "bytes", "give token 0 column"},
    {28, 0xffffffff, GQA_ERR_ARG, "bytes", "say 4294967295 columns"},
    {32, 0x7fffffff, GQA_ERR_ARG, "size", "of 2147483647 KV heads"},
    {32, 0x80000000, GQA_ERR_ARG, "bytes", "say 2147483648 KV heads"},
    {32, 0, GQA_ERR_ARG, "bytes", "say 0 KV heads"},
    {36, 0, GQA_ERR_ARG, "bytes", "of 0 elements of K"},
    {40, 0, GQA_ERR_ARG, "bytes", "and 0 of V"},
    {36, 0x7fffffff, GQA_ERR_ARG, "size", "is 1664"},
    {40, 0xffffffff, GQA_ERR_ARG, "bytes", "elements of a head of V"},
    {44, GQA_U8, GQA_ERR_UNSUPPORTED, "bytes", "say that K is of type 3; it must be GQA_F32 (0)"},
    {44, GQA_F16, GQA_ERR_ARG, "size", "is 1664"},
    {48, GQA_BITS, GQA_ERR_UNSUPPORTED, "bytes", "say that V is of type 4"},
    {48, 9, GQA_ERR_UNSUPPORTED, "bytes", "say that V is of type 9"},
    {48, GQA_I8, GQA_ERR_ARG, "size", "is 1664"},
    {44, GQA_BF16, GQA_ERR_ARG, "size", "is 1664"},
    {52, 1, GQA_ERR_ARG, "bytes", "say a header of 64 bytes"},
    {64, 0x80000000, GQA_ERR_ARG, "bytes", "give token 0 position 2147483648"},
    {104, 0xffffffff, GQA_ERR_ARG, "bytes", "give token 0 column 4294967295; it must be 0 .."},
    {108, 0, GQA_ERR_ARG, "bytes", "give token 1 column 0; it must be"},
};

static void unsound_bytes_are_refused(void **state)
{
    static struct lines lines;
    (void)state;
    assert_true(lines_open(&lines, &plain, 3));
    make_history(&lines, 3);
    assert_int_equal(lines.line[0].length, 10);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        struct text text = write_line(&lines.line[0], &plain);
        assert_int_equal(text.size, 1664);
        text.size = edits[i].at;
        put(&text, edits[i].value, 4);
        text.size = 1664;
        set_checksum(&text);
        refuse_load(&lines, &text, text.size, edits[i].status);
        refused(edits[i].status, edits[i].status, edits[i].field, edits[i].words);
        free(text.bytes);
    }
    lines_close(&lines);
}

/* An odd number of tokens of odd rows in bf16 has gaps behind every part. */
static void gaps_must_be_zero(void **state)
{
    static struct lines lines;
    const size_t gaps[] = {64 + 9 * 4, 104 + 9 * 4, 144 + 360 + 324};
    (void)state;
    assert_true(lines_open(&lines, &halved, 0));
    make_history(&lines, 2);
    struct text text = write_line(&lines.line[0], &halved);
    assert_int_equal(text.size, 144 + 360 + 328);
    expect_text(lines.cache, 0, &text);
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
        assert_int_equal(text.bytes[gaps[i]], 0);
        text.bytes[gaps[i]] = 1;
        set_checksum(&text);
        refuse_load(&lines, &text, text.size, GQA_ERR_ARG);
        refused(GQA_ERR_ARG, GQA_ERR_ARG, "bytes", "are not zero between two parts");
        text.bytes[gaps[i]] = 0;
    }
    set_checksum(&text);
    assert_int_equal(load(lines.cache, 1, &text, text.size, 0), GQA_OK);
    free(text.bytes);
    lines_close(&lines);
}

/* Sound bytes of other heads and dims. */
static void other_sizes_are_refused(void **state)
{
    static struct lines lines;
    const struct {
        size_t at;
        uint32_t value;
        const char *words;
    } sizes[] = {{32, 3, "of 3 KV heads; the cache that it goes to has 2"},
                 {36, 11, "of 11 elements in a head of K; the cache that it goes to has 10"},
                 {40, 8, "of 8 elements in a head of V; the cache that it goes to has 9"}};
    const struct rig_line empty = {.columns = 1};
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct text text = write_line(&empty, &plain);
        text.size = sizes[i].at;
        put(&text, sizes[i].value, 4);
        text.size = 64;
        set_checksum(&text);
        refuse_load(&lines, &text, text.size, GQA_ERR_SHAPE);
        refused(GQA_ERR_SHAPE, GQA_ERR_SHAPE, "bytes", sizes[i].words);
        free(text.bytes);
    }
    lines_close(&lines);
}

static void arguments_and_room(void **state)
{
    static struct lines lines, small;
    size_t size = 0;
    (void)state;
    assert_true(lines_open(&lines, &plain, 0));
    make_history(&lines, 30); /* 37 tokens: three pages */
    const struct text text = save(lines.cache, 0);
    const gqa_cache *const c = lines.cache;
    unsigned char byte = 0;
    refused(gqa_cache_save_size(c, 0, NULL, &refusal), GQA_ERR_ARG, "size", "is NULL");
    refused(gqa_cache_save_size(NULL, 0, &size, &refusal), GQA_ERR_ARG, "cache", "is NULL");
    refused(gqa_cache_save_size(c, 4, &size, &refusal), GQA_ERR_ARG, "sequence", "is 4");
    refused(gqa_cache_save(NULL, 0, text.bytes, text.size, &refusal), GQA_ERR_ARG, "cache", "NULL");
    refused(gqa_cache_save(c, -1, text.bytes, text.size, &refusal), GQA_ERR_ARG, "sequence", "-1");
    refused(gqa_cache_save(c, 0, NULL, text.size, &refusal), GQA_ERR_ARG, "bytes", "is NULL");
    refused(gqa_cache_save(c, 0, &byte, 1, &refusal), GQA_ERR_ARG, "size",
            "is 1; sequence 0 takes");
    assert_int_equal(byte, 0);
    refused(gqa_cache_load(NULL, 1, text.bytes, text.size, 0, &refusal), GQA_ERR_ARG, "cache",
            "is NULL");
    refused(load(lines.cache, 4, &text, text.size, 0), GQA_ERR_ARG, "sequence", "is 4");
    refused(load(lines.cache, 0, &text, text.size, 0), GQA_ERR_ARG, "sequence",
            "is 0, which holds 37 tokens; it must hold none");
    refused(gqa_cache_load(lines.cache, 1, NULL, 100, 0, &refusal), GQA_ERR_ARG, "bytes", "NULL");
    refused(load(lines.cache, 1, &text, 63, 0), GQA_ERR_ARG, "size",
            "is 63; the header of a saved sequence alone has 64 bytes");

    assert_true(lines_open(&small, &plain, 2));
    refuse_load(&small, &text, text.size, GQA_ERR_CACHE_FULL);
    refused(GQA_ERR_CACHE_FULL, GQA_ERR_CACHE_FULL, "cache", "3 new pages; 2 of 2 are free");
    gqa_cache *brief = rig_cache(&small.rig, 1, 36, 0);
    refused(load(brief, 0, &text, text.size, 0), GQA_ERR_CACHE_FULL, "cache", "max_tokens 36");
    gqa_cache_destroy(&brief);
    lines_close(&small);
    free(text.bytes);
    lines_close(&lines);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_layout_loads_any),
        cmocka_unit_test(an_empty_sequence_keeps_its_columns),
        cmocka_unit_test(types_are_converted_if_asked),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(unsound_bytes_are_refused),
        cmocka_unit_test(gaps_must_be_zero),
        cmocka_unit_test(other_sizes_are_refused),
        cmocka_unit_test(arguments_and_room),
    };
    return RUN_TESTS(argc, argv, tests);
}
