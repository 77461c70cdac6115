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

/* Maps of buffers that were freed, for the next ones: a system call and a page fault each would
 * take most of the time of a test of kernels. */
enum { MOST_KEPT = 64, MOST_KEPT_BYTES = 1 << 24 };
static struct {
    unsigned char *map;
    size_t size;
} kept[MOST_KEPT];
static size_t kept_count, kept_bytes;

/* The smallest of them of at least so many bytes; or a new one. */
static void take_map(struct guarded_buffer *buffer, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t best = MOST_KEPT;

    for (size_t i = 0; i < kept_count; i++) {
        if (kept[i].size >= bytes && (best == MOST_KEPT || kept[i].size < kept[best].size)) {
            best = i;
        }
    }
    if (best < MOST_KEPT) {
        buffer->map = kept[best].map;
        buffer->map_size = kept[best].size;
        kept_bytes -= kept[best].size;
        kept[best] = kept[--kept_count];
        return;
    }
    buffer->map_size = bytes;
    buffer->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer->map == MAP_FAILED || mprotect(buffer->map + bytes - page, page, PROT_NONE) != 0) {
        abort();
    }
}

struct guarded_buffer guarded_new(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (size + GUARD + page - 1) / page * page;
    struct guarded_buffer buffer = {.size = size};
    unsigned char *end;

    take_map(&buffer, body + page);
    end = buffer.map + buffer.map_size - page;
    buffer.guard = end - body;
    buffer.data = end - size;
    memset(buffer.guard, GUARD_BYTE, body - size);
    memset(buffer.data, 0x7f, size);
    return buffer;
}

void guarded_allow(struct guarded_buffer *buffer, int access)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (mprotect(buffer->map, buffer->map_size - page, access) != 0) {
        abort();
    }
    buffer->limited = access != (PROT_READ | PROT_WRITE);
}

bool guarded_free(struct guarded_buffer *buffer)
{
    bool whole = true;

    if (buffer->limited) {
        guarded_allow(buffer, PROT_READ | PROT_WRITE);
    }
    for (unsigned char *at = buffer->guard; at < (unsigned char *)buffer->data; at++) {
        whole = whole && *at == GUARD_BYTE;
    }
    buffer->data = NULL;
    if (kept_count == MOST_KEPT || kept_bytes + buffer->map_size > MOST_KEPT_BYTES) {
        munmap(buffer->map, buffer->map_size);
        return whole;
    }
    kept[kept_count].map = buffer->map;
    kept[kept_count++].size = buffer->map_size;
    kept_bytes += buffer->map_size;
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
