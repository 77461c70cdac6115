/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - the threads of a gqa_pool, and one job at a time for them. */
#ifndef GQA__POOL_H
#define GQA__POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/runtime.h"

/* threads >= 1. memory: its allocator alone is used. */
gqa_status gqa__pool_create(gqa_pool **out, int32_t threads, const gqa_runtime *memory,
                            gqa_error *err);
void gqa__pool_destroy(gqa_pool *pool);
int32_t gqa__pool_threads(const gqa_pool *pool);

/* Work for up to n threads: body(arg, 0) on the calling thread and, as workers come, body(arg,
 * slot) once for some of the slots 1 .. n - 1, all different. body takes what there is to do from a
 * place that all share, so that nothing is left when body(arg, 0) has returned; the workers that
 * are still busy then are waited for. What any of them wrote is visible on return. False if the
 * pool has another job: nothing was run. */
bool gqa__pool_run(gqa_pool *pool, int32_t n, void (*body)(void *arg, int slot), void *arg);

#endif
