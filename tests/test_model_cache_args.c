/* SPDX-License-Identifier: Apache-2.0 */
/* test_model_cache_args.c - what gqa_model_cache refuses: every option and argument, models that
 * are not alike, and bytes that are no saved sequence of a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/saved.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/small_layer.h"

enum { LAYERS = 3, D = 8 };

struct fixture {
    gqa_layer *layer[LAYERS]; /* full, with a window of 10, and with one of 30 */
    const gqa_layer *layers[LAYERS];
    const gqa_cache_options *caches[LAYERS];
    gqa_cache_options one;
    int32_t borrows[LAYERS];
    gqa_model_cache_options options;
};

static void open_fixture(struct fixture *f)
{
    const int32_t windows[LAYERS] = {0, 10, 30};
    memset(f, 0, sizeof *f);
    gqa_model_cache_options_init(&f->options);
    for (int i = 0; i < LAYERS; i++) {
        gqa_config config = attention_config(1, 1, D, D);
        config.sliding_window = windows[i];
        f->layer[i] = attention_layer(&config, NULL);
        f->layers[i] = f->layer[i];
        f->borrows[i] = -1;
    }
    gqa_cache_options_init(&f->one, f->layer[0]);
    f->options.num_layers = LAYERS;
    f->options.max_sequences = 2;
    f->options.max_tokens = 64;
    f->options.layers = f->layers;
    f->options.caches = f->caches;
    f->options.borrows = f->borrows;
}

static void close_fixture(struct fixture *f)
{
    for (int i = 0; i < LAYERS; i++) {
        gqa_destroy(&f->layer[i]);
    }
}

/* gqa_model_cache_size and _create refuse alike. */
static void refuse(const struct fixture *f, gqa_status want, const char *field, const char *words)
{
    gqa_model_cache *model = NULL;
    size_t size = 7;
    refused(gqa_model_cache_size(&f->options, NULL, &size, &refusal), want, field, words);
    assert_int_equal(size, 7);
    refused(gqa_model_cache_create(&model, &f->options, &refusal), want, field, words);
    assert_null(model);
}

