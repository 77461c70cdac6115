/* SPDX-License-Identifier: Apache-2.0 */
/* output_path.h - what happens to the outputs of a block between the tile unit and memory: they are
 * merged into the states of lower keys that wait for them (gqa__block.merge_into) and, in the last
 * block of a tile, finished into rows of output, with the bits of merge_vector and finish_vector.
 *
 * A patch of 32 x 32 outputs at a time goes that way while the products of the next one run. The
 * block's own o is never stored as a whole: it would go to L2 and come back, and all rows of output
 * would be written at once instead of beside the products.
 */
#ifndef GQA__KERNEL_AMX_OUTPUT_PATH_H
#define GQA__KERNEL_AMX_OUTPUT_PATH_H

#include "base/fold.h"
#include "kernel/vector/words_avx512.h"

#include "kernel/vector/softmax.h"

enum { PATCH_LANES = 32 }; /* a patch of outputs: [32 value dimensions][32 lanes] */

/* How the outputs of one or two lane tiles of a block are merged and finished. */
struct output_path {
    const struct gqa__state *merge_into; /* [merges] nearest first */
    int32_t merges, ld;
    int32_t lane;                              /* the first */
    struct merge_lanes by[2][GQA__FOLD_DEPTH]; /* [lane tile][merge] */
    bool finish;                   /* the result goes into rows; else into the last of merge_into */
    struct finish_lanes rows[2];   /* [lane tile] */
    float patch[32 * PATCH_LANES]; /* aligned, as the struct is */
};

/* Called when m and l of the block are known: works out m and l of the result, and the factors by
 * which outputs will be merged. */
INLINE void output_path_begin(struct output_path *path, const struct gqa__block *block,
                              int32_t lane, const bool two)
{
    path->merge_into = block->merge_into;
    path->merges = block->merges;
    path->ld = block->ld;
    path->lane = lane;
    path->finish = block->finish != NULL;
    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        const int32_t at = lane + half * VEC;
        vec m = v_load(block->state.m + at), l = v_load(block->state.l + at);
        for (int32_t i = 0; i < block->merges; i++) {
            struct merge_lanes *by = &path->by[half][i];
            const vec left = v_load(block->merge_into[i].l + at);
            m = merge_begin(by, v_load(block->merge_into[i].m + at), left, m, l);
            l = v_canonical(merge_values(by, left, l));
        }
        if (path->finish) {
            finish_begin(&path->rows[half], block->finish, at, m, l);
        } else {
            v_store(block->merge_into[block->merges - 1].m + at, m);
            v_store(block->merge_into[block->merges - 1].l + at, l);
        }
    }
}

/* Merges and finishes value dimensions [d, d + n) of the block, which lie in patch
 * [32][PATCH_LANES]. */
INLINE void output_path_patch(const struct output_path *path, float *patch, int32_t d, int32_t n,
                              const bool two)
{
    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        const struct lane_outputs own = {patch + half * VEC, PATCH_LANES};
        const int64_t at = (int64_t)d * path->ld + path->lane + half * VEC;
        for (int32_t i = 0; i < path->merges; i++) {
            const struct lane_outputs left = {path->merge_into[i].o + at, path->ld};
            const struct lane_outputs to = i + 1 < path->merges || path->finish ? own : left;
            merge_outputs(&path->by[half][i], to, left, own, n);
        }
        if (path->finish && path->rows[half].rows > 0) {
            finish_dims(&path->rows[half], own.o, PATCH_LANES, d, n);
        }
    }
}

#endif
