/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - loops that do nothing but what bounds a kernel: multiply-adds, tile products, reads.
 */
#ifndef GQA_BENCH_MACHINE_H
#define GQA_BENCH_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_machine {
    const char *fma_name; /* "avx512", "avx2" or "plain" */
    /* rounds times a block of independent multiply-adds on registers; returns the operations. */
    double (*fma)(int64_t rounds);
    double (*amx)(int64_t rounds); /* the same with bf16 tile products; NULL without AMX */
    /* Read all of [bytes] (a multiple of 512) in 1 stream, or in 8 side by side. */
    void (*read)(const unsigned char *memory, size_t bytes, int streams);
};

void bench_machine_detect(struct bench_machine *machine);

/* machine_plain.c, machine_avx2.c, machine_avx512.c and machine_amx.c. */
double bench_fma_plain(int64_t rounds);
void bench_read_plain(const unsigned char *memory, size_t bytes, int streams);
double bench_fma_avx2(int64_t rounds);
void bench_read_avx2(const unsigned char *memory, size_t bytes, int streams);
double bench_fma_avx512(int64_t rounds);
void bench_read_avx512(const unsigned char *memory, size_t bytes, int streams);
double bench_tiles_amx(int64_t rounds);

#endif
