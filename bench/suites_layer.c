/* SPDX-License-Identifier: Apache-2.0 */
/* suites_layer.c - layer, linear, threads, overhead, roofline. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shapes.h"
#include "suites.h"

static const char pieces[] = "pieces"; /* the sum of the best baselines of a layer's parts */

enum form { NATIVE, INT8, PLACED };

/* int8 weights, or weights in place; the only opponent is the same case with native, packed ones.
 */
static void make_form(struct bench_case *one, enum form form)
{
    struct bench_spec native = one->spec;
    size_t length = strlen(one->name);

    one->spec.int8 = form == INT8;
    one->spec.in_place = form == PLACED;
    one->opponents = 0;
    snprintf(one->name + length, sizeof one->name - length, form == INT8 ? "/int8" : "/in-place");
    bench_case_oppose(one, form == INT8 ? "native" : "packed", 0, -1, &native);
}

/* One projection of a layer in oneDNN, in both forms of the weights: the faster one counts. */
static void oppose_projection(struct bench_case *one, int32_t group, int32_t out, int32_t in)
{
    struct bench_spec spec;

    bench_spec_init(&spec);
    spec.kind = BENCH_LINEAR;
    spec.numerics = GQA_NUMERICS_BF16;
    spec.threads = one->spec.threads;
    spec.tokens = one->spec.tokens;
    spec.out = out;
    spec.in = in;
    spec.cold = one->spec.cold;
    spec.form = FORM_PLAIN;
    bench_case_oppose(one, pieces, group, PEER_ONEDNN, &spec);
    spec.form = FORM_PACKED;
    bench_case_oppose(one, pieces, group, PEER_ONEDNN, &spec);
}

static struct bench_case *add_layer(struct bench_maker *maker, const char *name, int32_t tokens,
                                    int32_t past, int32_t window)
{
    const struct bench_shape *shape = bench_shape_find(name);
    struct bench_case *one =
        bench_wants(maker, GQA_NUMERICS_BF16) ? bench_make(maker, GQA_NUMERICS_BF16) : NULL;
    struct bench_spec attention;
    char text[BENCH_NAME];

    if (one == NULL) {
        return NULL;
    }
    bench_shape_use(shape, &one->spec);
    one->spec.kind = BENCH_LAYER;
    one->spec.hidden = shape->hidden;
    one->spec.tokens = tokens;
    one->spec.past = past;
    one->spec.window = window;
    one->spec.cold = past > 0;
    snprintf(text, sizeof text, "%s%s/%c%d", name, window > 0 ? "-window" : "",
             past > 0 ? 'P' : 'S', (int)(past > 0 ? past : tokens));
    bench_name(one, text);
    bench_bound(one, past > 0 ? BOUND_MEMORY : BOUND_COMPUTE);
    attention = one->spec;
    attention.kind = BENCH_ATTENTION;
    attention.hidden = 0;
    oppose_projection(one, 0, (shape->hq + 2 * shape->hkv) * shape->d, shape->hidden);
    bench_case_oppose(one, pieces, 1, PEER_ORT, &attention);
    oppose_projection(one, 2, shape->hidden, shape->hq * shape->d);
    return one;
}

static void add_form_layer(struct bench_maker *maker, const char *name, int32_t tokens,
                           int32_t past, enum form form)
{
    struct bench_case *one = add_layer(maker, name, tokens, past, 0);

    if (one != NULL) {
        make_form(one, form);
    }
}

void bench_suite_layer(struct bench_maker *maker)
{
    for (int i = 0; i < 2; i++) {
        if (add_layer(maker, i == 0 ? "tiny" : "gpt-oss", i == 0 ? 64 : 1024, 0, 0) != NULL) {
            bench_add_formats(maker);
        }
    }
    add_layer(maker, "gpt-oss", 1024, 0, 128);
    add_layer(maker, "gpt-oss", 1, 8192, 0);
    add_layer(maker, "llama3-8b", 2048, 0, 0);
    add_layer(maker, "llama3-8b", 1, 8192, 0);
    for (int form = INT8; form <= PLACED; form++) {
        add_form_layer(maker, "tiny", 64, 0, (enum form)form);
        add_form_layer(maker, "gpt-oss", 1024, 0, (enum form)form);
        add_form_layer(maker, "gpt-oss", 1, 8192, (enum form)form);
    }
}

