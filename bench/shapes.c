/* SPDX-License-Identifier: Apache-2.0 */
/* shapes.c - see shapes.h. */
#include "shapes.h"

#include <stddef.h>
#include <string.h>

const struct bench_shape bench_shapes[] = {
    {"gpt-oss", 64, 8, 64, 2880, 1},
    {"llama3-8b", 32, 8, 128, 4096, 0},
    {"qwen3-8b", 32, 8, 128, 4096, 0},
    {"gemma3-4b", 8, 4, 256, 2560, 0},
    {"mqa", 32, 1, 128, 4096, 0},
    {"mha", 32, 32, 128, 4096, 0},
    {"llama4", 40, 8, 128, 5120, 0},
    {"tiny", 4, 2, 16, 64, 0},
    {NULL, 0, 0, 0, 0, 0},
};

const struct bench_shape *bench_shape_find(const char *name)
{
    const struct bench_shape *shape = bench_shapes;

    while (shape->name != NULL && strcmp(shape->name, name) != 0) {
        shape++;
    }
    return shape->name == NULL ? NULL : shape;
}

void bench_shape_use(const struct bench_shape *shape, struct bench_spec *spec)
{
    spec->hq = shape->hq;
    spec->hkv = shape->hkv;
    spec->d = shape->d;
    spec->sinks = shape->sinks;
}
