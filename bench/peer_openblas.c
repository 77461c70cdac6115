/* SPDX-License-Identifier: Apache-2.0 */
/* peer_openblas.c - attention composed of sgemm, softmax, sgemm; and a projection as one sgemm. */
#include <stdio.h>

#include "child.h"

#ifdef GQA_WITH_OPENBLAS
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "fill.h"
#include "parallel/tasks.h"
#include "peer_softmax.h"
#include "timing.h"

struct composed {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    int64_t keys;      /* past + tokens */
    float *q, *out;    /* [batch][tokens][hq][d] */
    float *k, *v;      /* [sets][batch][hkv][keys][d] */
    float *scores;     /* [threads][rows][keys] */
    size_t set_floats; /* of k, or of v */
    int64_t rows;      /* of one product */
    int32_t sets, set;
    float *x, *y, *w; /* linear: [tokens][in], [tokens][out], [sets][out][in] */
};

static void destroy(struct bench_work *work)
{
    struct composed *c = (struct composed *)work;

    bench_free(c->q);
    bench_free(c->out);
    bench_free(c->k);
    bench_free(c->v);
    bench_free(c->scores);
    bench_free(c->x);
    bench_free(c->y);
    bench_free(c->w);
    free(c);
}

/* Keys [*begin, *end) that the token at this place of its sequence sees. */
static void seen(const struct bench_spec *spec, int64_t at, int64_t *begin, int64_t *end)
{
    *end = at + 1;
    *begin = 0;
    if (spec->window > 0 && at - spec->window + 1 > 0) {
        *begin = at - spec->window + 1;
    }
    if (spec->chunk > 0 && at / spec->chunk * spec->chunk > *begin) {
        *begin = at / spec->chunk * spec->chunk;
    }
}

/* One token: all heads of a group in one product. More: a query head at a time. */
static void body(void *arg, int64_t item, int32_t slot)
{
    const struct composed *c = arg;
    const struct bench_spec *spec = &c->spec;
    int64_t group = spec->hq / spec->hkv;
    bool one = spec->tokens == 1;
    int64_t heads = one ? spec->hkv : spec->hq;
    int64_t b = item / heads;
    int64_t head = item % heads; /* of queries, or of keys when one */
    int64_t kv = one ? head : head / group;
    int64_t ld = one ? spec->d : (int64_t)spec->hq * spec->d;
    int64_t at = (b * spec->tokens * spec->hq + (one ? head * group : head)) * spec->d;
    size_t set = (size_t)c->set * c->set_floats;
    const float *k = c->k + set + (size_t)((b * spec->hkv + kv) * c->keys * spec->d);
    const float *v = c->v + set + (size_t)((b * spec->hkv + kv) * c->keys * spec->d);
    float *s = c->scores + (int64_t)slot * c->rows * c->keys;

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)c->rows, (int)c->keys, spec->d, 1.0f,
                c->q + at, (int)ld, k, spec->d, 0.0f, s, (int)c->keys);
    for (int64_t r = 0; r < c->rows; r++) {
        int64_t begin, end;

        seen(spec, spec->past + (one ? 0 : r), &begin, &end);
        bench_softmax_row(s + r * c->keys, c->keys, begin, end, 1.0f / sqrtf((float)spec->d),
                          spec->sinks ? 0.5f : -INFINITY);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)c->rows, spec->d, (int)c->keys,
                1.0f, s, (int)c->keys, v, spec->d, 0.0f, c->out + at, (int)ld);
}

/* The call's keys and values would be appended: copy them as many. */
static void append(const struct composed *c)
{
    const struct bench_spec *spec = &c->spec;

    for (int64_t h = 0; h < (int64_t)spec->batch * spec->hkv; h++) {
        float *k = c->k + (size_t)c->set * c->set_floats + (h * c->keys + spec->past) * spec->d;
        float *v = c->v + (size_t)c->set * c->set_floats + (h * c->keys + spec->past) * spec->d;

        for (int64_t t = 0; t < (int64_t)spec->tokens * spec->d; t++) {
            k[t] = c->q[t];
            v[t] = c->q[t];
        }
    }
}

static bool run_attention(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct composed *c = (struct composed *)work;
    int64_t heads = c->spec.tokens == 1 ? c->spec.hkv : c->spec.hq;
    const struct gqa__tasks tasks = {body, c, heads * c->spec.batch};
    double start = bench_now();

    (void)why;
    append(c);
    gqa__run_tasks(&c->runtime, &tasks);
    *seconds = bench_now() - start;
    c->set = (c->set + 1) % c->sets;
    return true;
}

