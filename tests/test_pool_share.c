/* SPDX-License-Identifier: Apache-2.0 */
/* test_pool_share.c - layers that share a pool: the bits of every kernel set, a busy pool, many
 * threads of the host, and fork. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "parallel/tasks.h"
#include "support/forced_isa.h"
#include "support/hosted_layer.h"
#include "support/pools.h"
#include "support/program.h"

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
    gqa_runtime runtime = lend_pool(holder->pool);

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
    skip_refused_numerics(GQA_NUMERICS_F32);
    struct holder holder = {make_pool(3), {0, 0}};
    struct mine mine = {pthread_self(), 0, 0};
    struct gqa__tasks tasks = {own_item, &mine, 50};
    gqa_runtime runtime = lend_pool(holder.pool);
    struct hosted_layer hosted, alone;
    pthread_t thread;
    (void)state;

    assert_true(hosted_open(&hosted, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_RICH));
    assert_true(hosted_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_RICH));
    assert_true(hosted_round(&alone));
    assert_int_equal(pthread_create(&thread, NULL, hold_pool, &holder), 0);
    while (atomic_load(&holder.gate.entered) == 0) {
        pause_for(100);
    }
    gqa__run_tasks(&runtime, &tasks);
    assert_int_equal(mine.items, 50);
    assert_int_equal(mine.others, 0);
    assert_true(hosted_round(&hosted)); /* while the pool is held */
    atomic_store(&holder.gate.open, 1);
    pthread_join(thread, NULL);
    assert_memory_equal(hosted.result, alone.result, alone.floats * sizeof(float));
    hosted_close(&hosted);
    hosted_close(&alone);
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
    gqa_runtime runtime = lend_pool(nested.pool);
    (void)state;

    gqa__run_tasks(&runtime, &tasks);
    assert_int_equal(atomic_load(&nested.wrong), 0);
    gqa_pool_destroy(&nested.pool);
}

/* ---- bits ---- */

static void same_bits(gqa_isa isa, gqa_numerics numerics, enum hosted_kind kind,
                      const int32_t *threads, int n)
{
    struct hosted_layer alone;

    if (!gqa_isa_available(isa) || !hosted_open(&alone, NULL, isa, numerics, kind)) {
        print_message("skipped: %s, numerics %d\n", gqa_isa_name(isa), (int)numerics);
        return;
    }
    assert_true(hosted_round(&alone));
    for (int i = 0; i < n; i++) {
        gqa_pool *pool = make_pool(threads[i]);
        gqa_runtime runtime = lend_pool(pool);
        struct hosted_layer hosted;
        assert_true(hosted_open(&hosted, &runtime, isa, numerics, kind));
        for (int repeat = 0; repeat < 3; repeat++) {
            assert_true(hosted_round(&hosted));
            if (memcmp(hosted.result, alone.result, alone.floats * sizeof(float)) != 0) {
                size_t at = 0;
                while (memcmp(&hosted.result[at], &alone.result[at], sizeof(float)) == 0) {
                    at++;
                }
                fail_msg("%s, numerics %d, kind %d, %d threads: float %d is %a, alone %a",
                         gqa_isa_name(isa), (int)numerics, (int)kind, (int)threads[i], (int)at,
                         (double)hosted.result[at], (double)alone.result[at]);
            }
        }
        hosted_close(&hosted);
        gqa_pool_destroy(&pool);
    }
    hosted_close(&alone);
}

static void bits_of_every_kernel_set(void **state)
{
    static const gqa_isa isas[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX,
                                   GQA_ISA_NEON};
    static const int32_t threads[] = {1, 2, 3, 7};
    (void)state;

    for (size_t r = 0; r < sizeof isas / sizeof isas[0]; r++) {
        for (int k = 0; k < 6; k++) {
            same_bits(isas[r], k % 2 == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16,
                      (enum hosted_kind)(k / 2), threads, 4);
        }
    }
}

/* ---- many threads, one pool ---- */

struct client {
    gqa_pool *pool;
    const struct hosted_layer *alone;
    int rounds, wrong;
};

static void *be_client(void *arg)
{
    struct client *client = arg;
    gqa_runtime runtime = lend_pool(client->pool);
    struct hosted_layer hosted;

    if (!hosted_open(&hosted, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_RICH)) {
        client->wrong = 1000;
    }
    for (int i = 0; i < client->rounds && client->wrong < 1000; i++) {
        client->wrong += !hosted_round(&hosted);
        client->wrong += memcmp(hosted.result, client->alone->result,
                                client->alone->floats * sizeof(float)) != 0;
        client->wrong += run_job(client->pool, 3, 20 + i);
    }
    hosted_close(&hosted);
    return NULL;
}

static void many_clients(void **state)
{
    skip_refused_numerics(GQA_NUMERICS_F32);
    enum { CLIENTS = 5 };
    gqa_pool *pool = make_pool(3);
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    struct hosted_layer alone;
    (void)state;

    assert_true(hosted_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_RICH));
    assert_true(hosted_round(&alone));
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){pool, &alone, 6, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].wrong, 0);
    }
    hosted_close(&alone);
    gqa_pool_destroy(&pool);
}

/* ---- fork ---- */

/* The parent's pool in a child: calls give the same bits, its end does not hang. */
static int use_in_child(gqa_pool *pool, struct hosted_layer *hosted,
                        const struct hosted_layer *alone)
{
    alarm(100);
    if (run_job(pool, 3, 100) != 0) {
        return 1;
    }
    if (!hosted_round(hosted) ||
        memcmp(hosted->result, alone->result, alone->floats * sizeof(float)) != 0) {
        return 2;
    }
    hosted_close(hosted);
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
    skip_refused_numerics(GQA_NUMERICS_F32);
    struct worker_bee bee = {make_pool(3), 0, 0};
    gqa_runtime runtime = lend_pool(bee.pool);
    struct hosted_layer hosted, alone;
    pthread_t thread;

    assert_true(hosted_open(&hosted, &runtime, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_PLAIN));
    assert_true(hosted_open(&alone, NULL, GQA_ISA_AUTO, GQA_NUMERICS_F32, HOSTED_PLAIN));
    assert_true(hosted_round(&alone));
    assert_true(hosted_round(&hosted));
    if (while_others_work) {
        assert_int_equal(pthread_create(&thread, NULL, work_on, &bee), 0);
    }
    fflush(NULL);
    for (int i = 0; i < times; i++) {
        pause_for(gap);
        pid_t child = fork();
        if (child == 0) {
            _exit(use_in_child(bee.pool, &hosted, &alone));
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
    assert_true(hosted_round(&hosted)); /* the parent's pool is as before */
    assert_memory_equal(hosted.result, alone.result, alone.floats * sizeof(float));
    hosted_close(&hosted);
    hosted_close(&alone);
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_runs_on_its_own_thread), cmocka_unit_test(nested_in_its_own_task),
        cmocka_unit_test(bits_of_every_kernel_set),    cmocka_unit_test(many_clients),
        cmocka_unit_test(fork_with_idle_pool),         cmocka_unit_test(fork_with_busy_pool),
    };
    return RUN_TESTS(argc, argv, tests);
}
