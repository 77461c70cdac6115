/* fold.h - the canonical order in which partial states are merged.
 *
 * Block b of GQA__FOLD_BLOCK keys is leaf (level 0, index b) of a binary tree over the absolute
 * block indices; node (level, index) is the merge of (level-1, 2 index) and (level-1, 2 index + 1),
 * and a node of which nothing was visited is neutral. States come in rising order; those whose
 * right sibling is still to come wait on a stack, as the digits of a binary counter.
 */
#ifndef GQA__FOLD_STACK_H
#define GQA__FOLD_STACK_H

#include "base/arena.h"
#include "kernel/kernel.h"

#define GQA__FOLD_DEPTH 26 /* levels over 2^31 keys, and the state being built */

struct gqa__fold {
    const struct gqa__kernels *row;
    int32_t dv, ld;
    int32_t depth;                  /* states waiting */
    int32_t level[GQA__FOLD_DEPTH]; /* [depth] tree nodes of the waiting states */
    int32_t index[GQA__FOLD_DEPTH];
    float *states;        /* [capacity][state_floats] */
    int64_t state_floats; /* tile_rows * (2 + dv) */
};

/* States that can wait while max_keys keys are folded, and one being built. */
int32_t gqa__fold_capacity(int64_t max_keys);

/* m [ld], l [ld], o [dv][ld] of one state. */
struct gqa__state {
    float *m, *l, *o;
};

int64_t gqa__state_floats(int32_t tile_rows, int32_t dv);
struct gqa__state gqa__state_at(float *memory, int32_t tile_rows);

void gqa__fold_begin(struct gqa__fold *fold, int32_t ld);
/* Where the next state is to be written. */
struct gqa__state gqa__fold_next(const struct gqa__fold *fold);
/* It has been written: it is node (level, index). Nodes come in rising order without gaps. */
void gqa__fold_push(struct gqa__fold *fold, int32_t level, int32_t index);
/* Merge what waits, the last one first, into the first; neutral if nothing came. The state stays
 * until gqa__fold_begin; gqa__fold_next is free beside it. */
struct gqa__state gqa__fold_end(struct gqa__fold *fold);

#endif
