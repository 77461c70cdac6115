/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.h - the caller's gqa_runtime, checked. */
#ifndef GQA__RUNTIME_H
#define GQA__RUNTIME_H

#include "gqa/runtime.h"

#define GQA__THREADS_MAX 1024

/* Bring a caller's runtime of any struct_size (NULL = all zero) to this library's own and check it:
 * alloc and release both or neither, num_threads 0 .. GQA__THREADS_MAX; with a pool no
 * parallel_for, and num_threads at most the pool's. */
gqa_status gqa__runtime_import(const gqa_runtime *in, gqa_runtime *out, gqa_error *err);

#endif
