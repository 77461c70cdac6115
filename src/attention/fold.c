/* SPDX-License-Identifier: Apache-2.0 */
/* fold.c - see fold.h. */
#include "attention/fold.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fold.h"

int32_t gqa__fold_capacity(int64_t max_keys)
{
    int64_t blocks = (max_keys + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
    int32_t states = 1; /* a node waits for every one in the index of the block being built */

    while (blocks > 1) {
        blocks /= 2;
        states++;
    }
    if (states < 2) {
        return 2; /* the prior's states lie beside the result */
    }
    return states < GQA__FOLD_DEPTH ? states : GQA__FOLD_DEPTH;
}

int64_t gqa__state_floats(int32_t tile_rows, int32_t dv)
{
    return (int64_t)tile_rows * (2 + dv);
}

struct gqa__state gqa__state_at(float *memory, int32_t tile_rows)
{
    return (struct gqa__state){memory, memory + tile_rows, memory + 2 * (int64_t)tile_rows};
}

static struct gqa__state state_of(const struct gqa__fold *fold, int32_t i)
{
    return gqa__state_at(fold->states + i * fold->state_floats, fold->kernels->tile_rows);
}

/* Moves the top of the stack up the tree for as long as it is a right child. Its left sibling is
 * either the state below it on the stack: the two are merged into their parent. Or it is neutral:
 * the top becomes the parent as it is, which has the same bits. */
static void climb(struct gqa__fold_tree *tree, void (*merge)(void *arg, int32_t left), void *arg)
{
    int32_t top = tree->depth - 1;

    while (tree->index[top] % 2 == 1) {
        const int32_t below = top - 1;
        if (below >= 0 && tree->level[below] == tree->level[top] &&
            tree->index[below] == tree->index[top] - 1) {
            merge(arg, below);
            tree->depth--;
            top = below;
        } else {
            tree->index[top]--;
        }
        tree->index[top] /= 2;
        tree->level[top]++;
    }
}

void gqa__fold_tree_settle(struct gqa__fold_tree *tree, int64_t begin,
                           void (*merge)(void *arg, int32_t left), void *arg)
{
    while (tree->depth > 0) {
        const int32_t top = tree->depth - 1;
        const int64_t parent = tree->index[top] / 2;
        if (((parent + 1) << (tree->level[top] + 1)) > begin) {
            break;
        }
        tree->index[top] = parent;
        tree->level[top]++;
        climb(tree, merge, arg);
    }
}

void gqa__fold_tree_push(struct gqa__fold_tree *tree, int32_t level, int64_t index,
                         void (*merge)(void *arg, int32_t left), void *arg)
{
    /* Nodes rise, so those that wait shrink from the bottom to the top: one per level at most. */
    assert(tree->depth < GQA__FOLD_DEPTH);
    tree->level[tree->depth] = level;
    tree->index[tree->depth] = index;
    tree->depth++;
    climb(tree, merge, arg);
}

void gqa__fold_tree_end(struct gqa__fold_tree *tree, void (*merge)(void *arg, int32_t left),
                        void *arg)
{
    while (tree->depth > 1) {
        tree->depth--;
        merge(arg, tree->depth - 1);
    }
}

void gqa__fold_begin(struct gqa__fold *fold, int32_t ld)
{
    fold->ld = ld;
    fold->tree.depth = 0;
}

struct gqa__state gqa__fold_next(const struct gqa__fold *fold)
{
    assert(fold->tree.depth < GQA__FOLD_DEPTH);
    return state_of(fold, fold->tree.depth);
}

static void merge_waiting(void *arg, int32_t left)
{
    const struct gqa__fold *const fold = arg;
    const struct gqa__state to = state_of(fold, left);
    const struct gqa__state from = state_of(fold, left + 1);

    fold->kernels->merge(&to, &from, fold->dv, fold->ld);
}

void gqa__fold_push(struct gqa__fold *fold, int32_t level, int64_t index)
{
    gqa__fold_tree_push(&fold->tree, level, index, merge_waiting, fold);
}

struct merge_list {
    const struct gqa__fold *fold;
    struct gqa__state *left;
    int32_t n;
};

static void note_left(void *arg, int32_t left)
{
    struct merge_list *list = arg;

    list->left[list->n++] = state_of(list->fold, left);
}

int32_t gqa__fold_list_merges(struct gqa__fold *fold, int64_t index, bool last,
                              struct gqa__state *left)
{
    struct merge_list list = {fold, left, 0};

    gqa__fold_tree_push(&fold->tree, 0, index, note_left, &list);
    if (last) {
        gqa__fold_tree_end(&fold->tree, note_left, &list);
    }
    return list.n;
}

void gqa__fold_copy_lanes(const struct gqa__fold *fold, struct gqa__state to,
                          const struct gqa__lanes *lanes)
{
    const struct gqa__state *const from = lanes->from;
    const int32_t ld = fold->ld;

    for (int32_t i = 0; i < ld; i++) {
        const bool real = i < lanes->count;
        to.m[i] = real ? from->m[lanes->first + i] : -INFINITY;
        to.l[i] = real ? from->l[lanes->first + i] : 0.0f;
    }
    for (int32_t d = 0; d < fold->dv; d++) {
        float *const o = to.o + (int64_t)d * ld;
        memcpy(o, from->o + (int64_t)d * lanes->ld + lanes->first,
               (size_t)lanes->count * sizeof *o);
        memset(o + lanes->count, 0, (size_t)(ld - lanes->count) * sizeof *o);
    }
}

void gqa__fold_take_lanes(struct gqa__fold *fold, const struct gqa__fold *from, int32_t first,
                          int32_t count)
{
    assert(fold->tree.depth == 0);
    for (int32_t i = 0; i < from->tree.depth; i++) {
        const struct gqa__state state = state_of(from, i);
        gqa__fold_copy_lanes(fold, state_of(fold, i),
                             &(struct gqa__lanes){&state, from->ld, first, count});
    }
    fold->tree = from->tree;
}

struct gqa__state gqa__fold_end(struct gqa__fold *fold)
{
    struct gqa__state state = state_of(fold, 0);

    gqa__fold_tree_end(&fold->tree, merge_waiting, fold);
    if (fold->tree.depth == 0) {
        for (int32_t i = 0; i < fold->ld; i++) {
            state.m[i] = -INFINITY;
            state.l[i] = 0.0f;
        }
        for (int64_t i = 0; i < (int64_t)fold->dv * fold->ld; i++) {
            state.o[i] = 0.0f;
        }
        fold->tree.depth = 1;
    }
    return state;
}
