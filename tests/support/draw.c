/* draw.c - see draw.h. */
#include "support/draw.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

float draw_value(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)((int32_t)(z >> 43) - (1 << 20)) / (float)(1 << 20);
}

void draw_fill(uint64_t *state, float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = draw_value(state) * scale;
    }
}

static void *host_alloc(void *user, size_t size, size_t align)
{
    struct draw_host *const host = user;
    void *memory;
    if (++host->asked == host->refuse) {
        return NULL;
    }
    memory = aligned_alloc(align, (size + align - 1) / align * align);
    if (memory != NULL) {
        memset(memory, 0xa5, size);
        host->live++;
    }
    return memory;
}

static void host_release(void *user, void *memory)
{
    struct draw_host *const host = user;
    host->live--;
    free(memory);
}

struct start {
    void (*task)(void *arg, int i);
    void *arg;
    int i;
};

static void *thread_main(void *arg)
{
    const struct start *const start = arg;
    start->task(start->arg, start->i);
    return NULL;
}

static void host_parallel_for(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    pthread_t threads[64];
    struct start starts[64];
    (void)user;
    if (n > 64) {
        abort();
    }
    for (int i = n - 1; i >= 0; i--) {
        starts[i].task = task;
        starts[i].arg = arg;
        starts[i].i = i;
        if (pthread_create(&threads[i], NULL, thread_main, &starts[i]) != 0) {
            abort();
        }
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
}

void draw_runtime(struct draw_host *host, gqa_runtime *runtime, int32_t threads)
{
    memset(host, 0, sizeof *host);
    gqa_runtime_init(runtime);
    runtime->user = host;
    runtime->alloc = host_alloc;
    runtime->release = host_release;
    runtime->num_threads = threads;
    if (threads > 1) {
        runtime->parallel_for = host_parallel_for;
    }
}
