/* SPDX-License-Identifier: Apache-2.0 */
/* block.h - one fold block with f32 operands: the entries of vector/attention.h, one lane pair
 * after the other, so that the scores of a pair stay in L1. */
#ifndef GQA__KERNEL_VECTOR_BLOCK_H
#define GQA__KERNEL_VECTOR_BLOCK_H

#include "kernel/vector/attention.h"
#include "kernel/vector/few_keys.h"
#include "kernel/vector/few_values.h"
#include "kernel/vector/words.h"

enum {
    BLOCK_PANEL = 16,              /* panel_keys of the f32 kernels */
    PREFETCH_KEYS = 2 * GROUP_ROWS /* how many keys in advance K rows are prefetched */
};

/* A range of keys in a block. */
struct key_range {
    int32_t begin, end;
};

/* The panels that some lane of the pair sees, by rules->lo and hi alone. */
static inline struct key_range lane_pair_range(const struct gqa__block *block, int32_t panel,
                                               int32_t lane, int32_t width)
{
    const struct gqa__score_rules *rules = block->rules;
    const int32_t keys = block->keys;
    struct key_range range = {0, keys};

    if (rules == NULL || rules->lo == NULL) {
        return range;
    }
    range = (struct key_range){keys, 0};
    for (int32_t j = lane; j < lane + width; j++) {
        if (rules->lo[j] < rules->hi[j]) {
            range.begin = rules->lo[j] < range.begin ? rules->lo[j] : range.begin;
            range.end = rules->hi[j] > range.end ? rules->hi[j] : range.end;
        }
    }
    range.begin = range.begin > 0 ? range.begin - range.begin % panel : 0;
    range.end = (range.end + panel - 1) / panel * panel;
    range.end = range.end < keys ? range.end : keys;
    return range;
}

/* Hides keys of VEC lanes by lo and hi [VEC]; s [keys][s_stride]. Keys that every lane sees are
 * passed over. */
static inline void hide_lanes(float *s, int64_t s_stride, const int32_t *lo, const int32_t *hi,
                              struct key_range range)
{
    const ivec low = v_load_int(lo), high = v_load_int(hi);
    const vec none = v_set(-INFINITY);
    int32_t begin = 0, end = range.end;

    for (int32_t j = 0; j < VEC; j++) {
        begin = lo[j] > begin ? lo[j] : begin;
        end = hi[j] < end ? hi[j] : end;
    }
    for (int32_t key = range.begin; key < range.end; key++) {
        float *row = s + key * s_stride;
        if (key >= begin && key < end) {
            key = end - 1;
            continue;
        }
        v_store(row, v_select(v_outside(low, high, key), none, v_load(row)));
    }
}

/* apply_rules for lanes [lane, lane + width) on compact scores [keys][width]. */
static inline void rules_of_lane_pair(float *s, const struct gqa__score_rules *rules, int32_t lane,
                                      int32_t width, struct key_range range)
{
    const bool each = any_change(rules) || rules->visible != NULL;
    struct gqa__score_rules own = *rules;

    own.ld = width;
    own.slope = rules->slope != NULL ? rules->slope + lane : NULL;
    own.q_pos = rules->q_pos != NULL ? rules->q_pos + lane : NULL;
    own.lo = NULL;
    own.hi = NULL;
    for (int32_t key = range.begin; key < range.end && each; key++) {
        const int64_t at = (int64_t)key * rules->ld + lane;
        own.k_pos = rules->k_pos != NULL ? rules->k_pos + key : NULL;
        own.bias = rules->bias != NULL ? rules->bias + at : NULL;
        own.visible = rules->visible != NULL ? rules->visible + at : NULL;
        change_scores(s + key * width, 0, &own); /* its key 0 is this key */
        hide_keys(s + key * width, 0, &own);
    }
    for (int32_t j = 0; j < width && rules->lo != NULL; j += VEC) {
        hide_lanes(s + j, width, rules->lo + lane + j, rules->hi + lane + j, range);
    }
}

/* The part of a run, whose first key is `offset` in the block, that lies in the range. */
static inline struct key_range run_range(const struct gqa__key_run *run, int32_t offset,
                                         struct key_range range)
{
    const int32_t begin = range.begin - offset, end = range.end - offset;

    return (struct key_range){begin > 0 ? begin : 0, end < run->keys ? end : run->keys};
}

/* Prefetches rows of `stride` elements from `from` on, beside a product of depth dk: GROUP_ROWS of
 * them while it computes GROUP_ROWS rows. */
INLINE struct operand_prefetch prefetch_rows(const void *from, int64_t stride, gqa_dtype type,
                                             int32_t dk)
{
    const int64_t group = GROUP_ROWS * stride * (int64_t)gqa__stored_bytes(type, 1);
    return (struct operand_prefetch){(uintptr_t)from, group / dk, group};
}

/* The scores of a lane pair. The first pair prefetches the K rows PREFETCH_KEYS further on, and the
 * V rows of the same keys; the others find them in the cache. */
