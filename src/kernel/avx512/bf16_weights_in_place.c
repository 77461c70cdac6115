/* bf16_weights_in_place.c - weights in place for avx512/bf16: units of the caller's rows,
 * transposed into the packed form of avx512/bf16_linear.c. Two consecutive bf16 of a row move as
 * one value. */
#include "kernel/avx512/bf16.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512

#include <assert.h>

#include "kernel/avx512/weights_in_place.h"

enum { BLOCK_OUTS = 32 };

/* to [in / 2][BLOCK_OUTS][2], in rounded up to 32: 16 of the outputs. */
static inline __attribute__((always_inline)) void
pack_half(uint16_t *to, const struct gqa__rows *rows, int32_t row, const gqa_dtype dtype)
{
    for (int64_t k = 0; k < rows->in; k += ROW_VALUES, to += ROW_VALUES * BLOCK_OUTS) {
        const int64_t prefetch = prefetch_offset(rows, k, dtype);
        __m512i r[16];
#pragma GCC unroll 16
        for (int32_t i = 0; i < 16; i++) {
            r[i] = load_operands_of(rows->row[row + i], k, rows->in - k, prefetch, dtype);
        }
        transpose16(r);
#pragma GCC unroll 16
        for (int32_t i = 0; i < 16; i++) {
            _mm512_storeu_si512(to + i * 2 * BLOCK_OUTS, r[i]);
        }
    }
}

void gqa__avx512_pack_rows(void *dst, const struct gqa__rows *rows)
{
    const int64_t padded = (rows->in + ROW_VALUES - 1) / ROW_VALUES * ROW_VALUES;

    assert(rows->count % BLOCK_OUTS == 0);
    for (int32_t i = 0; i < rows->count; i += 16) {
        uint16_t *to = (uint16_t *)dst + i / BLOCK_OUTS * BLOCK_OUTS * padded + i % BLOCK_OUTS * 2;
        if (rows->dtype == GQA_F32) {
            pack_half(to, rows, i, GQA_F32);
        } else if (rows->dtype == GQA_BF16) {
            pack_half(to, rows, i, GQA_BF16);
        } else {
            pack_half(to, rows, i, GQA_F16);
        }
    }
}

#else

typedef int gqa__avx512_bf16_rows_not_built; /* a translation unit is not empty */

#endif
