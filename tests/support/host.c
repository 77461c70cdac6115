/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - a host for tests: an allocator that counts, checks and can run dry. */
#include "support/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/parallel.h"

#define LIVE  0x6c69766562797465u
#define DEAD  0x6465616462797465u
#define GUARD 64 /* bytes of 0x5a behind each block */

/* In front of each block, as far in front as its alignment asks. */
struct header {
    uint64_t magic;
    size_t size;
    void *base;
};

static void *host_alloc(void *user, size_t size, size_t align)
{
    struct host *host = user;
    int64_t call = host->calls++;
    unsigned char *base, *block;
    struct header *header;

    assert_true(align >= 64 && (align & (align - 1)) == 0);
    assert_true(size > 0);
    host->size = size;
    host->align = align;
    host->block = NULL;
    if (call == host->fail_at || (host->fail_from >= 0 && call >= host->fail_from)) {
        return NULL;
    }
    base = malloc(size + 3 * align + GUARD);
    assert_non_null(base);
    block = base + align + (align - (uintptr_t)base % align) % align;
    if (call == host->skew_at || (host->skew_from >= 0 && call >= host->skew_from)) {
        block += host->skew;
    }
    header = (struct header *)(void *)block - 1;
    header->magic = LIVE;
    header->size = size;
    header->base = base;
    memset(block, 0xa5, size); /* nothing may rely on zeros */
    memset(block + size, 0x5a, GUARD);
    host->live++;
    host->block = block;
    return block;
}

static void host_release(void *user, void *memory)
{
    struct host *host = user;
    struct header *header = (struct header *)memory - 1;
    const unsigned char *end;

    assert_non_null(memory);
    assert_true(header->magic == LIVE);
    end = (const unsigned char *)memory + header->size;
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(end[i], 0x5a);
    }
    header->magic = DEAD;
    host->live--;
    host->block = memory == host->block ? NULL : host->block;
    free(header->base);
}

void host_init(struct host *host)
{
    memset(host, 0, sizeof *host);
    host->fail_at = -1;
    host->fail_from = -1;
    host->skew_at = -1;
    host->skew_from = -1;
}

gqa_runtime host_runtime(struct host *host)
{
    gqa_runtime runtime;
    gqa_runtime_init(&runtime);
    runtime.user = host;
    runtime.alloc = host_alloc;
    runtime.release = host_release;
    return runtime;
}

gqa_runtime host_start(struct host *host, int32_t threads)
{
    gqa_runtime runtime;

    host_init(host);
    runtime = host_runtime(host);
    runtime.num_threads = threads;
    runtime.parallel_for = threads > 1 ? parallel_threads : NULL;
    return runtime;
}
