/* SPDX-License-Identifier: Apache-2.0 */
/* test_ring_limits.c - what rings refuse, and by which name: layers that see more, tokens that have
 * left, cuts too far back; and how many pages a call needs, exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/ring.h"
#include "cache/view.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/sequence_lines.h"
#include "support/small_layer.h"

static const struct rig_kind window10 = {GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_F32, 16, 1, 10,
                                         false};
static const struct rig_more rings = {.rings = true};

/* A layer of attention alone, on one KV head. */
static gqa_layer *layer_of(int32_t window, int32_t chunk, gqa_backend backend)
{
    gqa_config config = attention_config(1, 1, 8, 8);
    config.sliding_window = window;
    config.attention_chunk_size = chunk;
    config.backend = backend;
    gqa_layer *layer = NULL;
    if (gqa_create(&layer, &config, NULL, NULL, &refusal) != GQA_OK) {
        fail_msg("gqa_create: %s", refusal.message);
    }
    return layer;
}

static gqa_status make(gqa_cache **cache, const gqa_layer *layer, int32_t window, int32_t chunk)
{
    gqa_cache_options options;
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 400;
    options.page_size = 16;
    options.retain_window = window;
    options.retain_chunk = chunk;
    return gqa_cache_create(cache, layer, &options, &refusal);
}

/* A query at the end of an empty cache: may the layer use it? */
static gqa_status use(const gqa_layer *layer, const gqa_cache *cache)
{
    float q[8] = {0}, y[8];
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(q, GQA_F32, 1, 1, 8);
    out.output = gqa_tensor_3d(y, GQA_F32, 1, 1, 8);
    return gqa_attend(layer, cache, &in, &out, NULL, 0, &refusal);
}

/* window, chunk of the layer; window, chunk that are kept. */
static const struct {
    int32_t window, chunk, retain_window, retain_chunk;
    bool sees_less;
} pairs[] = {
    {10, 0, 10, 0, true},   {10, 0, 9, 0, false},  {10, 0, 11, 0, true},   {0, 0, 300, 0, false},
    {0, 16, 16, 0, true},   {0, 16, 15, 0, false}, {0, 16, 0, 16, true},   {0, 16, 0, 48, true},
    {0, 16, 0, 40, false},  {0, 16, 0, 8, false},  {10, 0, 0, 100, false}, {10, 16, 10, 16, true},
    {10, 16, 10, 8, false}, {10, 16, 16, 0, true}, {20, 16, 16, 0, true},  {20, 16, 15, 0, false},
    {10, 0, 10, 16, false}, {0, 0, 0, 16, false},  {0, 0, 0, 0, true},
};

static void layers_that_see_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        gqa_layer *layer = layer_of(pairs[i].window, pairs[i].chunk, GQA_BACKEND_AUTO);
        gqa_layer *least = layer_of(1, 1, GQA_BACKEND_AUTO); /* sees itself */
        gqa_cache *own = NULL, *cache = NULL;
        const gqa_status status = make(&own, layer, pairs[i].retain_window, pairs[i].retain_chunk);
        assert_int_equal(make(&cache, least, pairs[i].retain_window, pairs[i].retain_chunk),
                         GQA_OK);
        if (pairs[i].sees_less) {
            assert_int_equal(status, GQA_OK);
            assert_int_equal(use(layer, cache), GQA_OK);
        } else {
            refused(status, GQA_ERR_ARG,
                    pairs[i].retain_window > 0 ? "options.retain_window" : "options.retain_chunk",
                    "the layer can see more");
            refused(use(layer, cache), GQA_ERR_ARG, "cache", "the layer can see more");
        }
        gqa_cache_destroy(&own);
        gqa_cache_destroy(&cache);
        gqa_destroy(&least);
        gqa_destroy(&layer);
    }
}

