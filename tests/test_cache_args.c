/* SPDX-License-Identifier: Apache-2.0 */
/* test_cache_args.c - the cache's arguments, defaults and memory: each refusal names its field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/cache_kinds.h"
#include "support/guarded_buffer.h"
#include "support/host.h"
#include "support/program.h"

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

struct fixture {
    struct gqa__kernels kernels;
    struct gqa_layer layer;
    struct host host;
    gqa_cache_options options;
    gqa_cache *cache;
};

static void open_fixture(struct fixture *fixture, const struct cache_kind *kind)
{
    memset(fixture, 0, sizeof *fixture);
    cache_kind_layer(&fixture->layer, &fixture->kernels, kind, 2, 24, 16);
    fixture->layer.runtime = host_start(&fixture->host, 1);
    gqa_cache_options_init(&fixture->options, &fixture->layer);
    fixture->options.max_tokens = 40;
    fixture->options.page_size = 16;
}

static void expect_refusal(const gqa_error *err, gqa_status status, gqa_status expected,
                           const char *field, const char *part)
{
    if (status != expected || err->status != expected || strcmp(err->field, field) != 0 ||
        strstr(err->message, field) != err->message || strstr(err->message, part) == NULL) {
        fail_msg("expected %d on %s with \"%s\", got %d: %s", (int)expected, field, part,
                 (int)status, err->message);
    }
}

static void refuse_create(struct fixture *fixture, gqa_status expected, const char *field,
                          const char *part)
{
    gqa_error err = {GQA_OK, "", ""};
    gqa_cache *cache = (gqa_cache *)(void *)fixture;
    gqa_status status = gqa_cache_create(&cache, &fixture->layer, &fixture->options, &err);
    expect_refusal(&err, status, expected, field, part);
    assert_null(cache);
    assert_int_equal(gqa_cache_create(&cache, &fixture->layer, &fixture->options, NULL), expected);
    assert_null(cache);
    assert_int_equal(fixture->host.live, fixture->host.calls); /* nothing was released */
}

static void options_are_checked(void **state)
{
    static const int32_t bad_pages[] = {-1, 1, 8, 17, 48, 96, 1024};
    struct fixture f;
    size_t bytes;
    char text[32];
    (void)state;

    for (size_t i = 0; i < sizeof bad_pages / sizeof bad_pages[0]; i++) {
        open_fixture(&f, &cache_kinds[0]);
        f.options.page_size = bad_pages[i];
        snprintf(text, sizeof text, "is %d; it must be 16", (int)bad_pages[i]);
        refuse_create(&f, GQA_ERR_ARG, "options.page_size", text);
    }
    open_fixture(&f, &cache_kinds[0]);
    f.options.max_sequences = -1;
    refuse_create(&f, GQA_ERR_ARG, "options.max_sequences", "is -1");
    open_fixture(&f, &cache_kinds[0]);
    f.options.max_tokens = 0;
    refuse_create(&f, GQA_ERR_ARG, "options.max_tokens", "is 0");
    f.options.max_tokens = INT32_MAX - 255; /* a fold block more would pass the last index */
    refuse_create(&f, GQA_ERR_ARG, "options.max_tokens", "is 2147483392; the limit is 2147483391");
    f.options.max_tokens = INT32_MAX - 256;
    f.options.num_pages = 1;
    assert_int_equal(gqa_cache_size(&f.layer, &f.options, &bytes, NULL), GQA_OK);
    f.options.num_pages = 0;
    open_fixture(&f, &cache_kinds[0]);
    f.options.num_pages = -1;
    refuse_create(&f, GQA_ERR_ARG, "options.num_pages", "is -1");
    f.options.num_pages = (int64_t)INT32_MAX + 1;
    refuse_create(&f, GQA_ERR_ARG, "options.num_pages", "is 2147483648");
    f.options.num_pages = 0;
    f.options.max_sequences = INT32_MAX;
    refuse_create(&f, GQA_ERR_ARG, "options.num_pages", "is 6442450941");

    open_fixture(&f, &cache_kinds[0]);
    f.options.dtype_k = GQA_U8;
    refuse_create(&f, GQA_ERR_ARG, "options.dtype_k", "is 3");
    open_fixture(&f, &cache_kinds[0]);
    f.options.dtype_v = (gqa_dtype)77;
    refuse_create(&f, GQA_ERR_ARG, "options.dtype_v", "is 77");
    open_fixture(&f, &cache_kinds[6]); /* numerics BF16 */
    assert_int_equal(f.options.dtype_k, GQA_BF16);
    assert_int_equal(f.options.dtype_v, GQA_BF16);
    f.options.dtype_v = GQA_F32;
    refuse_create(&f, GQA_ERR_ARG, "options.dtype_v", "numerics BF16");
    f.options.dtype_v = GQA_F16;
    refuse_create(&f, GQA_ERR_UNSUPPORTED, "options.dtype_v",
                  "is GQA_F16; with numerics BF16 it must be GQA_BF16");
    open_fixture(&f, &cache_kinds[0]);
    f.options.struct_size = 2;
    refuse_create(&f, GQA_ERR_ARG, "options", "struct_size");
}

