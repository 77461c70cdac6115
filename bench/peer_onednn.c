/* SPDX-License-Identifier: Apache-2.0 */
/* peer_onednn.c - attention composed of bf16 matmul, softmax, matmul; and a projection as one bf16
 * matmul, weights as they lie or in the library's own packed form. Threads: OMP_NUM_THREADS. */
#include <stdio.h>

#include "child.h"

#ifdef GQA_BENCH_ONEDNN
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "fill.h"
#include "peer_softmax.h"
#include "timing.h"

/* One matmul: dst [m][n] = src [m][k] * weights [k][n], each with its own memory object. */
struct product {
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, dst;
    const_dnnl_primitive_desc_t desc; /* owned by the primitive */
};

struct onednn {
    struct bench_work work;
    struct bench_spec spec;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct product first, second;
    uint16_t *q, *k, *v, *p; /* [tokens][hq][d], [keys][hkv][d] twice, [tokens][keys] */
    float *s, *out;          /* [tokens][keys], [tokens][hq][d] */
    uint16_t *x;             /* linear: [tokens][in] */
    unsigned char *w;        /* [sets][set_bytes] */
    float *y;                /* [tokens][out] */
    size_t set_bytes;
    int32_t sets, set;
};

/* A row-major view, or its transpose as it lies; stride is the distance of rows in memory. */
static bool view(dnnl_memory_desc_t *desc, dnnl_data_type_t type, int64_t a, int64_t b,
                 int64_t stride, bool transposed)
{
    const dnnl_dims_t dims = {a, b};
    const dnnl_dims_t strides = {transposed ? 1 : stride, transposed ? stride : 1};

    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides) == dnnl_success;
}

static bool make_memory(struct onednn *o, const dnnl_memory_desc_t *desc, dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, desc, o->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

static bool make_product(struct onednn *o, struct product *product,
                         const dnnl_memory_desc_t desc[3])
{
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t primitive;
    bool ok;

    if (dnnl_matmul_desc_init(&matmul, &desc[0], &desc[1], NULL, &desc[2]) != dnnl_success ||
        dnnl_primitive_desc_create(&primitive, &matmul, NULL, o->engine, NULL) != dnnl_success) {
        return false;
    }
    ok = dnnl_primitive_create(&product->primitive, primitive) == dnnl_success;
    dnnl_primitive_desc_destroy(primitive);
    if (!ok ||
        dnnl_primitive_get_primitive_desc(product->primitive, &product->desc) != dnnl_success) {
        return false;
    }
    return make_memory(o, dnnl_primitive_desc_query_md(product->desc, dnnl_query_src_md, 0),
                       &product->src) &&
           make_memory(o, dnnl_primitive_desc_query_md(product->desc, dnnl_query_weights_md, 0),
                       &product->weights) &&
           make_memory(o, dnnl_primitive_desc_query_md(product->desc, dnnl_query_dst_md, 0),
                       &product->dst);
}

static void free_product(struct product *product)
{
    dnnl_primitive_destroy(product->primitive);
    dnnl_memory_destroy(product->src);
    dnnl_memory_destroy(product->weights);
    dnnl_memory_destroy(product->dst);
}

static bool multiply(struct onednn *o, const struct product *product, void *src, void *weights,
                     void *dst)
{
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, product->src},
                                    {DNNL_ARG_WEIGHTS, product->weights},
                                    {DNNL_ARG_DST, product->dst}};

    return dnnl_memory_set_data_handle(product->src, src) == dnnl_success &&
           dnnl_memory_set_data_handle(product->weights, weights) == dnnl_success &&
           dnnl_memory_set_data_handle(product->dst, dst) == dnnl_success &&
           dnnl_primitive_execute(product->primitive, o->stream, 3, args) == dnnl_success &&
           dnnl_stream_wait(o->stream) == dnnl_success;
}

static void destroy(struct bench_work *work)
{
    struct onednn *o = (struct onednn *)work;

    free_product(&o->first);
    free_product(&o->second);
    dnnl_stream_destroy(o->stream);
    dnnl_engine_destroy(o->engine);
    bench_free(o->q);
    bench_free(o->k);
    bench_free(o->v);
    bench_free(o->p);
    bench_free(o->s);
    bench_free(o->out);
    bench_free(o->x);
    bench_free(o->w);
    bench_free(o->y);
    free(o);
}

/* Rows of one query head, in the threads of OpenMP where it was built with it. */
static void softmax(const struct onednn *o)
{
    const struct bench_spec *spec = &o->spec;
    int64_t n = spec->tokens;

#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 32)
#endif
    for (int64_t r = 0; r < n; r++) {
        int64_t begin = spec->window > 0 && r >= spec->window ? r - spec->window + 1 : 0;

        if (spec->chunk > 0 && r / spec->chunk * spec->chunk > begin) {
            begin = r / spec->chunk * spec->chunk;
        }
        bench_softmax_row_bf16(o->p + r * n, o->s + r * n, n, begin, r + 1,
                               1.0f / sqrtf((float)spec->d), spec->sinks ? 0.5f : -INFINITY);
    }
}

static bool run_attention(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct onednn *o = (struct onednn *)work;
    const struct bench_spec *spec = &o->spec;
    double start = bench_now();
    bool ok = true;

    for (int32_t h = 0; h < spec->hq && ok; h++) {
        size_t kv = (size_t)(h / (spec->hq / spec->hkv)) * (size_t)spec->d;
        size_t head = (size_t)h * (size_t)spec->d;

        ok = multiply(o, &o->first, o->q + head, o->k + kv, o->s);
        softmax(o);
        ok = ok && multiply(o, &o->second, o->p, o->v + kv, o->out + head);
    }
    *seconds = bench_now() - start;
    snprintf(why, BENCH_WHY_TEXT, "a matmul failed");
    return ok;
}

