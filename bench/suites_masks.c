/* SPDX-License-Identifier: Apache-2.0 */
/* suites_masks.c - mask: who sees whom said by a tensor, against the same said by the config. */
#include <stdio.h>

#include "shapes.h"
#include "suites.h"

static const char *const names[] = {
    [MASK_BOOL] = "bool", [MASK_BITS] = "bits", [MASK_BIAS] = "bias", [MASK_TREE] = "tree"};

struct masked {
    const char *shape;
    int32_t tokens, past;
    bool f32;
};

/* Its opponents: the same case in causal order (for a tree: a draft of as many tokens), and ggml.
 */
static void add_mask(struct bench_maker *maker, const struct masked *m, enum bench_mask mask,
                     gqa_numerics numerics)
{
    struct bench_case *one = bench_make(maker, numerics);
    struct bench_spec plain;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(bench_shape_find(m->shape), &one->spec);
    one->spec.kind = BENCH_ATTENTION;
    one->spec.tokens = m->tokens;
    one->spec.past = m->past;
    plain = one->spec;
    one->spec.mask = (int32_t)mask;
    if (m->past > 0) {
        snprintf(text, sizeof text, "%s/P%d/T%d/%s", m->shape, (int)m->past, (int)m->tokens,
                 names[mask]);
    } else {
        snprintf(text, sizeof text, "%s/S%d/%s", m->shape, (int)m->tokens, names[mask]);
    }
    bench_name(one, text);
    bench_bound(one, BOUND_COMPUTE);
    bench_case_oppose(one, mask == MASK_TREE ? "draft" : "causal", 0, -1, &plain);
    bench_oppose(one, PEER_GGML);
}

static void add_masks(struct bench_maker *maker, const struct masked *m, enum bench_mask first,
                      enum bench_mask last)
{
    for (int mask = (int)first; mask <= (int)last; mask++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_mask(maker, m, (enum bench_mask)mask, GQA_NUMERICS_BF16);
        }
        if (m->f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
            add_mask(maker, m, (enum bench_mask)mask, GQA_NUMERICS_F32);
        }
    }
}

void bench_suite_mask(struct bench_maker *maker)
{
    static const struct masked whole[] = {
        {"tiny", 64, 0, true},
        {"gpt-oss", 1024, 0, true},
        {"gpt-oss", 4096, 0, false},
        {"llama3-8b", 2048, 0, true},
    };
    static const struct masked tree[] = {
        {"tiny", 16, 64, true},
        {"gpt-oss", 64, 16384, true},
        {"llama3-8b", 64, 16384, false},
    };

    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        add_masks(maker, &whole[i], MASK_BOOL, MASK_BIAS);
    }
    for (size_t i = 0; i < sizeof tree / sizeof tree[0]; i++) {
        add_masks(maker, &tree[i], MASK_TREE, MASK_TREE);
    }
}
