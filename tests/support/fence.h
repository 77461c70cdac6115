/* SPDX-License-Identifier: Apache-2.0 */
/* fence.h - buffers that end at a page which may not be touched, with guard bytes in front. */
#ifndef GQA_TEST_FENCE_H
#define GQA_TEST_FENCE_H

#include <stdbool.h>
#include <stddef.h>

struct fence {
    unsigned char *map; /* guard bytes, the data, then a page without access */
    size_t map_size;
    void *data;
    size_t size;
};

/* size bytes, every byte 0x7f: floats of a size that shows up. */
struct fence fence_new(size_t size);
/* Access to the pages in front of the last one: PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE. */
void fence_allow(const struct fence *fence, int access);
/* The guard bytes are whole. Releases the buffer. */
bool fence_free(struct fence *fence);

/* On a fault print text (kept, not copied) to stderr before the process ends. */
void fence_report(const char *text);

#endif
