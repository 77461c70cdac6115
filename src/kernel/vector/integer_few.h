/* SPDX-License-Identifier: Apache-2.0 */
/* integer_few.h - a block of few rows, at most half a vector: two lanes for each row, 2 r and
 * 2 r + 1. In the scores they are two keys, in the values two dims, so that no lane is empty. What
 * is added, and in which order, is as in integer.h.
 *
 *   q  [pairs][VEC] both lanes of a row alike
 *   s  [keys / 2][VEC] keys 2 i and 2 i + 1; where others read or made them [keys][VEC]
 *   p  [keys / 2][VEC] weights of a group, pairs of keys, both lanes of a row alike
 */
#ifndef GQA__KERNEL_VECTOR_INTEGER_FEW_H
#define GQA__KERNEL_VECTOR_INTEGER_FEW_H

#include "kernel/vector/few.h"
#include "kernel/vector/integer_product.h"
#include "kernel/vector/integer_weights.h"
#include "kernel/vector/softmax.h"

static inline bool few_rows(const struct gqa__integer_block *block)
{
    return block->ld == VEC && block->rows <= VEC / 2;
}

/* --- scores ----------------------------------------------------------------------------------- */

/* Scores of a panel, as score_panel of integer.h. */
struct few_scores {
    float *s;           /* [keys / 2][VEC] */
    int32_t *sum;       /* [keys / 2][VEC] */
    const int32_t *k;   /* [keys / 2][pairs][2] */
    const int32_t *q;   /* [pairs][VEC] */
    vec factor;         /* each row's twice */
    const float *scale; /* [keys] */
    int32_t keys, pairs, group_pairs;
};

static inline void score_few_group(const struct few_scores *by, int32_t group)
{
    const int32_t first = group * by->group_pairs;

    pair_product_in_turns((struct pair_product){.a = by->k + 2 * first,
                                                .a_row = 2 * by->pairs,
                                                .a_step = 2,
                                                .b = by->q + first * VEC,
                                                .b_step = VEC,
                                                .n = by->group_pairs,
                                                .c = by->sum,
                                                .c_row = VEC,
                                                .first = true},
                          by->keys / 2);
    for (int32_t i = 0; i < by->keys / 2; i++) {
        const vec sum = v_of_int(v_load_int(by->sum + i * VEC));
        const vec factor = v_mul(by->factor, v_set_two(by->scale + 2 * i));
        v_store(by->s + i * VEC,
                v_fma(sum, factor, group == 0 ? v_zero() : v_load(by->s + i * VEC)));
    }
}

static inline void score_few_panel(const struct gqa__integer_block *block, struct few_scores *by,
                                   const struct gqa__integer_rows *rows, int32_t from,
                                   struct ahead *ahead)
{
    const int32_t groups = gqa__row_scales(block->type_k, block->dk);
    const struct integer_scratch scratch = integer_scratch_of(block);
    const struct bytes bytes =
        bytes_of(scratch.bytes, rows, from, by->keys, whole_rows(block->type_k, block->dk));

    for (int32_t key = 0; key < by->keys; key += 2) {
        const int8_t *const even = bytes.row + key * bytes.step;
        prefetch_share(ahead);
        pairs_in_turns(scratch.words + key * by->pairs, even, even + bytes.step, 2 * by->pairs);
    }
    for (int32_t g = 0; g < groups; g++) {
        by->scale = rows->scale + g * rows->scale_step + from;
        score_few_group(by, g);
    }
}

/* s [keys / 2][VEC] */
static inline void score_few(const struct gqa__integer_block *block, float *s, struct ahead *ahead)
{
    const struct integer_scratch scratch = integer_scratch_of(block);
    const int32_t groups = gqa__row_scales(block->type_k, block->dk);
    const float *const factor = block->q; /* [VEC] */
    struct few_scores by = {.s = s,
                            .sum = scratch.sums,
                            .k = scratch.words,
                            .q = (const int32_t *)block->q + (integer_pairs(block->dk) + 1) * VEC,
                            .factor = v_twice(v_load(factor)),
                            .pairs = gqa__integer_row_values(block->type_k, block->dk) / 2};

    by.group_pairs = by.pairs / groups;
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_run *const run = &block->run[i];
        for (int32_t from = 0; from < run->keys; from += by.keys) {
            by.keys = run->keys - from < PANEL_KEYS ? run->keys - from : PANEL_KEYS;
            score_few_panel(block, &by, &run->k, from, ahead);
            by.s += by.keys / 2 * VEC;
        }
    }
}

/* --- values ----------------------------------------------------------------------------------- */

/* s [keys / 2][VEC] becomes p; m and l of the state. The four chains of a row's l are the two lanes
 * of two sums. */
static inline void softmax_few(const struct gqa__integer_block *block)
{
    const int32_t n = block->keys / 2;
    float *const s = block->s;
    vec top0 = v_set(-INFINITY), top1 = top0, sum0 = v_zero(), sum1 = sum0;

    for (int32_t i = 0; i < n; i += 2) {
        top0 = v_max(v_load(s + i * VEC), top0);
        top1 = v_max(v_load(s + (i + 1) * VEC), top1);
    }
    top0 = v_max(top0, top1);
    top0 = v_add(v_max(top0, v_swap(top0)), v_zero());
    const vec safe = v_drop(v_equal(top0, v_set(-INFINITY)), top0);
    const struct softmax_extras plain = {false, false};
    for (int32_t i = 0; i < n; i += 2) {
        exponentiate(s + i * VEC, s + i * VEC, safe, &sum0, v_zero(), plain);
        exponentiate(s + (i + 1) * VEC, s + (i + 1) * VEC, safe, &sum1, v_zero(), plain);
    }
    sum0 = v_add(v_add(sum0, v_swap(sum0)), v_add(sum1, v_swap(sum1)));
    v_store(block->state.m, v_halve(top0));
    v_store(block->state.l, v_halve(v_canonical(sum0)));
}

