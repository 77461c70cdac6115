/* SPDX-License-Identifier: Apache-2.0 */
/* suites.c - see suites.h. */
#include "suites.h"

#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "shapes.h"

#define COLD_TOKENS 1024 /* a step after fewer reads what caches keep anyway */

static const struct {
    const char *name;
    void (*make)(struct bench_maker *maker);
} suites[] = {
    {"roofline", bench_suite_roofline}, {"prefill", bench_suite_prefill},
    {"decode", bench_suite_decode},     {"window", bench_suite_window},
    {"chunked", bench_suite_chunked},   {"ring", bench_suite_ring},
    {"mask", bench_suite_mask},         {"hostkv", bench_suite_hostkv},
    {"cascade", bench_suite_cascade},   {"serving", bench_suite_serving},
    {"layer", bench_suite_layer},       {"linear", bench_suite_linear},
    {"threads", bench_suite_threads},   {"overhead", bench_suite_overhead},
    {"kvtypes", bench_suite_kvtypes},
};

struct bench_case *bench_make(struct bench_maker *maker, gqa_numerics numerics)
{
    struct bench_case *one = bench_cases_add(maker->cases, maker->suite);

    if (one == NULL) {
        maker->failed = true;
        return NULL;
    }
    one->spec.numerics = numerics;
    one->spec.threads = maker->options->threads;
    one->spec.isa = maker->options->isa;
    one->spec.max_isa = maker->options->max_isa;
    one->spec.backend = maker->options->backend;
    return one;
}

struct bench_case *bench_make_step(struct bench_maker *maker, gqa_numerics numerics,
                                   const char *shape, int32_t past)
{
    struct bench_case *one = bench_make(maker, numerics);

    if (one != NULL) {
        bench_shape_use(bench_shape_find(shape), &one->spec);
        one->spec.kind = BENCH_ATTENTION;
        one->spec.past = past;
        one->spec.cold = past >= COLD_TOKENS;
    }
    return one;
}

bool bench_wants(const struct bench_maker *maker, gqa_numerics numerics)
{
    return maker->options->numerics < 0 || maker->options->numerics == (int32_t)numerics;
}

void bench_name(struct bench_case *one, const char *text)
{
    snprintf(one->name, sizeof one->name, "%s/%s/%s/%dt", one->suite, text,
             one->spec.numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32", (int)one->spec.threads);
}

void bench_bound(struct bench_case *one, enum bench_bound bound)
{
    struct bench_machine machine;

    bench_machine_detect(&machine);
    one->bound = bound;
    bench_spec_init(&one->limit);
    one->limit.kind = BENCH_PROBE;
    one->limit.threads = one->spec.threads;
    if (bound == BOUND_MEMORY) {
        one->limit.probe = PROBE_READ;
        one->limit.streams = 8;
        one->limit.kib = one->spec.cold ? 0 : 32768 / one->spec.threads;
    } else {
        bool tiles = one->spec.numerics == GQA_NUMERICS_BF16 && machine.amx != NULL;

        one->limit.probe = tiles ? PROBE_AMX : PROBE_FMA;
    }
}

void bench_oppose(struct bench_case *one, enum bench_peer peer)
{
    struct bench_spec spec = one->spec;

    spec.isa = GQA_ISA_AUTO;
    spec.max_isa = GQA_ISA_AUTO;
    spec.backend = GQA_BACKEND_AUTO;
    bench_case_oppose(one, bench_peer_names[peer], 0, (int32_t)peer, &spec);
}

void bench_oppose_integers(struct bench_case *one, enum bench_peer peer)
{
    bench_oppose(one, peer);
    one->opponent[one->opponents - 1].spec.sinks = 0;
}

enum bench_peer bench_ggml_of(int32_t format)
{
    return format == GQA_F32 ? PEER_GGML_F32 : format == GQA_BF16 ? PEER_GGML_BF16 : PEER_GGML;
}

const char *bench_format_name(int32_t tensors)
{
    return tensors == GQA_F32 ? "f32" : tensors == GQA_BF16 ? "bf16" : "f16";
}

void bench_add_formats(struct bench_maker *maker)
{
    const struct bench_case model = maker->cases->at[maker->cases->count - 1];

    for (int32_t format = GQA_BF16; format <= GQA_F16 && !maker->failed; format++) {
        struct bench_case *one = bench_make(maker, model.spec.numerics);

        if (one != NULL) {
            *one = model;
            one->opponents = 0;
            one->spec.tensors = format;
            snprintf(one->name, sizeof one->name, "%.80s/%s-tensors", model.name,
                     bench_format_name(format));
            bench_case_oppose(one, "f32-tensors", 0, -1, &model.spec);
        }
    }
}

static bool chosen(const struct bench_options *options, const struct bench_case *one)
{
    return bench_listed(options->suite, one->suite) && bench_filter(options->filter, one->name);
}

static void drop_peers(const struct bench_options *options, struct bench_case *one)
{
    int32_t kept = 0;

    for (int32_t i = 0; i < one->opponents; i++) {
        if (one->opponent[i].peer < 0 || bench_listed(options->peers, one->opponent[i].label)) {
            one->opponent[kept++] = one->opponent[i];
        }
    }
    one->opponents = kept;
}

static bool known(const char *list)
{
    char name[32];

    for (size_t length; list != NULL && *list != '\0'; list += length + (list[length] == ',')) {
        size_t i = 0;

        length = strcspn(list, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, list);
        while (i < sizeof suites / sizeof suites[0] && strcmp(suites[i].name, name) != 0) {
            i++;
        }
        if (i == sizeof suites / sizeof suites[0]) {
            fprintf(stderr, "gqa-bench: no suite %s\n", name);
            return false;
        }
    }
    return true;
}

bool bench_suites_make(struct bench_cases *cases, const struct bench_options *options)
{
    struct bench_maker maker = {cases, options, NULL, false};
    int32_t kept = 0;

    if (!known(options->suite)) {
        return false;
    }
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        maker.suite = suites[i].name;
        suites[i].make(&maker);
    }
    for (int32_t i = 0; i < cases->count; i++) {
        if (chosen(options, &cases->at[i])) {
            cases->at[kept] = cases->at[i];
            drop_peers(options, &cases->at[kept++]);
        }
    }
    cases->count = kept;
    return !maker.failed;
}
