/* SPDX-License-Identifier: Apache-2.0 */
/* few_pairs.h - scores and values of few rows with bf16 operands and AVX-512: the two lanes of a
 * row are the two chains of its product (struct gqa__pairs). */
#ifndef GQA__KERNEL_AVX512_FEW_PAIRS_H
#define GQA__KERNEL_AVX512_FEW_PAIRS_H

#include "kernel/avx512/bf16.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/ahead.h"
#include "kernel/vector/block.h"
#include "kernel/vector/stored.h"

enum {
    PIECE_KEYS = 32, /* keys between shares of the prefetches in scores ... */
    PIECE_DIMS = 16  /* ... and dims of VALUE_KEYS keys in values */
};

/* Steps of the work on a block of few rows, each with its share of the prefetches. */
static inline int64_t few_steps(const struct gqa__block *block)
{
    const int64_t keys = (block->keys + VALUE_KEYS - 1) / VALUE_KEYS;
    const int64_t scores = block->keys / PIECE_KEYS;
    const int64_t values = keys * ((block->dv + PIECE_DIMS - 1) / PIECE_DIMS);

    return (block->part != GQA__BLOCK_VALUES ? scores : 0) +
           (block->part != GQA__BLOCK_SCORES ? values : 0);
}

static inline void score_few_pairs(const struct gqa__block *block, struct key_range range,
                                   struct ahead *ahead)
{
    struct gqa__avx512_scratch *const scratch = block->scratch;
    const int32_t depth = (int32_t)round_to_k32(block->dk);
    struct gqa__pairs pairs = {.a_type = block->k_type,
                               .b = scratch->p,
                               .n = depth,
                               .c_row = VEC,
                               .width = VEC,
                               .count = 1,
                               .few = true,
                               .first = true,
                               .wide = scratch->wide};
    int32_t offset = 0;

    join_rows(scratch->p, block->q, depth);
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, range);
        pairs.a_row = run->k_stride;
        for (int32_t key = own.begin; key < own.end; key += pairs.rows) {
            pairs.rows = own.end - key < PIECE_KEYS ? own.end - key : PIECE_KEYS;
            pairs.a = stored_row_at(run->k, key, run->k_stride, block->k_type);
            pairs.c = block->s + (int64_t)(offset + key) * VEC;
            prefetch_share(ahead);
            gqa__avx512_pairs(&pairs);
        }
        offset += run->keys;
    }
}

/* Some keys of a run, VALUE_KEYS at most. */
struct few_pairs {
    const struct gqa__key_run *run;
    int32_t key, n;    /* in the run */
    int32_t at, begin; /* in the block: the first of them, and the first that some lane sees */
};

/* Their values; p [n][VEC] in block->s, which is overwritten. */
static inline void accumulate_few_pairs(const struct gqa__block *block,
                                        const struct few_pairs *keys, struct ahead *ahead)
{
    struct gqa__avx512_scratch *const scratch = block->scratch;
    float *const p = block->s + (int64_t)keys->at * VEC;
    const int64_t stride = keys->run->v_stride;
    struct gqa__pairs pairs = {.a_type = block->v_type,
                               .a_row = stride,
                               .b = p,
                               .n = keys->n,
                               .c_row = VEC,
                               .width = VEC,
                               .count = 1,
                               .few = true,
                               .first = keys->at == keys->begin,
                               .wide = scratch->wide};

    join_rows(p, p, keys->n);
    for (int32_t d = 0; d < block->dv; d += pairs.rows) {
        pairs.rows = block->dv - d < PIECE_DIMS ? block->dv - d : PIECE_DIMS;
        pairs.a = stored_row_at(keys->run->v, d * stride + keys->key, 1, block->v_type);
        pairs.c = block->state.o + (int64_t)d * VEC;
        prefetch_share(ahead);
        gqa__avx512_pairs(&pairs);
    }
}

#endif
