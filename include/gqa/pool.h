/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/pool.h - threads that the library's calls share, for hosts that have no pool of their own.
 *
 *     gqa_pool *pool;
 *     gqa_pool_create(&pool, 0, NULL, &err);
 *     runtime.pool = pool;                      lend it to any number of layers
 *     ... gqa_create, gqa_forward, gqa_destroy ...
 *     gqa_pool_destroy(&pool);
 *
 * Threads.  A pool of n threads is the calling thread and n - 1 workers, which gqa_pool_create
 *   starts; nothing exists before it. Any number of threads may call gqa_forward and gqa_attend on
 *   layers that share a pool. Each step of a call that can be divided takes the pool if it is free,
 *   and runs on the calling thread alone if another call has it: nobody waits for the pool, and the
 *   bits are the same either way. A worker that comes late to a step is not waited for.
 * Idle.     A worker without work looks for some for a short while (tens of microseconds), then
 *   sleeps in the kernel until the next step wakes it. On Linux a step of a call takes no mutex and
 *   makes no system call but futex: to wake workers that sleep, and to wait for the last of them.
 * Signals.  Workers have all signals blocked: the host's handlers run on the host's threads. They
 *   are named "gqa-pool" where threads have names.
 * Fork.     A child of fork has the pool's memory but none of its workers. Calls there are correct
 *   and run on the calling thread alone, and gqa_pool_destroy frees the memory and waits for
 * nobody; a child that wants threads creates a pool of its own. A thread may fork while another one
 * is in a call; do not fork out of a call itself (from a signal handler) and go on with it in the
 * child.
 */
#ifndef GQA_POOL_H
#define GQA_POOL_H

#include "gqa/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* threads: 1 .. 1024, the caller's included; 0 = the CPUs that are online. runtime lends the memory
 * (alloc, release, user; NULL = malloc and free), is not needed afterwards except for its user, and
 * must not set num_threads, parallel_for or pool. On failure *out is NULL, no thread is left and
 * nothing is leaked; GQA_ERR_NOMEM if the system gives no memory or fewer threads. */
GQA_API gqa_status gqa_pool_create(gqa_pool **out, int32_t threads, const gqa_runtime *runtime,
                                   gqa_error *err);

/* Ends the workers and waits for them. NULL-safe (also *pool == NULL); sets *pool to NULL. No call
 * may be using it. Layers that were lent the pool may only be destroyed from then on. */
GQA_API void gqa_pool_destroy(gqa_pool **pool);

/* Threads of the pool, the caller's included; 0 for NULL. */
GQA_API int32_t gqa_pool_threads(const gqa_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
