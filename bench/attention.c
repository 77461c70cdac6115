/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c - a layer, its caches and its data: append and attend, or the whole layer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fill.h"
#include "masks.h"
#include "timing.h"
#include "work.h"

#define MAX_LAYERS 64

struct attention {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    gqa_layer *layer[MAX_LAYERS]; /* more than one only for a layer with cold weights */
    int32_t layers;
    uint16_t *placed;   /* [layers][2][largest matrix] weights in place */
    gqa_cache *cache;   /* [sets * batch] sequences of `past` tokens */
    int32_t sets, set;  /* the set that the next call uses */
    int32_t *sequences; /* [batch] */
    void *q, *k, *v;    /* [batch, tokens, heads, d], or q alone: hidden states */
    void *out;          /* [batch, tokens, hq, d] or [batch, tokens, hidden] */
    struct bench_masks masks;
    void *workspace;
    size_t workspace_bytes;
    gqa_inputs inputs;
    gqa_output output;
};

static void destroy(struct bench_work *work)
{
    struct attention *a = (struct attention *)work;

    gqa_cache_destroy(&a->cache);
    for (int32_t i = 0; i < a->layers; i++) {
        gqa_destroy(&a->layer[i]);
    }
    bench_free(a->placed);
    free(a->sequences);
    bench_free(a->q);
    bench_free(a->k);
    bench_free(a->v);
    bench_free(a->out);
    bench_masks_free(&a->masks);
    bench_free(a->workspace);
    free(a);
}

/* Two matrices of `most` elements for each layer that uses its weights in place. */
static gqa_status place_weights(struct attention *a, const uint16_t *random, size_t most,
                                int32_t layers)
{
    size_t bytes = most * sizeof *random;

    if (!a->spec.in_place) {
        return GQA_OK;
    }
    a->placed = bench_alloc(2 * bytes * (size_t)layers);
    for (size_t i = 0; i < 2 * (size_t)layers && a->placed != NULL; i++) {
        memcpy(a->placed + i * most, random, bytes);
    }
    return a->placed != NULL ? GQA_OK : GQA_ERR_NOMEM;
}

static gqa_status make_layers(struct attention *a, gqa_error *err)
{
    const struct bench_spec *spec = &a->spec;
    const size_t most = bench_matrix_size(spec), few = bench_vector_size(spec);
    double native = spec->numerics == GQA_NUMERICS_BF16 ? 2.0 : 4.0;
    double bytes = (double)most * (spec->int8 ? 1.0 : native) * 1.8;
    int32_t layers = spec->cold && spec->kind == BENCH_LAYER ? 1 + (int32_t)(1.3e9 / bytes) : 1;
    uint16_t *random = bench_alloc(most * sizeof *random);
    float *small = bench_alloc(few * sizeof *small);
    gqa_status status = GQA_ERR_NOMEM;

    if (random != NULL && small != NULL) {
        bench_fill_bf16(random, most, 0.03f, 1);
        bench_fill(small, few, 0.5f, 2);
        layers = layers < MAX_LAYERS ? layers : MAX_LAYERS;
        status = place_weights(a, random, most, layers);
        for (int32_t i = 0; i < layers && status == GQA_OK; i++) {
            const uint16_t *own = a->placed == NULL ? random : a->placed + 2 * most * (size_t)i;

            status = bench_layer(&a->layer[i], spec, &a->runtime, small, own,
                                 a->placed == NULL ? random : own + most, err);
            a->layers += status == GQA_OK ? 1 : 0;
        }
    }
    bench_free(random);
    bench_free(small);
    return status;
}

/* `past` random tokens in every sequence. */
static gqa_status fill_cache(struct attention *a, gqa_error *err)
{
    const struct bench_spec *spec = &a->spec;
    float *kv = bench_kv(spec);
    gqa_status status = kv == NULL ? GQA_ERR_NOMEM : GQA_OK;

    for (int32_t s = 0; s < a->sets * spec->batch && status == GQA_OK; s++) {
        const int32_t first = s - s % spec->batch; /* of the set: the others share with it */
        const bool fork = spec->shared > 0 && s != first;

        status = fork ? gqa_cache_fork(a->cache, first, s, err) : GQA_OK;
        if (status == GQA_OK && fork) {
            status = gqa_cache_truncate(a->cache, s, spec->shared, err);
        }
        if (status == GQA_OK) {
            status = bench_append(a->cache, s, spec, kv, fork ? spec->shared : 0, spec->past, err);
        }
    }
    bench_free(kv);
    return status;
}

static gqa_status make_cache(struct attention *a, gqa_error *err)
{
    const struct bench_spec *spec = &a->spec;
    double set_tokens = (double)spec->past * spec->batch - (double)spec->shared * (spec->batch - 1);
    double set_bytes = spec->hkv * set_tokens * bench_spec_key_bytes(spec);
    gqa_cache_options options;
    gqa_status status;

    a->sets = 1;
    if (spec->cold && spec->past > 0) {
        a->sets = 1 + (int32_t)((double)BENCH_COLD_BYTES / set_bytes);
    }
    gqa_cache_options_init(&options, a->layer[0]);
    options.max_sequences = a->sets * spec->batch;
    options.max_tokens = spec->past + spec->tokens;
    options.dtype_k = spec->k_type != 0 ? (gqa_dtype)spec->k_type : options.dtype_k;
    options.dtype_v = spec->v_type != 0 ? (gqa_dtype)spec->v_type : options.dtype_v;
    options.rotate_k = options.rotate_v = spec->rotate;
    if (spec->shared > 0) { /* the pool is as large as what is held: each has a page of its own */
        const int64_t own = spec->past - spec->shared + spec->tokens;
        options.num_pages =
            a->sets * ((spec->shared / 128 + 1) + spec->batch * ((own + 127) / 128 + 1));
    }
    status = gqa_cache_create(&a->cache, a->layer[0], &options, err);
    return status == GQA_OK && spec->past > 0 ? fill_cache(a, err) : status;
}

