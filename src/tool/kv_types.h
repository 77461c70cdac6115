/* SPDX-License-Identifier: Apache-2.0 */
/* kv_types.h - how a cache may store K and V, as gqa kvmeter names it. */
#ifndef GQA__TOOL_KV_TYPES_H
#define GQA__TOOL_KV_TYPES_H

#include <math.h>
#include <stdbool.h>

#include "gqa/gqa.h"
#include "tool/fault.h"

struct tool_kv_type {
    const char *name; /* "int8"; with "+r" it is rotated */
    gqa_dtype dtype;
    int32_t rotated; /* gqa_cache_options.rotate_k, rotate_v */
};

enum { TOOL_KV_TYPES = 11 };

extern const struct tool_kv_type tool_kv_types[TOOL_KV_TYPES];

/* Bytes of K or V of one token and KV head, scales included, as gqa_work counts them; dim: its
 * elements. */
int64_t tool_kv_row_bytes(const struct tool_kv_type *type, int64_t dim);

/* Is the error x worse than the worst so far? NaN is worst of all, and the first of them counts. */
static inline bool tool_worse(double x, double worst)
{
    return !isnan(worst) && !(x <= worst);
}

/* Into options of a cache. */
void tool_kv_store(const struct tool_kv_type *k, const struct tool_kv_type *v,
                   gqa_cache_options *options);

/* The types of caches that a layer can have. */
struct tool_kv_choice {
    const struct tool_kv_type *type[TOOL_KV_TYPES]; /* [n] the layer's own first, with which its
                                                       numerics lose nothing; then as above */
    int n;
    gqa_error refused[TOOL_KV_TYPES]; /* by the order above; status GQA_OK: it is one of them */
};
void tool_kv_choose(const gqa_layer *layer, struct tool_kv_choice *choice);

#endif