static void create_needs_its_arguments(void **state)
{
    struct fixture f;
    gqa_error err = {GQA_OK, "", ""};
    (void)state;
    open_fixture(&f, &cache_kinds[0]);
    expect_refusal(&err, gqa_cache_create(NULL, &f.layer, &f.options, &err), GQA_ERR_ARG, "out",
                   "NULL");
    expect_refusal(&err, gqa_cache_create(&f.cache, NULL, &f.options, &err), GQA_ERR_ARG, "layer",
                   "NULL");
    expect_refusal(&err, gqa_cache_create(&f.cache, &f.layer, NULL, &err), GQA_ERR_ARG, "options",
                   "NULL");
    gqa_cache_destroy(NULL);
    gqa_cache_destroy(&f.cache);
    assert_int_equal(gqa_cache_length(NULL, 0), -1);
    assert_int_equal(gqa_cache_free_pages(NULL), -1);
}

static void defaults(void **state)
{
    struct fixture f;
    gqa_cache_options options;
    (void)state;
    open_fixture(&f, &cache_kinds[0]);
    gqa_cache_options_init(&options, NULL);
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(options.max_sequences, 1);
    assert_int_equal(options.max_tokens, 0);
    assert_int_equal(options.page_size, 128);
    assert_int_equal(options.dtype_k, GQA_F32);

    /* Zeros mean the defaults too; a struct that ends after page_size is an older one. */
    memset(&options, 0, sizeof options);
    options.struct_size = (uint32_t)offsetof(gqa_cache_options, num_pages);
    options.max_tokens = 129;
    options.num_pages = 77;
    assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &options, NULL), GQA_OK);
    assert_int_equal(f.cache->max_sequences, 1);
    assert_int_equal(f.cache->layout.page_size, 128);
    assert_int_equal(gqa_cache_free_pages(f.cache), 2);
    assert_int_equal(gqa_cache_length(f.cache, 0), 0);
    assert_int_equal(gqa_cache_length(f.cache, 1), -1);
    assert_int_equal(gqa_cache_length(f.cache, -1), -1);
    gqa_cache_destroy(&f.cache);
    assert_int_equal(f.host.calls, 1);
    assert_int_equal(f.host.live, 0);

    /* Enough pages for all sequences, and none more: 3 each for 48 tokens, 4 for 49. */
    for (int32_t more = 0; more <= 1; more++) {
        open_fixture(&f, &cache_kinds[0]);
        f.options.max_sequences = 5;
        f.options.max_tokens = 48 + more;
        assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, NULL), GQA_OK);
        assert_int_equal(gqa_cache_free_pages(f.cache), 5 * (3 + more));
        gqa_cache_destroy(&f.cache);
    }

    /* The init function writes no more than the caller's size. */
    memset(&options, 0xa5, sizeof options);
    gqa_cache_options_init_sized(&options, &f.layer, offsetof(gqa_cache_options, page_size));
    assert_int_equal(options.max_sequences, 1);
    assert_int_equal(options.page_size, (int32_t)0xa5a5a5a5);
}

