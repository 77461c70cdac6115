/* SPDX-License-Identifier: Apache-2.0 */
/* hadamard.c - see hadamard.h. The lanes of an element lie side by side, so a stage over elements h
 * apart is one over floats h * lanes apart: a row alone is the case of one lane.
 */
#include "base/hadamard.h"

#include "base/guard.h"

/* 1/sqrt(n) of a power of two, rounded to f32. */
static float inverse_root(int32_t n)
{
    float factor = 1.0f;

    for (; n >= 4; n /= 4) {
        factor *= 0.5f;
    }
    return n == 2 ? factor * 0x1.6a09e6p-1f : factor;
}

/* (x0, x1, x2, x3) by a stage of pairs that are neighbours and one of pairs two apart. */
static void two_stages(float *restrict x0, float *restrict x1, float *restrict x2,
                       float *restrict x3, int64_t floats)
{
    for (int64_t i = 0; i < floats; i++) {
        const float sum = x0[i] + x1[i], difference = x0[i] - x1[i];
        const float other_sum = x2[i] + x3[i], other_difference = x2[i] - x3[i];
        x0[i] = sum + other_sum;
        x1[i] = difference + other_difference;
        x2[i] = sum - other_sum;
        x3[i] = difference - other_difference;
    }
}

static void one_stage(float *restrict x0, float *restrict x1, int64_t floats)
{
    for (int64_t i = 0; i < floats; i++) {
        const float sum = x0[i] + x1[i], difference = x0[i] - x1[i];
        x0[i] = sum;
        x1[i] = difference;
    }
}

/* One block, x [n][lanes], n a power of two. */
static void rotate_block(float *x, int32_t n, int32_t lanes)
{
    const int64_t all = (int64_t)n * lanes;
    const float factor = inverse_root(n);
    int64_t h = lanes; /* floats from one of a pair to the other */

    for (int64_t i = 0; i < all; i++) {
        x[i] *= factor;
    }
    for (; 4 * h <= all; h *= 4) {
        for (float *at = x; at < x + all; at += 4 * h) {
            two_stages(at, at + h, at + 2 * h, at + 3 * h, h);
        }
    }
    if (2 * h <= all) {
        one_stage(x, x + h, h);
    }
}

void gqa__hadamard(float *x, int32_t dim, int32_t lanes)
{
    for (int32_t done = 0, n; done < dim; done += n) {
        for (n = 1; n <= (dim - done) / 2; n *= 2) {
        }
        rotate_block(x + (int64_t)done * lanes, n, lanes);
    }
}
