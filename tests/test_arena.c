/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: counting gives what carving needs; and the allocator below it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/memory.h"
#include "support/host.h"
#include "support/program.h"

enum { PIECES = 37 };

/* Sizes around multiples of the alignment, empty pieces among them. */
static int64_t piece_count(int i, int elem)
{
    static const int64_t bytes[] = {1, 0, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097};

    return bytes[i % 11] / elem + (i % 11 != 1);
}

static int piece_elem(int i)
{
    static const int elems[] = {1, 2, 4, 8, 12};

    return elems[i % 5];
}

/* size bytes; NULL, and a report, if there is no memory. */
static void *take(const gqa_runtime *runtime, size_t size)
{
    gqa_error err = {GQA_OK, NULL, ""};
    void *memory;

    if (gqa__alloc(runtime, size, "here", "a test", &memory, &err) != GQA_OK) {
        assert_null(memory);
        assert_int_equal(err.status, GQA_ERR_NOMEM);
        assert_string_equal(err.field, "here");
        assert_non_null(strstr(err.message, "a test"));
    }
    return memory;
}

static void take_all(struct gqa__arena *arena, unsigned char **pieces)
{
    for (int i = 0; i < PIECES; i++) {
        const int elem = piece_elem(i);
        pieces[i] = gqa__arena_take(arena, piece_count(i, elem), (size_t)elem);
    }
}

static void counting_equals_carving(void **state)
{
    struct gqa__arena counting;
    struct gqa__arena carving;
    unsigned char *pieces[PIECES];
    unsigned char *block;

    (void)state;
    gqa__arena_count(&counting);
    take_all(&counting, pieces);
    assert_false(counting.failed);
    for (int i = 0; i < PIECES; i++) {
        assert_null(pieces[i]);
    }
    block = take(NULL, counting.used);
    assert_non_null(block);
    gqa__arena_open(&carving, block, counting.used);
    take_all(&carving, pieces);
    assert_false(carving.failed);
    assert_int_equal(carving.used, counting.used);
    for (int i = 0; i < PIECES; i++) {
        const int elem = piece_elem(i);
        const size_t bytes = (size_t)piece_count(i, elem) * (size_t)elem;
        const unsigned char *const end = i + 1 < PIECES ? pieces[i + 1] : block + carving.used;
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % GQA__ALIGN, 0);
        assert_true(pieces[i] + bytes <= end); /* pieces do not overlap */
        memset(pieces[i], i, bytes);
    }
    gqa__release(NULL, block);
}

static void too_small_by_one_byte(void **state)
{
    struct gqa__arena arena;
    unsigned char *const block = take(NULL, 256);

    (void)state;
    gqa__arena_open(&arena, block, 255);
    assert_ptr_equal(gqa__arena_take(&arena, 129, 1), block); /* 192 bytes */
    assert_null(gqa__arena_take(&arena, 1, 1));               /* would end at 256 */
    assert_true(arena.failed);
    gqa__arena_open(&arena, block, 256);
    assert_non_null(gqa__arena_take(&arena, 129, 1));
    assert_non_null(gqa__arena_take(&arena, 1, 1));
    assert_null(gqa__arena_take(&arena, 1, 1));
    assert_true(arena.failed);
    assert_null(gqa__arena_take(&arena, 0, 1)); /* failed stays failed */
    gqa__release(NULL, block);
}

static void overflow(void **state)
{
    struct gqa__arena arena;

    (void)state;
    gqa__arena_count(&arena);
    assert_null(gqa__arena_take(&arena, INT64_MAX, 16));
    assert_true(arena.failed);
    gqa__arena_count(&arena);
    assert_null(gqa__arena_take(&arena, -1, 1));
    assert_true(arena.failed);
    gqa__arena_count(&arena);
    (void)gqa__arena_take(&arena, INT64_MAX - 100, 1);
    (void)gqa__arena_take(&arena, INT64_MAX - 100, 1);
    (void)gqa__arena_take(&arena, 4096, 1);
    assert_true(arena.failed);
}

static void bad_base(void **state)
{
    struct gqa__arena arena;
    unsigned char *const block = take(NULL, 256);

    (void)state;
    gqa__arena_open(&arena, block + 32, 128);
    assert_true(arena.failed);
    assert_null(gqa__arena_take(&arena, 1, 1));
    gqa__arena_open(&arena, NULL, 128);
    assert_true(arena.failed);
    assert_null(gqa__arena_take(&arena, 1, 1));
    gqa__release(NULL, block);
}

static void host_allocator(void **state)
{
    struct host host;
    gqa_runtime runtime;
    void *memory;

    (void)state;
    runtime = host_start(&host, 1);
    memory = take(&runtime, 65);
    assert_non_null(memory);
    assert_int_equal(host.align, GQA__ALIGN);
    assert_true(host.size >= 65);
    assert_int_equal(host.live, 1);
    gqa__release(&runtime, memory);
    gqa__release(&runtime, NULL);
    assert_int_equal(host.live, 0);
    host.fail_from = 0;
    assert_null(take(&runtime, 65));
}

/* From 4 MiB on the memory may lie in huge pages. */
static void large_blocks(void **state)
{
    static const size_t sizes[] = {((size_t)4 << 20) - 64, (size_t)4 << 20, ((size_t)5 << 20) + 1};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *const block = take(NULL, sizes[i]);
        assert_non_null(block);
        memset(block, 7, sizes[i]);
#ifdef __linux__
        assert_int_equal((uintptr_t)block % (i == 0 ? GQA__ALIGN : (uintptr_t)2 << 20), 0);
#endif
        gqa__release(NULL, block);
    }
}

static void no_memory(void **state)
{
    (void)state;
    assert_null(take(NULL, 0));
    assert_null(take(NULL, SIZE_MAX));
    assert_null(take(NULL, SIZE_MAX - 10));
    gqa__release(NULL, NULL);
}

static void checked_sizes(void **state)
{
    const size_t half = (size_t)1 << (4 * sizeof(size_t)); /* half squared is one too many */
    size_t n;

    (void)state;
    assert_true(gqa__mul(half - 1, half - 1, &n) && n == SIZE_MAX - 2 * half + 2);
    assert_true(gqa__mul(half - 1, half + 1, &n) && n == SIZE_MAX);
    assert_false(gqa__mul(half, half, &n));
    assert_true(gqa__mul(0, SIZE_MAX, &n) && n == 0);
    assert_true(gqa__mul(SIZE_MAX, 0, &n) && n == 0);
    assert_true(gqa__mul(SIZE_MAX, 1, &n) && n == SIZE_MAX);
    assert_false(gqa__mul(SIZE_MAX / 2 + 1, 2, &n));
    assert_true(gqa__add(SIZE_MAX, 0, &n) && n == SIZE_MAX);
    assert_false(gqa__add(SIZE_MAX, 1, &n));
    assert_int_equal(gqa__round_up(0, 32), 0);
    assert_int_equal(gqa__round_up(1, 32), 32);
    assert_int_equal(gqa__round_up(32, 32), 32);
    assert_int_equal(gqa__round_up(33, 32), 64);
    assert_int_equal(gqa__min(-1, 2), -1);
    assert_int_equal(gqa__max(-1, 2), 2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_equals_carving),
        cmocka_unit_test(too_small_by_one_byte),
        cmocka_unit_test(overflow),
        cmocka_unit_test(bad_base),
        cmocka_unit_test(host_allocator),
        cmocka_unit_test(large_blocks),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(checked_sizes),
    };

    return RUN_TESTS(argc, argv, tests);
}
