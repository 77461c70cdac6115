/* SPDX-License-Identifier: Apache-2.0 */
/* plain.c - one token over keys and values that lie in the caller's memory: gqa_attend on strided
 * tensors or on blocks, nothing appended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fill.h"
#include "timing.h"
#include "work.h"

struct plain {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    gqa_layer *layer;
    unsigned char *kv; /* [sets][2] of keys, values; behind those of int8 their scales */
    size_t bytes;      /* of one of them, */
    size_t scales_at;  /* and where in it scales begin */
    void *q, *out;     /* [batch][1][hq][d] */
    int32_t set;       /* the one that the next call uses */
    float *sinks;      /* [hq] */
    void *workspace;
    size_t workspace_bytes;
    gqa_block_kv blocks;
    int32_t *table, *lengths; /* [batch][blocks of a sequence], [batch] */
    gqa_attend_inputs inputs;
    gqa_attend_output output;
};

static void destroy(struct bench_work *work)
{
    struct plain *p = (struct plain *)work;

    gqa_destroy(&p->layer);
    bench_free(p->kv);
    bench_free(p->q);
    bench_free(p->out);
    bench_free(p->sinks);
    bench_free(p->workspace);
    free(p->table);
    free(p->lengths);
    free(p);
}

/* The set's keys (which 0) or values (1), seen as [batch, keys, hkv, d]. */
static gqa_tensor view(const struct plain *p, int32_t set, int which)
{
    const struct bench_spec *spec = &p->spec;
    const int64_t keys = (int64_t)spec->past + 1, d = spec->d;
    gqa_tensor t = gqa_tensor_4d(p->kv + ((size_t)set * 2 + (size_t)which) * p->bytes,
                                 (gqa_dtype)spec->tensors, spec->batch, keys, spec->hkv, d);

    if (spec->home == HOME_HEADS) {
        t.stride[1] = d;
        t.stride[2] = keys * d;
    }
    return t;
}

static bool in_blocks(const struct bench_spec *spec)
{
    return spec->home >= HOME_BLOCK_HEADS;
}

static int32_t blocks_of(const struct bench_spec *spec)
{
    return spec->past / BENCH_BLOCK + 1;
}

static bool of_int8(const struct bench_spec *spec)
{
    return spec->k_type == GQA_I8;
}

/* The set's scales, as blocks [blocks, hkv, block]. */
static gqa_tensor view_scales(const struct plain *p, int32_t set, int which)
{
    const struct bench_spec *spec = &p->spec;

    return gqa_tensor_3d(p->kv + ((size_t)set * 2 + (size_t)which) * p->bytes + p->scales_at,
                         GQA_F32, (int64_t)spec->batch * blocks_of(spec), spec->hkv, BENCH_BLOCK);
}

/* The set's keys (which 0) or values (1), as blocks. */
static gqa_tensor view_blocks(const struct plain *p, int32_t set, int which)
{
    const struct bench_spec *spec = &p->spec;
    const bool turned = spec->home == HOME_BLOCK_TURNED && which == 0;
    const gqa_block_order order = spec->home == HOME_BLOCK_TOKENS ? GQA_BLOCKS_TOKENS
                                  : turned                        ? GQA_BLOCKS_TURNED
                                                                  : GQA_BLOCKS_HEADS;

    return gqa_blocks_of(p->kv + ((size_t)set * 2 + (size_t)which) * p->bytes,
                         of_int8(spec) ? GQA_I8 : (gqa_dtype)spec->tensors, order,
                         (int64_t)spec->batch * blocks_of(spec), spec->hkv, BENCH_BLOCK, spec->d);
}

static void set_keys(struct plain *p)
{
    if (in_blocks(&p->spec)) {
        p->blocks.key = view_blocks(p, p->set, 0);
        p->blocks.value = view_blocks(p, p->set, 1);
        if (of_int8(&p->spec)) {
            p->blocks.key_scale = view_scales(p, p->set, 0);
            p->blocks.value_scale = view_scales(p, p->set, 1);
        }
    } else {
        p->inputs.key = view(p, p->set, 0);
        p->inputs.value = view(p, p->set, 1);
    }
}

/* A table of the blocks in a mixed order. */
static bool make_table(struct plain *p)
{
    const int32_t each = blocks_of(&p->spec), n = p->spec.batch * each;

    if (!in_blocks(&p->spec)) {
        return true;
    }
    p->table = calloc((size_t)n, sizeof *p->table);
    p->lengths = calloc((size_t)p->spec.batch, sizeof *p->lengths);
    if (p->table == NULL || p->lengths == NULL) {
        return false;
    }
    for (int32_t i = 0; i < n; i++) {
        const int32_t j = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)(i + 1));
        p->table[i] = p->table[j];
        p->table[j] = i;
    }
    for (int32_t b = 0; b < p->spec.batch; b++) {
        p->lengths[b] = p->spec.past + 1;
    }
    gqa_block_kv_init(&p->blocks);
    p->blocks.block_table = p->table;
    p->blocks.max_blocks = each;
    p->blocks.lengths = p->lengths;
    p->inputs.blocks = &p->blocks;
    return true;
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct plain *p = (struct plain *)work;
    gqa_error err = {.message = ""};
    gqa_status status;
    double start;

    set_keys(p);
    p->set = (p->set + 1) % work->sets;
    start = bench_now();
    status =
        gqa_attend(p->layer, NULL, &p->inputs, &p->output, p->workspace, p->workspace_bytes, &err);
    *seconds = bench_now() - start;
    if (status != GQA_OK) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    }
    work->kernels = p->output.path.kernels;
    return status == GQA_OK;
}

