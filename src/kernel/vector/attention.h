/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h - attention with f32 operands.
 *
 * Lanes are taken in pairs of vectors (2 VEC, a lane pair); the last one may be a single vector.
 * Packed layouts:
 *   q  [lane pair][dk][width of the pair]
 *   p  [keys][ld], within a block [keys][width of the pair], in place of the scores
 */
#ifndef GQA__KERNEL_VECTOR_ATTENTION_H
#define GQA__KERNEL_VECTOR_ATTENTION_H

#include "kernel/scalar/f32.h"
#include "kernel/vector/convert.h"
#include "kernel/vector/product.h"
#include "kernel/vector/softmax.h"
#include "kernel/vector/words.h"

enum {
    LANE_PAIR = 2 * VEC, /* lanes that a product takes at once */
    VALUE_KEYS = 64 /* keys of one product of values: so that their rows of p and V stay in L1 */
};

INLINE int32_t lane_pair_width(int32_t ld, int32_t lane)
{
    return ld - lane < LANE_PAIR ? VEC : LANE_PAIR;
}

/* store_values of scalar/f32.h. A value that is not finite is found by its difference with itself:
 * it is NaN instead of 0. */
INLINE bool store_lanes_of(struct stored to, const float *src, int32_t n)
{
    vec odd = v_zero();
    float odd_lane[VEC];
    bool nonfinite = false;
    int32_t i = 0;

    for (; i + VEC <= n; i += VEC) {
        const vec x = to.flush ? v_flush(v_load(src + i)) : v_load(src + i);
        const vec value = to.type == GQA_F32    ? v_canonical(x)
                          : to.type == GQA_BF16 ? v_round_bf16(x)
                                                : v_round_f16(v_canonical(x));
        odd = v_add(odd, v_sub(value, value));
        if (to.type == GQA_F32) {
            v_store((float *)to.page + to.offset + i, value);
        } else if (to.type == GQA_BF16) {
            v_store_bf16((uint16_t *)to.page + to.offset + i, value);
        } else {
            v_store_f16((uint16_t *)to.page + to.offset + i, value);
        }
    }
    v_store(odd_lane, odd);
    for (int32_t j = 0; j < VEC; j++) {
        nonfinite |= odd_lane[j] != odd_lane[j];
    }
    to.offset += i;
    return store_values(to, src + i, n - i) || nonfinite;
}

/* The tokens that are appended; type and flush are constants where it is called. */
INLINE bool store_tokens(const struct gqa__append_args *args, const gqa_dtype type,
                         const bool flush)
{
    bool nonfinite = false;

    for (int32_t i = 0; i < args->n; i++) {
        struct stored to = stored_token(args, i);
        to.type = type;
        to.flush = flush;
        nonfinite |= store_lanes_of(to, args->src + i * args->src_stride, args->dim);
    }
    return nonfinite;
}

static inline bool append_v_lanes(const struct gqa__append_args *args)
{
    if (gqa__scaled(args->storage)) {
        return append_scaled(args, false, false);
    }
    switch (args->storage) {
    case GQA_F32:
        return args->flush ? store_tokens(args, GQA_F32, true) : store_tokens(args, GQA_F32, false);
    case GQA_BF16:
        return args->flush ? store_tokens(args, GQA_BF16, true)
                           : store_tokens(args, GQA_BF16, false);
    default:
        assert(args->storage == GQA_F16);
        return args->flush ? store_tokens(args, GQA_F16, true) : store_tokens(args, GQA_F16, false);
    }
}

static inline void append_k_lanes(const struct gqa__append_args *args)
{
    append_v_lanes(args); /* K rows are stored alike */
}

/* How a value of q is packed, once it is scaled. */
enum packing {
    PACK_AS_IS,
    PACK_FLUSHED, /* a denormal counts as zero, before it is scaled too */
    PACK_BF16     /* a denormal counts as zero; rounded to bf16, and kept as f32 */
};

INLINE vec packed_lanes(vec x, vec factor, const enum packing how)
{
    const vec scaled = v_mul(how == PACK_FLUSHED ? v_flush(x) : x, factor);

    if (how == PACK_BF16) {
        return v_round_bf16(v_flush(scaled));
    }
    return how == PACK_FLUSHED ? v_flush(scaled) : scaled;
}

/* VEC lanes of q, from lane on, into dst [dk][width]; how and type are constants where it is
 * called. */
INLINE void pack_typed_lanes(const struct gqa__pack_q_args *args, int32_t lane, float *dst,
                             int32_t width, const enum packing how, const gqa_dtype type)
{
    const struct gqa__row_map *const map = args->map;
    const int32_t dk = args->dk;
    const vec factor = v_set(args->scale);
    struct gqa__row_walk walk = gqa__row_begin(map, lane);
    int64_t row[VEC];

    for (int32_t i = 0; i < VEC; i++) {
        row[i] = gqa__row_next(map, &walk);
    }
    for (int32_t d = 0; d < dk; d += VEC) {
        const int32_t rest = dk - d < VEC ? dk - d : VEC;
        vec r[VEC];
        for (int32_t i = 0; i < VEC; i++) {
            r[i] = v_zero();
            if (lane + i < map->count) {
                r[i] = v_load_as(args->q, row[i] + d, rest, type);
            }
        }
        v_transpose(r);
        for (int32_t i = 0; i < VEC && i < rest; i++) {
            v_store(dst + (int64_t)(d + i) * width, packed_lanes(r[i], factor, how));
        }
    }
}

