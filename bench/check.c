/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - see check.h. */
#include "check.h"

#include <math.h>
#include <stdio.h>

#define MOST_FLOP 2e11 /* some seconds */

/* The case with nothing left out or rounded, on its first data, keys in a cache of libgqa's. */
static struct bench_spec exact(const struct bench_spec *spec)
{
    struct bench_spec own = *spec;

    own.numerics = GQA_NUMERICS_F32;
    own.isa = GQA_ISA_AUTO;
    own.max_isa = GQA_ISA_AUTO;
    own.backend = GQA_BACKEND_AUTO;
    own.cold = 0;
    own.tensors = GQA_F32;
    own.home = HOME_CACHE;
    own.k_type = own.v_type = 0;
    return own;
}

static double difference(const struct bench_work *work, const struct bench_work *ours)
{
    double wrong = 0, all = 0;

    for (size_t i = 0; i < ours->outs; i++) {
        const double before = ours->before == NULL ? 0 : (double)ours->before[i];
        const double right = (double)ours->out[i] - before;
        const double is = (double)work->out[i] - before;

        wrong += (is - right) * (is - right);
        all += right * right;
    }
    return all > 0 ? sqrt(wrong / all) : INFINITY;
}

bool bench_check(struct bench_work *work, const struct bench_spec *spec, double most,
                 struct bench_host *host, char why[BENCH_WHY_TEXT])
{
    const struct bench_spec own = exact(spec);
    struct bench_work *ours;
    double seconds;
    bool ok;

    if (bench_spec_flop(spec) > MOST_FLOP) {
        return true;
    }
    ours = bench_work_create(&own, host, why);
    ok = ours != NULL && ours->run(ours, &seconds, why);
    if (ok && (ours->outs == 0 || ours->outs != work->outs)) {
        snprintf(why, BENCH_WHY_TEXT, "its results are %zu numbers, not %zu", work->outs,
                 ours->outs);
        ok = false;
    }
    if (ok) {
        work->error = difference(work, ours);
        ok = work->error <= most; /* not of NaN */
        if (!ok) {
            snprintf(why, BENCH_WHY_TEXT, "its results differ from libgqa's by %.2g, not %.2g",
                     work->error, most);
        }
    }
    bench_work_destroy(ours);
    return ok;
}
