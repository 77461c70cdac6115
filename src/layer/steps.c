/* SPDX-License-Identifier: Apache-2.0 */
/* steps.c - see steps.h. */
#include "layer/steps.h"

#include "base/memory.h"

#define RANGE_TOKENS 8 /* of a task: some tens of kilobytes that stay in a core's cache */

/* --- the caller's tensors -------------------------------------------------------------------- */

bool gqa__token_range_run(const struct gqa__token_range *range, int32_t i,
                          struct gqa__token_run *part)
{
    const struct gqa__token_run *run = &range->spine->runs[i];
    int32_t begin = (int32_t)gqa__max(range->begin - run->at, 0);
    int32_t end = (int32_t)gqa__min(range->end - run->at, run->n);

    part->b = run->b;
    part->first = run->first + begin;
    part->at = run->at + begin;
    part->n = end - begin;
    return begin < end;
}

/* Heads of a token that are handled in one run: all of them, where they lie side by side. */
static int32_t parts_of_token(const gqa_tensor *t, int32_t heads, int32_t dim)
{
    return heads > 0 && t->stride[2] != dim ? heads : 1;
}

void gqa__load_tokens(const struct gqa__token_range *range, float *buffer, const gqa_tensor *from,
                      int32_t heads, int32_t dim)
{
    int32_t width = parts_of_token(from, heads, dim);
    struct gqa__token_run run;

    dim = heads > 0 ? heads * dim / width : dim;
    for (int32_t i = 0; i < range->runs; i++) {
        bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            float *row = buffer + (int64_t)(run.at + t) * width * dim;
            int64_t offset = gqa__token_offset(from, &run, t);
            for (int32_t h = 0; h < width; h++) {
                int64_t head = width > 1 ? h * from->stride[2] : 0;
                gqa__load_f32(row + (int64_t)h * dim, from, offset + head, dim);
            }
        }
    }
}

void gqa__store_tokens(const struct gqa__token_range *range, const float *buffer,
                       const gqa_tensor *to, int32_t heads, int32_t dim)
{
    int32_t width = parts_of_token(to, heads, dim);
    struct gqa__token_run run;

    dim = heads > 0 ? heads * dim / width : dim;
    for (int32_t i = 0; i < range->runs && gqa__present(to); i++) {
        bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            const float *row = buffer + (int64_t)(run.at + t) * width * dim;
            int64_t offset = gqa__token_offset(to, &run, t);
            for (int32_t h = 0; h < width; h++) {
                int64_t head = width > 1 ? h * to->stride[2] : 0;
                gqa__store_f32(to, offset + head, row + (int64_t)h * dim, dim);
            }
        }
    }
}

void gqa__store_present_tokens(const struct gqa__token_range *range, const struct gqa__heads *from,
                               const gqa_tensor *to, int32_t dim)
{
    struct gqa__token_run run;

    for (int32_t i = 0; i < range->runs && gqa__present(to); i++) {
        bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            const float *row = from->x + (run.at + t) * from->step;
            for (int32_t h = 0; h < from->heads; h++) {
                int64_t offset =
                    run.b * to->stride[0] + h * to->stride[1] + (run.first + t) * to->stride[2];
                gqa__store_f32(to, offset, row + (int64_t)h * dim, dim);
            }
        }
    }
}

/* --- tasks ----------------------------------------------------------------------------------- */

struct steps {
    const struct gqa__token_range *block;
    const struct gqa__step *steps;
    int32_t count;
};

static void run_range(void *arg, int64_t item, int32_t slot)
{
    const struct steps *all = arg;
    struct gqa__token_range range = *all->block;

    range.begin = (int32_t)item * RANGE_TOKENS;
    range.end = (int32_t)gqa__min(range.begin + RANGE_TOKENS, all->block->end);
    range.slot = slot;
    for (int32_t i = 0; i < all->count; i++) {
        all->steps[i].run(&range);
    }
}

static void run_steps(struct steps *all)
{
    const struct gqa__token_range *block = all->block;
    struct gqa__tasks tasks = {run_range, all, (block->end + RANGE_TOKENS - 1) / RANGE_TOKENS};

    gqa__run_tasks(block->spine->call->runtime, &tasks);
}

void gqa__block_run(const struct gqa__token_range *block, const struct gqa__step *steps,
                    int32_t count)
{
    struct steps all = {block, steps, count};

    if (block->spine->call->in.tap == NULL) {
        run_steps(&all);
        return;
    }
    all.count = 1;
    for (int32_t i = 0; i < count; i++) {
        all.steps = &steps[i];
        run_steps(&all);
        steps[i].show(block);
    }
}
