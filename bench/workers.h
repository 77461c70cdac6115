/* SPDX-License-Identifier: Apache-2.0 */
/* workers.h - the pools of threads that cases run on: one per thread count, made when first asked
 * for. */
#ifndef GQA_BENCH_WORKERS_H
#define GQA_BENCH_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/gqa.h"

#define BENCH_MAX_THREADS 64

struct bench_workers {
    gqa_pool *pool[BENCH_MAX_THREADS + 1]; /* [threads]; 1 needs none */
};

/* A runtime of that many threads. false if they cannot be had. */
bool bench_workers_lend(struct bench_workers *workers, int32_t threads, gqa_runtime *runtime);

void bench_workers_destroy(struct bench_workers *workers);

#endif
