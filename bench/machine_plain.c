/* SPDX-License-Identifier: Apache-2.0 */
/* machine_plain.c - the loops in plain C, for CPUs without the others. */
#include <string.h>

#include "machine.h"

#define CHAINS 32

static volatile float float_sink;
static volatile uint64_t word_sink;

double bench_fma_plain(int64_t rounds)
{
    float sum[CHAINS];
    float factor = 0.999f;

    for (int i = 0; i < CHAINS; i++) {
        sum[i] = (float)i;
    }
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = sum[i] * factor + factor;
        }
    }
    for (int i = 0; i < CHAINS; i++) {
        float_sink = sum[i];
    }
    return 2.0 * CHAINS * (double)rounds;
}

void bench_read_plain(const unsigned char *memory, size_t bytes, int streams)
{
    size_t part = bytes / (size_t)streams;
    uint64_t sum = 0;

    for (size_t at = 0; at < part; at += 64) {
        for (int s = 0; s < streams; s++) {
            uint64_t line[8];

            memcpy(line, memory + (size_t)s * part + at, sizeof line);
            for (int i = 0; i < 8; i++) {
                sum ^= line[i];
            }
        }
    }
    word_sink = sum;
}
