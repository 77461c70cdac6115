/* SPDX-License-Identifier: Apache-2.0 */
/* attend_problem.c - the problems and answers of attend_kernels.h. */
#include "support/attend_kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "support/random.h"

static void *take(int64_t n, size_t size)
{
    void *memory = calloc((size_t)n + 1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* Rows of a token have one bias: 1, 4, 8 or 16 of them. Some are so large that a score is bent
 * (base/units.h), most of these below zero. */
static void shape_biases(struct problem *p)
{
    static const int32_t rows[] = {1, 4, 8, 16};
    const int32_t share = rows[p->seed % 4];

    for (int64_t i = 0; i < (int64_t)p->keys * p->rows; i++) {
        const int32_t r = (int32_t)(i % p->rows);
        if (i % 211 == 7 && p->seed % 3 == 0) {
            p->bias[i] = i / 211 % 3 == 0 ? 0x1.7p127f : i % 2 == 0 ? -0x1.6p127f : -FLT_MAX;
        }
        p->bias[i] = p->bias[i - r % share];
    }
}

void problem_fill(struct problem *p)
{
    uint64_t state = p->seed;

    p->softcap = p->softcap == 0.0f ? 3.0f : p->softcap;
    p->scale = p->scale == 0.0f ? PROBLEM_SCALE : p->scale;
    p->tokens = (p->first + p->rows + p->group - 1) / p->group;
    p->q = take((int64_t)p->tokens * p->group * p->dk, 4);
    p->k = take((int64_t)p->keys * p->dk, 4);
    p->v = take((int64_t)p->keys * p->dv, 4);
    p->lo = take(p->rows, 4);
    p->hi = take(p->rows, 4);
    p->visible = take((int64_t)p->keys * p->rows, 1);
    p->bias = take((int64_t)p->keys * p->rows, 4);
    p->slope = take(p->rows, 4);
    p->q_pos = take(p->rows, 4);
    p->k_pos = take(p->keys, 4);
    p->sink = take(p->rows, 4);
    p->k_scale = take(p->keys, 4);
    p->v_scale = take(p->keys, 4);
    fill_values(p->q, (int64_t)p->tokens * p->group * p->dk, p->fill, &state);
    fill_values(p->k, (int64_t)p->keys * p->dk, p->fill, &state);
    fill_values(p->v, (int64_t)p->keys * p->dv, p->fill, &state);
    fill_values(p->bias, (int64_t)p->keys * p->rows, FILL_RANDOM, &state);
    shape_biases(p);
    for (int32_t r = 0; r < p->rows; r++) {
        const uint64_t pick = random_next(&state);
        p->lo[r] = (int32_t)(pick % 64) % (p->keys + 1);
        p->hi[r] = p->keys - (int32_t)(pick >> 8 & 7);
        p->hi[r] = pick % 5 == 0 ? p->lo[r] : p->hi[r]; /* sees nothing */
        p->slope[r] = 0.01f * (float)(r + 1);
        p->q_pos[r] = p->keys / 2 + r;
        p->sink[r] = r % 3 == 1 ? -INFINITY : random_float(&state);
    }
    for (int32_t i = 0; i < p->keys; i++) {
        const uint64_t pick = random_next(&state);
        p->k_scale[i] =
            pick % 16 == 0 ? 0.0f : ldexpf(1.0f + random_float(&state) / 4, (int)(pick >> 8) % 3);
        p->v_scale[i] = pick % 16 == 1
                            ? 0.0f
                            : ldexpf(1.0f + random_float(&state) / 4, (int)(pick >> 16) % 9 - 6);
        p->v_scale[i] = pick % 32 == 2 ? 0x1.3p-120f : p->v_scale[i]; /* products end at 2^-126 */
        p->k_pos[i] = 3 * i;
        for (int32_t r = 0; r < p->rows; r++) {
            p->visible[i * p->rows + r] = random_next(&state) % 3 != 0;
        }
    }
}

void problem_free(struct problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->lo);
    free(p->hi);
    free(p->visible);
    free(p->bias);
    free(p->slope);
    free(p->q_pos);
    free(p->k_pos);
    free(p->sink);
    free(p->k_scale);
    free(p->v_scale);
}

bool problem_sees(const struct problem *p, int32_t row, int32_t key)
{
    const bool ranged = (p->features & FEATURE_RANGE) != 0;
    const bool masked = (p->features & FEATURE_VISIBLE) != 0;

    return key < p->keys && (!ranged || (p->lo[row] <= key && key < p->hi[row])) &&
           (!masked || p->visible[key * p->rows + row] != 0);
}

struct answer answer_new(const struct problem *p)
{
    struct answer a;

    a.product = take((int64_t)p->keys * p->rows, 4);
    a.score = take((int64_t)p->keys * p->rows, 4);
    a.m = take(3 * (int64_t)p->rows, 4);
    a.l = take(3 * (int64_t)p->rows, 4);
    a.o = take(3 * (int64_t)p->rows * p->dv, 4);
    a.out = take((int64_t)p->rows * p->dv, 4);
    a.lse = take(p->rows, 4);
    return a;
}

void answer_free(struct answer *a)
{
    free(a->product);
    free(a->score);
    free(a->m);
    free(a->l);
    free(a->o);
    free(a->out);
    free(a->lse);
}