static gqa_status make_layer(struct plain *p, gqa_error *err)
{
    p->sinks = bench_alloc((size_t)p->spec.hq * sizeof *p->sinks);
    if (p->sinks == NULL) {
        return GQA_ERR_NOMEM;
    }
    bench_fill(p->sinks, (size_t)p->spec.hq, 0.5f, 2);
    return bench_layer(&p->layer, &p->spec, &p->runtime, p->sinks, NULL, NULL, err);
}

/* Keys or values of int8, and their scales: values between -1 and 1. */
static void fill_int8(unsigned char *to, size_t codes, size_t scales, uint32_t state)
{
    float *const scale = (float *)(void *)(to + codes);

    for (size_t i = 0; i < codes; i++) {
        state = state * 1664525u + 1013904223u;
        to[i] = (unsigned char)((int32_t)(state >> 8) % 255 - 127);
    }
    for (size_t i = 0; i < scales; i++) {
        scale[i] = (float)(100 + i % 28) / (128.0f * 127.0f);
    }
}

/* Every set is a copy of the first. */
static gqa_status make_keys(struct plain *p)
{
    const struct bench_spec *spec = &p->spec;
    const gqa_dtype dtype = (gqa_dtype)spec->tensors;
    const bool int8 = of_int8(spec);
    const size_t element = int8 ? 1 : dtype == GQA_F32 ? 4 : 2;
    const size_t keys =
        in_blocks(spec) ? (size_t)blocks_of(spec) * BENCH_BLOCK : (size_t)spec->past + 1;
    const size_t n = (size_t)spec->batch * keys * (size_t)spec->hkv * (size_t)spec->d;

    const size_t rows = n / (size_t)spec->d;

    p->scales_at = n * element;
    p->bytes = p->scales_at + (int8 ? rows * sizeof(float) : 0);
    p->work.sets = spec->cold ? 1 + (int32_t)(BENCH_COLD_BYTES / (2 * p->bytes)) : 1;
    p->kv = bench_alloc((size_t)p->work.sets * 2 * p->bytes);
    if (p->kv == NULL || (!int8 && !bench_fill_as(p->kv, dtype, 2 * n, 1.0f, 3))) {
        return GQA_ERR_NOMEM;
    }
    for (uint32_t which = 0; which < 2 && int8; which++) {
        fill_int8(p->kv + which * p->bytes, n, rows, 3 + which);
    }
    for (size_t i = 1; i < (size_t)p->work.sets; i++) {
        memcpy(p->kv + i * 2 * p->bytes, p->kv, 2 * p->bytes);
    }
    return GQA_OK;
}

static gqa_status make_call(struct plain *p, gqa_error *err)
{
    const struct bench_spec *spec = &p->spec;
    const gqa_dtype dtype = (gqa_dtype)spec->tensors;
    const size_t n = (size_t)spec->batch * (size_t)spec->hq * (size_t)spec->d;
    gqa_status status;

    p->q = bench_alloc(n * sizeof(float));
    p->out = bench_alloc(n * sizeof(float));
    if (p->q == NULL || p->out == NULL || !bench_fill_as(p->q, dtype, n, 1.0f, 4)) {
        return GQA_ERR_NOMEM;
    }
    gqa_attend_inputs_init(&p->inputs);
    gqa_attend_output_init(&p->output);
    p->inputs.query = gqa_tensor_4d(p->q, dtype, spec->batch, 1, spec->hq, spec->d);
    if (!make_table(p)) {
        return GQA_ERR_NOMEM;
    }
    set_keys(p);
    p->output.output = gqa_tensor_4d(p->out, dtype, spec->batch, 1, spec->hq, spec->d);
    status =
        gqa_attend_workspace_size(p->layer, NULL, &p->inputs, &p->output, &p->workspace_bytes, err);
    if (status == GQA_OK) {
        p->workspace = bench_alloc(p->workspace_bytes);
        p->work.workspace = p->workspace_bytes;
        status = p->workspace == NULL ? GQA_ERR_NOMEM : GQA_OK;
    }
    return status;
}

struct bench_work *bench_plain_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT])
{
    struct plain *p = calloc(1, sizeof *p);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    gqa_status status = GQA_ERR_NOMEM;

    if (p != NULL) {
        p->spec = *spec;
        p->work.run = run;
        p->work.destroy = destroy;
        if (bench_workers_lend(&host->workers, spec->threads, &p->runtime)) {
            status = make_layer(p, &err);
        }
        status = status == GQA_OK ? make_keys(p) : status;
        status = status == GQA_OK ? make_call(p, &err) : status;
    }
    return bench_work_made(p == NULL ? NULL : &p->work, status, &err, why);
}
