/* SPDX-License-Identifier: Apache-2.0 */
/* host_keys.h - keys and values of one sequence that are exact in the host's format, laid into
 * memory in any order and into a cache, so that both can be compared bit by bit. */
#ifndef TEST_HOST_KEYS_H
#define TEST_HOST_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/gqa.h"

struct host_shape {
    int32_t hq, hkv, dk, dv;
};

/* What the host keeps K and V as. */
struct host_types {
    gqa_dtype k, v;
};

/* A kernel set, and how its layer is made. */
struct host_set {
    gqa_isa isa;
    gqa_numerics numerics;
    const char *name;
};

extern const struct host_set host_sets[];
extern const int host_set_count;

/* An attention layer of this shape, with sinks if wanted; NULL where this machine has no such
 * kernel set. window 0 = none. */
gqa_layer *host_layer(const struct host_set *set, const struct host_shape *shape, int32_t window,
                      bool flush, const gqa_runtime *runtime);

enum host_fill {
    HOST_PLAIN, /* numbers of [-1, 1) */
    HOST_DENSE, /* any bits that the format has, in a quarter of the values */
    HOST_RARE,  /* any bits in one value of 4096 */
    HOST_FILLS
};

/* x [n] with values of the format, as f32; of int8 any f32 are. */
void host_values(float *x, int64_t n, gqa_dtype dtype, enum host_fill fill, uint64_t *random);

/* Element i of a tensor of this format becomes x, which is exact in it. */
void host_put(void *data, int64_t i, float x, gqa_dtype dtype);

/* Memory for n elements, each a NaN, of int8 -1; free() it. */
void *host_memory(int64_t n, gqa_dtype dtype);

#endif
