/* runtime.c - see runtime.h. */
#include "parallel/runtime.h"

#include "base/error.h"
#include "base/import.h"
#include "parallel/pool.h"

/* A pool is lent instead of parallel_for, whole or in part. */
static gqa_status check_pool(const gqa_runtime *runtime, gqa_error *err)
{
    if (runtime->parallel_for != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "runtime.parallel_for",
                         "is set and runtime.pool is too; give one of them");
    }
    if (runtime->num_threads > gqa__pool_threads(runtime->pool)) {
        return gqa__fail(err, GQA_ERR_ARG, "runtime.num_threads",
                         "is %d; the pool has %d threads (0 = all)", (int)runtime->num_threads,
                         (int)gqa__pool_threads(runtime->pool));
    }
    return GQA_OK;
}

gqa_status gqa__runtime_import(const gqa_runtime *in, gqa_runtime *out, gqa_error *err)
{
    gqa__init_struct(out, sizeof *out);
    if (in == NULL) {
        return GQA_OK;
    }

    gqa_status status = gqa__import(out, sizeof *out, in, "runtime", err);
    if (status != GQA_OK) {
        return status;
    }
    if (out->num_threads < 0 || out->num_threads > GQA__THREADS_MAX) {
        return gqa__fail(err, GQA_ERR_ARG, "runtime.num_threads", "is %d; it must be 0 .. %d",
                         (int)out->num_threads, GQA__THREADS_MAX);
    }
    if (out->alloc != NULL && out->release == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "runtime.release",
                         "is NULL but runtime.alloc is set; give both or neither");
    }
    if (out->alloc == NULL && out->release != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "runtime.alloc",
                         "is NULL but runtime.release is set; give both or neither");
    }
    return out->pool != NULL ? check_pool(out, err) : GQA_OK;
}