static void no_memory(void **state)
{
    struct fixture f;
    gqa_error err = {GQA_OK, "", ""};
    (void)state;
    for (int k = 0;; k++) {
        open_fixture(&f, &cache_kinds[0]);
        f.host.fail_at = k;
        gqa_status status = gqa_cache_create(&f.cache, &f.layer, &f.options, &err);
        if (status == GQA_OK) {
            assert_int_equal(f.host.calls, k); /* each of them has been refused */
            gqa_cache_destroy(&f.cache);
            break;
        }
        expect_refusal(&err, status, GQA_ERR_NOMEM, "options.num_pages", "bytes");
        assert_null(f.cache);
        assert_int_equal(f.host.live, 0);
    }
    assert_int_equal(f.host.calls, 1);
    assert_int_equal(f.host.live, 0);

    /* More than an address space: refused before the allocator is asked. */
    open_fixture(&f, &cache_kinds[0]);
    f.layer.params.shape.hkv = INT32_MAX;
    f.options.num_pages = INT32_MAX;
    f.options.page_size = 512;
    refuse_create(&f, GQA_ERR_ARG, "options.num_pages", "address space");
    assert_int_equal(f.host.calls, 0);
}

/* Whatever is refused changes no byte of the cache. */
static void refuse_append(struct fixture *f, int32_t sequence, const gqa_tensor *key,
                          const gqa_tensor *value, const int32_t *positions, gqa_status expected,
                          const char *field)
{
    gqa_error err = {GQA_OK, "", ""};
    unsigned char *copy = zeros(f->host.size, 1);
    memcpy(copy, f->host.block, f->host.size);
    expect_refusal(&err, gqa_cache_append(f->cache, sequence, key, value, positions, &err),
                   expected, field, "");
    assert_memory_equal(copy, f->host.block, f->host.size);
    free(copy);
}

static void append_is_checked(void **state)
{
    static const float data[41 * 2 * 24];
    static const int32_t rising[] = {3, 4, 9}, equal[] = {3, 3, 9}, negative[] = {-1, 0, 1};
    gqa_tensor key = gqa_tensor_3d(data, GQA_F32, 3, 2, 24);
    gqa_tensor value = gqa_tensor_3d(data, GQA_F32, 3, 2, 16);
    gqa_tensor bad;
    struct fixture f;
    (void)state;

    open_fixture(&f, &cache_kinds[0]);
    assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(NULL, 0, &key, &value, NULL, NULL), GQA_ERR_ARG);
    refuse_append(&f, -1, &key, &value, NULL, GQA_ERR_ARG, "sequence");
    refuse_append(&f, 1, &key, &value, NULL, GQA_ERR_ARG, "sequence");
    refuse_append(&f, 0, NULL, &value, NULL, GQA_ERR_ARG, "key");
    refuse_append(&f, 0, &key, NULL, NULL, GQA_ERR_ARG, "value");
    bad = gqa_tensor_3d(data, GQA_F32, 3, 2, 23);
    refuse_append(&f, 0, &bad, &value, NULL, GQA_ERR_SHAPE, "key");
    bad = gqa_tensor_3d(data, GQA_F32, 3, 1, 16);
    refuse_append(&f, 0, &key, &bad, NULL, GQA_ERR_SHAPE, "value");
    bad = gqa_tensor_3d(data, GQA_F32, 2, 2, 16);
    refuse_append(&f, 0, &key, &bad, NULL, GQA_ERR_SHAPE, "value");
    bad = gqa_tensor_2d(data, GQA_F32, 2, 24); /* one token is [1, 2, 24] */
    gqa_tensor one_value = gqa_tensor_3d(data, GQA_F32, 1, 2, 16);
    refuse_append(&f, 0, &bad, &one_value, NULL, GQA_ERR_SHAPE, "key");
    gqa_tensor one_key = gqa_tensor_3d(data, GQA_F32, 1, 2, 24);
    bad = gqa_tensor_2d(data, GQA_F32, 2, 16);
    refuse_append(&f, 0, &one_key, &bad, NULL, GQA_ERR_SHAPE, "value");
    bad = gqa_tensor_3d(data, GQA_U8, 3, 2, 24);
    refuse_append(&f, 0, &bad, &value, NULL, GQA_ERR_ARG, "key");
    refuse_append(&f, 0, &key, &value, equal, GQA_ERR_ARG, "positions");
    refuse_append(&f, 0, &key, &value, negative, GQA_ERR_ARG, "positions");
    bad = gqa_tensor_3d(data, GQA_F32, 41, 2, 24);
    gqa_tensor long_value = gqa_tensor_3d(data, GQA_F32, 41, 2, 16);
    refuse_append(&f, 0, &bad, &long_value, NULL, GQA_ERR_CACHE_FULL, "key");

    assert_int_equal(gqa_cache_append(f.cache, 0, &key, &value, rising, NULL), GQA_OK);
    refuse_append(&f, 0, &key, &value, rising, GQA_ERR_ARG, "positions");
    assert_int_equal(gqa_cache_append(f.cache, 0, &key, &value, NULL, NULL), GQA_OK);
    int32_t read[6];
    gqa_tensor out = gqa_tensor_3d(zeros(2 * 6 * 24, sizeof(float)), GQA_F32, 2, 6, 24);
    assert_int_equal(gqa_cache_read(f.cache, 0, 0, &out, NULL, read, NULL), GQA_OK);
    const int32_t expected[] = {3, 4, 9, 10, 11, 12};
    assert_memory_equal(read, expected, sizeof read);
    free(out.data);

    /* The last position and column there are. */
    int32_t end[] = {INT32_MAX - 2, INT32_MAX - 1, INT32_MAX};
    assert_int_equal(gqa_cache_append(f.cache, 0, &key, &value, end, NULL), GQA_OK);
    refuse_append(&f, 0, &key, &value, NULL, GQA_ERR_ARG, "positions");
    assert_int_equal(gqa_cache_truncate(f.cache, 0, 6, NULL), GQA_OK);
    gqa__cache_extend(f.cache, 0, 0, NULL, NULL, INT32_MAX - 2);
    refuse_append(&f, 0, &key, &value, NULL, GQA_ERR_CACHE_FULL, "cache");
    const int32_t sequence = 0, more[] = {2, 3};
    assert_int_equal(gqa_cache_room(f.cache, &sequence, &more[0], 1, NULL), GQA_OK);
    assert_int_equal(gqa_cache_room(f.cache, &sequence, &more[1], 1, NULL), GQA_ERR_CACHE_FULL);
    gqa_cache_destroy(&f.cache);
}

