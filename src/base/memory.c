#include "base/memory.h"

#include <stdlib.h>

void *gqa__alloc(const gqa_runtime *runtime, size_t size)
{
    if (size == 0 || size > (size_t)PTRDIFF_MAX - GQA__ALIGN) {
        return NULL;
    }
    size = (size + GQA__ALIGN - 1) / GQA__ALIGN * GQA__ALIGN; /* aligned_alloc wants multiples */
    if (runtime != NULL && runtime->alloc != NULL) {
        return runtime->alloc(runtime->user, size, GQA__ALIGN);
    }
    return aligned_alloc(GQA__ALIGN, size);
}

void gqa__release(const gqa_runtime *runtime, void *memory)
{
    if (memory == NULL) {
        return;
    }
    if (runtime != NULL && runtime->release != NULL) {
        runtime->release(runtime->user, memory);
        return;
    }
    free(memory);
}
