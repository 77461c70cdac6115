/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - see memory.h. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/memory.h"

#include <stdlib.h>

#include "base/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

/* Large memory (packed weights, caches, workspaces) is read from end to end: huge pages spare it
 * most translations. Where the kernel refuses, nothing is lost. */
#define HUGE_PAGE ((size_t)2 << 20)

/* size: a multiple of GQA__ALIGN */
#if defined(_WIN32) /* has no aligned_alloc, and its aligned memory has a free of its own */

static void *allocate(size_t size)
{
    return _aligned_malloc(size, GQA__ALIGN);
}

static void release(void *memory)
{
    _aligned_free(memory);
}

#else

static void *allocate(size_t size)
{
#if defined(MADV_HUGEPAGE)
    if (size >= 2 * HUGE_PAGE) {
        void *memory = NULL;
        if (posix_memalign(&memory, HUGE_PAGE, size) != 0) {
            return NULL;
        }
        (void)madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return aligned_alloc(GQA__ALIGN, size);
}

static void release(void *memory)
{
    free(memory);
}

#endif

/* The host's memory, or the system's; NULL = none. */
static void *take_memory(const gqa_runtime *runtime, size_t size)
{
    if (size == 0 || size > (size_t)PTRDIFF_MAX - GQA__ALIGN) {
        return NULL;
    }
    size = (size + GQA__ALIGN - 1) / GQA__ALIGN * GQA__ALIGN; /* aligned_alloc wants multiples */
    if (runtime != NULL && runtime->alloc != NULL) {
        return runtime->alloc(runtime->user, size, GQA__ALIGN);
    }
    return allocate(size);
}

gqa_status gqa__alloc(const gqa_runtime *runtime, size_t size, const char *field, const char *what,
                      void **memory, gqa_error *err)
{
    void *const taken = take_memory(runtime, size);

    *memory = NULL;
    if (taken == NULL) {
        return gqa__fail(err, GQA_ERR_NOMEM, field, "no memory for %s of %zu bytes", what, size);
    }
    if ((uintptr_t)taken % GQA__ALIGN != 0) {
        const unsigned long long address = (uintptr_t)taken;
        gqa__release(runtime, taken);
        return gqa__fail(err, GQA_ERR_ARG, "runtime.alloc",
                         "returned address %llx for %s; it must be aligned to the %d asked for",
                         address, what, GQA__ALIGN);
    }
    *memory = taken;
    return GQA_OK;
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
    release(memory);
}
