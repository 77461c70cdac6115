/* block.h - a whole fold block with f32 operands: the entries of vector/attention.h group of
 * lanes by group of lanes, so that the scores of a group stay in L1. */
#ifndef GQA__KERNEL_VECTOR_BLOCK_H
#define GQA__KERNEL_VECTOR_BLOCK_H

#include "kernel/vector/attention.h"
#include "kernel/vector/words.h"

enum {
    BLOCK_PANEL = 16,             /* panel_keys of the f32 rows */
    PREFETCH_KEYS = 2 * TILE_ROWS /* K rows are prefetched so many keys in advance */
};

/* A range of keys in a block. */
struct key_range {
    int32_t begin, end;
};

/* The panels that some lane of the group sees, by modify->lo and hi alone. */
static inline struct key_range group_range(const struct gqa__block *block, int32_t panel,
                                           int32_t lane, int32_t width)
{
    const struct gqa__modify *modify = block->modify;
    const int32_t keys = block->keys;
    struct key_range range = {0, keys};

    if (modify == NULL || modify->lo == NULL) {
        return range;
    }
    range = (struct key_range){keys, 0};
    for (int32_t j = lane; j < lane + width; j++) {
        if (modify->lo[j] < modify->hi[j]) {
            range.begin = modify->lo[j] < range.begin ? modify->lo[j] : range.begin;
            range.end = modify->hi[j] > range.end ? modify->hi[j] : range.end;
        }
    }
    range.begin = range.begin > 0 ? range.begin - range.begin % panel : 0;
    range.end = (range.end + panel - 1) / panel * panel;
    range.end = range.end < keys ? range.end : keys;
    return range;
}

/* Hide keys of VEC lanes; s [keys][s_stride], lo and hi [VEC]. Keys that every lane sees are passed
 * over. */
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

/* modify_scores for lanes [lane, lane + width) on compact scores [keys][width]. */
static inline void modify_group(float *s, const struct gqa__modify *modify, int32_t lane,
                                int32_t width, struct key_range range)
{
    const bool each = changes_scores(modify) || modify->visible != NULL;
    struct gqa__modify part = *modify;

    part.ld = width;
    part.slope = modify->slope != NULL ? modify->slope + lane : NULL;
    part.q_pos = modify->q_pos != NULL ? modify->q_pos + lane : NULL;
    part.lo = NULL;
    part.hi = NULL;
    for (int32_t key = range.begin; key < range.end && each; key++) {
        const int64_t at = (int64_t)key * modify->ld + lane;
        part.k_pos = modify->k_pos != NULL ? modify->k_pos + key : NULL;
        part.bias = modify->bias != NULL ? modify->bias + at : NULL;
        part.visible = modify->visible != NULL ? modify->visible + at : NULL;
        modify_values(s + key * width, 0, &part); /* its key 0 is this key */
        hide_keys(s + key * width, 0, &part);
    }
    for (int32_t j = 0; j < width && modify->lo != NULL; j += VEC) {
        hide_lanes(s + j, width, modify->lo + lane + j, modify->hi + lane + j, range);
    }
}

/* The part of a run, whose first key is `offset` in the block, that lies in the range. */
static inline struct key_range run_range(const struct gqa__key_run *run, int32_t offset,
                                         struct key_range range)
{
    const int32_t begin = range.begin - offset, end = range.end - offset;

    return (struct key_range){begin > 0 ? begin : 0, end < run->keys ? end : run->keys};
}

/* Rows of stride elements from `from` on, as a product of depth dk passes TILE_ROWS of them. */
INLINE struct operand_prefetch prefetch_rows(const void *from, int64_t stride, int32_t dk)
{
    const int64_t tile = TILE_ROWS * stride * (int64_t)sizeof(float);
    return (struct operand_prefetch){(uintptr_t)from, tile / dk, tile};
}

