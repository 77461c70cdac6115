/* SPDX-License-Identifier: Apache-2.0 */
/* guarded_buffer.h - buffers that end at a page which may not be touched, with guard bytes in
 * front. For one thread. */
#ifndef TEST_GUARDED_BUFFER_H
#define TEST_GUARDED_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct guarded_buffer {
    unsigned char *map;   /* whole pages, then one without access; the data ends at that one */
    size_t map_size;      /* with the last page */
    unsigned char *guard; /* from here to the data: guard bytes */
    void *data;
    size_t size;
    bool limited; /* by guarded_allow */
};

/* size bytes, every byte 0x7f: floats of a size that shows up. */
struct guarded_buffer guarded_new(size_t size);
/* Access to the pages in front of the last one: PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE. */
void guarded_allow(struct guarded_buffer *buffer, int access);
/* The guard bytes are whole. Releases the buffer. */
bool guarded_free(struct guarded_buffer *buffer);

/* On a fault print text (kept, not copied) to stderr before the process ends. */
void guarded_report(const char *text);

#endif
