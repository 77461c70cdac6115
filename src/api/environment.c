/* environment.c - the one function that reads the environment, for hosts that want it read. */
#include <stdlib.h>

#include "base/error.h"
#include "gqa/info.h"
#include "kernel/choice/select.h"

gqa_status gqa_isa_from_environment(gqa_isa *isa, gqa_error *err)
{
    const char *const name = getenv("GQA_ISA");

    if (isa == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "isa", "is NULL");
    }
    if (name == NULL || name[0] == '\0') {
        *isa = GQA_ISA_AUTO;
        return GQA_OK;
    }
    if (!gqa__isa_named(name, isa)) {
        return gqa__fail(
            err, GQA_ERR_ARG, "GQA_ISA",
            "\"%.40s\" is no kernel set: expected auto, scalar, avx2, avx512, amx or neon", name);
    }
    return GQA_OK;
}
