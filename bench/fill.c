/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c - see fill.h. */
#define _DEFAULT_SOURCE
#include "fill.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)2 << 20)

void *bench_alloc(size_t bytes)
{
    size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
    void *memory = aligned_alloc(PAGE, size == 0 ? PAGE : size);

    if (memory != NULL) {
#ifdef MADV_HUGEPAGE
        madvise(memory, size, MADV_HUGEPAGE);
#endif
        memset(memory, 0, size);
    }
    return memory;
}

void bench_free(void *memory)
{
    free(memory);
}

/* A linear congruential generator's upper bits. */
static float next(uint64_t *state, float scale)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((float)(*state >> 40) * 0x1p-23f - 1.0f) * scale;
}

void bench_fill(float *dst, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = next(&seed, scale);
    }
}

void bench_fill_bf16(uint16_t *dst, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        float x = next(&seed, scale);
        uint32_t bits;

        memcpy(&bits, &x, sizeof bits);
        dst[i] = (uint16_t)(bits >> 16);
    }
}