INLINE void pack_lanes_of(const struct gqa__pack_q_args *args, int32_t lane, float *dst,
                          int32_t width, const enum packing how)
{
    if (args->q_type == GQA_F32) {
        pack_typed_lanes(args, lane, dst, width, how, GQA_F32);
    } else if (args->q_type == GQA_BF16) {
        pack_typed_lanes(args, lane, dst, width, how, GQA_BF16);
    } else {
        pack_typed_lanes(args, lane, dst, width, how, GQA_F16);
    }
}

static inline void pack_lanes(const struct gqa__pack_q_args *args, int32_t lane, float *dst,
                              int32_t width)
{
    if (args->flush) {
        pack_lanes_of(args, lane, dst, width, PACK_FLUSHED);
    } else {
        pack_lanes_of(args, lane, dst, width, PACK_AS_IS);
    }
}

static inline void pack_q_vector(const struct gqa__pack_q_args *args)
{
    const int32_t ld = args->ld;

    assert(args->map->count <= ld && ld % VEC == 0);
    for (int32_t lane = 0; lane < ld; lane += LANE_PAIR) {
        const int32_t width = lane_pair_width(ld, lane);
        float *pair = (float *)args->dst + (int64_t)lane * args->dk; /* [dk][width] */
        for (int32_t part = 0; part < width; part += VEC) {
            pack_lanes(args, lane + part, pair + part, width);
        }
    }
}

/* s [keys][s_stride] of one lane pair; q [dk][width], k [keys][k_stride]. */
INLINE struct product score_product(float *s, int64_t s_stride, const float *q, int32_t width,
                                    const float *k, int64_t k_stride, int32_t dk)
{
    return (struct product){.a = k,
                            .a_row = k_stride,
                            .a_step = 1,
                            .b = q,
                            .b_step = width,
                            .n = dk,
                            .c = s,
                            .c_row = s_stride,
                            .first = true};
}

static inline void score_vector(const struct gqa__score_args *args)
{
    const int32_t ld = args->ld, dk = args->dk;

    assert(ld % VEC == 0 && dk <= GQA__DOT_BLOCK);
    for (int32_t lane = 0; lane < ld; lane += LANE_PAIR) {
        const int32_t width = lane_pair_width(ld, lane);
        const float *q = (const float *)args->q + (int64_t)lane * dk;
        const struct product product =
            score_product(args->s + lane, ld, q, width, args->k, args->k_stride, dk);
        product_all(product, args->keys, width, false);
    }
    if (args->scale != NULL) {
        scale_scores(args->s, args->scale, args->keys, ld);
    }
}

static inline void softmax_vector(const struct gqa__softmax_args *args)
{
    assert(args->keys % 4 == 0 && args->ld % VEC == 0);
    for (int32_t lane = 0; lane < args->ld; lane += VEC) {
        const struct scored_lanes lanes = {(float *)args->p + lane, args->m + lane, args->l + lane,
                                           args->s + lane,          args->scale,    args->ld};
        softmax_of(&lanes, args->keys, args->mark != NULL);
    }
}

/* Values of one lane pair: o [dv][o_stride], p [keys][p_stride], v [keys][v_stride]. */
struct values {
    float *o;
    int64_t o_stride;
    const float *p;
    int64_t p_stride;
    const float *v;
    int64_t v_stride;
    int32_t keys, dv, width;
};

static inline void value_lane_pair(const struct values *values, bool first)
{
    for (int32_t key = 0; key < values->keys; key += VALUE_KEYS) {
        const int32_t rest = values->keys - key;
        const struct product product = {.a = values->v + key * values->v_stride,
                                        .a_row = 1,
                                        .a_step = values->v_stride,
                                        .b = values->p + key * values->p_stride,
                                        .b_step = values->p_stride,
                                        .n = rest < VALUE_KEYS ? rest : VALUE_KEYS,
                                        .c = values->o,
                                        .c_row = values->o_stride,
                                        .first = first && key == 0};
        product_all(product, values->dv, values->width, false);
    }
}

static inline void accumulate_vector(const struct gqa__accumulate_args *args)
{
    const int32_t ld = args->ld;

    if (args->flags & GQA__ACC_MARKED) {
        accumulate_f32(args);
        return;
    }
    assert(ld % VEC == 0);
    for (int32_t lane = 0; lane < ld; lane += LANE_PAIR) {
        const struct values values = {.o = args->o + lane,
                                      .o_stride = ld,
                                      .p = (const float *)args->p + lane,
                                      .p_stride = ld,
                                      .v = args->v,
                                      .v_stride = args->v_stride,
                                      .keys = args->keys,
                                      .dv = args->dv,
                                      .width = lane_pair_width(ld, lane)};
        value_lane_pair(&values, (args->flags & GQA__ACC_FIRST) != 0);
    }
}

#endif
