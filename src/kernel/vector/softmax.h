/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.h - exp2, the softmax of a block, the merge of states and the end of a row, VEC lanes at
 * a time: the operations of scalar/attention.h and base/mathf_inline.h, in their order. */
#ifndef GQA__KERNEL_VECTOR_SOFTMAX_H
#define GQA__KERNEL_VECTOR_SOFTMAX_H

#include "kernel/scalar/attention.h"
#include "kernel/vector/convert.h"
#include "kernel/vector/words.h"

/* gqa__exp2f of base/mathf.h, VEC at a time. */
INLINE vec v_exp2(vec x)
{
    const vec rounder = v_set(GQA__ROUNDER);
    const vec shifted = v_add(x, rounder);
    const vec f = v_sub(x, v_sub(shifted, rounder));
    vec p = v_set(0x1.17750ap-13f);

    p = v_fma(p, f, v_set(0x1.5ef4fap-10f));
    p = v_fma(p, f, v_set(0x1.3b682ep-7f));
    p = v_fma(p, f, v_set(0x1.c6af9ep-5f));
    p = v_fma(p, f, v_set(0x1.ebfb94p-3f));
    p = v_fma(p, f, v_set(0x1.62e430p-1f));
    p = v_fma(p, f, v_set(1.0f));
    return v_drop(v_less(x, v_set(-126.0f)), v_mul(p, v_power_of_two(shifted)));
}

/* The largest score of each lane, NaN left out; never -0. s [keys][s_stride]. */
INLINE vec max_lanes(const float *s, int64_t s_stride, int32_t keys)
{
    vec m0 = v_set(-INFINITY), m1 = m0, m2 = m0, m3 = m0;

    for (int32_t key = 0; key < keys; key += 4, s += 4 * s_stride) {
        m0 = v_max(v_load(s), m0);
        m1 = v_max(v_load(s + s_stride), m1);
        m2 = v_max(v_load(s + 2 * s_stride), m2);
        m3 = v_max(v_load(s + 3 * s_stride), m3);
    }
    return v_add(v_max(v_max(m0, m1), v_max(m2, m3)), v_zero());
}

/* What the softmax of VEC lanes does beside the usual; constants where it is called. */
struct softmax_extras {
    bool mark;   /* p is -0 where the score is -inf */
    bool scaled; /* p is multiplied by a scale of its key */
};

/* p of one key from its scores; before it is scaled, added to *sum too. scale: of the key, or any
 * number. */
INLINE void exponentiate(float *p, const float *s, vec safe, vec *sum, vec scale,
                         const struct softmax_extras extras)
{
    const vec score = v_load(s);
    const vec e = v_exp2(v_sub(score, safe));
    vec weight = e;

    *sum = v_add(*sum, e);
    if (extras.scaled) { /* scaled_probability of scalar/f32.h */
        weight = v_mul(e, scale);
        weight = v_drop(v_less(weight, v_set(0x1p-126f)), weight);
    }
    if (extras.mark) {
        weight = v_select(v_equal(score, v_set(-INFINITY)), v_set(-0.0f), weight);
    }
    v_store(p, weight);
}

/* VEC lanes of a block, from their scores to p, m and l. */
struct scored_lanes {
    float *p;           /* [keys][stride], may be s */
    float *m, *l;       /* [VEC] */
    const float *s;     /* [keys][stride] */
    const float *scale; /* [keys], or NULL */
    int64_t stride;
};

