/* tasks.c - see tasks.h. */
#include "parallel/tasks.h"

#include <stdatomic.h>

#include "base/fpmode.h"
#include "parallel/pool.h"

/* One call's share of work; lives on the caller's stack until all have run. */
struct shared {
    const struct gqa__tasks *tasks;
    _Atomic int64_t next; /* item to hand out */
};

int32_t gqa__thread_count(const gqa_runtime *runtime)
{
    if (runtime->pool != NULL) {
        return runtime->num_threads > 0 ? runtime->num_threads : gqa__pool_threads(runtime->pool);
    }
    if (runtime->parallel_for == NULL || runtime->num_threads < 1) {
        return 1;
    }
    return runtime->num_threads;
}

static void run_share(void *arg, int slot)
{
    struct shared *shared = arg;
    const struct gqa__tasks *tasks = shared->tasks;
    gqa__fpmode saved = gqa__fpmode_enter();
    for (;;) {
        /* Relaxed: the counter only hands out items; parallel_for or the pool orders the data. */
        int64_t item = atomic_fetch_add_explicit(&shared->next, 1, memory_order_relaxed);
        if (item >= tasks->items) {
            break;
        }
        tasks->body(tasks->arg, item, (int32_t)slot);
    }
    gqa__fpmode_leave(saved);
}

/* One thread counts for itself: an atomic step would wait until all stores before it are done. */
static void run_alone(const struct gqa__tasks *tasks)
{
    gqa__fpmode saved = gqa__fpmode_enter();
    for (int64_t item = 0; item < tasks->items; item++) {
        tasks->body(tasks->arg, item, 0);
    }
    gqa__fpmode_leave(saved);
}

void gqa__run_tasks(const gqa_runtime *runtime, const struct gqa__tasks *tasks)
{
    struct shared shared;
    int32_t threads = gqa__thread_count(runtime);

    if (tasks->items <= 0) {
        return;
    }
    shared.tasks = tasks;
    atomic_init(&shared.next, 0);
    if (tasks->items < threads) {
        threads = (int32_t)tasks->items;
    }
    if (threads > 1 && runtime->pool == NULL) {
        runtime->parallel_for(runtime->user, threads, run_share, &shared);
    } else if (threads == 1 || !gqa__pool_run(runtime->pool, threads, run_share, &shared)) {
        run_alone(tasks);
    }
}
