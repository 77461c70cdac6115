/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - a small pool of threads that the command lends to the library. */
#ifndef GQA__TOOL_POOL_H
#define GQA__TOOL_POOL_H

#include "gqa/runtime.h"
#include "tool/fault.h"

struct tool_pool;

/* threads 1 .. 1024, the caller's own included. NULL and a fault if they cannot be had. */
struct tool_pool *tool_pool_create(int threads, struct tool_fault *fault);
void tool_pool_destroy(struct tool_pool *pool);

/* Set num_threads, user and parallel_for. pool NULL: leaves the runtime as it is. */
void tool_pool_lend(struct tool_pool *pool, gqa_runtime *runtime);

#endif