INLINE void softmax_lanes(const struct scored_lanes *lanes, int32_t keys,
                          const struct softmax_extras extras)
{
    const int64_t stride = lanes->stride;
    const float *s = lanes->s, *scale = lanes->scale;
    float *p = lanes->p;
    const vec top = max_lanes(s, stride, keys);
    const vec safe = v_drop(v_equal(top, v_set(-INFINITY)), top);
    vec l0 = v_zero(), l1 = l0, l2 = l0, l3 = l0;

    for (int32_t key = 0; key < keys; key += 4, s += 4 * stride, p += 4 * stride) {
        const vec f0 = extras.scaled ? v_set(scale[key]) : v_zero();
        const vec f1 = extras.scaled ? v_set(scale[key + 1]) : v_zero();
        const vec f2 = extras.scaled ? v_set(scale[key + 2]) : v_zero();
        const vec f3 = extras.scaled ? v_set(scale[key + 3]) : v_zero();
        exponentiate(p, s, safe, &l0, f0, extras);
        exponentiate(p + stride, s + stride, safe, &l1, f1, extras);
        exponentiate(p + 2 * stride, s + 2 * stride, safe, &l2, f2, extras);
        exponentiate(p + 3 * stride, s + 3 * stride, safe, &l3, f3, extras);
    }
    v_store(lanes->m, top);
    v_store(lanes->l, v_canonical(v_add(v_add(l0, l1), v_add(l2, l3))));
}

static inline void softmax_of(const struct scored_lanes *lanes, int32_t keys, bool mark)
{
    if (lanes->scale != NULL) {
        if (mark) {
            softmax_lanes(lanes, keys, (struct softmax_extras){true, true});
        } else {
            softmax_lanes(lanes, keys, (struct softmax_extras){false, true});
        }
    } else if (mark) {
        softmax_lanes(lanes, keys, (struct softmax_extras){true, false});
    } else {
        softmax_lanes(lanes, keys, (struct softmax_extras){false, false});
    }
}

/* --- states ---------------------------------------------------------------------------------- */

/* How two states are merged, VEC lanes: by which factors, and where one of them is neutral. */
struct merge_lanes {
    vec a, a2;               /* merge_factor of the left and the right state */
    vmask no_left, no_right; /* l == 0 */
};

INLINE vec merge_factors(vec m, vec top)
{
    return v_select(v_equal(m, top), v_set(1.0f), v_exp2(v_sub(m, top)));
}

INLINE vec merge_values(const struct merge_lanes *by, vec left, vec right)
{
    const vec both = v_fma(right, by->a2, v_mul(left, by->a));
    return v_select(by->no_left, right, v_select(by->no_right, left, both));
}

/* Sets *by for the merge of the state (m, l) on the left and (m2, l2) on the right; returns the
 * merged m. */
INLINE vec merge_begin(struct merge_lanes *by, vec m, vec l, vec m2, vec l2)
{
    const vec top = v_max(m, m2);

    by->a = merge_factors(m, top);
    by->a2 = merge_factors(m2, top);
    by->no_left = v_equal(l, v_zero());
    by->no_right = v_equal(l2, v_zero());
    return v_select(by->no_left, m2, v_select(by->no_right, m, top));
}

/* Outputs of VEC lanes, [d][stride] from the first lane on. */
struct lane_outputs {
    float *o;
    int64_t stride;
};

/* n value dimensions: left merged with right, into `to`, which may be either of them. */
INLINE void merge_outputs(const struct merge_lanes *by, struct lane_outputs to,
                          struct lane_outputs left, struct lane_outputs right, int32_t n)
{
    const bool plain = !v_any(by->no_left) && !v_any(by->no_right);

    for (int32_t d = 0; d < n && plain; d++) {
        const vec right_part = v_load(right.o + d * right.stride);
        v_store(to.o + d * to.stride,
                v_fma(right_part, by->a2, v_mul(v_load(left.o + d * left.stride), by->a)));
    }
    for (int32_t d = 0; d < n && !plain; d++) {
        v_store(to.o + d * to.stride, merge_values(by, v_load(left.o + d * left.stride),
                                                   v_load(right.o + d * right.stride)));
    }
}

