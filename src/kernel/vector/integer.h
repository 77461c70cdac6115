/* SPDX-License-Identifier: Apache-2.0 */
/* integer.h - attention over integer K and V, VEC lanes at a time: the operations of
 * scalar/integer.h on every row, and the same packed q.
 *
 * A panel of PANEL_KEYS keys at a time is unpacked to int16: K [keys][pairs] of two dims, V
 * [keys / 2][dims] of two keys, so that a word of 32 bits that is read for all lanes makes two
 * products in each.
 */
#ifndef GQA__KERNEL_VECTOR_INTEGER_H
#define GQA__KERNEL_VECTOR_INTEGER_H

#include "kernel/vector/integer_few.h"
#include "kernel/vector/integer_gather.h"
#include "kernel/vector/integer_product.h"
#include "kernel/vector/integer_weights.h"
#include "kernel/vector/softmax.h"

/* --- scores ---------------------------------------------------------------------------------- */

/* Scores of a panel for the lanes of one product, group by group. */
struct panel_scores {
    float *s;            /* [keys][ld] */
    int32_t *sum;        /* [keys][SUM_LANES] */
    const int32_t *k;    /* [keys][pairs] */
    const int32_t *q;    /* [pairs][ld] */
    const float *factor; /* [ld] */
    const float *scale;  /* [keys] */
    int32_t keys, pairs, group_pairs, ld;
};

/* s [lanes] = fma(sum, factor * scale, s), from +0 with the first group. */
INLINE void scale_sums(const struct panel_scores *by, int32_t key, int32_t lanes, bool first)
{
    float *const s = by->s + (int64_t)key * by->ld;
    const vec scale = v_set(by->scale[key]);

    for (int32_t j = 0; j < lanes; j += VEC) {
        const vec sum = v_of_int(v_load_int(by->sum + (int64_t)key * SUM_LANES + j));
        const vec factor = v_mul(v_load(by->factor + j), scale);
        v_store(s + j, v_fma(sum, factor, first ? v_zero() : v_load(s + j)));
    }
}

static inline void score_panel_lanes(const struct panel_scores *by, int32_t group, int32_t lanes)
{
    const int32_t first = group * by->group_pairs;
    const struct pair_product product = {.a = by->k + first,
                                         .a_row = by->pairs,
                                         .a_step = 1,
                                         .b = by->q + (int64_t)first * by->ld,
                                         .b_step = by->ld,
                                         .n = by->group_pairs,
                                         .c = by->sum,
                                         .c_row = SUM_LANES,
                                         .first = true};

    pair_product(product, by->keys, lanes);
    for (int32_t key = 0; key < by->keys; key++) {
        scale_sums(by, key, lanes, group == 0);
    }
}

/* Scores of a panel: s [keys][ld]. */
static inline void score_panel(const struct gqa__integer_block *block, float *s,
                               const struct gqa__integer_rows *rows, int32_t from, int32_t keys,
                               struct ahead *ahead)
{
    const int32_t groups = gqa__row_scales(block->type_k, block->dk);
    const int32_t values = gqa__integer_row_values(block->type_k, block->dk);
    const struct integer_scratch scratch = integer_scratch_of(block);
    const struct bytes bytes =
        bytes_of(scratch.bytes, rows, from, keys, whole_rows(block->type_k, block->dk));
    struct panel_scores by = {.sum = scratch.sums,
                              .k = scratch.words,
                              .keys = keys,
                              .pairs = values / 2,
                              .group_pairs = values / 2 / groups,
                              .ld = block->ld};

    for (int32_t key = 0; key < keys; key++) {
        prefetch_share(ahead);
        pairs_of_row(scratch.words + key * by.pairs, bytes.row + key * bytes.step, values);
    }
    for (int32_t lane = 0; lane < block->ld; lane += SUM_LANES) {
        const int32_t lanes = block->ld - lane < SUM_LANES ? VEC : SUM_LANES;
        by.s = s + lane;
        by.factor = (const float *)block->q + lane;
        by.q = (const int32_t *)block->q + block->ld + lane;
        for (int32_t g = 0; g < groups; g++) {
            by.scale = rows->scale + g * rows->scale_step + from;
            score_panel_lanes(&by, g, lanes);
        }
    }
}

