/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_twin.c - see kernel_twin.h: who sees whom, and a row in exact arithmetic. */
#include "support/kernel_twin.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

const float *kernel_vector(const struct kernel_twin *twin, const float *from, const int at[5])
{
    return from + (((int64_t)at[0] * at[2] + at[1]) * at[4] + at[3]) * twin->d;
}

bool kernel_sees(const struct kernel_twin *twin, int t, int j)
{
    const int64_t p = (int64_t)twin->cp_offset +
                      (twin->cp_strided != 0 ? (int64_t)t * twin->cp_degree : t) +
                      (twin->wcte != 0 ? twin->window : 0);

    if (twin->bound_min != NULL && (j < twin->bound_min[t] || j >= twin->bound_max[t])) {
        return false;
    }
    return (twin->bidirectional != 0 || j <= p) && (twin->window == 0 || p - j < twin->window);
}

/* Key j of head h: its k and v. */
static void find_key(const struct kernel_twin *twin, int b, int h, int j, const float *kv[2])
{
    const int head = h / (twin->hq / twin->hkv);
    const int rows = j < 0 ? twin->prior : twin->keys;
    const int at[5] = {b, j < 0 ? j + twin->used : j, rows, head, twin->hkv};

    kv[0] = kernel_vector(twin, j < 0 ? twin->k_prior : twin->k, at);
    kv[1] = kernel_vector(twin, j < 0 ? twin->v_prior : twin->v, at);
}

/* q enters the product with at most three roundings (q, the division by a divisor that is itself
 * rounded, the quotient), and k with one where they are f32, 2^-9 relative each, so a score is
 * wrong by at most e = 2^-7 sum |q k| scale, and a weight by a factor of at most exp(2 e). P, v
 * where it is f32, and the result are rounded to bf16, 2^-9 each. f32 arithmetic is far below that,
 * but for sums of n keys in f32, which are off by n 2^-24 each of two. */
bool kernel_exact_row(const struct kernel_twin *twin, int b, int h, int t, double *out,
                      double *bound)
{
    const double scale = twin->scale > 0.0f ? (double)twin->scale : 1.0 / sqrt(twin->d);
    const int at[5] = {b, t, twin->tokens, h, twin->hq};
    const float *const q = kernel_vector(twin, twin->q, at);
    double most = twin->sinks != NULL ? (double)twin->sinks[h] : -1e300;
    double sum = 0.0, error = 0.0, largest = 0.0;
    int seen = 0;

    memset(out, 0, (size_t)twin->d * sizeof *out);
    for (int pass = 0; pass < 2; pass++) {
        sum = pass == 1 && twin->sinks != NULL ? exp((double)twin->sinks[h] - most) : 0.0;
        for (int j = -twin->used; j < twin->keys; j++) {
            const float *kv[2];
            double score = 0.0, size = 0.0, weight;
            if (!kernel_sees(twin, t, j)) {
                continue;
            }
            find_key(twin, b, h, j, kv);
            for (int d = 0; d < twin->d; d++) {
                score += (double)q[d] * (double)kv[0][d] * scale;
                size += fabs((double)q[d] * (double)kv[0][d]) * scale;
            }
            if (pass == 0) {
                most = score > most ? score : most;
                error = size * 0x1p-7 > error ? size * 0x1p-7 : error;
                seen++;
                continue;
            }
            weight = exp(score - most);
            sum += weight;
            for (int d = 0; d < twin->d; d++) {
                out[d] += weight * (double)kv[1][d];
                largest = fabs((double)kv[1][d]) > largest ? fabs((double)kv[1][d]) : largest;
            }
        }
    }
    for (int d = 0; d < twin->d; d++) {
        out[d] /= sum;
    }
    *bound = largest * (expm1(2.0 * error) + (twin->f32 ? 0x1.8p-8 : 0x1p-8) + seen * 0x1p-23);
    return seen > 0;
}
