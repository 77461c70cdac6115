/* SPDX-License-Identifier: Apache-2.0 */
/* shapes.h - the named attention shapes. */
#ifndef GQA_BENCH_SHAPES_H
#define GQA_BENCH_SHAPES_H

#include "spec.h"

struct bench_shape {
    const char *name;
    int32_t hq, hkv, d;
    int32_t hidden;
    int32_t sinks; /* 1: learned sinks */
};

/* Ends with name NULL. */
extern const struct bench_shape bench_shapes[];

/* NULL if there is none of that name. */
const struct bench_shape *bench_shape_find(const char *name);

/* Heads, head dim and sinks; hidden stays as it is. */
void bench_shape_use(const struct bench_shape *shape, struct bench_spec *spec);

#endif