static void options_are_checked(void **state)
{
    gqa_layer *layer = layer_of(10, 16, GQA_BACKEND_AUTO);
    gqa_layer *neuron = layer_of(10, 0, GQA_BACKEND_NEURON);
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    (void)state;
    refused(make(&cache, layer, -1, 0), GQA_ERR_ARG, "options.retain_window",
            "is -1; it must be at least 0");
    refused(make(&cache, layer, 0, -5), GQA_ERR_ARG, "options.retain_chunk", "is -5");
    refused(make(&cache, neuron, 10, 0), GQA_ERR_UNSUPPORTED, "options.retain_window",
            "backend neuron");
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 1000;
    assert_int_equal(options.retain_window + options.retain_chunk, 0); /* only if asked */
    options.call_tokens = -1;
    refused(gqa_cache_create(&cache, layer, &options, &refusal), GQA_ERR_ARG, "options.call_tokens",
            "is -1");
    gqa_cache_options_retain(&options, layer);
    assert_int_equal(options.retain_window, 10);
    assert_int_equal(options.retain_chunk, 16);
    gqa_cache_options_retain(&options, neuron);
    assert_int_equal(options.retain_window + options.retain_chunk, 0);
    gqa_cache_options_retain(&options, layer);
    gqa_cache_options_retain(&options, NULL);
    assert_int_equal(options.retain_window + options.retain_chunk, 0);
    options.retain_window = 7;
    options.struct_size = (uint32_t)offsetof(gqa_cache_options, retain_window);
    gqa_cache_options_retain(&options, layer); /* not beyond the caller's struct */
    assert_int_equal(options.retain_window, 7);

    /* 9 tokens before a call of 1, which begin anywhere in a page of 128: 137 slots at most. */
    size_t ring = 0, two = 0;
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 100000;
    options.call_tokens = 1;
    gqa_cache_options_retain(&options, layer);
    assert_int_equal(gqa_cache_size(layer, &options, &ring, NULL), GQA_OK);
    options.num_pages = 2;
    assert_int_equal(gqa_cache_size(layer, &options, &two, NULL), GQA_OK);
    assert_int_equal(ring, two);
    gqa_destroy(&layer);
    gqa_destroy(&neuron);
}

/* One call with n more tokens for each, at the next positions. */
static gqa_status add(struct lines *lines, const int32_t *sequences, int32_t count, int32_t n)
{
    struct rig_piece pieces[RIG_BATCH];
    const struct rig_call call = {pieces, count, n, false};
    for (int32_t b = 0; b < count; b++) {
        const struct rig_line *const line = &lines->line[sequences[b]];
        pieces[b] = (struct rig_piece){.sequence = sequences[b], .n = n};
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = line->length + i;
            pieces[b].token[i] = (struct rig_token){(uint64_t)at + 1, at, at};
        }
    }
    const gqa_status status =
        rig_forward(&lines->rig, lines->cache, &call, lines->line, &lines->output);
    for (int32_t b = 0; b < count && status == GQA_OK; b++) {
        assert_true(
            rig_as_alone(&lines->rig, &call, b, &lines->line[sequences[b]], &lines->output));
        rig_grow(&lines->line[sequences[b]], &pieces[b], n);
        lines_compare(&lines->rig, lines->cache, sequences[b], &lines->line[sequences[b]]);
    }
    return status;
}

/* 100 tokens at positions 0 .. 99 in calls of one: of the last ten, 90 .. 99, and page 5 (80 .. 95)
 * are held. */
static void open_hundred(struct lines *lines, int64_t pages)
{
    assert_true(lines_open_more(lines, &window10, &rings, pages));
    for (int32_t i = 0; i < 100; i++) {
        assert_int_equal(add(lines, (const int32_t[]){0}, 1, 1), GQA_OK);
    }
    lines_compare(&lines->rig, lines->cache, 0, &lines->line[0]);
    assert_int_equal(gqa_cache_first(lines->cache, 0), 80);
    assert_int_equal(gqa_cache_length(lines->cache, 0), 100);
}

