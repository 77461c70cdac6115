/* SPDX-License-Identifier: Apache-2.0 */
/* pools.h - pools for tests, and a job that checks how it is run. */
#ifndef TEST_POOLS_H
#define TEST_POOLS_H

#include <sys/types.h>

#include "gqa/gqa.h"

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if !defined(THREAD_SANITIZER)
#define THREAD_SANITIZER 0
#endif

enum { MAX_ITEMS = 1000, MAX_THREADS = 33 };

/* Fails the test if there is none. */
gqa_pool *make_pool(int32_t threads);
gqa_runtime lend_pool(gqa_pool *pool);

/* Faults of one job of items on threads of the pool: each item once, in a slot of one thread, and
 * what it wrote there on return. Any thread may call it. */
int run_job(gqa_pool *pool, int32_t threads, int64_t items);

void pause_for(long microseconds);

/* Exit status of a child; 1000 and more if it did not exit. */
int wait_child(pid_t child);

#endif
