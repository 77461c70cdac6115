/* test_pool.c - gqa_pool: its life, what runs on it, who shares it, and fork. */
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "parallel/pool.h"
#include "parallel/runtime.h"
#include "parallel/tasks.h"
#include "support/host.h"
#include "support/lent.h"

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

static gqa_pool *make_pool(int32_t threads)
{
    gqa_pool *pool = NULL;
    gqa_error err = {GQA_OK, NULL, ""};

    if (gqa_pool_create(&pool, threads, NULL, &err) != GQA_OK) {
        fail_msg("a pool of %d threads: %s", (int)threads, err.message);
    }
    return pool;
}

static gqa_runtime lend(gqa_pool *pool)
{
    gqa_runtime runtime;

    gqa_runtime_init(&runtime);
    runtime.pool = pool;
    return runtime;
}

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

/* ---- jobs: every item once, a slot is one thread's ---- */

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

/* Faults of one job of the given size. Any thread may call it. */
static int run_job(gqa_pool *pool, int32_t threads, int64_t items)
{
    struct seen *seen = calloc(1, sizeof *seen);
    struct gqa__tasks tasks = {see_item, seen, items};
    gqa_runtime runtime = lend(pool);
    int64_t sum = 0;
    int wrong;

    runtime.num_threads = threads;
    seen->slots = threads;
    wrong = gqa__thread_count(&runtime) != threads;
    gqa__run_tasks(&runtime, &tasks);
    wrong += atomic_load(&seen->faults);
    for (int64_t i = 0; i < MAX_ITEMS; i++) {
        wrong += atomic_load(&seen->items[i]) != (i < items ? 1 : 0);
    }
    for (int i = 0; i < MAX_THREADS; i++) {
        sum += seen->sums[i];
    }
    wrong += sum != items * (items - 1) / 2 && items > 0;
    free(seen);
    return wrong;
}

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

static void pause_for(long microseconds)
{
    struct timespec time = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&time, NULL);
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
    gqa_runtime runtime = lend(pool);
    int helped = 0;
    (void)state;

    for (int i = 0; i < 30; i++) {
        struct slow slow = {0, 0, pthread_self()};
        struct gqa__tasks tasks = {slow_item, &slow, 4};
        gqa__run_tasks(&runtime, &tasks);
        assert_int_equal(atomic_load(&slow.done), 4);
        helped += atomic_load(&slow.helpers);
    }
    assert_true(helped > 0); /* by workers, with signals blocked */
    gqa_pool_destroy(&pool);
}

/* ---- a busy pool ---- */

struct gate {
    atomic_int entered, open;
};

static void hold_item(void *arg, int64_t item, int32_t slot)
{
    struct gate *gate = arg;

    (void)item;
    (void)slot;
    atomic_fetch_add(&gate->entered, 1);
    while (atomic_load(&gate->open) == 0) {
        pause_for(100);
    }
}

struct holder {
    gqa_pool *pool;
    struct gate gate;
};

static void *hold_pool(void *arg)
{
    struct holder *holder = arg;
    struct gqa__tasks tasks = {hold_item, &holder->gate, 2};
    gqa_runtime runtime = lend(holder->pool);

    gqa__run_tasks(&runtime, &tasks);
    return NULL;
}

struct mine {
    pthread_t self;
    int others, items;
};

static void own_item(void *arg, int64_t item, int32_t slot)
{
    struct mine *mine = arg;

    mine->others += !pthread_equal(mine->self, pthread_self()) || slot != 0;
    mine->others += item != mine->items++;
}

static void busy_runs_on_its_own_thread(void **state)
{
    struct holder holder = {make_pool(3), {0, 0}};
    struct mine mine = {pthread_self(), 0, 0};
    struct gqa__tasks tasks = {own_item, &mine, 50};
    gqa_runtime runtime = lend(holder.pool);
    struct lent lent, alone;
    pthread_t thread;
    (void)state;

    assert_true(lent_open(&lent, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, true));
    assert_true(lent_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, true));
    assert_true(lent_round(&alone));
    assert_int_equal(pthread_create(&thread, NULL, hold_pool, &holder), 0);
    while (atomic_load(&holder.gate.entered) == 0) {
        pause_for(100);
    }
    gqa__run_tasks(&runtime, &tasks);
    assert_int_equal(mine.items, 50);
    assert_int_equal(mine.others, 0);
    assert_true(lent_round(&lent)); /* while the pool is held */
    atomic_store(&holder.gate.open, 1);
    pthread_join(thread, NULL);
    assert_memory_equal(lent.result, alone.result, alone.floats * sizeof(float));
    lent_close(&lent);
    lent_close(&alone);
    gqa_pool_destroy(&holder.pool);
}

