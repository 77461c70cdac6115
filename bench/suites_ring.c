/* SPDX-License-Identifier: Apache-2.0 */
/* suites_ring.c - ring: a token through a layer with a window and one without, whose caches hold
 * what they see, against two that hold everything. */
#include <stdio.h>

#include "shapes.h"
#include "suites.h"

static void add_pair(struct bench_maker *maker, const char *shape, int32_t past, int32_t window,
                     gqa_numerics numerics)
{
    struct bench_case *one = bench_wants(maker, numerics) ? bench_make(maker, numerics) : NULL;
    struct bench_spec full;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    bench_shape_use(bench_shape_find(shape), &one->spec);
    one->spec.kind = BENCH_PAIR;
    one->spec.past = past;
    one->spec.window = window;
    one->spec.ring = 1;
    one->spec.cold = past >= 65536; /* the full layer's keys outgrow a last-level cache */
    snprintf(text, sizeof text, "%s-pair/P%d", shape, (int)past);
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    full = one->spec;
    full.ring = 0;
    bench_case_oppose(one, "full-caches", 0, -1, &full);
    bench_oppose(one, PEER_GGML);
    bench_oppose(one, PEER_GGML_BF16);
    bench_oppose(one, PEER_GGML_Q8);
    bench_oppose(one, PEER_ORT);
    bench_oppose_integers(one, PEER_ORT_INT8);
}

void bench_suite_ring(struct bench_maker *maker)
{
    add_pair(maker, "tiny", 200, 16, GQA_NUMERICS_BF16);
    add_pair(maker, "tiny", 200, 16, GQA_NUMERICS_F32);
    add_pair(maker, "gpt-oss", 8192, 128, GQA_NUMERICS_BF16);
    add_pair(maker, "gpt-oss", 131072, 128, GQA_NUMERICS_BF16);
    add_pair(maker, "gpt-oss", 131072, 128, GQA_NUMERICS_F32);
}
