/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - see pool.h: the threads wait for a job; all, the caller included, take its tasks one by
 * one. */
#define _POSIX_C_SOURCE 200809L
#include "tool/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct tool_pool {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;  /* a job has come, or the end */
    pthread_cond_t done;  /* the last task of the job has ended */
    void (*task)(void *arg, int i);
    void *arg;
    int next, n; /* tasks not yet begun: next .. n - 1 */
    int running; /* begun, not ended */
    bool end;
    int threads; /* besides the caller's */
    int lent;    /* with it */
    pthread_t thread[];
};

/* Run one task of the job; the lock is held on entry and on return. */
static void run_one(struct tool_pool *pool)
{
    int i = pool->next++;

    pool->running++;
    pthread_mutex_unlock(&pool->lock);
    pool->task(pool->arg, i);
    pthread_mutex_lock(&pool->lock);
    pool->running--;
    if (pool->running == 0 && pool->next == pool->n) {
        pthread_cond_broadcast(&pool->done);
    }
}

static void *work_for_tool(void *arg)
{
    struct tool_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    while (!pool->end) {
        if (pool->next < pool->n) {
            run_one(pool);
        } else {
            pthread_cond_wait(&pool->work, &pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void parallel_for(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    struct tool_pool *pool = user;

    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->arg = arg;
    pool->next = 0;
    pool->n = n;
    pthread_cond_broadcast(&pool->work);
    while (pool->next < pool->n) {
        run_one(pool);
    }
    while (pool->running > 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

struct tool_pool *tool_pool_create(int threads, struct tool_fault *fault)
{
    struct tool_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof(pthread_t));

    if (pool == NULL) {
        tool_fault_set(fault, "--threads", "no memory for %d threads", threads);
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->lent = threads;
    while (pool->threads < threads - 1) {
        if (pthread_create(&pool->thread[pool->threads], NULL, work_for_tool, pool) != 0) {
            tool_fault_set(fault, "--threads", "the system gives only %d of %d threads",
                           pool->threads + 1, threads);
            tool_pool_destroy(pool);
            return NULL;
        }
        pool->threads++;
    }
    return pool;
}

void tool_pool_destroy(struct tool_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->end = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; i++) {
        pthread_join(pool->thread[i], NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void tool_pool_lend(struct tool_pool *pool, gqa_runtime *runtime)
{
    if (pool != NULL) {
        runtime->num_threads = pool->lent;
        runtime->user = pool;
        runtime->parallel_for = parallel_for;
    }
}