static void options_are_checked(void **state)
{
    struct fixture f;
    gqa_model_cache *model = NULL;
    size_t size = 0, sizes[LAYERS];
    (void)state;
    open_fixture(&f);
    refused(gqa_model_cache_size(&f.options, NULL, NULL, &refusal), GQA_ERR_ARG, "size", "is NULL");
    refused(gqa_model_cache_size(NULL, NULL, &size, &refusal), GQA_ERR_ARG, "options", "is NULL");
    refused(gqa_model_cache_create(NULL, &f.options, &refusal), GQA_ERR_ARG, "out", "is NULL");
    f.options.num_layers = 0;
    refuse(&f, GQA_ERR_ARG, "options.num_layers", "is 0; it must be at least 1");
    f.options.num_layers = LAYERS;
    f.options.layers = NULL;
    refuse(&f, GQA_ERR_ARG, "options.layers", "is NULL");
    f.options.layers = f.layers;
    f.layers[1] = NULL;
    refuse(&f, GQA_ERR_ARG, "options.layers", "[1] is NULL");
    f.layers[1] = f.layer[1];
    f.borrows[1] = 1;
    refuse(&f, GQA_ERR_ARG, "options.borrows", "[1] is 1; it must be an earlier layer, 0 .. 0");
    f.borrows[1] = -2;
    refuse(&f, GQA_ERR_ARG, "options.borrows", "[1] is -2");
    f.borrows[1] = 0;
    f.caches[1] = &f.one;
    refuse(&f, GQA_ERR_ARG, "options.caches",
           "[1] must be NULL: the layer borrows the cache of "
           "layer 0");
    f.caches[1] = NULL;
    f.borrows[1] = -1;
    f.options.max_sequences = -1;
    refuse(&f, GQA_ERR_ARG, "options.max_sequences",
           "is -1; it must be positive, or 0 for 1 (layer 0)");
    f.options.max_sequences = 2;
    f.options.max_tokens = 0;
    refuse(&f, GQA_ERR_ARG, "options.max_tokens", "is 0; it must be at least 1 (layer 0)");
    f.options.max_tokens = 64;
    f.options.call_tokens = -3;
    refuse(&f, GQA_ERR_ARG, "options.call_tokens", "is -3");
    f.options.call_tokens = 0;
    f.caches[2] = &f.one;
    f.one.page_size = 20;
    refuse(&f, GQA_ERR_ARG, "options.page_size", "(layer 2)");
    f.one.page_size = 16;
    f.one.struct_size = 1;
    refuse(&f, GQA_ERR_ARG, "options.caches", "(layer 2)");
    f.one.struct_size = sizeof f.one;
    f.one.max_tokens = -7; /* not looked at */
    f.one.memory_size = 1;

    /* A layer that sees 30 tokens on a ring of 10. */
    f.borrows[2] = 1;
    f.caches[2] = NULL;
    assert_int_equal(gqa_model_cache_size(&f.options, sizes, &size, NULL), GQA_OK);
    assert_int_equal(sizes[2], 0);
    assert_true(sizes[0] >= sizes[1] && sizes[0] + sizes[1] < size);
    assert_true(size < sizes[0] + sizes[1] + 4096);
    refused(gqa_model_cache_create(&model, &f.options, &refusal), GQA_ERR_ARG, "cache",
            "its sliding_window is 30, its attention_chunk_size 0 (layer 2)");
    f.borrows[2] = 0; /* on a full one it may; and from there on another one */
    f.borrows[1] = 0;
    assert_int_equal(gqa_model_cache_create(&model, &f.options, &refusal), GQA_OK);
    assert_ptr_equal(gqa_model_cache_layer(model, 2), gqa_model_cache_layer(model, 0));
    gqa_model_cache_destroy(&model);
    f.borrows[2] = 1;
    assert_int_equal(gqa_model_cache_create(&model, &f.options, &refusal), GQA_OK);
    assert_ptr_equal(gqa_model_cache_layer(model, 2), gqa_model_cache_layer(model, 0));
    assert_null(gqa_model_cache_layer(model, -1));
    assert_null(gqa_model_cache_layer(model, LAYERS));
    assert_null(gqa_model_cache_layer(NULL, 0));
    gqa_model_cache_destroy(&model);
    close_fixture(&f);
}

static void memory_is_checked(void **state)
{
    struct fixture f;
    gqa_model_cache *model = NULL;
    size_t size = 0;
    (void)state;
    open_fixture(&f);
    assert_int_equal(gqa_model_cache_size(&f.options, NULL, &size, NULL), GQA_OK);
    unsigned char *const block = aligned_alloc(64, size + 64);
    assert_non_null(block);
    f.options.memory_size = size;
    refused(gqa_model_cache_create(&model, &f.options, &refusal), GQA_ERR_ARG, "options.memory",
            "is NULL, but memory_size is");
    f.options.memory = block + 8;
    refused(gqa_model_cache_create(&model, &f.options, &refusal), GQA_ERR_ARG, "options.memory",
            "it must be aligned to 64");
    f.options.memory = block;
    f.options.memory_size = size - 1;
    refused(gqa_model_cache_create(&model, &f.options, &refusal), GQA_ERR_ARG,
            "options.memory_size", "as gqa_model_cache_size says");
    f.options.memory_size = size;
    block[size] = 0x5a;
    assert_int_equal(gqa_model_cache_create(&model, &f.options, NULL), GQA_OK);
    gqa_model_cache_destroy(&model);
    assert_int_equal(block[size], 0x5a);
    free(block);
    close_fixture(&f);
}

static void append(gqa_model_cache *model, int32_t sequence, int32_t n)
{
    float x[64 * D] = {1};
    const gqa_tensor rows = gqa_tensor_3d(x, GQA_F32, n, 1, D);
    for (int32_t i = 0; i < LAYERS; i++) {
        assert_int_equal(gqa_cache_append(gqa_model_cache_layer(model, i), sequence, &rows, &rows,
                                          NULL, &refusal),
                         GQA_OK);
    }
}

