/* avx512_finish.h - the end of a row with AVX-512: finish_row of scalar_attention.h for 16 lanes at
 * a time, with a transpose in between. Same operations, same bits. */
#ifndef GQA__AVX512_FINISH_H
#define GQA__AVX512_FINISH_H

#include "kernel/amx_vector.h"
#include "kernel/scalar_attention.h"

/* Factors of 16 lanes, in the words of finish_row. */
struct finish_lanes {
    float a[16];    /* weight of the state's own sums */
    float l[16];    /* final sum */
    float own[16];  /* 1 where the state saw a key */
    float sink[16]; /* 1 where there is a sink */
};

static inline void finish_factors(const struct gqa__finish *finish, int32_t lane, int32_t rows,
                                  struct finish_lanes *to)
{
    for (int32_t r = 0; r < 16; r++) {
        const bool real = r < rows;
        const float sink = real && finish->sink != NULL ? finish->sink[lane + r] : -INFINITY;
        const float l2 = sink == -INFINITY ? 0.0f : 1.0f;
        const float m = real ? finish->m[lane + r] : -INFINITY;
        const float l = real ? finish->l[lane + r] : 0.0f;
        const float top = m > sink ? m : sink;
        const float a = merge_weight(m, top), a2 = merge_weight(sink, top);

        to->a[r] = a;
        to->l[r] = merge_value(l, l2, a, a2, l, l2);
        to->own[r] = l == 0.0f ? 0.0f : 1.0f;
        to->sink[r] = l2;
        if (real && finish->lse != NULL) {
            const float kept = l2 == 0.0f ? m : top;
            const float end = l == 0.0f ? sink : kept;
            finish->lse[gqa__row_offset(&finish->lse_map, lane + r)] =
                to->l[r] == 0.0f ? -INFINITY
                                 : gqa__canonical(fmaf(end, scalar_ln2, gqa__logf(to->l[r])));
        }
    }
}

/* Lanes lane .. lane + rows - 1, rows <= 16. */
static inline void finish_16(const struct gqa__finish *finish, int32_t lane, int32_t rows)
{
    struct finish_lanes factors;
    float *out[16];
    __m512 a, l;
    __mmask16 seen, plain, live;

    finish_factors(finish, lane, rows, &factors);
    if (finish->out == NULL) {
        return;
    }
    for (int32_t r = 0; r < rows; r++) {
        out[r] = finish->out + gqa__row_offset(&finish->out_map, lane + r);
    }
    a = _mm512_loadu_ps(factors.a);
    l = _mm512_loadu_ps(factors.l);
    seen = _mm512_cmp_ps_mask(_mm512_loadu_ps(factors.own), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    plain = _mm512_cmp_ps_mask(_mm512_loadu_ps(factors.sink), _mm512_setzero_ps(), _CMP_EQ_OQ);
    live = _mm512_cmp_ps_mask(l, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    for (int32_t d = 0; d < finish->dv; d += 16) {
        const int32_t left = finish->dv - d < 16 ? finish->dv - d : 16;
        const __mmask16 store = (__mmask16)((1u << left) - 1u);
        __m512i r[16];
        for (int32_t i = 0; i < 16; i++) {
            __m512 o = _mm512_setzero_ps();
            if (i < left) {
                o = _mm512_loadu_ps(finish->o + (int64_t)(d + i) * finish->ld + lane);
                const __m512 both = _mm512_add_ps(_mm512_mul_ps(o, a), _mm512_setzero_ps());
                o = _mm512_maskz_mov_ps(seen, _mm512_mask_mov_ps(both, plain, o));
                o = canonical(_mm512_maskz_div_ps(live, o, l));
            }
            r[i] = _mm512_castps_si512(o);
        }
        transpose16(r);
        for (int32_t i = 0; i < rows; i++) {
            _mm512_mask_storeu_ps(out[i] + d, store, _mm512_castsi512_ps(r[i]));
        }
    }
}

static inline void finish_vector(const struct gqa__finish *finish)
{
    const int32_t rows = finish->out != NULL ? finish->out_map.count : finish->lse_map.count;

    for (int32_t lane = 0; lane < rows; lane += 16) {
        finish_16(finish, lane, rows - lane < 16 ? rows - lane : 16);
    }
}

#endif
