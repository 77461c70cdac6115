/* SPDX-License-Identifier: Apache-2.0 */
/* pair.c - one token through attention of two layers, one with a window and one without, as they
 * alternate in gpt-oss; their caches are one gqa_model_cache, that of the window full or a ring. */
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "fill.h"
#include "timing.h"
#include "work.h"

enum { LAYERS = 2 };

struct pair {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    gqa_layer *layer[LAYERS]; /* the first has the window */
    gqa_model_cache *caches;
    float *q, *k, *v, *sinks; /* [1, 1, heads, d]; [hq] */
    float *out;               /* [LAYERS][hq][d] */
    void *workspace;
    size_t workspace_bytes;
    gqa_inputs inputs;
    gqa_output output;
};

static void destroy(struct bench_work *work)
{
    struct pair *p = (struct pair *)work;

    gqa_model_cache_destroy(&p->caches);
    for (int i = 0; i < LAYERS; i++) {
        gqa_destroy(&p->layer[i]);
    }
    bench_free(p->q);
    bench_free(p->k);
    bench_free(p->v);
    bench_free(p->out);
    bench_free(p->sinks);
    bench_free(p->workspace);
    free(p);
}

static float *numbers(int64_t n, uint64_t seed)
{
    float *x = bench_alloc((size_t)n * sizeof *x);

    if (x != NULL) {
        bench_fill(x, (size_t)n, 1.0f, seed);
    }
    return x;
}

static gqa_status make_tensors(struct pair *p)
{
    const struct bench_spec *spec = &p->spec;
    const int64_t wide = (int64_t)spec->hq * spec->d, narrow = (int64_t)spec->hkv * spec->d;

    p->q = numbers(wide, 4);
    p->k = numbers(narrow, 5);
    p->v = numbers(narrow, 6);
    p->out = numbers(LAYERS * wide, 7);
    p->sinks = bench_alloc((size_t)spec->hq * sizeof *p->sinks);
    gqa_inputs_init(&p->inputs);
    gqa_output_init(&p->output);
    p->inputs.q_proj = gqa_tensor_4d(p->q, GQA_F32, 1, 1, spec->hq, spec->d);
    p->inputs.k_proj = gqa_tensor_4d(p->k, GQA_F32, 1, 1, spec->hkv, spec->d);
    p->inputs.v_proj = gqa_tensor_4d(p->v, GQA_F32, 1, 1, spec->hkv, spec->d);
    p->output.attn = gqa_tensor_4d(p->out, GQA_F32, 1, 1, spec->hq, spec->d);
    p->work.out = p->out;
    p->work.outs = (size_t)(LAYERS * wide);
    if (p->q == NULL || p->k == NULL || p->v == NULL || p->out == NULL || p->sinks == NULL) {
        return GQA_ERR_NOMEM;
    }
    bench_fill(p->sinks, (size_t)spec->hq, 0.5f, 2);
    return GQA_OK;
}

static gqa_status make_layers(struct pair *p, gqa_error *err)
{
    gqa_status status = GQA_OK;

    for (int i = 0; i < LAYERS && status == GQA_OK; i++) {
        struct bench_spec own = p->spec;

        own.window = i == 0 ? own.window : 0;
        status = bench_layer(&p->layer[i], &own, &p->runtime, p->sinks, NULL, NULL, err);
    }
    return status;
}

static gqa_status make_caches(struct pair *p, gqa_error *err)
{
    const gqa_layer *const layers[LAYERS] = {p->layer[0], p->layer[1]};
    gqa_cache_options full;
    const gqa_cache_options *const each[LAYERS] = {p->spec.ring ? NULL : &full, NULL};
    gqa_model_cache_options options;
    gqa_status status;

    gqa_cache_options_init(&full, p->layer[0]);
    gqa_model_cache_options_init(&options);
    options.num_layers = LAYERS;
    options.layers = layers;
    options.caches = each;
    options.max_tokens = p->spec.past + 1;
    options.call_tokens = BENCH_FILL_TOKENS;
    status = gqa_model_cache_size(&options, NULL, &p->work.caches, err);
    return status == GQA_OK ? gqa_model_cache_create(&p->caches, &options, err) : status;
}

/* `past` random tokens in both layers. */
static gqa_status fill_caches(struct pair *p, gqa_error *err)
{
    const struct bench_spec *spec = &p->spec;
    float *kv = bench_kv(spec);
    gqa_status status = kv == NULL ? GQA_ERR_NOMEM : GQA_OK;

    for (int32_t i = 0; i < LAYERS && status == GQA_OK; i++) {
        status = bench_append(gqa_model_cache_layer(p->caches, i), 0, spec, kv, 0, spec->past, err);
    }
    bench_free(kv);
    return status;
}

static gqa_status make_workspace(struct pair *p, gqa_error *err)
{
    size_t most = 0;
    gqa_status status = GQA_OK;

    for (int32_t i = 0; i < LAYERS && status == GQA_OK; i++) {
        status = gqa_workspace_size(p->layer[i], gqa_model_cache_layer(p->caches, i), &p->inputs,
                                    &p->output, &most, err);
        p->workspace_bytes = most > p->workspace_bytes ? most : p->workspace_bytes;
    }
    if (status == GQA_OK) {
        p->workspace = bench_alloc(p->workspace_bytes);
        status = p->workspace == NULL ? GQA_ERR_NOMEM : GQA_OK;
        p->work.workspace = p->workspace_bytes;
    }
    return status;
}

/* The token of the last call is taken back, untimed; then one through both layers. */
static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct pair *p = (struct pair *)work;
    gqa_error err = {.message = ""};
    gqa_status status = gqa_model_cache_truncate(p->caches, 0, p->spec.past, &err);
    const double start = bench_now();

    for (int32_t i = 0; i < LAYERS && status == GQA_OK; i++) {
        p->output.attn.data = p->out + (int64_t)i * p->spec.hq * p->spec.d;
        status = gqa_forward(p->layer[i], gqa_model_cache_layer(p->caches, i), &p->inputs,
                             &p->output, p->workspace, p->workspace_bytes, &err);
    }
    *seconds = bench_now() - start;
    if (status != GQA_OK) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    }
    work->kernels = p->output.path.kernels;
    return status == GQA_OK;
}

struct bench_work *bench_pair_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT])
{
    struct pair *p = calloc(1, sizeof *p);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    gqa_status status = GQA_ERR_NOMEM;

    if (p != NULL) {
        p->spec = *spec;
        p->work.run = run;
        p->work.destroy = destroy;
        p->work.sets = 1;
        if (bench_workers_lend(&host->workers, spec->threads, &p->runtime)) {
            status = make_tensors(p);
        }
        status = status == GQA_OK ? make_layers(p, &err) : status;
        status = status == GQA_OK ? make_caches(p, &err) : status;
        status = status == GQA_OK ? fill_caches(p, &err) : status;
        status = status == GQA_OK ? make_workspace(p, &err) : status;
    }
    return bench_work_made(p == NULL ? NULL : &p->work, status, &err, why);
}