static void arguments_are_checked(void **state)
{
    struct fixture f;
    gqa_model_cache *model = NULL, *other = NULL;
    const int32_t twice[2] = {1, 1}, many[2] = {1, 70}, ids[2] = {0, 1}, bad[1] = {2};
    int32_t length = 0;
    size_t size = 0;
    (void)state;
    open_fixture(&f);
    assert_int_equal(gqa_model_cache_create(&model, &f.options, NULL), GQA_OK);
    f.options.num_layers = 2;
    assert_int_equal(gqa_model_cache_create(&other, &f.options, NULL), GQA_OK);
    refused(gqa_model_cache_length(NULL, 0, &length, &refusal), GQA_ERR_ARG, "model", "is NULL");
    refused(gqa_model_cache_length(model, 2, &length, &refusal), GQA_ERR_ARG, "sequence",
            "is 2; it must be 0 .. 1");
    refused(gqa_model_cache_length(model, 0, NULL, &refusal), GQA_ERR_ARG, "length", "is NULL");
    refused(gqa_model_cache_room(NULL, ids, ids, 1, &refusal), GQA_ERR_ARG, "model", "is NULL");
    refused(gqa_model_cache_room(model, ids, ids, -1, &refusal), GQA_ERR_ARG, "count", "is -1");
    refused(gqa_model_cache_room(model, NULL, ids, 1, &refusal), GQA_ERR_ARG, "sequences",
            "is NULL");
    refused(gqa_model_cache_room(model, ids, NULL, 1, &refusal), GQA_ERR_ARG, "n", "is NULL");
    refused(gqa_model_cache_room(model, bad, ids, 1, &refusal), GQA_ERR_ARG, "sequences", "is 2");
    refused(gqa_model_cache_room(model, ids, (const int32_t[]){-1}, 1, &refusal), GQA_ERR_ARG, "n",
            "[0] is -1; it must be at least 0");
    refused(gqa_model_cache_room(model, twice, ids, 2, &refusal), GQA_ERR_ARG, "sequences",
            "[0] and [1] are both 1");
    refused(gqa_model_cache_room(model, ids, many, 2, &refusal), GQA_ERR_CACHE_FULL, "cache",
            "70 more exceed max_tokens 64");
    refused(gqa_cache_room(NULL, ids, ids, 1, &refusal), GQA_ERR_ARG, "cache", "is NULL");
    assert_int_equal(gqa_model_cache_room(model, NULL, NULL, 0, NULL), GQA_OK);
    refused(gqa_model_cache_truncate(NULL, 0, 0, &refusal), GQA_ERR_ARG, "model", "is NULL");
    refused(gqa_model_cache_truncate(model, 0, 1, &refusal), GQA_ERR_ARG, "length", "(layer 0)");
    refused(gqa_model_cache_fork(NULL, 0, 1, &refusal), GQA_ERR_ARG, "model", "is NULL");
    refused(gqa_model_cache_fork(model, 0, 0, &refusal), GQA_ERR_ARG, "to", "(layer 0)");
    refused(gqa_model_cache_keep(NULL, 0, 0, NULL, 0, &refusal), GQA_ERR_ARG, "model", "is NULL");
    refused(gqa_model_cache_keep(model, 0, 1, NULL, 0, &refusal), GQA_ERR_ARG, "last", "(layer 0)");
    refused(gqa_model_cache_copy(NULL, 0, model, 1, 0, &refusal), GQA_ERR_ARG, "to", "is NULL");
    refused(gqa_model_cache_copy(model, 0, NULL, 1, 0, &refusal), GQA_ERR_ARG, "from", "is NULL");
    refused(gqa_model_cache_copy(model, 0, other, 1, 0, &refusal), GQA_ERR_ARG, "from",
            "has 2 caches; the model that it goes to 3");
    refused(gqa_model_cache_copy(model, 0, model, 1, 2, &refusal), GQA_ERR_ARG, "convert", "is 2");
    refused(gqa_model_cache_save_size(model, 0, NULL, &refusal), GQA_ERR_ARG, "size", "is NULL");
    refused(gqa_model_cache_save_size(NULL, 0, &size, &refusal), GQA_ERR_ARG, "model", "is NULL");

    /* A cut that the ring of layer 1 refuses, whose pages are of 16, is done in no layer. */
    gqa_model_cache_destroy(&model);
    gqa_cache_options_init(&f.one, f.layer[1]);
    gqa_cache_options_retain(&f.one, f.layer[1]);
    f.one.page_size = 16;
    f.caches[1] = &f.one;
    f.options.num_layers = LAYERS;
    assert_int_equal(gqa_model_cache_create(&model, &f.options, NULL), GQA_OK);
    append(model, 0, 40);
    append(model, 0, 1);
    refused(gqa_model_cache_truncate(model, 0, 20, &refusal), GQA_ERR_ARG, "length",
            "has given back its first 16 tokens, which the next one can see (layer 1)");
    assert_int_equal(gqa_model_cache_length(model, 0, &length, NULL), GQA_OK);
    assert_int_equal(length, 41);
    assert_int_equal(gqa_model_cache_truncate(model, 0, 40, &refusal), GQA_OK);

    /* Sequence 1 holds a token in layer 2 alone: nothing may become it, in no layer. */
    float x[D] = {1};
    const gqa_tensor row = gqa_tensor_3d(x, GQA_F32, 1, 1, D);
    assert_int_equal(gqa_cache_append(gqa_model_cache_layer(model, 2), 1, &row, &row, NULL, NULL),
                     GQA_OK);
    refused(gqa_model_cache_fork(model, 0, 1, &refusal), GQA_ERR_ARG, "to",
            "is 1, which holds 1 tokens; it must hold none: truncate it to 0 (layer 2)");
    refused(gqa_model_cache_copy(model, 1, model, 0, 0, &refusal), GQA_ERR_ARG, "to_sequence",
            "(layer 2)");
    assert_int_equal(gqa_cache_length(gqa_model_cache_layer(model, 0), 1), 0);
    assert_int_equal(gqa_cache_length(gqa_model_cache_layer(model, 1), 1), 0);
    gqa_model_cache_destroy(&model);
    gqa_model_cache_destroy(&other);
    close_fixture(&f);
}

