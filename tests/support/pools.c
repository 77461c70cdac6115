/* SPDX-License-Identifier: Apache-2.0 */
/* pools.c - see pools.h. */
#define _POSIX_C_SOURCE 200809L
#include "support/pools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "parallel/tasks.h"

gqa_pool *make_pool(int32_t threads)
{
    gqa_pool *pool = NULL;
    gqa_error err = {GQA_OK, NULL, ""};

    if (gqa_pool_create(&pool, threads, NULL, &err) != GQA_OK) {
        fail_msg("a pool of %d threads: %s", (int)threads, err.message);
    }
    return pool;
}

gqa_runtime lend_pool(gqa_pool *pool)
{
    gqa_runtime runtime;

    gqa_runtime_init(&runtime);
    runtime.pool = pool;
    return runtime;
}

struct seen {
    atomic_int items[MAX_ITEMS];
    atomic_int in_slot[MAX_THREADS];
    atomic_int faults;
    int slots;
    int64_t sums[MAX_THREADS]; /* not atomic: a slot has one task */
};

static void see_item(void *arg, int64_t item, int32_t slot)
{
    struct seen *seen = arg;

    if (item < 0 || item >= MAX_ITEMS || slot < 0 || slot >= seen->slots) {
        atomic_fetch_add(&seen->faults, 1);
        return;
    }
    if (atomic_fetch_add(&seen->in_slot[slot], 1) != 0) {
        atomic_fetch_add(&seen->faults, 1);
    }
    atomic_fetch_add(&seen->items[item], 1);
    seen->sums[slot] += item;
    atomic_fetch_sub(&seen->in_slot[slot], 1);
}

int run_job(gqa_pool *pool, int32_t threads, int64_t items)
{
    struct seen seen; /* not allocated: a fork in the middle must leave nothing behind */
    struct gqa__tasks tasks = {see_item, &seen, items};
    gqa_runtime runtime = lend_pool(pool);
    int64_t sum = 0;
    int wrong;

    runtime.num_threads = threads;
    memset(&seen, 0, sizeof seen);
    seen.slots = threads;
    wrong = gqa__thread_count(&runtime) != threads;
    gqa__run_tasks(&runtime, &tasks);
    wrong += atomic_load(&seen.faults);
    for (int64_t i = 0; i < MAX_ITEMS; i++) {
        wrong += atomic_load(&seen.items[i]) != (i < items ? 1 : 0);
    }
    for (int i = 0; i < MAX_THREADS; i++) {
        sum += seen.sums[i];
    }
    wrong += sum != items * (items - 1) / 2 && items > 0;
    return wrong;
}

void pause_for(long microseconds)
{
    struct timespec time = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&time, NULL);
}

int wait_child(pid_t child)
{
    int status = -1;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
