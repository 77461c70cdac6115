/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c - one projection: y = x w^T. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tensor.h"
#include "fill.h"
#include "kernel/choice/select.h"
#include "linear/linear.h"
#include "linear/quantise.h"
#include "timing.h"
#include "work.h"

struct linear {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    struct gqa__linear matrix; /* of the copy that is used next */
    struct gqa__strip strip;   /* the matrix in place */
    unsigned char *memory;     /* [copies][copy_bytes] weights, packed or as they lie */
    size_t copy_bytes;
    int32_t copies, copy;
    float *x, *y; /* [tokens][in], [tokens][out] */
    void *scratch;
};

static void destroy(struct bench_work *work)
{
    struct linear *l = (struct linear *)work;

    bench_free(l->memory);
    bench_free(l->x);
    bench_free(l->y);
    bench_free(l->scratch);
    free(l);
}

/* A matrix in place is one strip of the operand type. */
static void lay_weights(struct linear *l)
{
    l->strip.dtype = l->spec.numerics == GQA_NUMERICS_BF16 ? GQA_BF16 : GQA_F32;
    l->strip.stride = l->spec.in;
    l->matrix.strips = &l->strip;
    l->matrix.strip_count = 1;
}

static void use_copy(struct linear *l, int32_t copy)
{
    unsigned char *memory = l->memory + (size_t)copy * l->copy_bytes;

    if (l->spec.in_place) {
        l->strip.data = memory;
    } else {
        gqa__linear_place(&l->matrix, memory, false);
    }
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct linear *l = (struct linear *)work;
    double start;

    (void)why;
    use_copy(l, l->copy);
    l->copy = (l->copy + 1) % l->copies;
    start = bench_now();
    gqa__linear_run(&(struct gqa__product){.linear = &l->matrix,
                                           .x = l->x,
                                           .x_stride = l->spec.in,
                                           .tokens = l->spec.tokens,
                                           .out_begin = 0,
                                           .out_end = l->spec.out,
                                           .y = l->y,
                                           .y_stride = l->spec.out,
                                           .scratch = l->scratch},
                    &l->runtime);
    *seconds = bench_now() - start;
    return true;
}

/* Row r from the values that x holds; integers: [in] scratch. */
static void set_row(struct linear *l, int64_t r, int8_t *integers)
{
    const gqa_tensor placed = gqa_tensor_2d(l->memory, l->strip.dtype, l->spec.out, l->spec.in);
    float scale;

    if (l->spec.in_place) {
        gqa__store_f32(&placed, r * l->spec.in, l->x, l->spec.in);
    } else if (!l->matrix.int8) {
        gqa__linear_set_row(&l->matrix, r, l->x, 0);
    } else if (gqa__quantise(integers, &scale, l->x, l->spec.in)) {
        gqa__linear_set_int8(&l->matrix, r, integers, scale, 0);
    }
}

/* Fill one copy, row by row, and copy it into the others. */
static bool pack(struct linear *l)
{
    int8_t *integers = bench_alloc((size_t)l->spec.in);

    if (integers == NULL) {
        return false;
    }
    use_copy(l, 0);
    for (int64_t r = 0; r < l->spec.out; r++) {
        bench_fill(l->x, (size_t)l->spec.in, 0.03f, (uint64_t)r);
        set_row(l, r, integers);
    }
    for (int32_t i = 1; i < l->copies; i++) {
        memcpy(l->memory + (size_t)i * l->copy_bytes, l->memory, l->copy_bytes);
    }
    bench_fill(l->x, (size_t)l->spec.tokens * (size_t)l->spec.in, 1.0f, 9);
    bench_free(integers);
    return true;
}

struct bench_work *bench_linear_create(const struct bench_spec *spec, struct bench_host *host,
                                       char why[BENCH_WHY_TEXT])
{
    struct linear *l = calloc(1, sizeof *l);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    size_t bytes;

    if (l == NULL) {
        goto fail;
    }
    l->spec = *spec;
    l->work.run = run;
    l->work.destroy = destroy;
    if (gqa__select(&l->matrix.kernels, spec->isa, spec->max_isa, spec->numerics, &err) != GQA_OK ||
        !bench_workers_lend(&host->workers, spec->threads, &l->runtime)) {
        goto fail;
    }
    l->work.kernels = l->matrix.kernels->name;
    l->matrix.out = spec->out;
    l->matrix.in = spec->in;
    l->matrix.int8 = spec->int8 != 0;
    if (!gqa__linear_bytes(&l->matrix, false, &bytes)) {
        goto fail;
    }
    if (spec->in_place) {
        lay_weights(l);
        bytes = (size_t)spec->out * (size_t)spec->in * gqa__dtype_size(l->strip.dtype);
    }
    l->copy_bytes = (bytes + 4095) / 4096 * 4096;
    l->copies = spec->cold ? 1 + (int32_t)(BENCH_COLD_BYTES / l->copy_bytes) : 1;
    l->work.sets = l->copies;
    l->memory = bench_alloc((size_t)l->copies * l->copy_bytes);
    l->x = bench_alloc((size_t)spec->tokens * (size_t)spec->in * sizeof *l->x);
    l->y = bench_alloc((size_t)spec->tokens * (size_t)spec->out * sizeof *l->y);
    l->scratch = bench_alloc(gqa__linear_scratch_bytes(&l->matrix, spec->tokens, &l->runtime));
    if (l->memory == NULL || l->x == NULL || l->y == NULL || l->scratch == NULL || !pack(l)) {
        goto fail;
    }
    return &l->work;

fail:
    snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    if (l != NULL) {
        destroy(&l->work);
    }
    return NULL;
}
