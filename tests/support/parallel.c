/* SPDX-License-Identifier: Apache-2.0 */
/* parallel.c - hosts' parallel_for for tests. */
#include "support/parallel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
    void (*task)(void *arg, int i);
    void *arg;
    int i;
};

static void *run_job(void *memory)
{
    struct job *job = memory;
    job->task(job->arg, job->i);
    return NULL;
}

void parallel_threads(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    pthread_t threads[64];
    struct job jobs[64];
    (void)user;
    if (n > 64) {
        fprintf(stderr, "parallel_threads: %d tasks, at most 64 were announced\n", n);
        exit(3);
    }
    for (int i = 0; i < n; i++) {
        jobs[i] = (struct job){task, arg, i};
        if (pthread_create(&threads[i], NULL, run_job, &jobs[i]) != 0) {
            fprintf(stderr, "parallel_threads: no thread\n");
            exit(3);
        }
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
}

void parallel_reversed(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    (void)user;
    for (int i = n - 1; i >= 0; i--) {
        task(arg, i);
    }
}
