/* SPDX-License-Identifier: Apache-2.0 */
/* plain.c - one token over keys and values that lie in the caller's memory: gqa_attend on strided
 * tensors, nothing appended. */
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
    unsigned char *kv; /* [sets][2] of keys, values */
    size_t bytes;      /* of one of them */
    void *q, *out;     /* [batch][1][hq][d] */
    int32_t set;       /* the one that the next call uses */
    float *sinks;      /* [hq] */
    void *workspace;
    size_t workspace_bytes;
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

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct plain *p = (struct plain *)work;
    gqa_error err = {.message = ""};
    gqa_status status;
    double start;

    p->inputs.key = view(p, p->set, 0);
    p->inputs.value = view(p, p->set, 1);
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
    gqa_config config;
    gqa_weights weights;

    bench_config(&p->spec, &config);
    gqa_weights_init(&weights);
    p->sinks = bench_alloc((size_t)p->spec.hq * sizeof *p->sinks);
    if (p->sinks == NULL) {
        return GQA_ERR_NOMEM;
    }
    bench_fill(p->sinks, (size_t)p->spec.hq, 0.5f, 2);
    if (p->spec.sinks) {
        weights.sinks = gqa_tensor_1d(p->sinks, GQA_F32, p->spec.hq);
    }
    return gqa_create(&p->layer, &config, &weights, &p->runtime, err);
}

/* Every set is a copy of the first. */
static gqa_status make_keys(struct plain *p)
{
    const struct bench_spec *spec = &p->spec;
    const gqa_dtype dtype = (gqa_dtype)spec->tensors;
    const size_t element = dtype == GQA_F32 ? 4 : 2;
    const size_t n =
        (size_t)spec->batch * ((size_t)spec->past + 1) * (size_t)spec->hkv * (size_t)spec->d;

    p->bytes = n * element;
    p->work.sets = spec->cold ? 1 + (int32_t)(BENCH_COLD_BYTES / (2 * p->bytes)) : 1;
    p->kv = bench_alloc((size_t)p->work.sets * 2 * p->bytes);
    if (p->kv == NULL || !bench_fill_as(p->kv, dtype, 2 * n, 1.0f, 3)) {
        return GQA_ERR_NOMEM;
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
    p->inputs.key = view(p, 0, 0);
    p->inputs.value = view(p, 0, 1);
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
        if (status == GQA_OK) {
            return &p->work;
        }
        destroy(&p->work);
    }
    snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    return NULL;
}
