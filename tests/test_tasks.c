/* SPDX-License-Identifier: Apache-2.0 */
/* test_tasks.c - gqa__run_tasks under several hosts, and the checks of gqa_runtime. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "parallel/runtime.h"
#include "parallel/tasks.h"
#include "support/program.h"

#define MAX_ITEMS 1000
#define MAX_SLOTS 1024

/* ---- hosts: ways in which a parallel_for may run its tasks ---- */

typedef void (*task_fn)(void *arg, int i);

struct host {
    const char *name;
    void (*run)(void *user, int n, task_fn task, void *arg);
};

/* What a host was asked for. */
struct calls {
    int count, n;
};

static void record(void *user, int n)
{
    struct calls *calls = user;
    calls->count++;
    calls->n = n;
}

static void run_rising(void *user, int n, task_fn task, void *arg)
{
    record(user, n);
    for (int i = 0; i < n; i++) {
        task(arg, i);
    }
}

static void run_falling(void *user, int n, task_fn task, void *arg)
{
    record(user, n);
    for (int i = n - 1; i >= 0; i--) {
        task(arg, i);
    }
}

struct start {
    task_fn task;
    void *arg;
    int i;
};

static void *run_start(void *arg)
{
    struct start *start = arg;
    start->task(start->arg, start->i);
    return NULL;
}

/* Threads in groups: group tasks at a time, the next group when all of the last one are done. */
static void run_groups(int n, int group, task_fn task, void *arg)
{
    for (int first = 0; first < n; first += group) {
        pthread_t threads[16];
        struct start starts[16];
        int count = n - first < group ? n - first : group;
        for (int i = 0; i < count; i++) {
            starts[i] = (struct start){task, arg, first + i};
            assert_int_equal(pthread_create(&threads[i], NULL, run_start, &starts[i]), 0);
        }
        for (int i = 0; i < count; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
    }
}

static void run_threads(void *user, int n, task_fn task, void *arg)
{
    record(user, n);
    run_groups(n, 16, task, arg);
}

static void run_pairs(void *user, int n, task_fn task, void *arg)
{
    record(user, n);
    run_groups(n, 2, task, arg);
}

static const struct host hosts[] = {{"none", NULL},
                                    {"rising", run_rising},
                                    {"falling", run_falling},
                                    {"threads", run_threads},
                                    {"pairs", run_pairs}};

/* ---- every item once, slots in range, one task per slot ---- */

struct seen {
    atomic_int items[MAX_ITEMS];
    atomic_int in_slot[MAX_SLOTS]; /* tasks that are running as this slot */
    atomic_int faults;
    atomic_llong next; /* without threads items rise */
    int slots;
    int rising;
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
    if (seen->rising && atomic_fetch_add(&seen->next, 1) != item) {
        atomic_fetch_add(&seen->faults, 1);
    }
    atomic_fetch_add(&seen->items[item], 1);
    atomic_fetch_sub(&seen->in_slot[slot], 1);
}

static void check_run(const struct host *host, int32_t threads, int64_t items)
{
    static struct seen seen;
    struct calls calls = {0, 0};
    gqa_runtime runtime;
    struct gqa__tasks tasks = {see_item, &seen, items};
    int expected = host->run == NULL || threads < 1 ? 1 : threads;

    gqa_runtime_init(&runtime);
    runtime.num_threads = threads;
    runtime.user = &calls;
    runtime.parallel_for = host->run;
    memset(&seen, 0, sizeof seen);
    seen.rising = host->run != run_threads && host->run != run_pairs;
    seen.slots = items < expected ? (int)items : expected;

    assert_int_equal(gqa__thread_count(&runtime), expected);
    gqa__run_tasks(&runtime, &tasks);
    int wrong = atomic_load(&seen.faults);
    for (int64_t i = 0; i < MAX_ITEMS; i++) {
        wrong += atomic_load(&seen.items[i]) != (i < items ? 1 : 0);
    }
    /* One call of the host, for as many tasks as there is work; none for a single task. */
    wrong += calls.count != (seen.slots > 1 ? 1 : 0);
    wrong += calls.n != (seen.slots > 1 ? seen.slots : 0);
    if (wrong != 0) {
        fail_msg("host %s, num_threads %d, items %d: %d faults, parallel_for(%d) called %d times",
                 host->name, (int)threads, (int)items, wrong, calls.n, calls.count);
    }
}

static void every_item_once(void **state)
{
    static const int32_t threads[] = {0, 1, 2, 3, 7, 16, 33};
    static const int64_t items[] = {0, 1, 2, 3, 6, 7, 8, 100, MAX_ITEMS};
    (void)state;
    for (size_t h = 0; h < sizeof hosts / sizeof hosts[0]; h++) {
        for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
            for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
                check_run(&hosts[h], threads[t], items[i]);
            }
        }
    }
    check_run(&hosts[2], GQA__THREADS_MAX, MAX_ITEMS);
}

/* What tasks wrote is there when gqa__run_tasks returns: each adds into its slot's own cell. */
static void add_item(void *arg, int64_t item, int32_t slot)
{
    int64_t *sums = arg; /* [MAX_SLOTS], not atomic: a slot has one task */
    sums[slot] += item;
}