static inline void score_ahead(const struct gqa__integer_block *block, struct ahead *ahead)
{
    float *s = block->s;

    assert(block->ld % VEC == 0);
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_run *const run = &block->run[i];
        for (int32_t from = 0, n; from < run->keys; from += n) {
            n = run->keys - from < PANEL_KEYS ? run->keys - from : PANEL_KEYS;
            score_panel(block, s, &run->k, from, n, ahead);
            s += (int64_t)n * block->ld;
        }
    }
}

static inline void score_integer_lanes(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};

    if (few_rows(block)) {
        score_few_rows(block, &none);
    } else {
        score_ahead(block, &none);
    }
}

/* --- values ---------------------------------------------------------------------------------- */

/* The weights of VEC lanes as pairs of keys to pair [keys / 2][ld]; *back takes sums back. p
 * [keys][ld], scale [keys] */
INLINE void weigh_lanes(int32_t *pair, const float *p, int64_t ld, const float *scale, int32_t keys,
                        vec *back)
{
    ivec top0 = i_zero(), top1 = top0;
    vec to_integer;

    for (int32_t key = 0; key < keys; key += 2) {
        top0 = i_max(top0, i_size(weight_of(p + key * ld, v_set(scale[key]))));
        top1 = i_max(top1, i_size(weight_of(p + (key + 1) * ld, v_set(scale[key + 1]))));
    }
    factors_of(i_max(top0, top1), &to_integer, back);
    for (int32_t key = 0; key < keys; key += 2) {
        const vec w0 = weight_of(p + key * ld, v_set(scale[key]));
        const vec w1 = weight_of(p + (key + 1) * ld, v_set(scale[key + 1]));
        i_store(pair + key / 2 * ld,
                i_pair(weight_integer(w0, to_integer), weight_integer(w1, to_integer)));
    }
}

/* Weights and places of a block's values: dims of one scale. */
struct value_group {
    const int32_t *pair; /* [keys / 2][ld] weights of the group */
    int32_t first, dims;
};

/* Adds a panel's keys from `at` of the block on, [keys / 2][values] pairs of a group's dims at v,
 * to the sums of the group. */
static inline void add_panel(const struct gqa__integer_block *block, const int32_t *v,
                             const struct value_group *group, int32_t at, int32_t keys)
{
    const int64_t ld = block->ld;

    for (int32_t lane = 0; lane < ld; lane += SUM_LANES) {
        const struct pair_product product = {
            .a = v,
            .a_row = 1,
            .a_step = group_rows(block->type_v, block->dv, group->first).values,
            .b = group->pair + at / 2 * ld + lane,
            .b_step = ld,
            .n = keys / 2,
            .c = integer_scratch_of(block).sums + lane,
            .c_row = ld,
            .first = at == 0};
        pair_product(product, group->dims, ld - lane < SUM_LANES ? VEC : SUM_LANES);
    }
}

/* The sums of one group over all keys. */
static inline void sum_group_values(const struct gqa__integer_block *block,
                                    const struct value_group *group, struct ahead *ahead)
{
    const struct integer_scratch scratch = integer_scratch_of(block);
    const struct stored_slice slice = group_rows(block->type_v, block->dv, group->first);
    int32_t at = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__integer_run *const run = &block->run[i];
        for (int32_t from = 0, n; from < run->keys; from += n, at += n) {
            n = run->keys - from < PANEL_KEYS ? run->keys - from : PANEL_KEYS;
            pairs_of_keys(scratch.words, bytes_of(scratch.bytes, &run->v, from, n, slice), n,
                          slice.values, ahead);
            add_panel(block, scratch.words, group, at, n);
        }
    }
}

/* o [dims][ld] of VEC lanes from their sums. */
INLINE void sums_to_values(float *o, const int32_t *sum, int64_t ld, int32_t dims, vec back)
{
    for (int32_t d = 0; d < dims; d++, o += ld, sum += ld) {
        v_store(o, v_mul(v_of_int(v_load_int(sum)), back));
    }
}

