/* SPDX-License-Identifier: Apache-2.0 */
/* suites_kvtypes.c - kvtypes: a decode step over long caches of each storage type, beside the cache
 * of the default type; and of rows that are rotated, beside those that are not. */
#include <stdio.h>

#include "suites.h"

/* K and V as a name, and as the types of a case. */
struct pair {
    const char *name;
    gqa_dtype k, v;
    bool f32, bf16; /* numerics that have it */
    enum bench_peer ggml;
    int32_t ort; /* enum bench_peer of what is most alike in ONNX Runtime, or -1 */
    bool rotate;
};

static const struct pair pairs[] = {
    {"f16", GQA_F16, GQA_F16, true, false, PEER_GGML, PEER_ORT, false},
    {"bf16", GQA_BF16, GQA_BF16, true, false, PEER_GGML_BF16, PEER_ORT, false},
    {"int8", GQA_I8, GQA_I8, true, true, PEER_GGML_Q8, PEER_ORT_INT8, false},
    {"e4m3", GQA_E4M3, GQA_E4M3, true, true, PEER_GGML_Q8, -1, false},
    {"int4", GQA_I4, GQA_I4, true, true, PEER_GGML_Q4, PEER_ORT_INT4, false},
    {"int8-int4", GQA_I8, GQA_I4, false, true, PEER_GGML_Q8, -1, false},
    {"int8-default", GQA_I8, GQA_F32, false, true, PEER_GGML_Q8, -1, false},
    {"int8-rotated", GQA_I8, GQA_I8, true, true, PEER_GGML_Q8, -1, true},
    {"int4-rotated", GQA_I4, GQA_I4, true, true, PEER_GGML_Q4, -1, true},
};

/* One step after `past` tokens, caches cold; against the same step over the default type. */
static void add_step(struct bench_maker *maker, const char *shape, int32_t past,
                     gqa_numerics numerics, const struct pair *pair)
{
    struct bench_case *one = bench_make_step(maker, numerics, shape, past);
    struct bench_spec plain;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    plain = one->spec;
    one->spec.k_type = (int32_t)pair->k;
    one->spec.v_type = (int32_t)pair->v;
    snprintf(text, sizeof text, "%s/P%d/%s", shape, (int)past, pair->name);
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    bench_case_oppose(one, "default", 0, -1, &plain);
    bench_oppose(one, pair->ggml);
    if (pair->ort == PEER_ORT) {
        bench_oppose(one, PEER_ORT);
    } else if (pair->ort >= 0) {
        bench_oppose_integers(one, (enum bench_peer)pair->ort);
    }
    for (int32_t i = 1; i < one->opponents; i++) { /* their names say their types */
        one->opponent[i].spec.k_type = one->opponent[i].spec.v_type = 0;
    }
    if (pair->rotate) {
        plain = one->spec;
        one->spec.rotate = 1;
        bench_case_oppose(one, "not-rotated", 0, -1, &plain);
    }
}

void bench_suite_kvtypes(struct bench_maker *maker)
{
    static const struct {
        const char *shape;
        int32_t past;
    } steps[] = {{"tiny", 64},
                 {"gpt-oss", 8192},
                 {"gpt-oss", 32768},
                 {"llama3-8b", 8192},
                 {"llama3-8b", 32768}};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (size_t j = 0; j < sizeof pairs / sizeof pairs[0]; j++) {
            if (pairs[j].bf16 && bench_wants(maker, GQA_NUMERICS_BF16)) {
                add_step(maker, steps[i].shape, steps[i].past, GQA_NUMERICS_BF16, &pairs[j]);
            }
            if (pairs[j].f32 && bench_wants(maker, GQA_NUMERICS_F32)) {
                add_step(maker, steps[i].shape, steps[i].past, GQA_NUMERICS_F32, &pairs[j]);
            }
        }
    }
}