static inline void score_runs(const struct gqa__block *block, int32_t lane, int32_t width,
                              struct key_range range)
{
    const float *q = (const float *)block->q + (int64_t)lane * block->dk;
    int32_t offset = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, range);
        const float *k = (const float *)run->k + own.begin * run->k_stride;
        struct product product = score_product(block->s + (int64_t)(offset + own.begin) * width,
                                               width, q, width, k, run->k_stride, block->dk);

        if (lane == 0) {
            product.prefetch[0] =
                prefetch_rows(k + PREFETCH_KEYS * run->k_stride, run->k_stride, GQA_F32, block->dk);
            product.prefetch[1] = product.prefetch[0]; /* V may be no operand */
            if (block->part != GQA__BLOCK_SCORES) {
                product.prefetch[1] =
                    prefetch_rows(stored_row_at(run->v, own.begin, run->v_stride, block->v_type),
                                  run->v_stride, block->v_type, block->dk);
            }
            product_all(product, own.end - own.begin, width, true);
        } else {
            product_all(product, own.end - own.begin, width, false);
        }
        offset += run->keys;
    }
}

/* keys of a run, the first one key `at` of the block, with their p; where V lies is left open. */
static inline struct values run_values(const struct gqa__block *block,
                                       const struct gqa__key_run *run, int32_t lane, int32_t width,
                                       int32_t at, int32_t keys)
{
    return (struct values){.o = block->state.o + lane,
                           .o_stride = block->ld,
                           .p = block->s + (int64_t)at * width,
                           .p_stride = width,
                           .v_stride = run->v_stride,
                           .keys = keys,
                           .dv = block->dv,
                           .width = width};
}

/* How many lanes may serve each row of the block: 1 where rows are not few. */
static inline int32_t ways_of(const struct gqa__block *block)
{
    if (block->ld != VEC || block->rows <= 0 || block->rows > VEC / 2) {
        return 1;
    }
    return block->rows <= VEC / 4 ? 4 : 2;
}

/* The keys of a block of few rows. */
struct few_block {
    const struct gqa__block *block;
    struct key_range range;
    int32_t ways;        /* of scores */
    int32_t value_ways;  /* dv is a multiple of it; 1 where dv is odd */
    struct ahead *ahead; /* a share for each set of keys, and for each of dims over VALUE_KEYS */
};

/* Scratch is block->p. */
static inline void score_few_runs(const struct few_block *few)
{
    const struct gqa__block *const block = few->block;
    const float *const q = block->q; /* [dk][VEC] */
    float *const spread = block->p;  /* [dk][VEC] */
    struct few_keys by = {.q = spread,
                          .k_type = block->k_type,
                          .dk = block->dk,
                          .turns = spread + block->dk * VEC,
                          .ahead = few->ahead};
    int32_t offset = 0;

    for (int32_t d = 0; d < block->dk; d++) {
        v_store(spread + d * VEC, v_spread(v_load(q + d * VEC), few->ways));
    }
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, few->range);
        if (own.begin < own.end) {
            by.s = block->s + (int64_t)(offset + own.begin) * VEC;
            by.k = stored_row_at(run->k, own.begin, run->k_stride, by.k_type);
            by.k_stride = run->k_stride;
            by.keys = own.end - own.begin;
            score_few_keys(&by, few->ways);
        }
        offset += run->keys;
    }
}

/* As value_lane_pair: rows of V, VALUE_KEYS at most, as a cache has them, from key `at` of the
 * block on. Scratch is block->p. */
static inline void value_few_rows(const struct few_block *few, const struct stored_rows *v,
                                  int32_t at)
{
    const struct gqa__block *const block = few->block;
    float *const p = block->s + (int64_t)at * VEC; /* [rows][VEC] */
    const bool direct = v->type == GQA_F32, first = at == few->range.begin;
    const float *const rows = direct ? (const float *)v->first : (const float *)block->p;
    const int64_t stride = direct ? v->stride : v->n;

    if (!direct) {
        load_rows(block->p, v);
    }
    if (few->value_ways == 1) {
        const struct values values = {block->state.o, block->ld, p,         VEC, rows,
                                      stride,         v->rows,   block->dv, VEC};
        value_lane_pair(&values, first);
        return;
    }
    for (int32_t i = 0; i < v->rows; i++) {
        v_store(p + i * VEC, v_spread(v_load(p + i * VEC), few->value_ways));
    }
    few_values(&(struct few_values){.o = block->state.o,
                                    .o_stride = block->ld,
                                    .p = p,
                                    .v = rows,
                                    .v_stride = stride,
                                    .keys = v->rows,
                                    .dv = block->dv,
                                    .first = first,
                                    .ahead = few->ahead},
               few->value_ways);
}