/* The first group of lanes prefetches K in advance, and V of the same keys. */
static inline void score_runs(const struct gqa__block *block, int32_t lane, int32_t width,
                              struct key_range range)
{
    const float *q = (const float *)block->q + (int64_t)lane * block->dk;
    int32_t offset = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, range);
        const float *k = (const float *)run->k + own.begin * run->k_stride;
        const float *v = (const float *)run->v + own.begin * run->v_stride;
        struct product product = score_product(block->s + (int64_t)(offset + own.begin) * width,
                                               width, q, width, k, run->k_stride, block->dk);

        if (lane == 0) {
            product.prefetch[0] =
                prefetch_rows(k + PREFETCH_KEYS * run->k_stride, run->k_stride, block->dk);
            product.prefetch[1] = prefetch_rows(v, run->v_stride, block->dk);
            product_all(product, own.end - own.begin, width, true);
        } else {
            product_all(product, own.end - own.begin, width, false);
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
        const struct values values = {block->state.o + lane,
                                      block->ld,
                                      block->s + (int64_t)(offset + own.begin) * width,
                                      width,
                                      (const float *)run->v + own.begin * run->v_stride,
                                      run->v_stride,
                                      own.end - own.begin,
                                      block->dv,
                                      width};
        if (own.begin < own.end) {
            value_group(&values, offset + own.begin == range.begin);
        }
        offset += run->keys;
    }
}

/* The state of lanes that see nothing. */
static inline void neutral_group(const struct gqa__block *block, int32_t lane, int32_t width)
{
    for (int32_t j = lane; j < lane + width; j += VEC) {
        v_store(block->state.m + j, v_set(-INFINITY));
        v_store(block->state.l + j, v_zero());
        for (int32_t d = 0; d < block->dv; d++) {
            v_store(block->state.o + (int64_t)d * block->ld + j, v_zero());
        }
    }
}

static inline void block_group(const struct gqa__block *block, int32_t lane, int32_t width)
{
    const struct key_range range = group_range(block, BLOCK_PANEL, lane, width);
    float *s = block->s + (int64_t)range.begin * width;

    if (range.begin >= range.end) {
        neutral_group(block, lane, width);
        return;
    }
    score_runs(block, lane, width, range);
    if (block->modify != NULL) {
        modify_group(block->s, block->modify, lane, width, range);
    }
    for (int32_t j = 0; j < width; j += VEC) {
        softmax_lanes(s + j, block->state.m + lane + j, block->state.l + lane + j, s + j, width,
                      range.end - range.begin, false);
    }
    accumulate_runs(block, lane, width, range);
}

/* Entries of a row, and the size of an element of its p. */
struct block_entries {
    void (*score)(float *s, int32_t ld, const void *q, const void *k, int64_t k_stride,
                  int32_t keys, int32_t dk);
    void (*softmax)(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld,
                    const uint8_t *mark);
    void (*accumulate)(float *o, int32_t ld, const void *p, const void *v, int64_t v_stride,
                       int32_t keys, int32_t dv, int flags);
    size_t p_size;
};

/* V is special: the entries one after the other. */
static inline void block_marked(const struct gqa__block *block, const struct block_entries *entries)
{
    const int64_t ld = block->ld;
    int32_t done = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        entries->score(block->s + done * ld, block->ld, block->q, run->k, run->k_stride, run->keys,
                       block->dk);
        done += run->keys;
    }
    if (block->modify != NULL) {
        modify_scores(block->s, block->modify);
    }
    entries->softmax(block->p, block->state.m, block->state.l, block->s, block->keys, block->ld,
                     block->mark);
    done = 0;
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const unsigned char *p =
            (const unsigned char *)block->p + (size_t)(done * ld) * entries->p_size;
        const int flags = GQA__ACC_MARKED | (i == 0 ? GQA__ACC_FIRST : 0);
        entries->accumulate(block->state.o, block->ld, p, run->v, run->v_stride, run->keys,
                            block->dv, flags);
        done += run->keys;
    }
}

static const struct block_entries f32_entries = {score_vector, softmax_vector, accumulate_vector,
                                                 sizeof(float)};

static inline void block_vector(const struct gqa__block *block)
{
    assert(block->ld % VEC == 0);
    if (block->mark != NULL) {
        block_marked(block, &f32_entries);
        return;
    }
    for (int32_t lane = 0; lane < block->ld; lane += GROUP) {
        block_group(block, lane, group_width(block->ld, lane));
    }
}

#endif
