/* suites_attention.c - prefill, decode, window, chunked: attention alone, from q, k and v to the
 * output, keys and values appended to a cache. */
#include <stdio.h>

#include "shapes.h"
#include "suites.h"

#define ORT_MOST_TOKENS 4096  /* beyond, a path that keeps all scores needs too much memory */
#define PEER_MOST_BYTES 6.5e9 /* of a baseline's keys and values */

static void oppose(struct bench_case *one, enum bench_peer peer)
{
    struct bench_spec spec = one->spec;

    spec.isa = GQA_ISA_AUTO;
    spec.max_isa = GQA_ISA_AUTO;
    spec.backend = GQA_BACKEND_AUTO;
    bench_case_oppose(one, bench_peer_names[peer], 0, (int32_t)peer, &spec);
}

/* The products and the softmax of the walk alone, in this process. */
static void oppose_parts(struct bench_case *one)
{
    struct bench_spec spec = one->spec;

    spec.kind = BENCH_PRODUCTS;
    bench_case_oppose(one, "products", 0, -1, &spec);
    spec.kind = BENCH_SOFTMAX;
    bench_case_oppose(one, "softmax", 0, -1, &spec);
}

static void prefill_peers(struct bench_case *one)
{
    bool f32 = one->spec.numerics == GQA_NUMERICS_F32;
    bool all_scores = one->spec.tokens <= ORT_MOST_TOKENS;

    if (all_scores || !one->spec.sinks) {
        oppose(one, PEER_ORT);
    }
    if (f32 && all_scores && !one->spec.sinks) {
        oppose(one, PEER_ORT_NO_FLASH);
    }
    if (!f32 && one->spec.tokens <= 8192) {
        oppose(one, PEER_ONEDNN);
    }
    if (f32 && all_scores) {
        oppose(one, PEER_OPENBLAS);
        oppose(one, PEER_OPENBLAS_DEFAULT);
    }
}

struct prefill {
    const char *shape;
    int32_t tokens, window, chunk;
    bool f32, peers, parts;
};

static void add_prefill(struct bench_maker *maker, const struct prefill *p, gqa_numerics numerics)
{
    const struct bench_shape *shape = bench_shape_find(p->shape);
    struct bench_case *one = bench_make(maker, numerics);
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(shape, &one->spec);
    one->spec.kind = BENCH_ATTENTION;
    one->spec.tokens = p->tokens;
    one->spec.window = p->window;
    one->spec.chunk = p->chunk;
    snprintf(text, sizeof text, "%s/S%d", p->shape, (int)p->tokens);
    bench_name(one, text);
    bench_bound(one, BOUND_COMPUTE);
    if (p->peers) {
        prefill_peers(one);
    }
    if (p->parts && numerics == GQA_NUMERICS_BF16) {
        oppose_parts(one);
    }
}

static void add_prefills(struct bench_maker *maker, const struct prefill *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_prefill(maker, &all[i], GQA_NUMERICS_BF16);
        }
        if (all[i].f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_prefill(maker, &all[i], GQA_NUMERICS_F32);
        }
    }
}

void bench_suite_prefill(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 0, 0, true, true, true},         {"gpt-oss", 1024, 0, 0, true, true, true},
        {"gpt-oss", 4096, 0, 0, false, true, true},   {"gpt-oss", 16384, 0, 0, false, false, true},
        {"llama3-8b", 512, 0, 0, true, true, true},   {"llama3-8b", 2048, 0, 0, true, true, true},
        {"llama3-8b", 8192, 0, 0, false, true, true}, {"qwen3-8b", 4096, 0, 0, false, true, false},
        {"gemma3-4b", 2048, 0, 0, true, true, true},  {"mqa", 2048, 0, 0, true, true, false},
        {"mha", 2048, 0, 0, true, true, false},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
}

