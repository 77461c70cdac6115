/* SPDX-License-Identifier: Apache-2.0 */
/* parallel.h - hosts' parallel_for for tests. */
#ifndef TEST_PARALLEL_H
#define TEST_PARALLEL_H

#include "gqa/runtime.h"

/* One thread per task. */
void parallel_threads(void *user, int n, void (*task)(void *arg, int i), void *arg);
/* One after the other on the calling thread, last first. */
void parallel_reversed(void *user, int n, void (*task)(void *arg, int i), void *arg);

#endif
