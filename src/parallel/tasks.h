/* SPDX-License-Identifier: Apache-2.0 */
/* tasks.h - run a function over a number of independent tasks through the host's parallel_for or
 * its pool. */
#ifndef GQA__TASKS_H
#define GQA__TASKS_H

#include <stdint.h>

#include "gqa/runtime.h"

/* Threads that a call may use: 1 without parallel_for and without a pool. */
int32_t gqa__thread_count(const gqa_runtime *runtime);

/* body(arg, item, slot) for every item in [0, items): slot < gqa__thread_count names the slice of
 * the workspace that the running task owns. Items are handed out in rising order by one atomic
 * counter, so put long ones first. Each task runs in the library's floating-point mode and puts the
 * thread's own mode back. Without parallel_for and pool, with a pool that is busy, or with one
 * thread or one item, the calling thread runs them all as slot 0. Returns when all are done; what
 * the tasks wrote is then visible. */
struct gqa__tasks {
    void (*body)(void *arg, int64_t item, int32_t slot);
    void *arg;
    int64_t items;
};
void gqa__run_tasks(const gqa_runtime *runtime, const struct gqa__tasks *tasks);

#endif
