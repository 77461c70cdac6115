/* SPDX-License-Identifier: Apache-2.0 */
/* machine_avx2.c - the loops in AVX2. */
#include <immintrin.h>

#include "machine.h"

#define CHAINS 10 /* latency 4 times 2 a cycle, and some to spare */

static volatile float float_sink;
static volatile long long word_sink;

double bench_fma_avx2(int64_t rounds)
{
    __m256 sum[CHAINS];
    const __m256 factor = _mm256_set1_ps(0.999f);
    float lane[8];

    for (int i = 0; i < CHAINS; i++) {
        sum[i] = _mm256_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = _mm256_fmadd_ps(sum[i], factor, factor);
        }
    }
    for (int i = 0; i < CHAINS; i++) {
        _mm256_storeu_ps(lane, sum[i]);
        float_sink = lane[0];
    }
    return 2.0 * 8 * CHAINS * (double)rounds;
}

static inline __m256i load_line(const unsigned char *from)
{
    return _mm256_xor_si256(_mm256_load_si256((const void *)from),
                            _mm256_load_si256((const void *)(from + 32)));
}

/* Eight lines at a time, step apart: 64 = one stream. */
void bench_read_avx2(const unsigned char *memory, size_t bytes, int streams)
{
    size_t step = streams == 1 ? 64 : bytes / 8;
    size_t part = streams == 1 ? bytes : bytes / 8;
    size_t next = streams == 1 ? 512 : 64;
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    long long lane[4];

    for (size_t at = 0; at < part; at += next) {
        const unsigned char *from = memory + at;

#pragma GCC unroll 8
        for (int s = 0; s < 8; s++) {
            sum[s & 1] = _mm256_xor_si256(sum[s & 1], load_line(from + (size_t)s * step));
        }
    }
    _mm256_storeu_si256((void *)lane, _mm256_xor_si256(sum[0], sum[1]));
    word_sink = lane[0];
}