static void put(unsigned char *bytes, size_t at, uint64_t x)
{
    for (int i = 0; i < 8; i++) {
        bytes[at + (size_t)i] = (unsigned char)(x >> 8 * i);
    }
}

/* Bytes of a sequence of 20 tokens: every bit of the head, every cut, and parts that do not fit. */
static void bytes_are_checked(void **state)
{
    struct fixture f;
    gqa_model_cache *model = NULL, *other = NULL;
    size_t size = 0;
    int32_t length = -1;
    (void)state;
    open_fixture(&f);
    assert_int_equal(gqa_model_cache_create(&model, &f.options, NULL), GQA_OK);
    append(model, 0, 20);
    assert_int_equal(gqa_model_cache_save_size(model, 0, &size, NULL), GQA_OK);
    unsigned char *const bytes = malloc(size + 8), *const part = malloc(size);
    assert_non_null(bytes);
    assert_non_null(part);
    refused(gqa_model_cache_save(model, 0, NULL, size, &refusal), GQA_ERR_ARG, "bytes", "is NULL");
    refused(gqa_model_cache_save(model, 0, bytes, size + 1, &refusal), GQA_ERR_ARG, "size",
            "(gqa_model_cache_save_size)");
    assert_int_equal(gqa_model_cache_save(model, 0, bytes, size, NULL), GQA_OK);
    refused(gqa_model_cache_load(NULL, 1, bytes, size, 0, &refusal), GQA_ERR_ARG, "model",
            "is NULL");
    refused(gqa_model_cache_load(model, 1, NULL, size, 0, &refusal), GQA_ERR_ARG, "bytes",
            "is NULL");
    refused(gqa_model_cache_load(model, 0, bytes, size, 0, &refusal), GQA_ERR_ARG, "sequence",
            "which holds 20 tokens");
    refused(gqa_model_cache_load(model, 1, bytes, size, 3, &refusal), GQA_ERR_ARG, "convert",
            "is 3");
    const size_t head = 64 + 8 * LAYERS;
    for (size_t bit = 0; bit < 8 * head; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_true(gqa_model_cache_load(model, 1, bytes, size, 0, NULL) < GQA_OK);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (size_t n = 0; n < size; n += n < 200 ? 1 : 37) {
        unsigned char *const cut = malloc(n + 1);
        assert_non_null(cut);
        memcpy(cut, bytes, n);
        assert_int_equal(gqa_model_cache_load(model, 1, cut, n, 0, NULL), GQA_ERR_ARG);
        free(cut);
    }
    assert_int_equal(gqa_model_cache_load(model, 1, bytes, size + 8, 0, NULL), GQA_ERR_ARG);
    bytes[size - 1] ^= 1; /* in the last layer's V */
    refused(gqa_model_cache_load(model, 1, bytes, size, 0, &refusal), GQA_ERR_ARG, "bytes",
            "(layer 2)");
    bytes[size - 1] ^= 1;
    f.options.num_layers = 2;
    assert_int_equal(gqa_model_cache_create(&other, &f.options, NULL), GQA_OK);
    refused(gqa_model_cache_load(other, 1, bytes, size, 0, &refusal), GQA_ERR_ARG, "bytes",
            "are of 3 caches; the model has 2");
    gqa_model_cache_destroy(&other);
    for (int32_t i = 0; i < LAYERS; i++) {
        assert_int_equal(gqa_cache_length(gqa_model_cache_layer(model, i), 1), 0);
    }
    put(bytes, size, 0); /* eight bytes more, of which the head knows, and no part */
    put(bytes, 16, size + 8);
    put(bytes, 56, gqa__saved_checksum(bytes, head));
    refused(gqa_model_cache_load(model, 1, bytes, size + 8, 0, &refusal), GQA_ERR_ARG, "bytes",
            "left (layer 2)");
    put(bytes, 16, size);
    put(bytes, 56, gqa__saved_checksum(bytes, head));

    /* The first layer's part replaced by one of 19 tokens. */
    size_t was = 0, shorter = 0;
    gqa_cache *const first = gqa_model_cache_layer(model, 0);
    assert_int_equal(gqa_cache_save_size(first, 0, &was, NULL), GQA_OK);
    assert_int_equal(gqa_cache_truncate(first, 0, 19, NULL), GQA_OK);
    assert_int_equal(gqa_cache_save_size(first, 0, &shorter, NULL), GQA_OK);
    memcpy(part, bytes, head);
    assert_int_equal(gqa_cache_save(first, 0, part + head, shorter, NULL), GQA_OK);
    memcpy(part + head + shorter, bytes + head + was, size - head - was);
    put(part, 16, size - was + shorter);
    put(part, 64, shorter);
    put(part, 56, gqa__saved_checksum(part, head));
    refused(gqa_model_cache_load(model, 1, part, size - was + shorter, 0, &refusal), GQA_ERR_ARG,
            "bytes", "are of 20 tokens, and of 19 in layer 0");
    assert_int_equal(gqa_model_cache_truncate(model, 0, 0, NULL), GQA_OK);
    assert_int_equal(gqa_model_cache_load(model, 1, bytes, size, 0, &refusal), GQA_OK);
    assert_int_equal(gqa_model_cache_length(model, 1, &length, NULL), GQA_OK);
    assert_int_equal(length, 20);
    free(bytes);
    free(part);
    gqa_model_cache_destroy(&model);
    close_fixture(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(memory_is_checked),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(bytes_are_checked),
    };
    return RUN_TESTS(argc, argv, tests);
}