/* n random numbers in the number format of the case's tensors. */
static void *make_tensor(const struct bench_spec *spec, size_t n, uint64_t seed)
{
    void *memory = bench_alloc(n * sizeof(float));

    if (memory != NULL) {
        bench_fill_as(memory, (gqa_dtype)spec->tensors, n, 1.0f, seed);
    }
    return memory;
}

static gqa_status make_tensors(struct attention *a)
{
    const struct bench_spec *spec = &a->spec;
    const gqa_dtype dtype = (gqa_dtype)spec->tensors;
    int64_t b = spec->batch;
    int64_t t = spec->tokens;
    size_t rows = (size_t)b * (size_t)t;
    size_t wide =
        spec->kind == BENCH_LAYER ? (size_t)spec->hidden : (size_t)spec->hq * (size_t)spec->d;
    size_t narrow = (size_t)spec->hkv * (size_t)spec->d;

    gqa_inputs_init(&a->inputs);
    gqa_output_init(&a->output);
    a->sequences = calloc((size_t)b, sizeof *a->sequences);
    a->q = make_tensor(spec, rows * wide, 4);
    a->k = make_tensor(spec, rows * narrow, 5);
    a->v = make_tensor(spec, rows * narrow, 6);
    a->out = make_tensor(spec, rows * wide, 7);
    if (a->sequences == NULL || a->q == NULL || a->k == NULL || a->v == NULL || a->out == NULL ||
        !bench_masks_make(&a->masks, spec, &a->inputs)) {
        return GQA_ERR_NOMEM;
    }
    a->inputs.sequences = a->sequences;
    if (spec->kind == BENCH_LAYER) {
        a->inputs.hidden_states = gqa_tensor_3d(a->q, dtype, b, t, spec->hidden);
        a->output.hidden_states = gqa_tensor_3d(a->out, dtype, b, t, spec->hidden);
    } else {
        a->inputs.q_proj = gqa_tensor_4d(a->q, dtype, b, t, spec->hq, spec->d);
        a->inputs.k_proj = gqa_tensor_4d(a->k, dtype, b, t, spec->hkv, spec->d);
        a->inputs.v_proj = gqa_tensor_4d(a->v, dtype, b, t, spec->hkv, spec->d);
        a->output.attn = gqa_tensor_4d(a->out, dtype, b, t, spec->hq, spec->d);
    }
    if (dtype == GQA_F32) {
        a->work.out = a->out;
        a->work.outs = rows * wide;
    }
    return GQA_OK;
}

static gqa_status make_workspace(struct attention *a, gqa_error *err)
{
    gqa_status status =
        gqa_workspace_size(a->layer[0], a->cache, &a->inputs, &a->output, &a->workspace_bytes, err);

    if (status == GQA_OK) {
        a->workspace = bench_alloc(a->workspace_bytes);
        status = a->workspace == NULL ? GQA_ERR_NOMEM : GQA_OK;
        a->work.workspace = a->workspace_bytes;
    }
    return status;
}

/* Cut the sequences back to `past` tokens, untimed; then the call. */
static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct attention *a = (struct attention *)work;
    const gqa_layer *layer = a->layer[a->set % a->layers];
    gqa_error err = {.message = "a cache cannot be cut"};
    gqa_status status = GQA_OK;
    double start;

    for (int32_t b = 0; b < a->spec.batch; b++) {
        a->sequences[b] = a->set % a->sets * a->spec.batch + b;
        if (gqa_cache_length(a->cache, a->sequences[b]) != a->spec.past) {
            status = gqa_cache_truncate(a->cache, a->sequences[b], a->spec.past, &err);
        }
    }
    a->set = (a->set + 1) % (a->sets * a->layers);
    if (status == GQA_OK) {
        start = bench_now();
        status = gqa_forward(layer, a->cache, &a->inputs, &a->output, a->workspace,
                             a->workspace_bytes, &err);
        *seconds = bench_now() - start;
    }
    if (status != GQA_OK) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    }
    a->work.kernels = a->output.path.kernels;
    return status == GQA_OK;
}

struct bench_work *bench_attention_create(const struct bench_spec *spec, struct bench_host *host,
                                          char why[BENCH_WHY_TEXT])
{
    struct attention *a = calloc(1, sizeof *a);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    gqa_status status = GQA_ERR_NOMEM;

    if (a != NULL) {
        a->spec = *spec;
        a->work.run = run;
        a->work.destroy = destroy;
        if (bench_workers_lend(&host->workers, spec->threads, &a->runtime)) {
            status = make_layers(a, &err);
        }
        status = status == GQA_OK ? make_cache(a, &err) : status;
        status = status == GQA_OK ? make_tensors(a) : status;
        status = status == GQA_OK ? make_workspace(a, &err) : status;
        a->work.sets = a->sets > a->layers ? a->sets : a->layers;
    }
    return bench_work_made(a == NULL ? NULL : &a->work, status, &err, why);
}