static bool run_linear(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct composed *c = (struct composed *)work;
    const struct bench_spec *spec = &c->spec;
    double start = bench_now();

    (void)why;
    if (spec->tokens == 1) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, spec->out, spec->in, 1.0f,
                    c->w + (size_t)c->set * c->set_floats, spec->in, c->x, 1, 0.0f, c->y, 1);
    } else {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, spec->tokens, spec->out, spec->in,
                    1.0f, c->x, spec->in, c->w + (size_t)c->set * c->set_floats, spec->in, 0.0f,
                    c->y, spec->out);
    }
    *seconds = bench_now() - start;
    c->set = (c->set + 1) % c->sets;
    return true;
}

static int32_t count_sets(const struct bench_spec *spec, size_t bytes)
{
    return spec->cold ? 1 + (int32_t)(BENCH_COLD_BYTES / bytes) : 1;
}

static bool make_linear(struct composed *c)
{
    const struct bench_spec *spec = &c->spec;

    openblas_set_num_threads(spec->threads);
    c->work.run = run_linear;
    c->set_floats = (size_t)spec->out * (size_t)spec->in;
    c->sets = count_sets(spec, c->set_floats * sizeof(float));
    c->work.sets = c->sets;
    c->w = bench_alloc((size_t)c->sets * c->set_floats * sizeof(float));
    c->x = bench_alloc((size_t)spec->tokens * (size_t)spec->in * sizeof(float));
    c->y = bench_alloc((size_t)spec->tokens * (size_t)spec->out * sizeof(float));
    if (c->w == NULL || c->x == NULL || c->y == NULL) {
        return false;
    }
    bench_fill(c->w, (size_t)c->sets * c->set_floats, 0.03f, 1);
    bench_fill(c->x, (size_t)spec->tokens * (size_t)spec->in, 1.0f, 2);
    return true;
}

static bool make_attention(struct composed *c)
{
    const struct bench_spec *spec = &c->spec;
    size_t q = (size_t)spec->batch * (size_t)spec->tokens * (size_t)spec->hq * (size_t)spec->d;

    openblas_set_num_threads(1); /* the heads are shared out among the threads */
    c->work.run = run_attention;
    c->keys = spec->past + spec->tokens;
    c->rows = spec->tokens == 1 ? spec->hq / spec->hkv : spec->tokens;
    c->set_floats = (size_t)spec->batch * (size_t)spec->hkv * (size_t)c->keys * (size_t)spec->d;
    c->sets = spec->past > 0 ? count_sets(spec, 2 * c->set_floats * sizeof(float)) : 1;
    c->work.sets = c->sets;
    c->q = bench_alloc(q * sizeof(float));
    c->out = bench_alloc(q * sizeof(float));
    c->k = bench_alloc((size_t)c->sets * c->set_floats * sizeof(float));
    c->v = bench_alloc((size_t)c->sets * c->set_floats * sizeof(float));
    c->scores = bench_alloc((size_t)spec->threads * (size_t)(c->rows * c->keys) * sizeof(float));
    if (c->q == NULL || c->out == NULL || c->k == NULL || c->v == NULL || c->scores == NULL) {
        return false;
    }
    bench_fill(c->q, q, 1.0f, 1);
    bench_fill(c->k, (size_t)c->sets * c->set_floats, 1.0f, 2);
    bench_fill(c->v, (size_t)c->sets * c->set_floats, 1.0f, 3);
    return true;
}

struct bench_work *bench_openblas_create(const struct bench_spec *spec, struct bench_host *host,
                                         char why[BENCH_WHY_TEXT])
{
    struct composed *c = calloc(1, sizeof *c);
    bool linear = spec->kind == BENCH_LINEAR;

    snprintf(why, BENCH_WHY_TEXT, "no memory");
    if (c == NULL) {
        return NULL;
    }
    c->spec = *spec;
    c->work.destroy = destroy;
    if ((!linear && spec->kind != BENCH_ATTENTION) ||
        !bench_workers_lend(&host->workers, spec->threads, &c->runtime)) {
        snprintf(why, BENCH_WHY_TEXT, "no such case for OpenBLAS");
    } else if (linear ? make_linear(c) : make_attention(c)) {
        return &c->work;
    }
    destroy(&c->work);
    return NULL;
}

const char *bench_openblas_about(void)
{
    static char text[BENCH_WHY_TEXT];

    snprintf(text, sizeof text, "%s, core %s", openblas_get_config(), openblas_get_corename());
    return text;
}

#else

struct bench_work *bench_openblas_create(const struct bench_spec *spec, struct bench_host *host,
                                         char why[BENCH_WHY_TEXT])
{
    (void)spec;
    (void)host;
    snprintf(why, BENCH_WHY_TEXT, "built without OpenBLAS");
    return NULL;
}

const char *bench_openblas_about(void)
{
    return NULL;
}

#endif
