/* amx_merge.h - the outputs of a block on their way out of the tile unit: merged into the states to
 * the block's left before they reach memory, with the bits of merge_vector.
 *
 * The block's own o is never stored: it would go to L2 and come back for its merge.
 */
#ifndef GQA__AMX_MERGE_H
#define GQA__AMX_MERGE_H

#include "base/fold.h"
#include "kernel/vector_avx512.h"

#include "kernel/vector_softmax.h"

enum { STRIP_LANES = 32 }; /* a strip of outputs: [32 value dimensions][32 lanes] */

/* One or two lane tiles of a block. */
struct merge_left {
    const struct gqa__state *left; /* [lefts] nearest first */
    int32_t lefts, ld;
    int32_t lane;                              /* the first */
    struct merge_lanes by[2][GQA__FOLD_DEPTH]; /* [lane tile][left] */
};

/* m and l of the block are known: m and l of the result, and how outputs will be merged. */
INLINE void merge_left_begin(struct merge_left *merge, const struct gqa__block *block, int32_t lane,
                             const bool two)
{
    const struct gqa__state *result = &block->left[block->lefts - 1];

    merge->left = block->left;
    merge->lefts = block->lefts;
    merge->ld = block->ld;
    merge->lane = lane;
    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        const int32_t at = lane + half * VEC;
        vec m = v_load(block->state.m + at), l = v_load(block->state.l + at);
        for (int32_t i = 0; i < block->lefts; i++) {
            struct merge_lanes *by = &merge->by[half][i];
            const vec left = v_load(block->left[i].l + at);
            m = merge_begin(by, v_load(block->left[i].m + at), left, m, l);
            l = v_canonical(merge_values(by, left, l));
        }
        v_store(result->m + at, m);
        v_store(result->l + at, l);
    }
}

/* Value dimensions [d, d + n) of the block, strip [32][STRIP_LANES], into the result. */
INLINE void merge_strip(const struct merge_left *merge, float *strip, int32_t d, int32_t n,
                        const bool two)
{
    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        const struct lane_outputs own = {strip + half * VEC, STRIP_LANES};
        const int64_t at = (int64_t)d * merge->ld + merge->lane + half * VEC;
        for (int32_t i = 0; i < merge->lefts; i++) {
            const struct lane_outputs left = {merge->left[i].o + at, merge->ld};
            const struct lane_outputs to = i + 1 < merge->lefts ? own : left;
            merge_outputs(&merge->by[half][i], to, left, own, n);
        }
    }
}

#endif
