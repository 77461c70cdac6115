/* SPDX-License-Identifier: Apache-2.0 */
/* workers.c - see workers.h. */
#include "workers.h"

#include <stddef.h>

bool bench_workers_lend(struct bench_workers *workers, int32_t threads, gqa_runtime *runtime)
{
    gqa_runtime_init(runtime);
    if (threads < 1 || threads > BENCH_MAX_THREADS) {
        return false;
    }
    if (threads == 1) {
        return true;
    }
    if (workers->pool[threads] == NULL &&
        gqa_pool_create(&workers->pool[threads], threads, NULL, NULL) != GQA_OK) {
        return false;
    }
    runtime->pool = workers->pool[threads];
    return true;
}

void bench_workers_destroy(struct bench_workers *workers)
{
    for (int32_t n = 0; n <= BENCH_MAX_THREADS; n++) {
        gqa_pool_destroy(&workers->pool[n]);
    }
}