static void read_and_truncate_are_checked(void **state)
{
    static float data[3 * 2 * 24];
    gqa_tensor key = gqa_tensor_3d(data, GQA_F32, 3, 2, 24);
    gqa_tensor value = gqa_tensor_3d(data, GQA_F32, 3, 2, 16);
    gqa_tensor k = gqa_tensor_3d(data, GQA_F32, 2, 3, 24);
    gqa_tensor v = gqa_tensor_3d(data, GQA_F32, 2, 3, 16);
    gqa_tensor v_short = gqa_tensor_3d(data, GQA_F32, 2, 2, 16);
    gqa_tensor k_mask = gqa_tensor_3d(data, GQA_BITS, 2, 3, 24);
    gqa_tensor absent = {0};
    gqa_error err = {GQA_OK, "", ""};
    struct fixture f;
    (void)state;

    open_fixture(&f, &cache_kinds[0]);
    assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(f.cache, 0, &key, &value, NULL, NULL), GQA_OK);
    gqa_cache *c = f.cache;
    expect_refusal(&err, gqa_cache_read(NULL, 0, 0, &k, &v, NULL, &err), GQA_ERR_ARG, "cache",
                   "NULL");
    expect_refusal(&err, gqa_cache_read(c, 1, 0, &k, &v, NULL, &err), GQA_ERR_ARG, "sequence",
                   "is 1; it must be 0 .. 0");
    expect_refusal(&err, gqa_cache_read(c, 0, 0, NULL, &absent, NULL, &err), GQA_ERR_ARG, "key",
                   "missing");
    expect_refusal(&err, gqa_cache_read(c, 0, 0, &k, &v_short, NULL, &err), GQA_ERR_SHAPE, "value",
                   "");
    expect_refusal(&err, gqa_cache_read(c, 0, 0, &k_mask, &v, NULL, &err), GQA_ERR_ARG, "key", "");
    expect_refusal(&err, gqa_cache_read(c, 0, -1, &k, &v, NULL, &err), GQA_ERR_ARG, "first",
                   "is -1; it must be 0 .. 3");
    expect_refusal(&err, gqa_cache_read(c, 0, 4, &k, &v, NULL, &err), GQA_ERR_ARG, "first", "is 4");
    expect_refusal(&err, gqa_cache_read(c, 0, 1, &k, &v, NULL, &err), GQA_ERR_SHAPE, "key",
                   "holds 3");
    expect_refusal(&err, gqa_cache_read(c, 0, 1, NULL, &v, NULL, &err), GQA_ERR_SHAPE, "value",
                   "holds 3");
    expect_refusal(&err, gqa_cache_truncate(NULL, 0, 0, &err), GQA_ERR_ARG, "cache", "NULL");
    expect_refusal(&err, gqa_cache_truncate(c, -1, 0, &err), GQA_ERR_ARG, "sequence", "is -1");
    expect_refusal(&err, gqa_cache_truncate(c, 0, -1, &err), GQA_ERR_ARG, "length", "is -1");
    expect_refusal(&err, gqa_cache_truncate(c, 0, 4, &err), GQA_ERR_ARG, "length",
                   "is 4; it must be 0 .. 3");
    assert_int_equal(gqa_cache_length(c, 0), 3);
    gqa_cache_destroy(&f.cache);
}

