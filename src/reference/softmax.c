/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.c - one row: from written-down scores to a state, and from a state to its output. */
#include "reference/softmax.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/fold.h"
#include "base/mathd.h"
#include "base/number.h"
#include "base/units.h"

/* An exponential below 2^-126 of the row's largest is exactly 0 (docs/numerics.md). */
static const double smallest_log = -126.0 * GQA__LN2;

static double keep(const struct gqa__reference_state *state, double x)
{
    return state->f64 ? x : (double)(float)x;
}

/* e^(s - m) for s <= m. Nothing is subtracted from -inf: that would be NaN. */
static double exponential(double s, double m)
{
    double x = s - (m == -INFINITY ? 0.0 : m);
    if (x != x) {
        return x;
    }
    return x < smallest_log ? 0.0 : gqa__exp(x);
}

double gqa__reference_tanh(double x)
{
    double a = fabs(x);
    double t;
    if (x != x) {
        return x;
    }
    if (a < 0.01) { /* 1 - e^-2x would cancel */
        double y = x * x;
        return x * (1.0 - y * (1.0 / 3.0 - y * (2.0 / 15.0 - y * (17.0 / 315.0))));
    }
    t = a < 40.0 ? gqa__exp(-2.0 * a) : 0.0;
    return copysign((1.0 - t) / (1.0 + t), x);
}

void gqa__reference_empty(struct gqa__reference_state *state)
{
    state->m = -INFINITY;
    state->l = 0.0;
    for (int32_t d = 0; d < state->dv; d++) {
        state->o[d] = 0.0;
    }
}

void gqa__reference_exponentiate(struct gqa__reference_state *state, const double *scores,
                                 const float *v, int32_t n)
{
    gqa__reference_empty(state);
    for (int32_t j = 0; j < n; j++) { /* a NaN is no maximum; its exponential is NaN */
        state->m = scores[j] > state->m ? scores[j] : state->m;
    }
    for (int32_t j = 0; j < n; j++) {
        const float *row = v + (int64_t)j * state->dv;
        double p;
        if (scores[j] == -INFINITY) {
            continue;
        }
        p = exponential(scores[j], state->m);
        state->l = keep(state, state->l + p);
        for (int32_t d = 0; d < state->dv; d++) {
            state->o[d] = keep(state, state->o[d] + p * (double)row[d]);
        }
    }
}

/* l == 0 says that a state is neutral: m may be -inf beside a NaN. */
static void merge(struct gqa__reference_state *state, double m, double l, const float *o)
{
    double top, a, b;
    if (l == 0.0) {
        return;
    }
    if (state->l == 0.0) {
        gqa__reference_empty(state); /* a = 0 below leaves exactly the other state */
    }
    top = state->m > m ? state->m : m;
    a = state->l == 0.0 ? 0.0 : exponential(state->m, top);
    b = exponential(m, top);
    state->m = top;
    state->l = keep(state, state->l * a + l * b);
    for (int32_t d = 0; d < state->dv; d++) {
        state->o[d] = keep(state, state->o[d] * a + (o != NULL ? (double)o[d] * b : 0.0));
    }
}

void gqa__reference_merge(struct gqa__reference_state *state, float m, float l, const float *o)
{
    merge(state, gqa__from_units(m), (double)l, o);
}

void gqa__reference_sink(struct gqa__reference_state *state, float logit)
{
    merge(state, (double)logit, 1.0, NULL);
}

double gqa__reference_share(const struct gqa__reference_state *state, float logit)
{
    const double sink = (double)logit;
    const double top = state->l == 0.0 || sink > state->m ? sink : state->m;
    const double own = exponential(sink, top);
    const double rest = state->l == 0.0 ? 0.0 : state->l * exponential(state->m, top);

    return own / (own + rest);
}

void gqa__reference_output(const struct gqa__reference_state *state, float *out)
{
    for (int32_t d = 0; d < state->dv; d++) {
        out[d] = state->l == 0.0 ? 0.0f : gqa__canonical((float)(state->o[d] / state->l));
    }
}

float gqa__reference_lse(const struct gqa__reference_state *state)
{
    double lse;

    if (state->l == 0.0) {
        return -INFINITY;
    }
    if (state->l != state->l) {
        return gqa__f32_from_bits(GQA__NAN_BITS);
    }
    lse = state->m + gqa__log(state->l);
    if (fabs(lse) <= DBL_MAX && fabs(lse) > (double)FLT_MAX) { /* of finite scores: is finite */
        return (float)copysign((double)FLT_MAX, lse);
    }
    return gqa__canonical((float)lse);
}

/* m is rounded to f32 in base-2 units; l and o are restated relative to the rounded m. */
void gqa__reference_export(const struct gqa__reference_state *state, float *m, float *l, float *o)
{
    float rounded = gqa__to_units(state->m);
    double shift = state->m - gqa__from_units(rounded);
    double factor = fabs(shift) <= 1.0 ? gqa__exp(shift) : 1.0; /* not for an infinite m */
    *m = rounded;
    *l = gqa__canonical((float)(state->l * factor));
    for (int32_t d = 0; d < state->dv; d++) {
        o[d] = gqa__canonical((float)(state->o[d] * factor));
    }
}
