/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.h - the bf16 softmax of 16 lanes, 32 keys at a time: softmax_bf16 of scalar/bf16.h, with
 * p as tiles B of the product with V. All of it runs under flush_enter.
 */
#ifndef GQA__KERNEL_AMX_SOFTMAX_H
#define GQA__KERNEL_AMX_SOFTMAX_H

#include <math.h>

#include "kernel/amx/products.h"
#include "kernel/avx512/flush.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/convert_avx512.h"

/* The softmax of 16 lanes as far as it has come through the keys. */
struct lane_sums {
    __m512 m;    /* the reference so far; -inf: nothing seen */
    __m512 l[4]; /* sums of p by key mod 4 */
};

INLINE struct lane_sums no_sums(__m512 m)
{
    const __m512 zero = _mm512_setzero_ps();
    return (struct lane_sums){m, {zero, zero, zero, zero}};
}

/* The largest score of 32 keys, NaN left out; a denormal is zero, never -0. s [32][s_stride] */
INLINE __m512 max_of_32(const float *s, int64_t s_stride)
{
    __m512 m0 = _mm512_set1_ps(-INFINITY), m1 = m0, m2 = m0, m3 = m0;

    for (int32_t key = 0; key < 32; key += 4) {
        m0 = _mm512_max_ps(_mm512_loadu_ps(s + key * s_stride), m0);
        m1 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 1) * s_stride), m1);
        m2 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 2) * s_stride), m2);
        m3 = _mm512_max_ps(_mm512_loadu_ps(s + (key + 3) * s_stride), m3);
    }
    m0 = _mm512_max_ps(_mm512_max_ps(m0, m1), _mm512_max_ps(m2, m3));
    return _mm512_add_ps(m0, _mm512_setzero_ps());
}

/* One step of reference_scores (scalar/bf16.h), by the scores of 32 more keys. True: a lane that
 * had a reference got a larger one, and exponentials made with the old one are stale. */
INLINE bool raise_reference(struct lane_sums *sums, const float *s, int64_t s_stride)
{
    const __m512 top = max_of_32(s, s_stride);
    const __mmask16 above =
        _mm512_cmp_ps_mask(_mm512_sub_ps(top, sums->m), _mm512_set1_ps(BF16_RISE), _CMP_GT_OQ);
    const __mmask16 stale =
        _mm512_mask_cmp_ps_mask(above, sums->m, _mm512_set1_ps(-INFINITY), _CMP_NEQ_OQ);

    sums->m = _mm512_mask_mov_ps(sums->m, above, top);
    return stale != 0;
}

INLINE bool all_seen(const struct lane_sums *sums)
{
    return _mm512_cmp_ps_mask(sums->m, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ) == 0;
}

/* Could a key that was exponentiated raise the reference it was exponentiated with? Then its p is
 * above 2^32, or NaN, and so is a sum. */
INLINE bool sums_above(const struct lane_sums *sums)
{
    const __m512 l =
        _mm512_add_ps(_mm512_add_ps(sums->l[0], sums->l[1]), _mm512_add_ps(sums->l[2], sums->l[3]));
    return _mm512_cmp_ps_mask(l, _mm512_set1_ps(BF16_RISEN), _CMP_NLE_UQ) != 0;
}

/* p of two keys as one row of a tile B, times scale [2] if it is not NULL, rounded to bf16; added
 * to their sums before that. */
