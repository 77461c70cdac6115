/* SPDX-License-Identifier: Apache-2.0 */
/* suites_serving.c - cascade: a step of sequences that share a prompt, against the same ones with
 * pages of their own. serving: a layer on pieces of prompts and decodes of many sequences in one
 * flat call, against a call for each. */
#include <stdio.h>

#include "shapes.h"
#include "suites.h"

struct serving {
    const char *shape;
    int32_t batch, past, shared, tokens;
    bool f32;
};

/* A baseline with keys that are shared, and with a copy for each sequence: the faster one counts.
 */
static void oppose_both(struct bench_case *one, enum bench_peer peer,
                        const struct bench_spec *apart)
{
    bench_oppose(one, peer);
    bench_oppose(one, peer);
    one->opponent[one->opponents - 1].spec.shared = apart->shared;
}

static void add_cascade(struct bench_maker *maker, const struct serving *c, gqa_numerics numerics)
{
    struct bench_case *one = bench_make_step(maker, numerics, c->shape, c->past);
    struct bench_spec apart;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    one->spec.batch = c->batch;
    one->spec.tokens = c->tokens;
    apart = one->spec;
    one->spec.shared = c->shared;
    snprintf(text, sizeof text, "%s/P%d/shared%d/B%d/T%d", c->shape, (int)c->past, (int)c->shared,
             (int)c->batch, (int)c->tokens);
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    bench_case_oppose(one, "apart", 0, -1, &apart);
    oppose_both(one, PEER_GGML, &apart);
    oppose_both(one, PEER_GGML_BF16, &apart);
    oppose_both(one, PEER_GGML_Q8, &apart);
    bench_oppose(one, PEER_ORT);
    bench_oppose_integers(one, PEER_ORT_INT8);
}

void bench_suite_cascade(struct bench_maker *maker)
{
    static const struct serving all[] = {
        {"tiny", 4, 300, 256, 1, true},        {"gpt-oss", 32, 8256, 8192, 1, true},
        {"gpt-oss", 32, 8256, 8192, 4, false}, {"gpt-oss", 8, 8256, 8192, 1, false},
        {"gpt-oss", 2, 8256, 8192, 1, false},  {"llama3-8b", 32, 8256, 8192, 1, false},
        {"mha", 8, 8256, 8192, 1, false},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_cascade(maker, &all[i], GQA_NUMERICS_BF16);
        }
        if (all[i].f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_cascade(maker, &all[i], GQA_NUMERICS_F32);
        }
    }
}

static void add_mix(struct bench_maker *maker, const struct serving *c, gqa_numerics numerics)
{
    const struct bench_shape *shape = bench_shape_find(c->shape);
    struct bench_case *one = bench_make(maker, numerics);
    struct bench_spec apart;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(shape, &one->spec);
    one->spec.kind = BENCH_MIX;
    one->spec.hidden = shape->hidden;
    one->spec.batch = c->batch;
    one->spec.past = c->past;
    one->spec.tokens = c->tokens;
    apart = one->spec;
    apart.apart = 1;
    snprintf(text, sizeof text, "%s/P%d/B%d/T%d", c->shape, (int)c->past, (int)c->batch,
             (int)c->tokens);
    bench_name(one, text);
    bench_bound(one, BOUND_COMPUTE);
    bench_case_oppose(one, "apart", 0, -1, &apart);
    bench_oppose(one, PEER_GGML);
    bench_oppose(one, PEER_GGML_BF16);
    bench_oppose(one, PEER_ORT);
    bench_oppose_integers(one, PEER_ORT_INT8);
}

void bench_suite_serving(struct bench_maker *maker)
{
    static const struct serving all[] = {
        {"tiny", 9, 50, 0, 8, true},           {"gpt-oss", 1, 2048, 0, 64, false},
        {"gpt-oss", 8, 2048, 0, 64, false},    {"gpt-oss", 64, 2048, 0, 64, false},
        {"llama3-8b", 64, 2048, 0, 64, false},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_mix(maker, &all[i], GQA_NUMERICS_BF16);
        }
        if (all[i].f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_mix(maker, &all[i], GQA_NUMERICS_F32);
        }
    }
}
