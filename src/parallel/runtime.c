#include "parallel/runtime.h"

#include "base/error.h"
#include "base/import.h"

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
    return GQA_OK;
}