static void slots_are_private(void **state)
{
    (void)state;
    for (size_t h = 0; h < sizeof hosts / sizeof hosts[0]; h++) {
        struct calls calls = {0, 0};
        int64_t sums[MAX_SLOTS] = {0};
        int64_t total = 0;
        gqa_runtime runtime;
        struct gqa__tasks tasks = {add_item, sums, 10007};
        gqa_runtime_init(&runtime);
        runtime.num_threads = 5;
        runtime.user = &calls;
        runtime.parallel_for = hosts[h].run;
        gqa__run_tasks(&runtime, &tasks);
        for (int i = 0; i < MAX_SLOTS; i++) {
            total += sums[i];
        }
        if (total != 10007LL * 10006 / 2) {
            fail_msg("host %s: the slots' sum is %lld", hosts[h].name, (long long)total);
        }
    }
}

/* ---- the floating-point mode ---- */

#if defined(__SSE__)
#define ODD_MODE  (_MM_ROUND_UP | _MM_FLUSH_ZERO_ON | 0x0040u | _MM_MASK_MASK)
#define MODE_BITS 0xffc0u /* rounding, flushing, masks */

static void see_mode(void *arg, int64_t item, int32_t slot)
{
    atomic_int *faults = arg;
    (void)item;
    (void)slot;
    if ((_mm_getcsr() & MODE_BITS) != _MM_MASK_MASK) { /* nearest, no flush, no trap */
        atomic_fetch_add(faults, 1);
    }
}

/* The odd mode as the machine keeps it: valgrind keeps the rounding alone. */
static unsigned odd_mode(void)
{
    unsigned saved = _mm_getcsr();
    _mm_setcsr(ODD_MODE);
    unsigned kept = _mm_getcsr() & MODE_BITS;
    _mm_setcsr(saved);
    return kept;
}

/* A host's thread in an odd mode of its own, which it wants back. */
static void run_odd(void *user, int n, task_fn task, void *arg)
{
    for (int i = 0; i < n; i++) {
        unsigned saved = _mm_getcsr();
        _mm_setcsr(ODD_MODE);
        task(arg, i);
        if ((_mm_getcsr() & MODE_BITS) != odd_mode()) {
            atomic_fetch_add((atomic_int *)user, 1);
        }
        _mm_setcsr(saved);
    }
}
#endif

static void each_task_sets_the_mode(void **state)
{
    (void)state;
#if defined(__SSE__)
    atomic_int faults;
    gqa_runtime runtime;
    struct gqa__tasks tasks = {see_mode, &faults, 9};
    unsigned saved = _mm_getcsr();

    atomic_init(&faults, 0);
    gqa_runtime_init(&runtime);
    _mm_setcsr(ODD_MODE);
    gqa__run_tasks(&runtime, &tasks); /* on the calling thread */
    unsigned after = _mm_getcsr();
    _mm_setcsr(saved);
    assert_int_equal(after & MODE_BITS, odd_mode());
    assert_int_not_equal(odd_mode(), _MM_MASK_MASK);
    if (odd_mode() != (ODD_MODE & MODE_BITS)) {
        print_message("this machine flushes nothing: only the rounding was tested\n");
    }
    assert_int_equal(atomic_load(&faults), 0);

    runtime.num_threads = 3;
    runtime.user = &faults;
    runtime.parallel_for = run_odd;
    gqa__run_tasks(&runtime, &tasks);
    assert_int_equal(atomic_load(&faults), 0);
#else
    print_message("skipped: no MXCSR on this machine\n");
    skip();
#endif
}

/* ---- gqa_runtime ---- */

static void *some_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    (void)size;
    (void)align;
    return NULL;
}

static void some_release(void *user, void *memory)
{
    (void)user;
    (void)memory;
}

static void refuse(const gqa_runtime *runtime, const char *field)
{
    gqa_runtime own;
    gqa_error err = {GQA_OK, NULL, ""};
    assert_int_equal(gqa__runtime_import(runtime, &own, &err), GQA_ERR_ARG);
    assert_int_equal(err.status, GQA_ERR_ARG);
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.message, field));
    assert_int_equal(gqa__runtime_import(runtime, &own, NULL), GQA_ERR_ARG);
}

static void runtime_is_checked(void **state)
{
    gqa_runtime runtime, own;
    (void)state;

    memset(&own, 0xa5, sizeof own);
    assert_int_equal(gqa__runtime_import(NULL, &own, NULL), GQA_OK);
    gqa_runtime_init(&runtime);
    assert_int_equal(runtime.struct_size, sizeof runtime);
    assert_memory_equal(&own, &runtime, sizeof own);

    runtime.num_threads = -1;
    refuse(&runtime, "runtime.num_threads");
    runtime.num_threads = GQA__THREADS_MAX + 1;
    refuse(&runtime, "runtime.num_threads");
    runtime.num_threads = GQA__THREADS_MAX;
    assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
    assert_int_equal(own.num_threads, GQA__THREADS_MAX);

    runtime.alloc = some_alloc;
    refuse(&runtime, "runtime.release");
    runtime.release = some_release;
    assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
    runtime.alloc = NULL;
    refuse(&runtime, "runtime.alloc");
    runtime.release = NULL;

    runtime.struct_size = 0;
    refuse(&runtime, "runtime");
    /* A struct from before num_threads. */
    runtime.struct_size = (uint32_t)offsetof(gqa_runtime, num_threads);
    assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
    assert_int_equal(own.num_threads, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(slots_are_private),
        cmocka_unit_test(each_task_sets_the_mode),
        cmocka_unit_test(runtime_is_checked),
    };
    return RUN_TESTS(argc, argv, tests);
}
