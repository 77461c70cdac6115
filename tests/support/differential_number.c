/* SPDX-License-Identifier: Apache-2.0 */
/* differential_number.c - is this the number that the oracle means? */
#include <math.h>

#include "support/differential.h"

static const char *const backend_names[] = {"auto", "cpu", "reference"};

static bool within(double got, oracle_num want, gqa_dtype dtype, bool plus_zero)
{
    if (isnan(want.v)) {
        return isnan(got);
    }
    if (isinf(want.v)) {
        return got == want.v;
    }
    if (want.v == 0.0 && want.e == 0.0) {
        return got == 0.0 && !(plus_zero && signbit(got));
    }
    if (!isfinite(want.e)) {
        return true;
    }
    /* Storing rounds the interval; 1e-40 stands for what is lost below the normal numbers. */
    double low = oracle_round(want.v - want.e - 1e-40, dtype);
    double high = oracle_round(want.v + want.e + 1e-40, dtype);
    return got >= low && got <= high;
}

void differential_number(const differential_place *p, double got, oracle_num want, gqa_dtype dtype)
{
    differential_stats *s = p->stats;
    bool finite = isfinite(want.v) && isfinite(want.e);
    s->numbers++;
    s->unbounded += isfinite(want.v) && !isfinite(want.e) ? 1 : 0;
    if (finite && want.e > 0.0 && dtype == GQA_F32) {
        double ratio = fabs(got - want.v) / want.e;
        s->worst = ratio > s->worst ? ratio : s->worst;
        s->sum[p->stage] += ratio;
        s->count[p->stage]++;
    }
    if (within(got, want, dtype, p->stage == GQA_STAGE_ATTN)) {
        return;
    }
    if (++s->failures <= 10) {
        fprintf(stderr, "%s call %d %s [b %d, token %d, element %d]: %.9g, oracle %.9g +- %.3g\n",
                backend_names[p->backend], p->call, p->what, p->b, p->t, p->i, got, want.v, want.e);
    }
    if (s->failures == 1) {
        random_print(stderr, p->c);
    }
}
