/* SPDX-License-Identifier: Apache-2.0 */
/* mix.c - a layer on pieces of prompts and decodes of many sequences: one flat call, or a call for
 * each sequence. */
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "fill.h"
#include "timing.h"
#include "work.h"

struct mix {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    gqa_layer *layer;
    gqa_cache *cache;    /* [batch] sequences */
    int32_t *row_begin;  /* [batch + 1] */
    int32_t *sequences;  /* [batch] 0, 1, .. */
    float *hidden, *out; /* [row_begin[batch]][hidden] */
    float *before;       /* likewise: what the results are but for attention */
    void *workspace;
    size_t workspace_bytes;
};

static void destroy(struct bench_work *work)
{
    struct mix *m = (struct mix *)work;

    gqa_cache_destroy(&m->cache);
    gqa_destroy(&m->layer);
    free(m->row_begin);
    free(m->sequences);
    bench_free(m->hidden);
    bench_free(m->out);
    bench_free(m->before);
    bench_free(m->workspace);
    free(m);
}

static gqa_status make_layer(struct mix *m, gqa_error *err)
{
    const struct bench_spec *spec = &m->spec;
    const size_t most = bench_matrix_size(spec), few = bench_vector_size(spec);
    uint16_t *random = bench_alloc(most * sizeof *random);
    float *small = bench_alloc(few * sizeof *small);
    gqa_status status = GQA_ERR_NOMEM;

    if (random != NULL && small != NULL) {
        bench_fill_bf16(random, most, 0.03f, 1);
        bench_fill(small, few, 0.5f, 2);
        status = bench_layer(&m->layer, spec, &m->runtime, small, random, random, err);
    }
    bench_free(random);
    bench_free(small);
    return status;
}

static gqa_status make_cache(struct mix *m, gqa_error *err)
{
    const struct bench_spec *spec = &m->spec;
    float *kv = bench_kv(spec);
    gqa_status status = kv == NULL ? GQA_ERR_NOMEM : GQA_OK;
    gqa_cache_options options;

    gqa_cache_options_init(&options, m->layer);
    options.max_sequences = spec->batch;
    options.max_tokens = spec->past + spec->tokens;
    if (status == GQA_OK) {
        status = gqa_cache_create(&m->cache, m->layer, &options, err);
    }
    for (int32_t s = 0; s < spec->batch && status == GQA_OK; s++) {
        status = bench_append(m->cache, s, spec, kv, 0, bench_spec_mix_past(spec, s), err);
    }
    bench_free(kv);
    return status;
}

/* Hidden states and the output's bias: of the small numbers of make_layer. */
static bool set_before(struct mix *m, size_t n)
{
    const size_t hidden = (size_t)m->spec.hidden;
    float *bias = bench_alloc(hidden * sizeof *bias);

    m->before = bench_alloc(n * sizeof *m->before);
    if (bias != NULL && m->before != NULL) {
        bench_fill(bias, hidden, 0.5f, 2);
        for (size_t i = 0; i < n; i++) {
            m->before[i] = m->hidden[i] + bias[i % hidden];
        }
    }
    bench_free(bias);
    return bias != NULL && m->before != NULL;
}

/* Of sequences first .. first + count - 1. */
static void make_call(const struct mix *m, int32_t first, int32_t count, gqa_inputs *inputs,
                      gqa_output *output)
{
    const int64_t hidden = m->spec.hidden;
    const int32_t begin = m->row_begin[first], n = m->row_begin[first + count] - begin;

    gqa_inputs_init(inputs);
    gqa_output_init(output);
    inputs->hidden_states = gqa_tensor_2d(m->hidden + begin * hidden, GQA_F32, n, hidden);
    output->hidden_states = gqa_tensor_2d(m->out + begin * hidden, GQA_F32, n, hidden);
    inputs->sequences = m->sequences + first;
    if (count > 1) {
        inputs->row_begin = m->row_begin;
        inputs->batch = count;
    }
}

static gqa_status make_tensors(struct mix *m, gqa_error *err)
{
    const int32_t batch = m->spec.batch;
    gqa_inputs inputs;
    gqa_output output;
    gqa_status status;
    size_t n;

    m->row_begin = calloc((size_t)batch + 1, sizeof *m->row_begin);
    m->sequences = calloc((size_t)batch, sizeof *m->sequences);
    if (m->row_begin == NULL || m->sequences == NULL) {
        return GQA_ERR_NOMEM;
    }
    for (int32_t s = 0; s < batch; s++) {
        m->sequences[s] = s;
        m->row_begin[s + 1] = m->row_begin[s] + bench_spec_mix_tokens(&m->spec, s);
    }
    n = (size_t)m->row_begin[batch] * (size_t)m->spec.hidden;
    m->hidden = bench_alloc(n * sizeof *m->hidden);
    m->out = bench_alloc(n * sizeof *m->out);
    if (m->hidden == NULL || m->out == NULL) {
        return GQA_ERR_NOMEM;
    }
    bench_fill(m->hidden, n, 1.0f, 4);
    if (!set_before(m, n)) {
        return GQA_ERR_NOMEM;
    }
    m->work.out = m->out;
    m->work.before = m->before;
    m->work.outs = n;
    make_call(m, 0, batch, &inputs, &output); /* enough for each alone, too */
    status = gqa_workspace_size(m->layer, m->cache, &inputs, &output, &m->workspace_bytes, err);
    if (status == GQA_OK) {
        m->workspace = bench_alloc(m->workspace_bytes);
        m->work.workspace = m->workspace_bytes;
    }
    return status == GQA_OK && m->workspace == NULL ? GQA_ERR_NOMEM : status;
}

/* Cut the sequences back, untimed; then the call, or the calls. */
static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct mix *m = (struct mix *)work;
    const int32_t batch = m->spec.batch, step = m->spec.apart ? 1 : batch;
    gqa_status status = GQA_OK;
    gqa_error err = {.message = "a cache cannot be cut"};
    double start;

    for (int32_t s = 0; s < batch && status == GQA_OK; s++) {
        status = gqa_cache_truncate(m->cache, s, bench_spec_mix_past(&m->spec, s), &err);
    }
    start = bench_now();
    for (int32_t s = 0; s < batch && status == GQA_OK; s += step) {
        gqa_inputs inputs;
        gqa_output output;
        make_call(m, s, step, &inputs, &output);
        status = gqa_forward(m->layer, m->cache, &inputs, &output, m->workspace, m->workspace_bytes,
                             &err);
        m->work.kernels = output.path.kernels;
    }
    *seconds = bench_now() - start;
    if (status != GQA_OK) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
    }
    return status == GQA_OK;
}

struct bench_work *bench_mix_create(const struct bench_spec *spec, struct bench_host *host,
                                    char why[BENCH_WHY_TEXT])
{
    struct mix *m = calloc(1, sizeof *m);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    gqa_status status = GQA_ERR_NOMEM;

    if (m != NULL) {
        m->spec = *spec;
        m->work.run = run;
        m->work.destroy = destroy;
        if (bench_workers_lend(&host->workers, spec->threads, &m->runtime)) {
            status = make_layer(m, &err);
        }
        status = status == GQA_OK ? make_cache(m, &err) : status;
        status = status == GQA_OK ? make_tensors(m, &err) : status;
    }
    return bench_work_made(m == NULL ? NULL : &m->work, status, &err, why);
}