static void cuts_too_far_back(void **state)
{
    static struct lines lines;
    const int32_t kept[1] = {0};
    (void)state;
    open_hundred(&lines, 4);
    gqa_cache *const c = lines.cache;
    assert_int_equal(gqa_cache_free_pages(c), 2);
    assert_int_equal(gqa_cache_first(c, -1), -1);
    assert_int_equal(gqa_cache_first(c, RIG_BATCH), -1);
    assert_int_equal(gqa_cache_first(NULL, 0), -1);
    /* A next token at 89 sees 80 .. 89; at 88 it would see 79. */
    refused(gqa_cache_truncate(c, 0, 88, &refusal), GQA_ERR_ARG, "length",
            "is 88: sequence 0 would go on after token 87, but has given back its first 80 tokens");
    refused(gqa_cache_truncate(c, 0, 80, &refusal), GQA_ERR_ARG, "length", "is 80: sequence 0");
    refused(gqa_cache_truncate(c, 0, 1, &refusal), GQA_ERR_ARG, "length", "is 1: sequence 0");
    refused(gqa_cache_keep(c, 0, 21, kept, 1, &refusal), GQA_ERR_ARG, "last",
            "is 21; it must be 0 .. 20, the tokens that sequence 0 holds");
    refused(gqa_cache_keep(c, 0, 20, kept, 1, &refusal), GQA_ERR_ARG, "n", "after token 80");
    refused(gqa_cache_keep(c, 0, 20, NULL, 0, &refusal), GQA_ERR_ARG, "n", "after token 79");
    refused(gqa_cache_keep(c, 0, 12, kept, 0, &refusal), GQA_ERR_ARG, "n", "after token 87");
    lines_compare(&lines.rig, c, 0, &lines.line[0]);
    lines_keep(&lines, 0, 11, kept, 0); /* token 88 is the last one */
    assert_int_equal(lines_append_one(&lines, 0), GQA_OK);
    lines_cut(&lines, 0, 89);
    lines_compare(&lines.rig, c, 0, &lines.line[0]);
    lines_cut(&lines, 0, 0);
    assert_int_equal(gqa_cache_free_pages(c), 4);
    assert_int_equal(gqa_cache_first(c, 0), 0);
    lines_close(&lines);
}

static void reading_what_has_left(void **state)
{
    static struct lines lines;
    float k[RIG_HKV * RIG_DK * 20], q[RIG_HQ * RIG_DK * 30] = {0}, y[RIG_HQ * RIG_DV * 30];
    int32_t positions[30];
    const gqa_tensor one = gqa_tensor_3d(k, GQA_F32, RIG_HKV, 1, RIG_DK);
    gqa_attend_inputs in;
    gqa_attend_output out;
    (void)state;
    open_hundred(&lines, 0);
    refused(gqa_cache_read(lines.cache, 0, 79, &one, NULL, NULL, &refusal), GQA_ERR_ARG, "first",
            "is 79; it must be 80 .. 100, the tokens that sequence 0 holds");
    assert_int_equal(gqa_cache_read(lines.cache, 0, 80, &one, NULL, positions, &refusal), GQA_OK);
    assert_int_equal(positions[0], 80);

    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    for (int32_t n = 10; n <= 30; n++) { /* the last n tokens ask */
        in.query = gqa_tensor_3d(q, GQA_F32, n, RIG_HQ, RIG_DK);
        out.output = gqa_tensor_3d(y, GQA_F32, n, RIG_HQ, RIG_DV);
        const gqa_status status =
            gqa_attend(lines.rig.layer, lines.cache, &in, &out, NULL, 0, &refusal);
        if (n <= 11) {
            assert_int_equal(status, GQA_OK);
        } else if (n <= 20) { /* token 100 - n is held, but not all that it sees */
            refused(status, GQA_ERR_ARG, "inputs.position_ids", "has given back what lies up to");
        } else {
            refused(status, GQA_ERR_ARG, "inputs.lengths", "which holds only 20: tokens 80 .. 99");
        }
    }
    for (int32_t p = 87; p < 91; p++) { /* any position that a query says */
        positions[0] = 99;
        positions[1] = p;
        in.position_ids = positions;
        in.query.shape[0] = out.output.shape[0] = 2;
        in.query.stride[0] = out.output.stride[0] = 0;
        const gqa_status status =
            gqa_attend(lines.rig.layer, lines.cache, &in, &out, NULL, 0, &refusal);
        if (p >= 89) {
            assert_int_equal(status, GQA_OK);
        } else {
            refused(status, GQA_ERR_ARG, "inputs.position_ids", "a token at position");
        }
    }
    /* A part of the keys that has left: nothing to see, and nothing is read. */
    in.range_end = 256;
    positions[1] = 95;
    assert_int_equal(gqa_attend(lines.rig.layer, lines.cache, &in, &out, NULL, 0, NULL), GQA_OK);
    lines_close(&lines);
}