static inline void accumulate_few_runs(const struct few_block *few)
{
    const struct gqa__block *const block = few->block;
    int32_t offset = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, few->range);
        for (int32_t key = own.begin, n; key < own.end; key += n) {
            n = own.end - key < VALUE_KEYS ? own.end - key : VALUE_KEYS;
            const struct stored_rows v = {stored_row_at(run->v, key, run->v_stride, block->v_type),
                                          run->v_stride, block->v_type, n, block->dv};
            value_few_rows(few, &v, offset + key);
        }
        offset += run->keys;
    }
}

static inline void accumulate_runs(const struct gqa__block *block, int32_t lane, int32_t width,
                                   struct key_range range)
{
    int32_t offset = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, range);
        struct values values =
            run_values(block, run, lane, width, offset + own.begin, own.end - own.begin);

        values.v = (const float *)run->v + own.begin * run->v_stride;
        if (own.begin < own.end) {
            value_lane_pair(&values, offset + own.begin == range.begin);
        }
        offset += run->keys;
    }
}

/* The state of lanes that see nothing. */
static inline void neutral_lane_pair(const struct gqa__block *block, int32_t lane, int32_t width)
{
    for (int32_t j = lane; j < lane + width; j += VEC) {
        v_store(block->state.m + j, v_set(-INFINITY));
        v_store(block->state.l + j, v_zero());
        for (int32_t d = 0; d < block->dv; d++) {
            v_store(block->state.o + (int64_t)d * block->ld + j, v_zero());
        }
    }
}

/* few: NULL where rows are not few. */
static inline void score_lane_pair(const struct gqa__block *block, int32_t lane, int32_t width,
                                   struct key_range range, const struct few_block *few)
{
    if (few != NULL && block->k_type != GQA_F32) {
        score_few_runs(few);
    } else {
        score_runs(block, lane, width, range);
    }
    if (block->k_scale != NULL) {
        scale_scores(block->s + (int64_t)range.begin * width, block->k_scale + range.begin,
                     range.end - range.begin, width);
    }
}

/* The state from scores. few: NULL where rows are not few. */
static inline void weigh_lane_pair(const struct gqa__block *block, int32_t lane, int32_t width,
                                   struct key_range range, const struct few_block *few)
{
    float *const s = block->s + (int64_t)range.begin * width;

    for (int32_t j = 0; j < width; j += VEC) {
        const struct scored_lanes lanes = {s + j,
                                           block->state.m + lane + j,
                                           block->state.l + lane + j,
                                           s + j,
                                           block->v_scale != NULL ? block->v_scale + range.begin
                                                                  : NULL,
                                           width};
        softmax_of(&lanes, range.end - range.begin, false);
    }
    if (few != NULL) {
        accumulate_few_runs(few);
    } else {
        accumulate_runs(block, lane, width, range);
    }
}

/* few: NULL where rows are not few. */
static inline void block_lane_pair(const struct gqa__block *block, int32_t lane, int32_t width,
                                   const struct few_block *few)
{
    const struct key_range range = lane_pair_range(block, BLOCK_PANEL, lane, width);

    if (range.begin >= range.end) {
        neutral_lane_pair(block, lane, width);
        return;
    }
    if (block->part != GQA__BLOCK_VALUES) {
        score_lane_pair(block, lane, width, range, few);
    }
    if (block->part == GQA__BLOCK_SCORES) {
        return;
    }
    if (block->rules != NULL) {
        rules_of_lane_pair(block->s, block->rules, lane, width, range);
    }
    weigh_lane_pair(block, lane, width, range, few);
}

/* Keys of f32 are scored as those of many rows: to put them in turns takes the time that the
 * products would save. Those products prefetch K and V themselves. */
static inline void block_few_rows(const struct gqa__block *block, int32_t ways)
{
    const int32_t keys = block->part != GQA__BLOCK_VALUES ? block->keys : 0;
    const int32_t values = block->part != GQA__BLOCK_SCORES ? block->keys * block->dv : 0;
    const int32_t sets = keys / ways + values / ways / VALUE_KEYS;
    const bool turns = block->part == GQA__BLOCK_VALUES || block->k_type != GQA_F32;
    struct ahead ahead = look_ahead(block->prefetch, turns ? block->prefetches : 0, sets + 1);
    const struct few_block few = {block, lane_pair_range(block, BLOCK_PANEL, 0, VEC), ways,
                                  block->dv % ways == 0 ? ways
                                  : block->dv % 2 == 0  ? 2
                                                        : 1,
                                  &ahead};

    block_lane_pair(block, 0, VEC, &few);
}

static inline void block_vector(const struct gqa__block *block)
{
    const int32_t ways = ways_of(block);

    assert(block->ld % VEC == 0);
    if (ways > 1) {
        block_few_rows(block, ways);
        return;
    }
    assert(block->part == GQA__BLOCK_WHOLE);
    assert(block->k_type == GQA_F32 && block->v_type == GQA_F32);
    for (int32_t lane = 0; lane < block->ld; lane += LANE_PAIR) {
        block_lane_pair(block, lane, lane_pair_width(block->ld, lane), NULL);
    }
}

#endif
