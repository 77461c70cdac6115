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

static void fill(float *dst, size_t n, float scale, uint64_t *state)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = next(state, scale);
    }
}

void bench_fill(float *dst, size_t n, float scale, uint64_t seed)
{
    fill(dst, n, scale, &seed);
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

bool bench_fill_as(void *dst, gqa_dtype dtype, size_t n, float scale, uint64_t seed)
{
    const size_t element = dtype == GQA_F32 ? sizeof(float) : sizeof(uint16_t);
    float some[1024];

    for (size_t at = 0; at < n; at += 1024) {
        const size_t count = n - at < 1024 ? n - at : 1024;
        const gqa_tensor from = gqa_tensor_1d(some, GQA_F32, (int64_t)count);
        const gqa_tensor to =
            gqa_tensor_1d((unsigned char *)dst + at * element, dtype, (int64_t)count);

        fill(some, count, scale, &seed);
        if (gqa_convert(&from, &to, NULL) != GQA_OK) {
            return false;
        }
    }
    return true;
}