static void other_layers_are_refused(void **state)
{
    struct fixture f, g;
    gqa_error err = {GQA_OK, "", ""};
    struct gqa__cache_layout layers[6]; /* the cache's, and each with another of its fields */
    (void)state;
    open_fixture(&f, &cache_kinds[0]);
    open_fixture(&g, &cache_kinds[6]);
    for (int i = 0; i < 6; i++) {
        layers[i] = (struct gqa__cache_layout){
            .kernels = &f.kernels, .hkv = 2, .dk = 24, .dv = 16, .flush = i == 5};
    }
    layers[1].kernels = &g.kernels;
    layers[2].hkv = 3;
    layers[3].dk = 25;
    layers[4].dv = 17;
    assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, NULL), GQA_OK);
    assert_int_equal(gqa__cache_matches(f.cache, &layers[0], &err), GQA_OK);
    expect_refusal(&err, gqa__cache_matches(f.cache, &layers[1], &err), GQA_ERR_ARG, "cache",
                   "scalar/bf16");
    expect_refusal(&err, gqa__cache_matches(f.cache, &layers[2], &err), GQA_ERR_ARG, "cache",
                   "KV heads");
    expect_refusal(&err, gqa__cache_matches(f.cache, &layers[3], &err), GQA_ERR_ARG, "cache",
                   "head_dim");
    expect_refusal(&err, gqa__cache_matches(f.cache, &layers[4], &err), GQA_ERR_ARG, "cache",
                   "v_head_dim");
    expect_refusal(&err, gqa__cache_matches(f.cache, &layers[5], &err), GQA_ERR_ARG, "cache",
                   "config.denormals = 0; the layer has 1");
    gqa_cache_destroy(&f.cache);
}

/* The forward carves a cache from its workspace: counting and carving are the same code. */
static void carved_from_an_arena(void **state)
{
    struct fixture f;
    struct gqa__cache_layout layout = {.kernels = &f.kernels, .hkv = 2, .dk = 24, .dv = 16};
    struct gqa__arena arena;
    (void)state;
    open_fixture(&f, &cache_kinds[6]);
    f.options.max_sequences = 2;
    assert_int_equal(gqa__cache_layout_init(&layout, &f.options, NULL), GQA_OK);
    assert_int_equal(layout.k_stride, 32);
    assert_int_equal(layout.v_stride, 16);
    assert_int_equal(layout.page_bytes, 2 * (16 * 32 + 16 * 16) * 2);
    gqa__arena_count(&arena);
    assert_null(gqa__cache_carve(&arena, &layout, &f.options));
    assert_false(arena.failed);
    size_t size = arena.used;
    void *memory = aligned_alloc(64, size);
    assert_non_null(memory);
    gqa__arena_open(&arena, memory, size - 1);
    assert_null(gqa__cache_carve(&arena, &layout, &f.options));
    gqa__arena_open(&arena, memory, size);
    struct gqa_cache *cache = gqa__cache_carve(&arena, &layout, &f.options);
    assert_ptr_equal(cache, memory);
    assert_int_equal(arena.used, size);
    assert_int_equal(gqa_cache_free_pages(cache), 6);
    free(memory);
}

