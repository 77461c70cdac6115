/* SPDX-License-Identifier: Apache-2.0 */
/* suites_attention.c - prefill, decode, window, chunked: attention alone, from q, k and v to the
 * output, keys and values appended to a cache. */
#include <stdio.h>

#include "shapes.h"
#include "suites.h"

#define ORT_MOST_TOKENS 4096  /* beyond, a path that keeps all scores needs too much memory */
#define PEER_MOST_BYTES 6.5e9 /* of a baseline's keys and values */

/* The products and the softmax of the walk alone, in this process. */
static void oppose_parts(struct bench_case *one)
{
    struct bench_spec spec = one->spec;

    spec.kind = BENCH_PRODUCTS;
    bench_case_oppose(one, "products", 0, -1, &spec);
    spec.kind = BENCH_SOFTMAX;
    bench_case_oppose(one, "softmax", 0, -1, &spec);
}

/* ggml with keys and values in f16, or in each of its formats. */
static void oppose_ggml(struct bench_case *one, bool each)
{
    bench_oppose(one, PEER_GGML);
    if (each) {
        bench_oppose(one, PEER_GGML_BF16);
        bench_oppose(one, PEER_GGML_Q8);
    }
}

static void prefill_peers(struct bench_case *one)
{
    bool f32 = one->spec.numerics == GQA_NUMERICS_F32;
    bool all_scores = one->spec.tokens <= ORT_MOST_TOKENS;

    if (all_scores || !one->spec.sinks) {
        bench_oppose(one, PEER_ORT);
    }
    if (f32 && all_scores && !one->spec.sinks) {
        bench_oppose(one, PEER_ORT_NO_FLASH);
    }
    if (!f32 && one->spec.tokens <= 8192) {
        bench_oppose(one, PEER_ONEDNN);
    }
    if (f32 && all_scores) {
        bench_oppose(one, PEER_OPENBLAS);
        bench_oppose(one, PEER_OPENBLAS_DEFAULT);
    }
    oppose_ggml(one, true);
}

/* What else there is of a case. */
enum also {
    ALSO_F32 = 1,     /* numerics f32, too */
    ALSO_PEERS = 2,   /* all baselines, not ggml in f16 alone */
    ALSO_PARTS = 4,   /* the walk's parts (bf16) */
    ALSO_FORMATS = 8, /* prefill: once more with tensors of 16 bits */
    ALSO_PLAIN = 16   /* decode: once more with keys and values in the caller's memory */
};

struct prefill {
    const char *shape;
    int32_t tokens, window, chunk;
    int also;
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
    if ((p->also & ALSO_PEERS) != 0) {
        prefill_peers(one);
    } else {
        oppose_ggml(one, false);
    }
    if ((p->also & ALSO_PARTS) != 0 && numerics == GQA_NUMERICS_BF16) {
        oppose_parts(one);
    }
    if ((p->also & ALSO_FORMATS) != 0) {
        bench_add_formats(maker);
    }
}

static void add_prefills(struct bench_maker *maker, const struct prefill *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_prefill(maker, &all[i], GQA_NUMERICS_BF16);
        }
        if ((all[i].also & ALSO_F32) != 0 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_prefill(maker, &all[i], GQA_NUMERICS_F32);
        }
    }
}

void bench_suite_prefill(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS | ALSO_FORMATS},
        {"gpt-oss", 1024, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS | ALSO_FORMATS},
        {"gpt-oss", 4096, 0, 0, ALSO_PEERS | ALSO_PARTS | ALSO_FORMATS},
        {"gpt-oss", 16384, 0, 0, ALSO_PARTS},
        {"llama3-8b", 512, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS},
        {"llama3-8b", 2048, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS | ALSO_FORMATS},
        {"llama3-8b", 8192, 0, 0, ALSO_PEERS | ALSO_PARTS},
        {"qwen3-8b", 4096, 0, 0, ALSO_PEERS},
        {"gemma3-4b", 2048, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS},
        {"mqa", 2048, 0, 0, ALSO_F32 | ALSO_PEERS},
        {"mha", 2048, 0, 0, ALSO_F32 | ALSO_PEERS},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
}

/* The step that was added last once more, over keys and values that lie token by token [K, H, D]
 * and head by head [H, K, D] in the caller's memory, in each number format; against the cache. */
static void add_plains(struct bench_maker *maker)
{
    const struct bench_case model = maker->cases->at[maker->cases->count - 1];

    for (int32_t i = 0; i < 6 && !maker->failed; i++) {
        struct bench_case *one = bench_make(maker, model.spec.numerics);

        if (one != NULL) {
            *one = model;
            one->opponents = 0;
            one->spec.home = i < 3 ? HOME_TOKENS : HOME_HEADS;
            one->spec.tensors = i % 3;
            snprintf(one->name, sizeof one->name, "%.72s/%s-%s", model.name,
                     i < 3 ? "tokens" : "heads", bench_format_name(i % 3));
            bench_case_oppose(one, "cache", 0, -1, &model.spec);
            bench_oppose(one, bench_ggml_of(one->spec.tensors));
        }
    }
}

