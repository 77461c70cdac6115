/* pool.c - the public functions of gqa_pool: check the arguments, then call src/parallel. */
#include "gqa/pool.h"

#include "base/error.h"
#include "base/memory.h"
#include "parallel/futex.h"
#include "parallel/pool.h"
#include "parallel/runtime.h"

/* What a pool cannot use of its own runtime is refused. */
static gqa_status check_runtime(const gqa_runtime *runtime, gqa_error *err)
{
    const char *const field = runtime->num_threads != 0       ? "runtime.num_threads"
                              : runtime->parallel_for != NULL ? "runtime.parallel_for"
                              : runtime->pool != NULL         ? "runtime.pool"
                                                              : NULL;

    if (field != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "is set; a pool takes only memory from its runtime");
    }
    return GQA_OK;
}

gqa_status gqa_pool_create(gqa_pool **out, int32_t threads, const gqa_runtime *runtime,
                           gqa_error *err)
{
    gqa_runtime own;
    gqa_status status;

    if (out == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "out", "is NULL");
    }
    *out = NULL;
    if (threads < 0 || threads > GQA__THREADS_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "threads", "is %d; it must be 0 .. %d", (int)threads,
                         GQA__THREADS_MAX);
    }
    status = gqa__runtime_import(runtime, &own, err);
    if (status == GQA_OK) {
        status = check_runtime(&own, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    if (threads == 0) {
        threads = (int32_t)gqa__min(gqa__online_cpus(), GQA__THREADS_MAX);
    }
    return gqa__pool_create(out, threads, &own, err);
}

void gqa_pool_destroy(gqa_pool **pool)
{
    if (pool == NULL || *pool == NULL) {
        return;
    }
    gqa__pool_destroy(*pool);
    *pool = NULL;
}

int32_t gqa_pool_threads(const gqa_pool *pool)
{
    return pool == NULL ? 0 : gqa__pool_threads(pool);
}