static bool make_attention(struct onednn *o)
{
    const struct bench_spec *spec = &o->spec;
    int64_t n = spec->tokens;
    int64_t hq = (int64_t)spec->hq * spec->d;
    int64_t hkv = (int64_t)spec->hkv * spec->d;
    dnnl_memory_desc_t qk[3], pv[3];

    o->q = bench_alloc((size_t)(n * hq) * 2);
    o->k = bench_alloc((size_t)(n * hkv) * 2);
    o->v = bench_alloc((size_t)(n * hkv) * 2);
    o->p = bench_alloc((size_t)(n * n) * 2);
    o->s = bench_alloc((size_t)(n * n) * 4);
    o->out = bench_alloc((size_t)(n * hq) * 4);
    if (o->q == NULL || o->k == NULL || o->v == NULL || o->p == NULL || o->s == NULL ||
        o->out == NULL) {
        return false;
    }
    bench_fill_bf16(o->q, (size_t)(n * hq), 1.0f, 1);
    bench_fill_bf16(o->k, (size_t)(n * hkv), 1.0f, 2);
    bench_fill_bf16(o->v, (size_t)(n * hkv), 1.0f, 3);
    o->work.run = run_attention;
    return view(&qk[0], dnnl_bf16, n, spec->d, hq, false) &&
           view(&qk[1], dnnl_bf16, spec->d, n, hkv, true) &&
           view(&qk[2], dnnl_f32, n, n, n, false) && make_product(o, &o->first, qk) &&
           view(&pv[0], dnnl_bf16, n, n, n, false) &&
           view(&pv[1], dnnl_bf16, n, spec->d, hkv, false) &&
           view(&pv[2], dnnl_f32, n, spec->d, hq, false) && make_product(o, &o->second, pv);
}

static bool run_linear(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct onednn *o = (struct onednn *)work;
    double start = bench_now();
    bool ok = multiply(o, &o->first, o->x, o->w + (size_t)o->set * o->set_bytes, o->y);

    *seconds = bench_now() - start;
    o->set = (o->set + 1) % o->sets;
    snprintf(why, BENCH_WHY_TEXT, "the matmul failed");
    return ok;
}

/* Weights [out][in] in the form the primitive asks for: the same bytes, whatever the order. */
static bool make_linear(struct onednn *o)
{
    const struct bench_spec *spec = &o->spec;
    const dnnl_dims_t weights = {spec->in, spec->out};
    dnnl_memory_desc_t desc[3];
    bool ok = view(&desc[0], dnnl_bf16, spec->tokens, spec->in, spec->in, false) &&
              view(&desc[2], dnnl_f32, spec->tokens, spec->out, spec->out, false);

    if (spec->form == FORM_PACKED) {
        ok = ok && dnnl_memory_desc_init_by_tag(&desc[1], 2, weights, dnnl_bf16,
                                                dnnl_format_tag_any) == dnnl_success;
    } else {
        ok = ok && view(&desc[1], dnnl_bf16, spec->in, spec->out, spec->in, true);
    }
    if (!ok || !make_product(o, &o->first, desc)) {
        return false;
    }
    o->set_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(o->first.desc, dnnl_query_weights_md, 0));
    o->set_bytes = (o->set_bytes + 4095) / 4096 * 4096;
    o->sets = spec->cold ? 1 + (int32_t)(BENCH_COLD_BYTES / o->set_bytes) : 1;
    o->work.sets = o->sets;
    o->w = bench_alloc((size_t)o->sets * o->set_bytes);
    o->x = bench_alloc((size_t)spec->tokens * (size_t)spec->in * 2);
    o->y = bench_alloc((size_t)spec->tokens * (size_t)spec->out * 4);
    if (o->w == NULL || o->x == NULL || o->y == NULL) {
        return false;
    }
    bench_fill_bf16((uint16_t *)(void *)o->w, (size_t)o->sets * o->set_bytes / 2, 0.03f, 1);
    bench_fill_bf16(o->x, (size_t)spec->tokens * (size_t)spec->in, 1.0f, 2);
    o->work.run = run_linear;
    return true;
}

struct bench_work *bench_onednn_create(const struct bench_spec *spec, struct bench_host *host,
                                       char why[BENCH_WHY_TEXT])
{
    struct onednn *o = calloc(1, sizeof *o);
    bool linear = spec->kind == BENCH_LINEAR;

    (void)host;
    snprintf(why, BENCH_WHY_TEXT, "no memory, or oneDNN refuses this product");
    if (o == NULL) {
        return NULL;
    }
    o->spec = *spec;
    o->work.destroy = destroy;
    if (!linear &&
        (spec->kind != BENCH_ATTENTION || spec->tokens == 1 || spec->past > 0 || spec->batch > 1)) {
        snprintf(why, BENCH_WHY_TEXT, "no such case for the oneDNN composition");
    } else if (dnnl_engine_create(&o->engine, dnnl_cpu, 0) == dnnl_success &&
               dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags) ==
                   dnnl_success &&
               (linear ? make_linear(o) : make_attention(o))) {
        return &o->work;
    }
    destroy(&o->work);
    return NULL;
}

const char *bench_onednn_about(void)
{
    static char text[64];
    const dnnl_version_t *version = dnnl_version();

    snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

#else

struct bench_work *bench_onednn_create(const struct bench_spec *spec, struct bench_host *host,
                                       char why[BENCH_WHY_TEXT])
{
    (void)spec;
    (void)host;
    snprintf(why, BENCH_WHY_TEXT, "built without oneDNN");
    return NULL;
}

const char *bench_onednn_about(void)
{
    return NULL;
}

#endif
