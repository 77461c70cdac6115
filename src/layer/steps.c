/* SPDX-License-Identifier: Apache-2.0 */
/* steps.c - see steps.h. */
#include "layer/steps.h"

#include "base/memory.h"
#include "kernel/contract/convert.h"

#define RANGE_TOKENS 8 /* of a task: some tens of kilobytes that stay in a core's cache */

/* --- the caller's tensors -------------------------------------------------------------------- */

bool gqa__token_range_run(const struct gqa__token_range *range, int32_t i,
                          struct gqa__token_run *part)
{
    const struct gqa__token_run *const run = &range->spine->runs[i];
    const int32_t begin = (int32_t)gqa__max(range->begin - run->at, 0);
    const int32_t end = (int32_t)gqa__min(range->end - run->at, run->n);

    part->b = run->b;
    part->first = run->first + begin;
    part->at = run->at + begin;
    part->tensor_b = run->tensor_b;
    part->tensor_t = run->tensor_t + begin;
    part->n = end - begin;
    return begin < end;
}

/* A token's values in a tensor [B, T, H, D] or [B, T, D], as runs that lie together: one, unless
 * something lies between its heads. */
struct pieces {
    int32_t count;
    int64_t n;    /* values of each */
    int64_t step; /* from one to the next in the tensor */
};

static struct pieces pieces_of(const gqa_tensor *t)
{
    const int64_t n = t->shape[t->rank - 1];
    const int64_t heads = t->rank == 4 ? t->shape[2] : 1;
    const struct pieces whole = {1, heads * n, 0};
    const struct pieces each = {(int32_t)heads, n, t->stride[2]};

    return heads > 1 && t->stride[2] != n ? each : whole;
}

void gqa__load_tokens(const struct gqa__token_range *range, const struct gqa__place *to,
                      const gqa_tensor *from)
{
    const struct pieces pieces = pieces_of(from);
    struct gqa__token_run run;

    for (int32_t i = 0; i < range->runs && to->tensor != from; i++) {
        const bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            float *const own = gqa__place_own(to, &run, t);
            const int64_t offset = gqa__token_offset(from, &run, t);
            for (int32_t p = 0; p < pieces.count; p++) {
                gqa__load(range->spine->call->params->kernels, own + p * pieces.n, from,
                          offset + p * pieces.step, pieces.n);
            }
        }
    }
}

void gqa__store_tokens(const struct gqa__token_range *range, const struct gqa__place *from,
                       const gqa_tensor *to)
{
    struct pieces pieces;
    struct gqa__token_run run;

    if (!gqa__present(to) || from->tensor == to) {
        return;
    }
    pieces = pieces_of(to);
    for (int32_t i = 0; i < range->runs; i++) {
        const bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            const float *const own = gqa__place_own(from, &run, t);
            const int64_t offset = gqa__token_offset(to, &run, t);
            for (int32_t p = 0; p < pieces.count; p++) {
                gqa__store(range->spine->call->params->kernels, to, offset + p * pieces.step,
                           own + p * pieces.n, pieces.n);
            }
        }
    }
}

void gqa__store_present_tokens(const struct gqa__token_range *range, const struct gqa__place *from,
                               const gqa_tensor *to)
{
    struct gqa__token_run run;

    for (int32_t i = 0; i < range->runs && gqa__present(to); i++) {
        const bool here = gqa__token_range_run(range, i, &run);
        for (int32_t t = 0; here && t < run.n; t++) {
            const float *const own = gqa__place_own(from, &run, t);
            for (int64_t h = 0; h < to->shape[1]; h++) {
                const int64_t offset = run.tensor_b * to->stride[0] + h * to->stride[1] +
                                       (run.tensor_t + t) * to->stride[2];
                gqa__store(range->spine->call->params->kernels, to, offset, own + h * to->shape[3],
                           to->shape[3]);
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

static void run_steps_on_range(void *arg, int64_t item, int32_t slot)
{
    const struct steps *const all = arg;
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
    const struct gqa__token_range *const block = all->block;
    const struct gqa__tasks tasks = {run_steps_on_range, all,
                                     (block->end + RANGE_TOKENS - 1) / RANGE_TOKENS};

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
