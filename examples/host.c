/* A host that lends its own memory, threads, log and workspace.
 *
 * The allocator counts; parallel_for starts a thread per task, which shows the contract and is no
 * way to be fast (a real host hands the tasks to the pool that it has). A host that has no pool
 * creates a gqa_pool and lends that. With a workspace of the caller's gqa_forward allocates
 * nothing. One thread, three of the host and three of the pool give the same bits.
 */
#include <gqa/gqa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 64, HQ = 8, HKV = 2, D = 24, T = 70, THREADS = 3 };

struct host {
    int live;  /* blocks held */
    int calls; /* of alloc */
};

static void *host_alloc(void *user, size_t size, size_t align)
{
    struct host *host = user;
    void *memory = aligned_alloc(align, (size + align - 1) / align * align);
    host->calls++;
    host->live += memory != NULL;
    return memory;
}

static void host_release(void *user, void *memory)
{
    struct host *host = user;
    host->live -= memory != NULL;
    free(memory);
}

struct work {
    void (*task)(void *arg, int i);
    void *arg;
    int i;
};

static void *run_one(void *p)
{
    struct work *work = p;
    work->task(work->arg, work->i);
    return NULL;
}

static void host_parallel_for(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    (void)user;
    pthread_t threads[THREADS];
    struct work work[THREADS];
    int started[THREADS] = {0};
    for (int i = 0; i < n; i++) {
        work[i] = (struct work){task, arg, i};
        started[i] = i > 0 && pthread_create(&threads[i], NULL, run_one, &work[i]) == 0;
    }
    for (int i = 0; i < n; i++) {
        if (started[i]) {
            pthread_join(threads[i], NULL);
        } else {
            task(arg, i);
        }
    }
}

static void host_log(void *user, gqa_log_level level, const char *line)
{
    (void)user;
    if (level >= GQA_LOG_WARNING) {
        printf("gqa: warning: %s\n", line);
    }
}

static void fill(float *a, int n)
{
    for (int i = 0; i < n; i++) {
        a[i] = (float)((i * 37 + 11) % 101 - 50) / 200.0f;
    }
}

/* One call over T tokens on the given number of the host's threads, or on the pool. */
static gqa_status run(struct host *host, int threads, gqa_pool *pool, float *y, gqa_error *err)
{
    static float wq[HQ * D * HIDDEN], wk[HKV * D * HIDDEN], wv[HKV * D * HIDDEN];
    static float wo[HIDDEN * HQ * D], x[T * HIDDEN];
    fill(wq, HQ * D * HIDDEN);
    fill(wk, HKV * D * HIDDEN);
    fill(wv, HKV * D * HIDDEN);
    fill(wo, HIDDEN * HQ * D);
    fill(x, T * HIDDEN);

    gqa_config config;
    gqa_config_init(&config);
    config.hidden_size = HIDDEN;
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    config.rope = GQA_ROPE_INTERLEAVED;

    gqa_weights weights;
    gqa_weights_init(&weights);
    weights.wq = gqa_tensor_2d(wq, GQA_F32, HQ * D, HIDDEN);
    weights.wk = gqa_tensor_2d(wk, GQA_F32, HKV * D, HIDDEN);
    weights.wv = gqa_tensor_2d(wv, GQA_F32, HKV * D, HIDDEN);
    weights.wo = gqa_tensor_2d(wo, GQA_F32, HIDDEN, HQ * D);

    gqa_runtime runtime;
    gqa_runtime_init(&runtime);
    runtime.user = host;
    runtime.alloc = host_alloc;
    runtime.release = host_release;
    if (pool != NULL) {
        runtime.pool = pool;
    } else {
        runtime.num_threads = threads;
        runtime.parallel_for = host_parallel_for;
    }
    runtime.log = host_log;

    gqa_inputs inputs;
    gqa_output output;
    gqa_inputs_init(&inputs);
    gqa_output_init(&output);
    inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, T, HIDDEN);
    output.hidden_states = gqa_tensor_2d(y, GQA_F32, T, HIDDEN);

    gqa_layer *layer = NULL;
    void *workspace = NULL;
    size_t size = 0;
    gqa_status status = gqa_create(&layer, &config, &weights, &runtime, err);
    if (status == GQA_OK) {
        status = gqa_workspace_size(layer, NULL, &inputs, &output, &size, err);
    }
    if (status == GQA_OK) {
        workspace = host_alloc(host, size, 64);
        int before = host->calls;
        status = gqa_forward(layer, NULL, &inputs, &output, workspace, size, err);
        printf("%d thread(s): workspace %zu bytes, %d allocations in the call\n", threads, size,
               host->calls - before);
    }
    host_release(host, workspace);
    gqa_destroy(&layer);
    return status;
}

int main(void)
{
    static float one[T * HIDDEN], three[T * HIDDEN], pooled[T * HIDDEN];
    struct host host = {0, 0};
    gqa_pool *pool = NULL;
    gqa_error err;
    gqa_status status = gqa_pool_create(&pool, THREADS, NULL, &err);
    if (status == GQA_OK) {
        status = run(&host, 1, NULL, one, &err);
    }
    if (status == GQA_OK) {
        status = run(&host, THREADS, NULL, three, &err);
    }
    if (status == GQA_OK) {
        status = run(&host, gqa_pool_threads(pool), pool, pooled, &err);
    }
    gqa_pool_destroy(&pool);
    if (status != GQA_OK) {
        printf("%s: %s\n", gqa_status_string(status), err.message);
        return EXIT_FAILURE;
    }
    int same = memcmp(one, three, sizeof one) == 0 && memcmp(one, pooled, sizeof one) == 0;
    printf("the three results: %s; blocks still held: %d\n", same ? "the same bits" : "DIFFERENT",
           host.live);
    return same && host.live == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
