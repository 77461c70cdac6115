/* SPDX-License-Identifier: Apache-2.0 */
/* append.h - append_v of bf16 pages with AVX-512: 16 tokens by 16 dimensions at a time,
 * transposed. Same bits as append_v_bf16 of scalar/bf16.h, which takes what is left over. */
#ifndef GQA__KERNEL_AVX512_APPEND_H
#define GQA__KERNEL_AVX512_APPEND_H

#include "kernel/scalar/bf16.h"
#include "kernel/vector/convert_avx512.h"

/* v [16 tokens][16], rows token_stride apart, to page [16 dims][v_stride]. */
static inline bool append_16(uint16_t *page, int64_t v_stride, const float *v, int64_t token_stride)
{
    const __m512i size = _mm512_set1_epi32(0x7fff);
    const __m512i large = _mm512_set1_epi32(GQA__LARGE_BF16);
    __mmask16 special = 0;
    __m512i r[16];

    for (int32_t i = 0; i < 16; i++) {
        r[i] = _mm512_cvtepu16_epi32(bf16_of(_mm512_loadu_ps(v + i * token_stride)));
        special |= _mm512_cmpge_epi32_mask(_mm512_and_si512(r[i], size), large);
    }
    transpose16(r);
    for (int32_t d = 0; d < 16; d++) {
        _mm256_storeu_si256((__m256i *)(page + d * v_stride), _mm512_cvtepi32_epi16(r[d]));
    }
    return special != 0;
}

/* Rows of different tokens lie far apart, where no prefetcher of the CPU sees a stream. */
static inline void prefetch_row(const float *row, int32_t n)
{
    for (int32_t i = 0; i < n; i += 16) {
        _mm_prefetch((const char *)(row + i), _MM_HINT_T0);
    }
}

/* append_k_bf16 */
static inline void append_k_rows(const struct gqa__append_args *args)
{
    struct gqa__append_args one = *args;

    if (gqa__scaled(args->storage)) {
        (void)append_scaled(args, false, true);
        return;
    }
    one.n = 1;
    for (int32_t i = 0; i < args->n; i++) {
        if (i + 8 < args->n) {
            prefetch_row(args->src + (i + 8) * args->src_stride, args->dim);
        }
        one.slot = args->slot + i;
        one.src = args->src + i * args->src_stride;
        append_k_bf16(&one);
    }
}

/* Transposed: page [dim rounded up][stride] */
static inline bool append_v_transposed(const struct gqa__append_args *args)
{
    const int64_t stride = args->stride, src_stride = args->src_stride;
    const int32_t whole = args->dim / 16 * 16;
    struct gqa__append_args rest = *args; /* the last dimensions, then the last tokens */
    bool special = false;
    int32_t i = 0;

    if (gqa__scaled(args->storage)) {
        return append_scaled(args, true, true);
    }
    rest.page = (uint16_t *)args->page + whole * stride;
    rest.dim = args->dim - whole;
    rest.n = 16;
    for (; i + 16 <= args->n; i += 16) {
        uint16_t *to = (uint16_t *)args->page + args->slot + i;
        const float *row = args->src + i * src_stride;
        for (int32_t next = i + 16; next < i + 32 && next < args->n; next++) {
            prefetch_row(args->src + next * src_stride, args->dim);
        }
        for (int32_t d = 0; d < whole; d += 16) {
            special |= append_16(to + d * stride, stride, row + d, src_stride);
        }
        rest.slot = args->slot + i;
        rest.src = row + whole;
        special |= append_v_bf16(&rest);
    }
    rest = *args;
    rest.slot = args->slot + i;
    rest.n = args->n - i;
    rest.src = args->src + i * src_stride;
    return append_v_bf16(&rest) || special;
}

#endif