/* One step of a batch after `past` tokens, caches cold. */
static void add_decode(struct bench_maker *maker, const struct prefill *p, int32_t batch,
                       gqa_numerics numerics)
{
    struct bench_case *one = bench_make_step(maker, numerics, p->shape, p->tokens);
    double f32_bytes;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    one->spec.batch = batch;
    one->spec.window = p->window;
    one->spec.chunk = p->chunk;
    snprintf(text, sizeof text, "%s%s/P%d/B%d", p->shape, one->suite[0] == 'd' ? "" : "/step",
             (int)p->tokens, (int)batch);
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    f32_bytes = 8.0 * one->spec.hkv * one->spec.d * p->tokens * batch;
    if ((p->also & ALSO_PEERS) != 0 && f32_bytes < PEER_MOST_BYTES) {
        bench_oppose(one, PEER_ORT);
    }
    if ((p->also & ALSO_PEERS) != 0 && f32_bytes < 4 * PEER_MOST_BYTES) {
        bench_oppose_integers(one, PEER_ORT_INT8);
    }
    if ((p->also & ALSO_PEERS) != 0 && numerics == GQA_NUMERICS_F32) {
        bench_oppose(one, PEER_OPENBLAS);
    }
    oppose_ggml(one, (p->also & ALSO_PEERS) != 0);
    if ((p->also & ALSO_PLAIN) != 0) {
        add_plains(maker);
    }
}

static void add_decodes(struct bench_maker *maker, const struct prefill *all, size_t count,
                        int32_t batch)
{
    for (size_t i = 0; i < count; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_decode(maker, &all[i], batch, GQA_NUMERICS_BF16);
        }
        if ((all[i].also & ALSO_F32) != 0 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_decode(maker, &all[i], batch, GQA_NUMERICS_F32);
        }
    }
}

void bench_suite_decode(struct bench_maker *maker)
{
    static const struct prefill one[] = {
        {"tiny", 64, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PLAIN},
        {"gpt-oss", 1024, 0, 0, ALSO_PEERS},
        {"gpt-oss", 8192, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PLAIN},
        {"gpt-oss", 32768, 0, 0, ALSO_PEERS},
        {"gpt-oss", 131072, 0, 0, 0},
        {"llama3-8b", 1024, 0, 0, ALSO_PEERS},
        {"llama3-8b", 8192, 0, 0, ALSO_F32 | ALSO_PEERS | ALSO_PLAIN},
        {"llama3-8b", 32768, 0, 0, ALSO_PEERS},
        {"gemma3-4b", 8192, 0, 0, ALSO_PEERS},
        {"mqa", 8192, 0, 0, ALSO_PEERS},
        {"mha", 8192, 0, 0, ALSO_PEERS},
    };
    static const struct prefill eight[] = {
        {"gpt-oss", 8192, 0, 0, ALSO_PEERS},
        {"gpt-oss", 32768, 0, 0, ALSO_PEERS},
        {"llama3-8b", 8192, 0, 0, ALSO_PEERS},
        {"llama3-8b", 32768, 0, 0, ALSO_PEERS},
    };

    add_decodes(maker, one, sizeof one / sizeof one[0], 1);
    add_decodes(maker, eight, sizeof eight / sizeof eight[0], 8);
}

void bench_suite_window(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 8, 0, ALSO_F32 | ALSO_PEERS | ALSO_FORMATS},
        {"gpt-oss", 4096, 128, 0, ALSO_F32 | ALSO_PEERS | ALSO_PARTS | ALSO_FORMATS},
        {"gpt-oss", 16384, 128, 0, 0},
        {"gpt-oss", 32768, 128, 0, 0},
        {"gpt-oss", 131072, 128, 0, 0},
    };
    static const struct prefill step[] = {
        {"gpt-oss", 1024, 128, 0, ALSO_PEERS},
        {"gpt-oss", 8192, 128, 0, ALSO_PEERS},
        {"gpt-oss", 32768, 128, 0, 0},
        {"gpt-oss", 131072, 128, 0, 0},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
    add_decodes(maker, step, sizeof step / sizeof step[0], 1);
}

void bench_suite_chunked(struct bench_maker *maker)
{
    static const struct prefill all[] = {
        {"tiny", 64, 0, 16, ALSO_F32},
        {"llama4", 4096, 0, 2048, ALSO_F32},
        {"llama4", 16384, 0, 2048, 0},
        {"llama4", 32768, 0, 2048, 0},
    };
    static const struct prefill step[] = {
        {"llama4", 1023, 0, 2048, 0},
        {"llama4", 8191, 0, 2048, 0},
        {"llama4", 32767, 0, 2048, 0},
        {"llama4", 131071, 0, 2048, 0},
    };

    add_prefills(maker, all, sizeof all / sizeof all[0]);
    add_decodes(maker, step, sizeof step / sizeof step[0], 1);
}
