/* SPDX-License-Identifier: Apache-2.0 */
/* fold.h - the canonical order in which partial states are merged.
 *
 * Block b of GQA__FOLD_BLOCK keys is leaf (level 0, index b) of a binary tree over the absolute
 * block indices. Node (level, index) is the merge of its children, (level - 1, 2 index) and (level
 * - 1, 2 index + 1). A node is neutral if none of its blocks was visited. States come in rising
 * order, so those whose right sibling is still to come wait on a stack, like the digits of a binary
 * counter.
 */
#ifndef GQA__FOLD_STACK_H
#define GQA__FOLD_STACK_H

#include "base/arena.h"
#include "base/fold.h"
#include "kernel/contract/kernel.h"

/* The nodes that wait on the stack. */
struct gqa__fold_tree {
    int32_t depth;
    int32_t level[GQA__FOLD_DEPTH]; /* [depth] */
    int64_t index[GQA__FOLD_DEPTH];
};

/* Node (level, index) is the new top of the stack; nodes come in rising order. merge(arg, i) is
 * called for each merge of the stack's states i (left) and i + 1 into i. */
void gqa__fold_tree_push(struct gqa__fold_tree *tree, int32_t level, int64_t index,
                         void (*merge)(void *arg, int32_t left), void *arg);
/* Before a push that leaves blocks out: the next node begins at block `begin`. Waiting nodes whose
 * right siblings are left out (neutral) become their parents. */
void gqa__fold_tree_settle(struct gqa__fold_tree *tree, int64_t begin,
                           void (*merge)(void *arg, int32_t left), void *arg);
/* Merge what waits, the last one first, into the first. */
void gqa__fold_tree_end(struct gqa__fold_tree *tree, void (*merge)(void *arg, int32_t left),
                        void *arg);

struct gqa__fold {
    const struct gqa__kernels *kernels;
    int32_t dv, ld;
    struct gqa__fold_tree tree;
    float *states;        /* [capacity][state_floats] */
    int64_t state_floats; /* tile_rows * (2 + dv) */
};

/* States that can wait while max_keys keys are folded, and one being built. */
int32_t gqa__fold_capacity(int64_t max_keys);

int64_t gqa__state_floats(int32_t tile_rows, int32_t dv);
struct gqa__state gqa__state_at(float *memory, int32_t tile_rows);

void gqa__fold_begin(struct gqa__fold *fold, int32_t ld);
/* Where the next state is to be written. */
struct gqa__state gqa__fold_next(const struct gqa__fold *fold);
/* It has been written: it is node (level, index). No block is left out between pushes. */
void gqa__fold_push(struct gqa__fold *fold, int32_t level, int64_t index);
/* For a caller that does the merging itself, leaf `index`: the stack changes as by gqa__fold_push,
 * but no state is touched. left[0], left[1], .. are set to the states that the caller must merge
 * the new one (of gqa__fold_next) into: it into left[0], the result into left[1], and so on. With
 * last, the merges that gqa__fold_end would do are among them. left: room for GQA__FOLD_DEPTH.
 * Returns how many. */
int32_t gqa__fold_list_merges(struct gqa__fold *fold, int64_t index, bool last,
                              struct gqa__state *left);
/* Some lanes of a state of ld lanes. */
struct gqa__lanes {
    const struct gqa__state *from;
    int32_t ld;
    int32_t first, count; /* count: at most the fold's ld, whose other lanes become neutral */
};

/* to = these lanes; to has the fold's ld. */
void gqa__fold_copy_lanes(const struct gqa__fold *fold, struct gqa__state to,
                          const struct gqa__lanes *lanes);
/* The fold, which is empty, goes on from what waits in another: `count` of its lanes. */
void gqa__fold_take_lanes(struct gqa__fold *fold, const struct gqa__fold *from, int32_t first,
                          int32_t count);
/* Merge what waits, the last one first, into the first; neutral if nothing came. The state stays
 * until gqa__fold_begin; gqa__fold_next is free beside it. */
struct gqa__state gqa__fold_end(struct gqa__fold *fold);

#endif
