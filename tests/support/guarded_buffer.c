/* SPDX-License-Identifier: Apache-2.0 */
/* guarded_buffer.c - see guarded_buffer.h. */
#define _GNU_SOURCE
#include "support/guarded_buffer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD = 256, GUARD_BYTE = 0xa5 };

struct guarded_buffer guarded_new(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (size + GUARD + page - 1) / page * page;
    struct guarded_buffer buffer = {NULL, body + page, NULL, size};

    buffer.map =
        mmap(NULL, buffer.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer.map == MAP_FAILED || mprotect(buffer.map + body, page, PROT_NONE) != 0) {
        abort();
    }
    buffer.data = buffer.map + body - size;
    memset(buffer.map, GUARD_BYTE, body - size);
    memset(buffer.data, 0x7f, size);
    return buffer;
}

void guarded_allow(const struct guarded_buffer *buffer, int access)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (mprotect(buffer->map, buffer->map_size - page, access) != 0) {
        abort();
    }
}

bool guarded_free(struct guarded_buffer *buffer)
{
    bool whole = true;

    guarded_allow(buffer, PROT_READ);
    for (unsigned char *at = buffer->map; at < (unsigned char *)buffer->data; at++) {
        whole = whole && *at == GUARD_BYTE;
    }
    munmap(buffer->map, buffer->map_size);
    buffer->data = NULL;
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

void guarded_report(const char *text)
{
    report = text;
    signal(SIGSEGV, on_fault);
}