static struct bench_case *add_linear(struct bench_maker *maker, gqa_numerics numerics,
                                     const int32_t size[3], bool cold)
{
    struct bench_case *one = bench_wants(maker, numerics) ? bench_make(maker, numerics) : NULL;
    char text[BENCH_NAME];

    if (one == NULL) {
        return NULL;
    }
    one->spec.kind = BENCH_LINEAR;
    one->spec.tokens = size[0];
    one->spec.out = size[1];
    one->spec.in = size[2];
    one->spec.cold = cold;
    snprintf(text, sizeof text, "%dx%d/M%d%s", (int)size[1], (int)size[2], (int)size[0],
             size[0] > 16 ? ""
             : cold       ? "/cold"
                          : "/hot");
    bench_name(one, text);
    bench_bound(one, size[0] > 16 ? BOUND_COMPUTE : BOUND_MEMORY);
    return one;
}

static void linear_peers(struct bench_case *one)
{
    struct bench_spec spec = one->spec;

    spec.isa = GQA_ISA_AUTO;
    spec.max_isa = GQA_ISA_AUTO;
    spec.backend = GQA_BACKEND_AUTO;
    if (spec.numerics == GQA_NUMERICS_F32) {
        bench_case_oppose(one, "openblas", 0, PEER_OPENBLAS, &spec);
        bench_case_oppose(one, "openblas-default", 0, PEER_OPENBLAS_DEFAULT, &spec);
        return;
    }
    spec.form = FORM_PLAIN;
    bench_case_oppose(one, "onednn", 0, PEER_ONEDNN, &spec);
    spec.form = FORM_PACKED;
    bench_case_oppose(one, "onednn", 0, PEER_ONEDNN, &spec);
}

static void add_linears(struct bench_maker *maker, int32_t out, int32_t in, enum form form)
{
    static const int32_t tokens[] = {1, 16, 128, 1024};

    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        for (int cold = tokens[i] > 16 ? 1 : 0; cold < 2; cold++) {
            for (int n = GQA_NUMERICS_BF16; n >= GQA_NUMERICS_F32; n--) {
                const int32_t size[3] = {tokens[i], out, in};
                struct bench_case *one =
                    add_linear(maker, (gqa_numerics)n, size, cold && tokens[i] <= 16);

                if (one != NULL && form != NATIVE) {
                    make_form(one, form);
                } else if (one != NULL) {
                    linear_peers(one);
                }
            }
        }
    }
}

void bench_suite_linear(struct bench_maker *maker)
{
    static const int32_t tiny[3] = {3, 40, 72};

    add_linear(maker, GQA_NUMERICS_BF16, tiny, false);
    add_linears(maker, 5120, 2880, NATIVE);
    add_linears(maker, 2880, 4096, NATIVE);
    add_linears(maker, 5120, 2880, INT8);
    add_linears(maker, 5120, 2880, PLACED);
    add_linears(maker, 2880, 4096, PLACED);
}

/* --threads if it asks for more than one, else all CPUs. */
static int32_t most_threads(const struct bench_options *options)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    online = options->threads > 1 ? options->threads : online < 2 ? 2 : online;
    return online < BENCH_MAX_THREADS ? (int32_t)online : BENCH_MAX_THREADS;
}

/* Threads against one thread: the opponent is the same case on one. */
static void against_one(struct bench_case *one, const char *text)
{
    struct bench_spec spec = one->spec;

    bench_name(one, text);
    spec.threads = 1;
    one->limit.threads = one->spec.threads;
    bench_case_oppose(one, "one-thread", 0, -1, &spec);
}

static void add_threads(struct bench_maker *maker, const char *name, int32_t tokens, int32_t past,
                        gqa_numerics numerics)
{
    struct bench_case *one = bench_wants(maker, numerics) ? bench_make(maker, numerics) : NULL;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(bench_shape_find(name), &one->spec);
    one->spec.kind = BENCH_ATTENTION;
    one->spec.tokens = tokens;
    one->spec.past = past;
    one->spec.cold = past > 0;
    one->spec.threads = most_threads(maker->options);
    bench_bound(one, past > 0 ? BOUND_MEMORY : BOUND_COMPUTE);
    snprintf(text, sizeof text, "%s/%c%d", name, past > 0 ? 'P' : 'S',
             (int)(past > 0 ? past : tokens));
    against_one(one, text);
}