/* One step of a batch after `past` tokens, caches cold. */
static void add_decode(struct bench_maker *maker, const struct prefill *p, int32_t batch,
                       gqa_numerics numerics)
{
    struct bench_case *one = bench_make(maker, numerics);
    double f32_bytes;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(bench_shape_find(p->shape), &one->spec);
    one->spec.kind = BENCH_ATTENTION;
    one->spec.batch = batch;
    one->spec.past = p->tokens;
    one->spec.window = p->window;
    one->spec.chunk = p->chunk;
    one->spec.cold = p->tokens >= 1024; /* what is smaller stays in a cache anyway */
    snprintf(text, sizeof text, "%s%s/P%d/B%d", p->shape, one->suite[0] == 'd' ? "" : "/step",
             (int)p->tokens, (int)batch);
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    f32_bytes = 8.0 * one->spec.hkv * one->spec.d * p->tokens * batch;
    if (p->peers && f32_bytes < PEER_MOST_BYTES) {
        oppose(one, PEER_ORT);
    }
    if (p->peers && f32_bytes < 4 * PEER_MOST_BYTES) {
        oppose(one, PEER_ORT_INT8);
        one->opponent[one->opponents - 1].spec.sinks = 0; /* as its int8 path is fastest */
    }
    if (p->peers && numerics == GQA_NUMERICS_F32) {
        oppose(one, PEER_OPENBLAS);
    }
}

static void add_decodes(struct bench_maker *maker, const struct prefill *all, size_t count,
                        int32_t batch)
{
    for (size_t i = 0; i < count; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_decode(maker, &all[i], batch, GQA_NUMERICS_BF16);
        }
        if (all[i].f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_decode(maker, &all[i], batch, GQA_NUMERICS_F32);
        }
    }
}

void bench_suite_decode(struct bench_maker *maker)
{
    static const struct prefill one[] = {
        {"tiny", 64, 0, 0, true, true, false},
        {"gpt-oss", 1024, 0, 0, false, true, false},
        {"gpt-oss", 8192, 0, 0, true, true, false},
        {"gpt-oss", 32768, 0, 0, false, true, false},
        {"gpt-oss", 131072, 0, 0, false, false, false},
        {"llama3-8b", 1024, 0, 0, false, true, false},
        {"llama3-8b", 8192, 0, 0, true, true, false},
        {"llama3-8b", 32768, 0, 0, false, true, false},
        {"gemma3-4b", 8192, 0, 0, false, true, false},
        {"mqa", 8192, 0, 0, false, true, false},
        {"mha", 8192, 0, 0, false, true, false},
    };
    static const struct prefill eight[] = {
        {"gpt-oss", 8192, 0, 0, false, true, false},
        {"gpt-oss", 32768, 0, 0, false, true, false},
        {"llama3-8b", 8192, 0, 0, false, true, false},
        {"llama3-8b", 32768, 0, 0, false, true, false},
    };

    add_decodes(maker, one, sizeof one / sizeof one[0], 1);
    add_decodes(maker, eight, sizeof eight / sizeof eight[0], 8);
}

void bench_suite_window(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 8, 0, true, true, false},
        {"gpt-oss", 4096, 128, 0, true, true, true},
        {"gpt-oss", 16384, 128, 0, false, false, false},
        {"gpt-oss", 32768, 128, 0, false, false, false},
        {"gpt-oss", 131072, 128, 0, false, false, false},
    };
    static const struct prefill step[] = {
        {"gpt-oss", 1024, 128, 0, false, true, false},
        {"gpt-oss", 8192, 128, 0, false, true, false},
        {"gpt-oss", 32768, 128, 0, false, false, false},
        {"gpt-oss", 131072, 128, 0, false, false, false},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
    add_decodes(maker, step, sizeof step / sizeof step[0], 1);
}

void bench_suite_chunked(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 0, 16, true, false, false},
        {"llama4", 4096, 0, 2048, true, false, false},
        {"llama4", 16384, 0, 2048, false, false, false},
        {"llama4", 32768, 0, 2048, false, false, false},
    };
    static const struct prefill step[] = {
        {"llama4", 1023, 0, 2048, false, false, false},
        {"llama4", 8191, 0, 2048, false, false, false},
        {"llama4", 32767, 0, 2048, false, false, false},
        {"llama4", 131071, 0, 2048, false, false, false},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
    add_decodes(maker, step, sizeof step / sizeof step[0], 1);
}