/* A mask lets positions fall, but not to what has left. */
static void drafts_that_see_too_far(void **state)
{
    static struct lines lines;
    struct rig_piece piece = {.n = 2};
    const struct rig_call call = {&piece, 1, 2, true};
    (void)state;
    open_hundred(&lines, 0);
    unsigned char *const before = malloc(lines.bytes);
    assert_non_null(before);
    memcpy(before, lines.cache, lines.bytes);
    piece.token[0] = (struct rig_token){1, 100, 100};
    piece.token[1] = (struct rig_token){2, 88, 101};
    assert_int_equal(rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output),
                     GQA_ERR_ARG);
    assert_string_equal(lines.rig.err.field, "inputs.position_ids");
    assert_non_null(strstr(lines.rig.err.message, "a token at position 88, which can see position "
                                                  "79; sequence 0 has given back what lies up to "
                                                  "position 79"));
    assert_memory_equal(before, lines.cache, lines.bytes);
    piece.token[1].position = 89;
    assert_int_equal(rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output),
                     GQA_OK);
    assert_true(rig_as_alone(&lines.rig, &call, 0, &lines.line[0], &lines.output));
    free(before);
    lines_close(&lines);
}

/* Among what left the latest position counts, not that of the last token. */
static void positions_that_fell(void **state)
{
    static struct lines lines;
    struct rig_piece piece = {.n = 1};
    const struct rig_call call = {&piece, 1, 1, true};
    (void)state;
    assert_true(lines_open_more(&lines, &window10, &rings, 0));
    for (int32_t i = 0; i < 70; i++) { /* 0 .. 4, 30, 6, 7 .. 15, 50 .. */
        const int32_t position = i == 5 ? 30 : i < 16 ? i : i + 34;
        piece.token[0] = (struct rig_token){(uint64_t)i + 1, position, i};
        assert_int_equal(rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output),
                         GQA_OK);
        rig_grow(&lines.line[0], &piece, 1);
        if (gqa_cache_first(lines.cache, 0) == 16) {
            break;
        }
    }
    for (int32_t position = 39; position < 41; position++) { /* sees 30; does not */
        piece.token[0] = (struct rig_token){99, position, lines.line[0].columns};
        const gqa_status status =
            rig_forward(&lines.rig, lines.cache, &call, lines.line, &lines.output);
        assert_int_equal(status, position == 39 ? GQA_ERR_ARG : GQA_OK);
    }
    lines_close(&lines);
}