static inline void merge_vector(const struct gqa__state *into, const struct gqa__state *from,
                                int32_t dv, int32_t ld)
{
    assert(ld % VEC == 0);
    for (int32_t lane = 0; lane < ld; lane += VEC) {
        const vec left = v_load(into->l + lane), right = v_load(from->l + lane);
        struct merge_lanes by;
        const vec top =
            merge_begin(&by, v_load(into->m + lane), left, v_load(from->m + lane), right);
        const struct lane_outputs to = {into->o + lane, ld}, other = {from->o + lane, ld};

        merge_outputs(&by, to, to, other, dv);
        v_store(into->m + lane, top);
        v_store(into->l + lane, v_canonical(merge_values(&by, left, right)));
    }
}

static inline void finish_lse(const struct gqa__finish *finish, int32_t lane, int32_t rows, vec m,
                              vec l)
{
    float top[VEC], sum[VEC];

    v_store(top, m);
    v_store(sum, l);
    for (int32_t i = 0; i < VEC; i++) {
        top[i] = gqa__canonical(gqa__log_sum(top[i], sum[i]));
    }
    for (int32_t i = 0; i < rows; i++) {
        finish->lse[gqa__row_offset(&finish->lse_map, lane + i)] =
            sum[i] == 0.0f ? -INFINITY : top[i];
    }
}

/* How o becomes the output of VEC lanes. */
struct finish_lanes {
    vec scale;      /* the sink's share and 1 / l */
    vmask nothing;  /* lanes that see nothing */
    void *out[VEC]; /* [rows] of dv values */
    gqa_dtype out_type;
    int32_t rows; /* 0: no output */
    bool stream;  /* whole vectors of out are aligned and may pass the caches */
};

/* Values x of one dimension, finished: no -0. */
INLINE vec finish_value(const struct finish_lanes *by, const float *x)
{
    return v_drop(by->nothing, v_canonical(v_fma(v_load(x), by->scale, v_zero())));
}

/* Whole vectors, one to each row, `at` bytes into it. */
INLINE void store_finished(const struct finish_lanes *by, const vec x[VEC], size_t at)
{
    if (by->rows == VEC && by->stream) {
        for (int32_t i = 0; i < VEC; i++) {
            v_stream((float *)((unsigned char *)by->out[i] + at), x[i]);
        }
        return;
    }
    for (int32_t i = 0; i < by->rows; i++) {
        v_store((float *)((unsigned char *)by->out[i] + at), x[i]);
    }
}

/* o [n][ld]: value dimensions [d, d + n), n <= VEC. */
INLINE void finish_values(const struct finish_lanes *by, const float *o, int64_t ld, int32_t d,
                          const int32_t n)
{
    const int32_t rows = by->rows;
    vec r[VEC];

    for (int32_t i = 0; i < VEC; i++) {
        r[i] = i < n ? finish_value(by, o + i * ld) : v_zero();
    }
    v_transpose(r);
    if (by->out_type == GQA_BF16) {
        for (int32_t i = 0; i < rows; i++) {
            v_store_as(by->out[i], d, r[i], n, GQA_BF16);
        }
    } else if (by->out_type == GQA_F16) {
        for (int32_t i = 0; i < rows; i++) {
            v_store_as(by->out[i], d, r[i], n, GQA_F16);
        }
    } else if (n == VEC) {
        store_finished(by, r, (size_t)d * sizeof(float));
    } else {
        for (int32_t i = 0; i < rows; i++) {
            v_store_as(by->out[i], d, r[i], n, GQA_F32);
        }
    }
}

/* o [2 VEC][ld]: value dimensions [d, d + 2 VEC) of 16 bits each. Two dimensions are rounded into
 * one vector, so that they are transposed together and a row's values are a whole vector. */
INLINE void finish_pairs(const struct finish_lanes *by, const float *o, int64_t ld, int32_t d,
                         const gqa_dtype type)
{
    vec r[VEC];

    for (int32_t i = 0; i < VEC; i++) {
        const vec even = finish_value(by, o + 2 * i * ld);
        const vec odd = finish_value(by, o + (2 * i + 1) * ld);
        r[i] = type == GQA_BF16 ? v_pair_bf16(v_round_bf16(even), v_round_bf16(odd))
                                : v_pair_f16(even, odd);
    }
    v_transpose(r);
    store_finished(by, r, (size_t)d * sizeof(uint16_t));
}

