/* arena.c - see arena.h. */
#include "base/arena.h"

#include "base/memory.h"

void gqa__arena_count(struct gqa__arena *arena)
{
    arena->base = NULL;
    arena->size = 0;
    arena->used = 0;
    arena->failed = false;
}

void gqa__arena_open(struct gqa__arena *arena, void *base, size_t size)
{
    arena->base = base;
    arena->size = size;
    arena->used = 0;
    arena->failed = base == NULL || (uintptr_t)base % GQA__ALIGN != 0;
}

void *gqa__arena_take(struct gqa__arena *arena, int64_t count, size_t elem)
{
    size_t bytes;
    size_t end;
    void *piece;

    if (arena->failed) {
        return NULL;
    }
    if (count < 0 || (uint64_t)count > SIZE_MAX || !gqa__mul((size_t)count, elem, &bytes) ||
        !gqa__add(bytes, GQA__ALIGN - 1, &bytes) ||
        !gqa__add(arena->used, bytes / GQA__ALIGN * GQA__ALIGN, &end) ||
        (arena->base != NULL && end > arena->size)) {
        arena->failed = true;
        return NULL;
    }
    piece = arena->base == NULL ? NULL : arena->base + arena->used;
    arena->used = end;
    return piece;
}
