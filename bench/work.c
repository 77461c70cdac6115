/* SPDX-License-Identifier: Apache-2.0 */
/* work.c - see work.h. */
#include "work.h"

#include <stdio.h>
#include <stdlib.h>

#include "fill.h"
#include "timing.h"

#define VISIT_SECONDS 10.0

struct bench_work *bench_work_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT])
{
    switch (spec->kind) {
    case BENCH_ATTENTION:
    case BENCH_LAYER:
        return spec->home == HOME_CACHE ? bench_attention_create(spec, host, why)
                                        : bench_plain_create(spec, host, why);
    case BENCH_MIX:
        return bench_mix_create(spec, host, why);
    case BENCH_LINEAR:
        return bench_linear_create(spec, host, why);
    case BENCH_PRODUCTS:
    case BENCH_SOFTMAX:
        return bench_parts_create(spec, host, why);
    case BENCH_PAIR:
        return bench_pair_create(spec, host, why);
    case BENCH_PROBE:
    case BENCH_KINDS:
        break;
    }
    return bench_probe_create(spec, host, why);
}

bool bench_work_visit(struct bench_work *work, char why[BENCH_WHY_TEXT])
{
    double start = bench_now();
    double seconds;
    bool ok = work->run(work, &seconds, why);

    for (int32_t i = 1; ok && i < work->sets && bench_now() - start < VISIT_SECONDS; i++) {
        ok = work->run(work, &seconds, why);
    }
    return ok;
}

void bench_work_destroy(struct bench_work *work)
{
    if (work != NULL) {
        work->destroy(work);
    }
}

struct bench_work *bench_work_made(struct bench_work *work, gqa_status status, const gqa_error *err,
                                   char why[BENCH_WHY_TEXT])
{
    if (status == GQA_OK) {
        return work;
    }
    bench_work_destroy(work);
    snprintf(why, BENCH_WHY_TEXT, "%s", err->message);
    return NULL;
}

void bench_host_destroy(struct bench_host *host)
{
    bench_workers_destroy(&host->workers);
    bench_free(host->memory);
    host->memory = NULL;
}
