/* SPDX-License-Identifier: Apache-2.0 */
/* suites_hostkv.c - hostkv: one token over keys and values where the host keeps them, plain or in
 * blocks, in each number format, in blocks in int8 too; against a cache of the layer's own. */
#include <stdio.h>

#include "suites.h"

static const char *const homes[HOMES] = {[HOME_TOKENS] = "tokens",
                                         [HOME_HEADS] = "heads",
                                         [HOME_BLOCK_HEADS] = "blocks-heads",
                                         [HOME_BLOCK_TOKENS] = "blocks-tokens",
                                         [HOME_BLOCK_TURNED] = "blocks-turned"};

/* format: of the tensors; GQA_I8: of keys and values alone, and of the cache too. */
static void add_home(struct bench_maker *maker, const char *shape, int32_t past,
                     gqa_numerics numerics, int32_t home, int32_t format)
{
    struct bench_case *one = bench_make_step(maker, numerics, shape, past);
    struct bench_spec cache;
    char text[BENCH_NAME];

    if (one == NULL) {
        return;
    }
    one->spec.k_type = one->spec.v_type = format == GQA_I8 ? GQA_I8 : 0;
    cache = one->spec;
    one->spec.home = home;
    one->spec.tensors = format == GQA_I8 ? GQA_F32 : format;
    snprintf(text, sizeof text, "%s/P%d/%s-%s", shape, (int)past, homes[home],
             format == GQA_I8 ? "int8" : bench_format_name(format));
    bench_name(one, text);
    bench_bound(one, BOUND_MEMORY);
    bench_case_oppose(one, "cache", 0, -1, &cache);
    if (format == GQA_I8) {
        return;
    }
    bench_oppose(one, bench_ggml_of(one->spec.tensors));
    bench_oppose(one, PEER_ORT);
}

static void add_hostkv(struct bench_maker *maker, const char *shape, int32_t past,
                       gqa_numerics numerics)
{
    for (int32_t home = HOME_TOKENS; home < HOMES; home++) {
        for (int32_t format = GQA_F32; format <= GQA_F16 && !maker->failed; format++) {
            add_home(maker, shape, past, numerics, home, format);
        }
        if (home >= HOME_BLOCK_HEADS && !maker->failed) {
            add_home(maker, shape, past, numerics, home, GQA_I8);
        }
    }
}

void bench_suite_hostkv(struct bench_maker *maker)
{
    static const struct {
        const char *shape;
        int32_t past;
    } all[] = {{"tiny", 64}, {"gpt-oss", 4096}, {"llama3-8b", 4096}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (bench_wants(maker, GQA_NUMERICS_BF16)) {
            add_hostkv(maker, all[i].shape, all[i].past, GQA_NUMERICS_BF16);
        }
        if (bench_wants(maker, GQA_NUMERICS_F32)) {
            add_hostkv(maker, all[i].shape, all[i].past, GQA_NUMERICS_F32);
        }
    }
}
