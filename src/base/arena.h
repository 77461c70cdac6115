/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - carve one block of memory. In counting mode (base NULL) the same code gives the size.
 *
 * Every piece is aligned to GQA__ALIGN and has a multiple of it in bytes, so that `used` after
 * counting is the size that carving needs. An overflow or a block that is too small sets failed;
 * the pieces taken after it are NULL.
 */
#ifndef GQA__ARENA_H
#define GQA__ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gqa__arena {
    unsigned char *base; /* NULL = counting */
    size_t size;         /* of the block; ignored in counting mode */
    size_t used;
    bool failed;
};

void gqa__arena_count(struct gqa__arena *arena);
/* A base that is NULL or not aligned to GQA__ALIGN sets failed. */
void gqa__arena_open(struct gqa__arena *arena, void *base, size_t size);

/* count elements of elem bytes, not zeroed. NULL in counting mode. */
void *gqa__arena_take(struct gqa__arena *arena, int64_t count, size_t elem);

#endif