/* A task that runs tasks on the pool that runs it. */
struct nested {
    gqa_pool *pool;
    atomic_int wrong;
};

static void nest_item(void *arg, int64_t item, int32_t slot)
{
    struct nested *nested = arg;

    (void)slot;
    atomic_fetch_add(&nested->wrong, run_job(nested->pool, 3, 10 + item));
}

static void nested_in_its_own_task(void **state)
{
    struct nested nested = {make_pool(3), 0};
    struct gqa__tasks tasks = {nest_item, &nested, 40};
    gqa_runtime runtime = lend(nested.pool);
    (void)state;

    gqa__run_tasks(&runtime, &tasks);
    assert_int_equal(atomic_load(&nested.wrong), 0);
    gqa_pool_destroy(&nested.pool);
}

/* ---- bits ---- */

static void same_bits(gqa_isa isa, gqa_numerics numerics, bool rich, const int32_t *threads, int n)
{
    struct lent alone;

    if (!gqa_isa_available(isa) || !lent_open(&alone, NULL, isa, numerics, rich)) {
        print_message("skipped: %s, numerics %d\n", gqa_isa_name(isa), (int)numerics);
        return;
    }
    assert_true(lent_round(&alone));
    for (int i = 0; i < n; i++) {
        gqa_pool *pool = make_pool(threads[i]);
        gqa_runtime runtime = lend(pool);
        struct lent lent;
        assert_true(lent_open(&lent, &runtime, isa, numerics, rich));
        for (int repeat = 0; repeat < 3; repeat++) {
            assert_true(lent_round(&lent));
            if (memcmp(lent.result, alone.result, alone.floats * sizeof(float)) != 0) {
                size_t at = 0;
                while (memcmp(&lent.result[at], &alone.result[at], sizeof(float)) == 0) {
                    at++;
                }
                fail_msg("%s, numerics %d, rich %d, %d threads: float %d is %a, alone %a",
                         gqa_isa_name(isa), (int)numerics, (int)rich, (int)threads[i], (int)at,
                         (double)lent.result[at], (double)alone.result[at]);
            }
        }
        lent_close(&lent);
        gqa_pool_destroy(&pool);
    }
    lent_close(&alone);
}

static void bits_of_every_row(void **state)
{
    static const gqa_isa rows[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX};
    static const int32_t threads[] = {1, 2, 3, 7};
    (void)state;

    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (int k = 0; k < 4; k++) {
            same_bits(rows[r], k % 2 == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16, k / 2 == 1,
                      threads, 4);
        }
    }
}

/* ---- many threads, one pool ---- */

struct client {
    gqa_pool *pool;
    const struct lent *alone;
    int rounds, wrong;
};

static void *be_client(void *arg)
{
    struct client *client = arg;
    gqa_runtime runtime = lend(client->pool);
    struct lent lent;

    if (!lent_open(&lent, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, true)) {
        client->wrong = 1000;
    }
    for (int i = 0; i < client->rounds && client->wrong < 1000; i++) {
        client->wrong += !lent_round(&lent);
        client->wrong +=
            memcmp(lent.result, client->alone->result, client->alone->floats * sizeof(float)) != 0;
        client->wrong += run_job(client->pool, 3, 20 + i);
    }
    lent_close(&lent);
    return NULL;
}

static void many_clients(void **state)
{
    enum { CLIENTS = 5 };
    gqa_pool *pool = make_pool(3);
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    struct lent alone;
    (void)state;

    assert_true(lent_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, true));
    assert_true(lent_round(&alone));
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){pool, &alone, 6, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].wrong, 0);
    }
    lent_close(&alone);
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
#if !defined(GQA_WITH_OPENBLAS)                       /* which starts threads when it is loaded */
    assert_in_range(before, 1, 1 + THREAD_SANITIZER); /* it may have one of its own */
