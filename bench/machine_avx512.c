/* SPDX-License-Identifier: Apache-2.0 */
/* machine_avx512.c - the loops in AVX512. */
#include <immintrin.h>

#include "machine.h"

#define CHAINS 20 /* latency 4 times 2 a cycle, and some to spare */

static volatile float float_sink;
static volatile long long word_sink;

double bench_fma_avx512(int64_t rounds)
{
    __m512 sum[CHAINS];
    const __m512 factor = _mm512_set1_ps(0.999f);
    float lane[16];

    for (int i = 0; i < CHAINS; i++) {
        sum[i] = _mm512_set1_ps((float)i);
    }
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = _mm512_fmadd_ps(sum[i], factor, factor);
        }
    }
    for (int i = 0; i < CHAINS; i++) {
        _mm512_storeu_ps(lane, sum[i]);
        float_sink = lane[0];
    }
    return 2.0 * 16 * CHAINS * (double)rounds;
}

/* Eight lines at a time, step apart: 64 = one stream. */
void bench_read_avx512(const unsigned char *memory, size_t bytes, int streams)
{
    size_t step = streams == 1 ? 64 : bytes / 8;
    size_t part = streams == 1 ? bytes : bytes / 8;
    size_t next = streams == 1 ? 512 : 64;
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    long long lane[8];

    for (size_t at = 0; at < part; at += next) {
        const unsigned char *from = memory + at;

#pragma GCC unroll 8
        for (int s = 0; s < 8; s++) {
            sum[s & 1] = _mm512_xor_si512(sum[s & 1], _mm512_load_si512(from + (size_t)s * step));
        }
    }
    _mm512_storeu_si512(lane, _mm512_xor_si512(sum[0], sum[1]));
    word_sink = lane[0];
}
