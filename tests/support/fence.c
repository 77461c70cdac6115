/* SPDX-License-Identifier: Apache-2.0 */
/* fence.c - see fence.h. */
#define _GNU_SOURCE
#include "support/fence.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD = 256, GUARD_BYTE = 0xa5 };

struct fence fence_new(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (size + GUARD + page - 1) / page * page;
    struct fence fence = {NULL, body + page, NULL, size};

    fence.map =
        mmap(NULL, fence.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fence.map == MAP_FAILED || mprotect(fence.map + body, page, PROT_NONE) != 0) {
        abort();
    }
    fence.data = fence.map + body - size;
    memset(fence.map, GUARD_BYTE, body - size);
    memset(fence.data, 0x7f, size);
    return fence;
}

void fence_allow(const struct fence *fence, int access)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (mprotect(fence->map, fence->map_size - page, access) != 0) {
        abort();
    }
}

bool fence_free(struct fence *fence)
{
    bool whole = true;

    fence_allow(fence, PROT_READ);
    for (unsigned char *at = fence->map; at < (unsigned char *)fence->data; at++) {
        whole = whole && *at == GUARD_BYTE;
    }
    munmap(fence->map, fence->map_size);
    fence->data = NULL;
    return whole;
}

static const char *volatile report;

static void on_fault(int number)
{
    static const char intro[] = "touched memory beyond a buffer: ";
    ssize_t done = write(2, intro, sizeof intro - 1);

    if (report != NULL) {
        done = write(2, report, strlen(report));
    }
    (void)done;
    signal(number, SIG_DFL);
    raise(number);
}

void fence_report(const char *text)
{
    report = text;
    signal(SIGSEGV, on_fault);
}