INLINE __m512i exponentiate_pair(const float *s, int64_t s_stride, __m512 safe, __m512 sum[2],
                                 const float *scale, const bool mark)
{
    const __m512i half = _mm512_set1_epi32(0x8000); /* probability_to_bf16: ties go up */
    /* The upper half of each f32 as the lower. Beside tile instructions port 0 alone multiplies: it
     * has no time for a shift, which no other port does. */
    const __m512i upper = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
    const __m512 x0 = _mm512_loadu_ps(s), x1 = _mm512_loadu_ps(s + s_stride);
    const __m512 e0 = exp2_flushed(_mm512_sub_ps(x0, safe));
    const __m512 e1 = exp2_flushed(_mm512_sub_ps(x1, safe));
    const __m512 w0 = scale != NULL ? _mm512_mul_ps(e0, _mm512_set1_ps(scale[0])) : e0;
    const __m512 w1 = scale != NULL ? _mm512_mul_ps(e1, _mm512_set1_ps(scale[1])) : e1;
    const __m512i r0 = _mm512_add_epi32(_mm512_castps_si512(w0), half);
    const __m512i r1 = _mm512_add_epi32(_mm512_castps_si512(w1), half);
    const __m512i pair = _mm512_mask_shuffle_epi8(r1, 0x3333333333333333u, r0, upper);

    sum[0] = _mm512_add_ps(sum[0], e0);
    sum[1] = _mm512_add_ps(sum[1], e1);
    if (mark) {
        const __m512 none = _mm512_set1_ps(-INFINITY);
        const __mmask16 first = _mm512_cmp_ps_mask(x0, none, _CMP_EQ_OQ);
        const __mmask16 second = _mm512_cmp_ps_mask(x1, none, _CMP_EQ_OQ);
        const __m512i zero = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32(-0x10000);
        const __m512i keep0 = _mm512_mask_and_epi32(pair, first, pair, high);
        const __m512i low = _mm512_mask_or_epi32(keep0, first, keep0, zero);
        const __m512i keep1 = _mm512_mask_andnot_epi32(low, second, high, low);
        return _mm512_mask_or_epi32(keep1, second, keep1, _mm512_slli_epi32(zero, 16));
    }
    return pair;
}

/* Scores of 32 keys, and what becomes of them on their way to p. */
struct scored_32 {
    const float *s; /* [32][s_stride] */
    int64_t s_stride;
    const float *scale;              /* [32], or NULL */
    struct prefetch_queue *prefetch; /* or NULL */
};

/* p of 32 keys as one tile B; added to the sums. */
INLINE void exponentiate_32(unsigned char *tile, const struct scored_32 from,
                            struct lane_sums *sums, const bool mark)
{
    const __mmask16 seen = _mm512_cmp_ps_mask(sums->m, _mm512_set1_ps(-INFINITY), _CMP_NEQ_OQ);
    const __m512 safe = _mm512_maskz_mov_ps(seen, sums->m);

    for (int32_t i = 0; i < 32; i += 4) {
        const float *at = from.s + i * from.s_stride;
        const float *scale = from.scale != NULL ? from.scale + i : NULL;
        const float *scale2 = from.scale != NULL ? from.scale + i + 2 : NULL;
        _mm512_storeu_si512(tile + i * 32,
                            exponentiate_pair(at, from.s_stride, safe, &sums->l[0], scale, mark));
        _mm512_storeu_si512(tile + i * 32 + 64,
                            exponentiate_pair(at + 2 * from.s_stride, from.s_stride, safe,
                                              &sums->l[2], scale2, mark));
        if (from.prefetch != NULL) {
            prefetch_lines(from.prefetch, from.prefetch->exponentials);
        }
    }
}

/* The same with or without scales, as branches of their own. */
INLINE void exponentiate_either(unsigned char *tile, struct scored_32 from, struct lane_sums *sums,
                                const bool mark)
{
    if (from.scale != NULL) {
        exponentiate_32(tile, from, sums, mark);
    } else {
        from.scale = NULL;
        exponentiate_32(tile, from, sums, mark);
    }
}

/* Scores s [keys][s_stride] of 16 lanes times their keys' scales. */
INLINE void scale_lanes(float *s, int64_t s_stride, const float *scale, int32_t keys)
{
    for (int32_t key = 0; key < keys; key++, s += s_stride) {
        _mm512_storeu_ps(s, _mm512_mul_ps(_mm512_loadu_ps(s), _mm512_set1_ps(scale[key])));
    }
}

/* m and l [16] of the state. */
INLINE void store_lane_sums(const struct lane_sums *sums, float *m, float *l)
{
    _mm512_storeu_ps(m, sums->m);
    _mm512_storeu_ps(l, canonical(_mm512_add_ps(_mm512_add_ps(sums->l[0], sums->l[1]),
                                                _mm512_add_ps(sums->l[2], sums->l[3]))));
}

#endif