/* Tokens into a cache and out again; the same however the cache came by its memory. */
static void fill_and_read(gqa_cache *cache, float *k, float *v)
{
    float data[20 * 2 * 24];
    for (int i = 0; i < 20 * 2 * 24; i++) {
        data[i] = (float)i;
    }
    const gqa_tensor key = gqa_tensor_3d(data, GQA_F32, 20, 2, 24);
    const gqa_tensor value = gqa_tensor_3d(data, GQA_F32, 20, 2, 16);
    const gqa_tensor got_k = gqa_tensor_3d(k, GQA_F32, 2, 20, 24);
    const gqa_tensor got_v = gqa_tensor_3d(v, GQA_F32, 2, 20, 16);
    assert_int_equal(gqa_cache_append(cache, 0, &key, &value, NULL, NULL), GQA_OK);
    assert_int_equal(gqa_cache_read(cache, 0, 0, &got_k, &got_v, NULL, NULL), GQA_OK);
}

/* gqa_cache_size is what the runtime is asked for, and what the caller's own memory must have. */
static void memory_of_the_caller(void **state)
{
    static float k[2][2 * 20 * 24], v[2][2 * 20 * 16];
    gqa_error err = {GQA_OK, "", ""};
    struct fixture f;
    size_t size = 0;
    (void)state;
    for (int i = 0; i < cache_kind_count; i++) {
        open_fixture(&f, &cache_kinds[i]);
        f.options.dtype_k = cache_kinds[i].dtype_k;
        f.options.dtype_v = cache_kinds[i].dtype_v;
        assert_int_equal(gqa_cache_size(&f.layer, &f.options, &size, NULL), GQA_OK);
        assert_int_equal(f.host.calls, 0);
        assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, NULL), GQA_OK);
        assert_int_equal(f.host.size, size);
        fill_and_read(f.cache, k[0], v[0]);
        gqa_cache_destroy(&f.cache);

        struct guarded_buffer lent = guarded_new((size + 4095) / 4096 * 4096 + 64);
        f.options.memory = (unsigned char *)lent.data + (lent.size - size) / 64 * 64;
        f.options.memory_size = size;
        const int calls = (int)f.host.calls;
        assert_int_equal(gqa_cache_create(&f.cache, &f.layer, &f.options, &err), GQA_OK);
        assert_ptr_equal(f.cache, f.options.memory);
        fill_and_read(f.cache, k[1], v[1]);
        gqa_cache_destroy(&f.cache);
        assert_int_equal(f.host.calls, calls);
        assert_memory_equal(k[0], k[1], sizeof k[0]);
        assert_memory_equal(v[0], v[1], sizeof v[0]);
        assert_true(guarded_free(&lent));
    }
    open_fixture(&f, &cache_kinds[0]);
    assert_int_equal(gqa_cache_size(&f.layer, &f.options, &size, NULL), GQA_OK);
    f.options.memory_size = size - 1;
    f.options.memory = (void *)(((uintptr_t)k + 63) / 64 * 64);
    refuse_create(&f, GQA_ERR_ARG, "options.memory_size", "this cache needs");
    f.options.memory = (void *)((uintptr_t)f.options.memory + 8);
    refuse_create(&f, GQA_ERR_ARG, "options.memory", "aligned to 64");
    f.options.memory = NULL;
    refuse_create(&f, GQA_ERR_ARG, "options.memory", "is NULL, but");
    f.options.memory_size = 0;
    expect_refusal(&err, gqa_cache_size(&f.layer, &f.options, NULL, &err), GQA_ERR_ARG, "size",
                   "NULL");
    expect_refusal(&err, gqa_cache_size(NULL, &f.options, &size, &err), GQA_ERR_ARG, "layer",
                   "NULL");
    expect_refusal(&err, gqa_cache_size(&f.layer, NULL, &size, &err), GQA_ERR_ARG, "options",
                   "NULL");
    f.options.page_size = 17;
    size = 5;
    expect_refusal(&err, gqa_cache_size(&f.layer, &f.options, &size, &err), GQA_ERR_ARG,
                   "options.page_size", "is 17");
    assert_int_equal(size, 5);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(create_needs_its_arguments),
        cmocka_unit_test(defaults),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(append_is_checked),
        cmocka_unit_test(read_and_truncate_are_checked),
        cmocka_unit_test(other_layers_are_refused),
        cmocka_unit_test(carved_from_an_arena),
        cmocka_unit_test(memory_of_the_caller),
    };
    return RUN_TESTS(argc, argv, tests);
}
