/* SPDX-License-Identifier: Apache-2.0 */
/* test_pool.c - gqa_pool: what runs on it, its life, and its rules. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "parallel/pool.h"
#include "parallel/runtime.h"
#include "parallel/tasks.h"
#include "support/host.h"
#include "support/pools.h"
#include "support/program.h"

/* Threads of this process; -1 where the system does not tell. */
static int live_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int n = 0;

    if (dir == NULL) {
        return -1;
    }
    while ((entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

/* A thread that was joined may be listed for a moment more. */
static void expect_threads(int expected)
{
    struct timespec moment = {0, 1000000};

    for (int i = 0; i < 1000 && live_threads() != expected; i++) {
        nanosleep(&moment, NULL);
    }
    assert_int_equal(live_threads(), expected);
}

/* ---- jobs ---- */

static void every_item_once(void **state)
{
    static const int32_t threads[] = {1, 2, 3, 7, MAX_THREADS};
    static const int64_t items[] = {0, 1, 2, 3, 6, 7, 8, 100, MAX_ITEMS};
    (void)state;

    for (size_t p = 0; p < sizeof threads / sizeof threads[0]; p++) {
        gqa_pool *pool = make_pool(threads[p]);
        assert_int_equal(gqa_pool_threads(pool), threads[p]);
        for (size_t t = 0; t <= p; t++) { /* the whole pool, or a part of it */
            for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
                for (int repeat = 0; repeat < 20; repeat++) {
                    int wrong = run_job(pool, threads[t], items[i]);
                    if (wrong != 0) {
                        fail_msg("pool of %d, num_threads %d, items %d: %d faults", (int)threads[p],
                                 (int)threads[t], (int)items[i], wrong);
                    }
                }
            }
        }
        gqa_pool_destroy(&pool);
        assert_null(pool);
    }
}

/* Gaps between jobs of every length around the one after which workers sleep. */
static void jobs_after_sleep(void **state)
{
    gqa_pool *pool = make_pool(3);
    (void)state;

    for (int i = 0; i < 300; i++) {
        pause_for(i % 60 * 10);
        assert_int_equal(run_job(pool, 3, 5 + i % 7), 0);
    }
    gqa_pool_destroy(&pool);
}

/* Items that take time: the owner is done first, and sleeps until the others are. */
struct slow {
    atomic_int done, helpers;
    pthread_t owner;
};

static void slow_item(void *arg, int64_t item, int32_t slot)
{
    struct slow *slow = arg;
    sigset_t set;

    (void)item;
    if (slot != 0) {
        sigemptyset(&set);
        pthread_sigmask(SIG_SETMASK, NULL, &set);
        if (sigismember(&set, SIGINT) == 1 && !pthread_equal(slow->owner, pthread_self())) {
            atomic_fetch_add(&slow->helpers, 1);
        }
        pause_for(3000);
    } else {
        pause_for(1000);
    }
    atomic_fetch_add(&slow->done, 1);
}

static void waits_for_the_last(void **state)
{
    gqa_pool *pool = make_pool(4);
    gqa_runtime runtime = lend_pool(pool);
    int helped = 0;
    (void)state;

    for (int i = 0; i < 30; i++) {
        struct slow slow = {0, 0, pthread_self()};
        struct gqa__tasks tasks = {slow_item, &slow, 4};
        pause_for(2000); /* they sleep */
        gqa__run_tasks(&runtime, &tasks);
        assert_int_equal(atomic_load(&slow.done), 4);
        helped += atomic_load(&slow.helpers);
    }
    assert_true(helped >= 30); /* by workers, with signals blocked */
    gqa_pool_destroy(&pool);
}

/* ---- life ---- */

static void storms(void **state)
{
    int before = live_threads();
    (void)state;

    for (int i = 0; i < 300; i++) {
        gqa_pool *pool = make_pool(1 + i % 6);
        if (i % 3 == 1) {
            assert_int_equal(run_job(pool, 1 + i % 6, 7), 0);
        } else if (i % 3 == 2) {
            pause_for(i); /* asleep, or about to be */
        }
        gqa_pool_destroy(&pool);
    }
    expect_threads(before);
}

static void no_thread_before_and_after(void **state)
{
    int before = live_threads();
    gqa_pool *pool = NULL;
    (void)state;

    gqa_pool_destroy(NULL);
    gqa_pool_destroy(&pool);
    assert_int_equal(gqa_pool_threads(NULL), 0);
    if (before < 0) {
        print_message("skipped: the system does not list threads\n");
        skip();
    }
#if !defined(GQA_WITH_OPENBLAS) /* which starts threads when it is loaded */
    assert_int_equal(before, 1);
#endif
    if (THREAD_SANITIZER) { /* it starts a thread of its own with the first */
        pool = make_pool(2);
        gqa_pool_destroy(&pool);
        before = 2;
    }
    pool = make_pool(5);
    expect_threads(before + 4);
    gqa_pool_destroy(&pool);
    expect_threads(before);
    pool = make_pool(1);
    expect_threads(before);
    gqa_pool_destroy(&pool);
    pool = make_pool(0);
    assert_int_equal(gqa_pool_threads(pool), sysconf(_SC_NPROCESSORS_ONLN));
    gqa_pool_destroy(&pool);
}

/* Idle workers sleep: 100 ms of waiting cost four workers less than 20 ms of CPU time together. */
static void idle_costs_nothing(void **state)
{
    gqa_pool *pool = make_pool(5);
    struct timespec begin, end;
    double used;
    (void)state;

    run_job(pool, 5, 100);
    pause_for(50000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    pause_for(100000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    used = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    gqa_pool_destroy(&pool);
    if (used > 0.02) {
        fail_msg("idle workers used %g s of 0.1 s", used);
    }
}

static void allocation_fails(void **state)
{
    struct host host;
    gqa_runtime runtime;
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_pool *pool = NULL;
    int before = live_threads();
    (void)state;

    host_init(&host);
    runtime = host_runtime(&host);
    assert_int_equal(gqa_pool_create(&pool, 3, &runtime, &err), GQA_OK);
    assert_int_equal(host.calls, 1);
    assert_int_equal(run_job(pool, 3, 30), 0);
    assert_int_equal(host.calls, 1);
    gqa_pool_destroy(&pool);
    assert_int_equal(host.live, 0);

    host.fail_from = 1;
    pool = (gqa_pool *)(void *)&host;
    assert_int_equal(gqa_pool_create(&pool, 3, &runtime, &err), GQA_ERR_NOMEM);
    assert_null(pool);
    assert_string_equal(err.field, "runtime.alloc");
    assert_int_equal(host.live, 0);
    expect_threads(before);
}

/* In a child whose address space has room for a few stacks only: the exit status says what failed.
 */
static int starve_child(void)
{
    struct rlimit limit = {(rlim_t)200 << 20, (rlim_t)200 << 20};
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_pool *pool = NULL;
    struct host host;
    gqa_runtime runtime;

    host_init(&host);
    runtime = host_runtime(&host);
    alarm(60);
    if (setrlimit(RLIMIT_AS, &limit) != 0) {
        return 1;
    }
    if (gqa_pool_create(&pool, 1024, &runtime, &err) != GQA_ERR_NOMEM || pool != NULL) {
        return 2;
    }
    if (strcmp(err.field, "threads") != 0 || strstr(err.message, "1024") == NULL) {
        return 3;
    }
    return host.live != 0 ? 4 : live_threads() != 1 ? 5 : 0;
}

static void threads_fail(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* it needs all of the address space */
#endif
    if (THREAD_SANITIZER) {
        skip();
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(starve_child());
    }
    assert_int_equal(wait_child(child), 0);
}

/* ---- rules ---- */

static void some_parallel_for(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    (void)user;
    for (int i = 0; i < n; i++) {
        task(arg, i);
    }
}

static void refuse(const gqa_runtime *runtime, const char *field)
{
    gqa_runtime own;
    gqa_error err = {GQA_OK, NULL, ""};

    assert_int_equal(gqa__runtime_import(runtime, &own, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.message, field));
}

static void refuse_pool(int32_t threads, const gqa_runtime *runtime, const char *field)
{
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_pool *pool = (gqa_pool *)(void *)&err;

    assert_int_equal(gqa_pool_create(&pool, threads, runtime, &err), GQA_ERR_ARG);
    assert_null(pool);
    assert_string_equal(err.field, field);
}

static void rules_of_the_runtime(void **state)
{
    gqa_pool *pool = make_pool(3);
    gqa_runtime runtime = lend_pool(pool), own;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;

    for (int32_t n = 0; n <= 4; n++) {
        runtime.num_threads = n;
        if (n == 4) {
            refuse(&runtime, "runtime.num_threads");
            continue;
        }
        assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
        assert_ptr_equal(own.pool, pool);
        assert_int_equal(gqa__thread_count(&own), n == 0 ? 3 : n);
    }
    runtime.num_threads = 0;
    runtime.parallel_for = some_parallel_for;
    refuse(&runtime, "runtime.parallel_for");
    refuse_pool(2, &runtime, "runtime.parallel_for");

    runtime = lend_pool(pool);
    refuse_pool(2, &runtime, "runtime.pool");
    gqa_runtime_init(&runtime);
    runtime.num_threads = 2;
    refuse_pool(2, &runtime, "runtime.num_threads");
    runtime.num_threads = 0;
    runtime.parallel_for = some_parallel_for;
    refuse_pool(2, &runtime, "runtime.parallel_for");
    refuse_pool(-1, NULL, "threads");
    refuse_pool(GQA__THREADS_MAX + 1, NULL, "threads");
    assert_int_equal(gqa_pool_create(NULL, 1, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "out");

    /* A runtime from before the field has no pool. */
    runtime = lend_pool(pool);
    runtime.struct_size = (uint32_t)offsetof(gqa_runtime, pool);
    assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
    assert_null(own.pool);
    gqa_pool_destroy(&pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_thread_before_and_after),
        cmocka_unit_test(rules_of_the_runtime),
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(jobs_after_sleep),
        cmocka_unit_test(waits_for_the_last),
        cmocka_unit_test(storms),
        cmocka_unit_test(idle_costs_nothing),
        cmocka_unit_test(allocation_fails),
        cmocka_unit_test(threads_fail),
    };
    return RUN_TESTS(argc, argv, tests);
}
