/* fold.c - see fold.h. */
#include "attention/fold.h"

#include <assert.h>
#include <math.h>

#include "base/fold.h"

int32_t gqa__fold_capacity(int64_t max_keys)
{
    int64_t blocks = (max_keys + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
    int32_t levels = 2;

    while (blocks > 1) {
        blocks = (blocks + 1) / 2;
        levels++;
    }
    return levels < GQA__FOLD_DEPTH ? levels : GQA__FOLD_DEPTH;
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
    return gqa__state_at(fold->states + i * fold->state_floats, fold->row->tile_rows);
}

void gqa__fold_begin(struct gqa__fold *fold, int32_t ld)
{
    fold->ld = ld;
    fold->depth = 0;
}

struct gqa__state gqa__fold_next(const struct gqa__fold *fold)
{
    assert(fold->depth < GQA__FOLD_DEPTH);
    return state_of(fold, fold->depth);
}

/* Merge the two topmost states into the lower one. */
static void merge_top(struct gqa__fold *fold)
{
    struct gqa__state left = state_of(fold, fold->depth - 2);
    struct gqa__state right = state_of(fold, fold->depth - 1);

    fold->row->merge(left.m, left.l, left.o, right.m, right.l, right.o, fold->dv, fold->ld);
    fold->depth--;
}

void gqa__fold_push(struct gqa__fold *fold, int32_t level, int32_t index)
{
    fold->depth++;
    while (index & 1) {
        int32_t below = fold->depth - 2;
        if (below >= 0 && fold->level[below] == level && fold->index[below] == index - 1) {
            merge_top(fold);
        } /* else the left sibling is neutral: the parent has this state's bits */
        index /= 2;
        level++;
    }
    fold->level[fold->depth - 1] = level;
    fold->index[fold->depth - 1] = index;
}

struct gqa__state gqa__fold_end(struct gqa__fold *fold)
{
    struct gqa__state state = state_of(fold, 0);

    while (fold->depth > 1) {
        merge_top(fold);
    }
    if (fold->depth == 0) {
        for (int32_t i = 0; i < fold->ld; i++) {
            state.m[i] = -INFINITY;
            state.l[i] = 0.0f;
        }
        for (int64_t i = 0; i < (int64_t)fold->dv * fold->ld; i++) {
            state.o[i] = 0.0f;
        }
    }
    fold->depth = 1;
    return state;
}