/* o [2 VEC][ld]: value dimensions [d, d + 2 VEC). */
INLINE void finish_two(const struct finish_lanes *by, const float *o, int64_t ld, int32_t d)
{
    if (by->out_type == GQA_BF16) {
        finish_pairs(by, o, ld, d, GQA_BF16);
    } else if (by->out_type == GQA_F16) {
        finish_pairs(by, o, ld, d, GQA_F16);
    } else {
        finish_values(by, o, ld, d, VEC);
        finish_values(by, o + VEC * ld, ld, d + VEC, VEC);
    }
}

/* o [dims][ld]: value dimensions [d, d + dims). */
INLINE void finish_dims(const struct finish_lanes *by, const float *o, int64_t ld, int32_t d,
                        int32_t dims)
{
    int32_t i = 0;

    for (; i + 2 * VEC <= dims; i += 2 * VEC) {
        finish_two(by, o + i * ld, ld, d + i);
    }
    if (i + VEC <= dims) {
        finish_values(by, o + i * ld, ld, d + i, VEC);
        i += VEC;
    }
    if (i < dims) {
        finish_values(by, o + i * ld, ld, d + i, dims - i);
    }
}

/* Rows of finish from lane on, at most VEC. */
static inline int32_t finish_rows_from(const struct gqa__finish *finish, int32_t lane)
{
    const int32_t count = finish->out != NULL ? finish->out_map.count : finish->lse_map.count;
    const int32_t rest = count - lane;

    return rest < 0 ? 0 : rest < VEC ? rest : VEC;
}

/* Sets *by from m and l of VEC lanes, and stores their LSE. As in finish_row of scalar/attention.h,
 * the sink is merged in as the state (sink, 1, 0) on the right. */
static inline void finish_begin(struct finish_lanes *by, const struct gqa__finish *finish,
                                int32_t lane, vec m_left, vec left)
{
    const int32_t rows = finish_rows_from(finish, lane);
    const vec none = v_set(-INFINITY);
    const vec sink = finish->sink != NULL ? v_load_part(finish->sink + lane, rows) : none;
    const vec right = v_drop(v_equal(sink, none), v_set(1.0f));
    struct merge_lanes merge;
    const vec m = merge_begin(&merge, m_left, left, sink, right);
    const vec l = v_canonical(merge_values(&merge, left, right));
    const vec share = v_select(merge.no_right, v_set(1.0f), merge.a);
    const size_t size = finish->out_type == GQA_F32 ? sizeof(float) : sizeof(uint16_t);

    if (finish->lse != NULL) {
        finish_lse(finish, lane, rows, m, l);
    }
    by->scale = v_mul(share, v_div(v_set(1.0f), l));
    by->nothing = merge.no_left;
    by->rows = finish->out != NULL ? rows : 0;
    by->out_type = finish->out_type;
    by->stream = finish->stream;
    if (by->rows > 0) {
        struct gqa__row_walk walk = gqa__row_begin(&finish->out_map, lane);
        for (int32_t i = 0; i < rows; i++) {
            by->out[i] = (unsigned char *)finish->out +
                         gqa__row_next(&finish->out_map, &walk) * (int64_t)size;
            by->stream = by->stream && (uintptr_t)by->out[i] % (VEC * sizeof(float)) == 0;
        }
    }
}

static inline void finish_vector(const struct gqa__finish *finish)
{
    const int64_t ld = finish->ld;

    assert(ld % VEC == 0);
    for (int32_t lane = 0; finish_rows_from(finish, lane) > 0; lane += VEC) {
        const float *o = finish->o + lane; /* [dv][ld] */
        struct finish_lanes by;

        finish_begin(&by, finish, lane, v_load(finish->m + lane), v_load(finish->l + lane));
        if (by.rows > 0) {
            finish_dims(&by, o, ld, 0, finish->dv);
        }
    }
    if (finish->stream) {
        v_fence();
    }
}

#endif