/* Two keys' weights, in the two lanes of a row, as a pair in both. */
INLINE ivec pair_of_lanes(ivec x)
{
    const vec other = v_swap(v_of_bits(x));
    return i_of_bits(v_twice_even(v_of_bits(i_pair(x, i_of_bits(other)))));
}

/* The weights of a group to pair [keys / 2][VEC]; what takes sums back, each row's twice. */
static inline vec weigh_few(int32_t *pair, const float *p, const float *scale, int32_t keys)
{
    ivec top0 = i_zero(), top1 = top0;
    vec to_integer, back, top;

    for (int32_t i = 0; i < keys / 2; i += 2) {
        top0 = i_max(top0, i_size(weight_of(p + i * VEC, v_set_two(scale + 2 * i))));
        top1 = i_max(top1, i_size(weight_of(p + (i + 1) * VEC, v_set_two(scale + 2 * i + 2))));
    }
    top = v_of_bits(i_max(top0, top1));
    factors_of(i_max(i_of_bits(top), i_of_bits(v_swap(top))), &to_integer, &back);
    for (int32_t i = 0; i < keys / 2; i++) {
        const vec w = weight_of(p + i * VEC, v_set_two(scale + 2 * i));
        i_store(pair + i * VEC, pair_of_lanes(weight_integer(w, to_integer)));
    }
    return back;
}

/* The sums of dims [first, first + dims), two in the lanes of a row, over all keys: [dims / 2][VEC]
 * at scratch.sums. */
static inline void sum_few(const struct gqa__integer_block *block, int32_t first, int32_t dims,
                           struct ahead *ahead)
{
    const struct integer_scratch scratch = integer_scratch_of(block);
    const struct stored_slice slice = group_rows(block->type_v, block->dv, first);
    struct pair_product product = {.a = scratch.words,
                                   .a_row = 2,
                                   .a_step = slice.values,
                                   .b = block->p,
                                   .b_step = VEC,
                                   .c = scratch.sums,
                                   .c_row = VEC,
                                   .first = true};

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_run *const run = &block->run[i];
        for (int32_t from = 0, n; from < run->keys; from += n) {
            n = run->keys - from < PANEL_KEYS ? run->keys - from : PANEL_KEYS;
            pairs_of_keys(scratch.words, bytes_of(scratch.bytes, &run->v, from, n, slice), n,
                          slice.values, ahead);
            product.n = n / 2;
            pair_product_in_turns(product, (dims + 1) / 2);
            product.b += n / 2 * VEC;
            product.first = false;
        }
    }
}

/* o [dims][VEC], rows in the first half of the lanes, from their sums. */
static inline void values_of_few(float *o, const int32_t *sum, int32_t dims, vec back)
{
    for (int32_t d = 0; d < dims; d += 2, sum += VEC) {
        vec even, odd;
        v_split(v_mul(v_of_int(v_load_int(sum)), back), v_zero(), &even, &odd);
        v_store(o + d * VEC, even);
        if (d + 1 < dims) {
            v_store(o + (d + 1) * VEC, odd);
        }
    }
}

/* The state from block->s [keys / 2][VEC]. */
static inline void values_few(const struct gqa__integer_block *block, struct ahead *ahead)
{
    const int32_t step = gqa__scale_group(block->type_v, block->dv);
    float scale[GQA__FOLD_BLOCK];

    softmax_few(block);
    for (int32_t g = 0, first = 0; first < block->dv; g++, first += step) {
        const int32_t dims = block->dv - first < step ? block->dv - first : step;
        gather_scales(scale, block, g);
        const vec back = weigh_few(block->p, block->s, scale, block->keys);
        sum_few(block, first, dims, ahead);
        values_of_few(block->state.o + first * VEC, integer_scratch_of(block).sums, dims, back);
    }
}

/* --- entries ---------------------------------------------------------------------------------- */

/* block->s [keys][VEC] */
static inline void score_few_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    score_few(block, block->p, ahead);
    split_rows(block->s, block->p, block->keys);
}

static inline void values_few_rows(const struct gqa__integer_block *block, struct ahead *ahead)
{
    join_rows(block->s, block->s, block->keys);
    values_few(block, ahead);
}

static inline void block_few(const struct gqa__integer_block *block)
{
    const int32_t groups = gqa__row_scales(block->type_v, block->dv);
    struct ahead ahead =
        look_ahead(block->prefetch, block->prefetches, (1 + groups) * block->keys / 2);

    if (block->rules != NULL) {
        score_few_rows(block, &ahead);
        apply_rules(block->s, block->rules);
        values_few_rows(block, &ahead);
    } else {
        score_few(block, block->s, &ahead);
        values_few(block, &ahead);
    }
}

#endif
