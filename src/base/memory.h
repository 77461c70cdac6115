/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h - the host's allocator, or aligned malloc. */
#ifndef GQA__MEMORY_H
#define GQA__MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gqa/runtime.h"

#define GQA__ALIGN 64 /* of every buffer; a cache line and a vector */

/* size bytes (not zeroed) in *memory, or NULL there and a status: GQA_ERR_NOMEM, which names the
 * caller's field and what the memory is for ("a layer"), when the allocator has none or size is 0
 * or too large; GQA_ERR_ARG, which names runtime.alloc, when the host's allocator returned memory
 * that is not aligned as it was asked to. Such memory has been given back. */
gqa_status gqa__alloc(const gqa_runtime *runtime, size_t size, const char *field, const char *what,
                      void **memory, gqa_error *err);
void gqa__release(const gqa_runtime *runtime, void *memory); /* NULL-safe */

/* a * b, a + b; false on overflow. Factors of half a size_t cannot overflow, and need no division.
 */
static inline bool gqa__mul(size_t a, size_t b, size_t *out)
{
    *out = a * b;
    return (a | b) >> (4 * sizeof(size_t)) == 0 || b == 0 || *out / b == a;
}

static inline bool gqa__add(size_t a, size_t b, size_t *out)
{
    *out = a + b;
    return *out >= a;
}

static inline int64_t gqa__round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

static inline int64_t gqa__min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t gqa__max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