/* A call may need the pages that it gives back, and those that others share do not come free. */
static void pages_are_counted_exactly(void **state)
{
    static struct lines lines;
    const int32_t both[2] = {0, 1}, one[1] = {1}, two[1] = {2};
    (void)state;
    open_hundred(&lines, 3);                           /* pages 5 and 6 of the sequence */
    assert_int_equal(add(&lines, both, 1, 7), GQA_OK); /* the first new token sees page 5 */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 1);
    assert_int_equal(add(&lines, both, 1, 33), GQA_OK); /* pages 7 and 8 for it */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    assert_int_equal(gqa_cache_first(lines.cache, 0), 96);
    assert_int_equal(add(&lines, both, 1, 36), GQA_OK); /* 9 and 10 for 6 and 7 */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    assert_int_equal(gqa_cache_first(lines.cache, 0), 128);
    lines_cut(&lines, 0, 145); /* pages 8 and 9 */
    lines_fork(&lines, 0, 1);
    assert_int_equal(add(&lines, two, 1, 1), GQA_OK);
    lines_refuse_full(&lines, both, 2, "needs 1 pages; 0 of 3 are free"); /* a copy of 9 */
    lines_close(&lines);

    assert_true(lines_open_more(&lines, &window10, &rings, 3));
    assert_int_equal(add(&lines, one, 1, 48), GQA_OK);
    lines_fork(&lines, 1, 0);
    unsigned char *const before = malloc(lines.bytes);
    assert_non_null(before);
    memcpy(before, lines.cache, lines.bytes);
    assert_int_equal(add(&lines, one, 1, 17), GQA_ERR_CACHE_FULL); /* 0 and 1 are not free */
    assert_non_null(strstr(lines.rig.err.message, "needs 2 pages; 0 of 3 are free"));
    assert_memory_equal(before, lines.cache, lines.bytes);
    assert_int_equal(add(&lines, both, 2, 16), GQA_OK); /* both leave them */
    assert_int_equal(gqa_cache_free_pages(lines.cache), 0);
    free(before);
    lines_close(&lines);
}

/* Appending plain keys gives pages back in the same way. */
static void append_of_plain_keys(void **state)
{
    static struct lines lines;
    float k[40 * RIG_HKV * RIG_DK] = {0}, v[40 * RIG_HKV * RIG_DV] = {0};
    (void)state;
    assert_true(lines_open_more(&lines, &window10, &rings, 4));
    for (int32_t i = 0; i < 12; i++) {
        const int32_t n = i % 3 == 0 ? 40 : 1;
        const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, n, RIG_HKV, RIG_DK);
        const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, n, RIG_HKV, RIG_DV);
        assert_int_equal(gqa_cache_append(lines.cache, 0, &key, &value, NULL, &refusal), GQA_OK);
    }
    assert_int_equal(gqa_cache_length(lines.cache, 0), 168);
    assert_int_equal(gqa_cache_first(lines.cache, 0), 144);
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, 40, RIG_HKV, RIG_DK);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, 40, RIG_HKV, RIG_DV);
    assert_int_equal(gqa_cache_append(lines.cache, 1, &key, &value, NULL, &refusal),
                     GQA_ERR_CACHE_FULL);
    lines_close(&lines);
}

/* What is told to be read soon lies in pages that the sequence has. */
static void prefetches_are_of_held_pages(void **state)
{
    static struct lines lines;
    struct gqa__prefetch list[GQA__BLOCK_PREFETCHES];
    struct gqa__kv_view view;
    (void)state;
    open_hundred(&lines, 0);
    gqa__view_cache(&view, lines.cache, 0);
    const int32_t n = gqa__view_prefetch(&view, 0, 0, 256, list);
    const struct gqa__sequence *const sequence = &lines.cache->sequences[0];
    assert_int_equal(n, 4);
    assert_ptr_equal(list[0].at, gqa__cache_k(lines.cache, sequence->pages[5], 0));
    assert_ptr_equal(list[2].at, gqa__cache_k(lines.cache, sequence->pages[6], 0));
    lines_close(&lines);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_that_see_more),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(cuts_too_far_back),
        cmocka_unit_test(reading_what_has_left),
        cmocka_unit_test(drafts_that_see_too_far),
        cmocka_unit_test(pages_are_counted_exactly),
        cmocka_unit_test(positions_that_fell),
        cmocka_unit_test(append_of_plain_keys),
        cmocka_unit_test(prefetches_are_of_held_pages),
    };
    return RUN_TESTS(argc, argv, tests);
}
