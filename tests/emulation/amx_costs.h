/* SPDX-License-Identifier: Apache-2.0 */
/* amx_costs.h - AMX tiles that cost about what they cost, and hold nothing: to measure what the
 * kernel set amx does around its products on a CPU that has AVX-512 bf16 but no AMX. Results are
 * wrong. A build with GQA_AMX_COSTS includes it ahead of each file of the library.
 *
 * A tile load reads its 16 lines of memory, a tile store writes 16, with numbers that look like
 * scores, so that the softmax has what to do. Products are free: they run beside vectors on a unit
 * of their own, 16 cycles each. So a time is that of a call whose products all hide behind its
 * other work; what of them does not hide comes on top.
 */
#ifndef GQA__TEST_AMX_COSTS_H
#define GQA__TEST_AMX_COSTS_H

#ifdef __AVX512BF16__ /* the flags of the kernel set amx */

#include <immintrin.h>
#include <stdint.h>

enum { COST_ROWS = 16, COST_ROW_BYTES = 64 };

typedef char cost_line[COST_ROW_BYTES];

/* What a store writes into every other row. */
static const float cost_scores[2][COST_ROWS] __attribute__((aligned(COST_ROW_BYTES))) = {
    {0.3f, -1.1f, 0.7f, 0.2f, -0.5f, 1.9f, -0.3f, 0.1f, 0.9f, -2.1f, 0.4f, -0.6f, 0.8f, -0.2f, 1.2f,
     -0.9f},
    {-0.3f, 1.1f, -0.7f, 1.2f, -0.5f, 0.9f, -1.3f, 0.1f, 0.9f, -1.1f, 1.4f, -0.6f, 0.8f, 0.2f,
     -1.2f, 0.9f}};

__attribute__((always_inline, unused)) static inline void cost_load(const void *base,
                                                                    int64_t stride)
{
    const char *const from = base;

    for (int i = 0; i < COST_ROWS; i++) {
        __asm__ volatile("vmovups %0, %%zmm31"
                         :
                         : "m"(*(const cost_line *)(from + i * stride))
                         : "xmm31");
    }
}

__attribute__((always_inline, unused)) static inline void cost_store(void *base, int64_t stride)
{
    char *const to = base;

    for (int i = 0; i < COST_ROWS; i++) {
        __asm__ volatile("vmovups %1, %%zmm31\n\tvmovups %%zmm31, %0"
                         : "=m"(*(cost_line *)(to + i * stride))
                         : "m"(*(const cost_line *)cost_scores[i % 2])
                         : "xmm31");
    }
}

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_release
#define _tile_zero(tile)                 ((void)0)
#define _tile_loadd(tile, base, stride)  cost_load(base, (int64_t)(stride))
#define _tile_stored(tile, base, stride) cost_store(base, (int64_t)(stride))
#define _tile_dpbf16ps(c, a, b)          ((void)0)
#define _tile_dpbssd(c, a, b)            ((void)0)
#define _tile_release()                  ((void)0)
#define GQA__LOAD_TILE_CONFIG(config)    ((void)(config))

#endif
#endif
