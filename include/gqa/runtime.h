/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/runtime.h - what the host lends to the library. */
#ifndef GQA_RUNTIME_H
#define GQA_RUNTIME_H

#include "gqa/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How much a line of the log matters. Levels rise; a host may show those from one on. */
typedef enum gqa_log_level {
    GQA_LOG_DEBUG = 0,  /* for who looks for a fault in the library */
    GQA_LOG_INFO = 1,   /* how something was done */
    GQA_LOG_WARNING = 2 /* correct, but not as the host would want it: slow, for instance */
} gqa_log_level;

/* Threads that the library starts and keeps for the host: gqa/pool.h. */
typedef struct gqa_pool gqa_pool;

/* All zero = aligned malloc and free (on Linux with huge pages asked for from 4 MiB on), the
 * calling thread only, silent. Borrowed until the object created with it is destroyed (the struct
 * itself is copied). The callbacks may be called from any thread that calls the library.
 *
 * Stack: a public function, and each task, needs less than 16 KB of its thread's stack beside what
 * the callbacks need (and, with backend reference, OpenBLAS). */
typedef struct gqa_runtime {
    uint32_t struct_size;
    /* The most tasks handed to one parallel_for; 0 = 1; at most 1024. With a pool: the most of its
     * threads that a call uses; 0 = all; at most those it has. */
    int32_t num_threads;
    void *user; /* first argument of every callback */

    /* Both or neither. align is a power of two, at least 64. NULL = no memory (GQA_ERR_NOMEM).
     * Memory that is not aligned so is given back and the call is GQA_ERR_ARG, "runtime.alloc". */
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*release)(void *user, void *memory);

    /* Run task(arg, i) for every i in [0, n), n <= num_threads, in any order and on any threads;
     * return when all are done. NULL = run them one after the other on the calling thread. Tasks
     * never wait for one another. The result does not depend on how they are run. */
    void (*parallel_for)(void *user, int n, void (*task)(void *arg, int i), void *arg);

    /* One line without a newline, for things worth knowing that are no errors. It lives until the
     * callback returns. This release sends warnings only. */
    void (*log)(void *user, gqa_log_level level, const char *line);

    /* Instead of parallel_for, which must then be NULL. Borrowed; lend it to any number of layers.
     * A call that finds it busy runs on its own thread, with the same bits. */
    gqa_pool *pool;
} gqa_runtime;

GQA_API void gqa_runtime_init_sized(gqa_runtime *runtime, size_t size);

static inline void gqa_runtime_init(gqa_runtime *runtime)
{
    gqa_runtime_init_sized(runtime, sizeof *runtime);
}

#ifdef __cplusplus
}
#endif
#endif
