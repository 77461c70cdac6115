/* SPDX-License-Identifier: Apache-2.0 */
/* peer_softmax.c - see peer_softmax.h. */
#include "peer_softmax.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU                                                                               \
    __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FOR_EACH_CPU
#endif

#define LANES 32

/* e^x for x <= 0, relative error below 1e-6. */
static inline float exponential(float x)
{
    float y = x * 1.44269504f;
    float n, f, p;
    int32_t bits;

    y = y < -126.0f ? -126.0f : y;
    n = (y + 12582912.0f) - 12582912.0f; /* to the nearest integer */
    f = y - n;
    p = 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    bits = ((int32_t)n + 127) << 23;
    memcpy(&f, &bits, sizeof f);
    return p * f;
}

FOR_EACH_CPU static float maximum(const float *row, int64_t n)
{
    float lane[LANES];
    float most = -INFINITY;
    int64_t i = 0;

    for (int j = 0; j < LANES; j++) {
        lane[j] = -INFINITY;
    }
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] = row[i + j] > lane[j] ? row[i + j] : lane[j];
        }
    }
    for (; i < n; i++) {
        most = row[i] > most ? row[i] : most;
    }
    for (int j = 0; j < LANES; j++) {
        most = lane[j] > most ? lane[j] : most;
    }
    return most;
}

/* row = e^(scale * row - most); returns the sum. */
FOR_EACH_CPU static float exponentials(float *row, int64_t n, float scale, float most)
{
    float lane[LANES] = {0};
    float sum = 0;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float p = exponential(row[i + j] * scale - most);

            row[i + j] = p;
            lane[j] += p;
        }
    }
    for (; i < n; i++) {
        row[i] = exponential(row[i] * scale - most);
        sum += row[i];
    }
    for (int j = 0; j < LANES; j++) {
        sum += lane[j];
    }
    return sum;
}

FOR_EACH_CPU static void divide(float *row, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++) {
        row[i] *= factor;
    }
}

FOR_EACH_CPU static void divide_bf16(uint16_t *out, const float *row, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++) {
        float x = row[i] * factor;
        uint32_t bits;

        memcpy(&bits, &x, sizeof bits);
        out[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

/* 1 / sum of the seen part, which becomes exponentials. */
static float seen_part(float *row, int64_t n, float scale, float sink)
{
    float most = maximum(row, n) * scale;
    float sum;

    most = sink > most ? sink : most;
    sum = exponentials(row, n, scale, most);
    if (sink > -INFINITY) {
        sum += exponential(sink - most);
    }
    return 1.0f / sum;
}

void bench_softmax_row(float *row, int64_t n, int64_t begin, int64_t end, float scale, float sink)
{
    float factor = seen_part(row + begin, end - begin, scale, sink);

    divide(row + begin, end - begin, factor);
    memset(row, 0, (size_t)begin * sizeof *row);
    memset(row + end, 0, (size_t)(n - end) * sizeof *row);
}

void bench_softmax_row_bf16(uint16_t *out, float *row, int64_t n, int64_t begin, int64_t end,
                            float scale, float sink)
{
    float factor = seen_part(row + begin, end - begin, scale, sink);

    divide_bf16(out + begin, row + begin, end - begin, factor);
    memset(out, 0, (size_t)begin * sizeof *out);
    memset(out + end, 0, (size_t)(n - end) * sizeof *out);
}