static inline void value_group_lanes(const struct gqa__integer_block *block, int32_t g,
                                     const struct value_group *group, struct ahead *ahead)
{
    const int64_t ld = block->ld;
    float scale[GQA__FOLD_BLOCK];
    vec back[SCALAR_TILE_ROWS / VEC];

    gather_scales(scale, block, g);
    for (int32_t lane = 0; lane < ld; lane += VEC) {
        weigh_lanes((int32_t *)block->p + lane, block->s + lane, ld, scale, block->keys,
                    &back[lane / VEC]);
    }
    sum_group_values(block, group, ahead);
    for (int32_t lane = 0; lane < ld; lane += VEC) {
        sums_to_values(block->state.o + group->first * ld + lane,
                       integer_scratch_of(block).sums + lane, ld, group->dims, back[lane / VEC]);
    }
}

/* block->s [keys][ld] becomes p; m and l of the state. */
static inline void softmax_all_lanes(const struct gqa__integer_block *block)
{
    assert(block->ld % VEC == 0 && block->ld <= SCALAR_TILE_ROWS && block->keys % 16 == 0);
    for (int32_t lane = 0; lane < block->ld; lane += VEC) {
        const struct scored_lanes lanes = {
            block->s + lane, block->state.m + lane, block->state.l + lane, block->s + lane, NULL,
            block->ld};
        softmax_lanes(&lanes, block->keys, (struct softmax_extras){false, false});
    }
}

static inline void values_ahead(const struct gqa__integer_block *block, struct ahead *ahead)
{
    const int32_t step = gqa__scale_group(block->type_v, block->dv);
    struct value_group group = {.pair = block->p};

    softmax_all_lanes(block);
    for (int32_t g = 0; group.first < block->dv; g++, group.first += step) {
        group.dims = block->dv - group.first < step ? block->dv - group.first : step;
        value_group_lanes(block, g, &group, ahead);
    }
}

static inline void values_integer_lanes(const struct gqa__integer_block *block)
{
    struct ahead none = {NULL, 0, 0, 0};

    if (few_rows(block)) {
        values_few_rows(block, &none);
    } else {
        values_ahead(block, &none);
    }
}

static inline void block_integer_lanes(const struct gqa__integer_block *block)
{
    const int32_t groups = gqa__row_scales(block->type_v, block->dv);
    struct ahead ahead;

    if (few_rows(block)) {
        block_few(block);
        return;
    }
    ahead = look_ahead(block->prefetch, block->prefetches, block->keys + groups * block->keys / 2);
    score_ahead(block, &ahead);
    if (block->rules != NULL) {
        apply_rules(block->s, block->rules);
    }
    values_ahead(block, &ahead);
}

/* Behind the packed q of scalar/integer.h: of few rows both lanes alike, for integer_few.h. */
static inline size_t q_bytes_lanes(int32_t dk, int32_t ld)
{
    return q_bytes_integer(dk, ld) + (size_t)integer_pairs(dk) * VEC * sizeof(int32_t);
}

static inline void pack_q_lanes(const struct gqa__pack_q_args *args)
{
    const int32_t pairs = integer_pairs(args->dk);
    const int32_t *const pair = (const int32_t *)args->dst + args->ld; /* [pairs][ld] */
    int32_t *const twice = (int32_t *)args->dst + (int64_t)(pairs + 1) * args->ld;

    pack_q_integer(args);
    for (int32_t i = 0; i < pairs && args->ld == VEC; i++) {
        i_store(twice + i * VEC, i_of_bits(v_twice(v_of_bits(v_load_int(pair + i * VEC)))));
    }
}

static const struct gqa__integer_kernels vector_integer = {
    .lanes = VEC,
    .q_bytes = q_bytes_lanes,
    .scratch_bytes = scratch_integer_lanes,
    .pack_q = pack_q_lanes,
    .score = score_integer_lanes,
    .values = values_integer_lanes,
    .block = block_integer_lanes,
    .gather = gather_integers_lanes,
};

#endif