static void add_linear_threads(struct bench_maker *maker, int32_t threads, int32_t tokens)
{
    const int32_t size[3] = {tokens, 5120, 2880};
    struct bench_case *one = add_linear(maker, GQA_NUMERICS_BF16, size, tokens <= 16);

    if (one != NULL) {
        one->spec.threads = threads;
        against_one(one, tokens <= 16 ? "5120x2880/M1/cold" : "5120x2880/M1024");
    }
}

void bench_suite_threads(struct bench_maker *maker)
{
    int32_t threads = most_threads(maker->options);

    add_threads(maker, "tiny", 64, 0, GQA_NUMERICS_BF16);
    add_threads(maker, "gpt-oss", 4096, 0, GQA_NUMERICS_BF16);
    add_threads(maker, "llama3-8b", 2048, 0, GQA_NUMERICS_BF16);
    add_threads(maker, "llama3-8b", 2048, 0, GQA_NUMERICS_F32);
    add_threads(maker, "gpt-oss", 1, 8192, GQA_NUMERICS_BF16);
    add_threads(maker, "gpt-oss", 1, 32768, GQA_NUMERICS_BF16);
    add_linear_threads(maker, threads, 1024);
    add_linear_threads(maker, threads, 1);
}

/* Steps so small that only the way to the products costs. */
void bench_suite_overhead(struct bench_maker *maker)
{
    for (int n = GQA_NUMERICS_BF16; n >= GQA_NUMERICS_F32; n--) {
        for (int layer = 1; layer >= 0; layer--) {
            struct bench_case *one =
                bench_wants(maker, (gqa_numerics)n) ? bench_make(maker, (gqa_numerics)n) : NULL;

            if (one != NULL) {
                bench_shape_use(bench_shape_find("tiny"), &one->spec);
                one->spec.kind = layer ? BENCH_LAYER : BENCH_ATTENTION;
                one->spec.hidden = layer ? bench_shape_find("tiny")->hidden : 0;
                one->spec.past = 16;
                bench_name(one, layer ? "tiny-layer/P16" : "tiny/P16");
            }
        }
    }
}

static void add_probe(struct bench_maker *maker, const char *text, int32_t threads,
                      const int32_t probe[3])
{
    struct bench_case *one = bench_make(maker, GQA_NUMERICS_F32);

    if (one == NULL) {
        return;
    }
    one->spec.kind = BENCH_PROBE;
    one->spec.threads = threads;
    one->spec.isa = GQA_ISA_AUTO;
    one->spec.max_isa = GQA_ISA_AUTO;
    one->spec.backend = GQA_BACKEND_AUTO;
    one->spec.probe = probe[0];
    one->spec.streams = probe[1];
    one->spec.kib = probe[2];
    one->bound = probe[0] == PROBE_READ ? BOUND_MEMORY : BOUND_COMPUTE;
    snprintf(one->name, sizeof one->name, "%s/%s/%dt", one->suite, text, (int)threads);
}

void bench_suite_roofline(struct bench_maker *maker)
{
    static const struct {
        const char *name;
        int32_t probe[3];
    } all[] = {
        {"fma-f32", {PROBE_FMA, 0, 0}},
        {"amx-bf16", {PROBE_AMX, 0, 0}},
        {"read-L2/1-stream", {PROBE_READ, 1, 1024}},
        {"read-L2/8-streams", {PROBE_READ, 8, 1024}},
        {"read-L3/1-stream", {PROBE_READ, 1, 32768}},
        {"read-L3/8-streams", {PROBE_READ, 8, 32768}},
        {"read-DRAM/1-stream", {PROBE_READ, 1, 0}},
        {"read-DRAM/8-streams", {PROBE_READ, 8, 0}},
    };
    int32_t most = maker->options->threads;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        add_probe(maker, all[i].name, 1, all[i].probe);
        if (most > 1) {
            add_probe(maker, all[i].name, most, all[i].probe);
        }
    }
}