#endif
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

static int wait_child(pid_t child)
{
    int status = -1;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
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

/* ---- fork ---- */

/* The parent's pool in a child: calls give the same bits, its end does not hang. */
static int use_in_child(gqa_pool *pool, struct lent *lent, const struct lent *alone)
{
    alarm(100);
    if (run_job(pool, 3, 100) != 0) {
        return 1;
    }
    if (!lent_round(lent) ||
        memcmp(lent->result, alone->result, alone->floats * sizeof(float)) != 0) {
        return 2;
    }
    lent_close(lent);
    gqa_pool_destroy(&pool);
    if (pool != NULL) {
        return 3;
    }
    if (!THREAD_SANITIZER) { /* it forbids new threads here */
        pool = make_pool(3);
        if (run_job(pool, 3, 100) != 0) {
            return 4;
        }
        gqa_pool_destroy(&pool);
    }
    return 0;
}

struct worker_bee {
    gqa_pool *pool;
    atomic_int stop;
    int wrong;
};

static void *work_on(void *arg)
{
    struct worker_bee *bee = arg;

    while (atomic_load(&bee->stop) == 0) {
        bee->wrong += run_job(bee->pool, 3, 50);
    }
    return NULL;
}

static void forks(int times, long gap, bool while_others_work)
{
    struct worker_bee bee = {make_pool(3), 0, 0};
    gqa_runtime runtime = lend(bee.pool);
    struct lent lent, alone;
    pthread_t thread;

    assert_true(lent_open(&lent, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, false));
    assert_true(lent_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, false));
    assert_true(lent_round(&alone));
    assert_true(lent_round(&lent));
    if (while_others_work) {
        assert_int_equal(pthread_create(&thread, NULL, work_on, &bee), 0);
    }
    fflush(NULL);
    for (int i = 0; i < times; i++) {
        pause_for(gap);
        pid_t child = fork();
        if (child == 0) {
            _exit(use_in_child(bee.pool, &lent, &alone));
        }
        int status = wait_child(child);
        if (status != 0) {
            fail_msg("child %d: status %d", i, status);
        }
    }
    if (while_others_work) {
        atomic_store(&bee.stop, 1);
        pthread_join(thread, NULL);
        assert_int_equal(bee.wrong, 0);
    }
    assert_true(lent_round(&lent)); /* the parent's pool is as before */
    assert_memory_equal(lent.result, alone.result, alone.floats * sizeof(float));
    lent_close(&lent);
    lent_close(&alone);
    gqa_pool_destroy(&bee.pool);
}

static void fork_with_idle_pool(void **state)
{
    (void)state;
    forks(3, 0, false);
    forks(3, 2000, false);
}

static void fork_with_busy_pool(void **state)
{
    (void)state;
    forks(10, 300, true);
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
    gqa_runtime runtime = lend(pool), own;
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

    runtime = lend(pool);
    refuse_pool(2, &runtime, "runtime.pool");
    gqa_runtime_init(&runtime);
    runtime.num_threads = 2;
    refuse_pool(2, &runtime, "runtime.num_threads");
    refuse_pool(-1, NULL, "threads");
    refuse_pool(GQA__THREADS_MAX + 1, NULL, "threads");
    assert_int_equal(gqa_pool_create(NULL, 1, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "out");

    /* A runtime from before the field has no pool. */
    runtime = lend(pool);
    runtime.struct_size = (uint32_t)offsetof(gqa_runtime, pool);
    assert_int_equal(gqa__runtime_import(&runtime, &own, NULL), GQA_OK);
    assert_null(own.pool);
    gqa_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_thread_before_and_after),
        cmocka_unit_test(rules_of_the_runtime),
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(jobs_after_sleep),
        cmocka_unit_test(waits_for_the_last),
        cmocka_unit_test(busy_runs_on_its_own_thread),
        cmocka_unit_test(nested_in_its_own_task),
        cmocka_unit_test(bits_of_every_row),
        cmocka_unit_test(many_clients),
        cmocka_unit_test(storms),
        cmocka_unit_test(idle_costs_nothing),
        cmocka_unit_test(allocation_fails),
        cmocka_unit_test(threads_fail),
        cmocka_unit_test(fork_with_idle_pool),
        cmocka_unit_test(fork_with_busy_pool),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
