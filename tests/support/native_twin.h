/* SPDX-License-Identifier: Apache-2.0 */
/* native_twin.h - Neuron's framework attention once more, one row at a time and as plainly as it
 * goes: the truth for calls that no golden file has. Shares no code with src. It can be made wrong
 * in the ways in which such code usually is, so that tests show that they would see it. */
#ifndef TEST_NATIVE_TWIN_H
#define TEST_NATIVE_TWIN_H

#include <stdbool.h>
#include <stdint.h>

enum native_wrong {
    NATIVE_RIGHT,
    NATIVE_SCORES_F32,          /* neither the product nor the quotient is rounded to T */
    NATIVE_SCORES_ONE_ROUNDING, /* only the quotient is */
    NATIVE_SQRT_D_F32,          /* the divisor is sqrt(D), not rounded to T */
    NATIVE_SINGLE_PV,           /* prior and active in one product */
    NATIVE_P_F32,               /* p not rounded to T */
    NATIVE_NORMALISE_LAST,      /* T(e) times V, then divided by l */
    NATIVE_MASK_INF,            /* invisible: -inf, not the smallest finite number */
    NATIVE_SINK_DROPPED,
    NATIVE_WRONGS
};
extern const char *const native_wrong_names[NATIVE_WRONGS];

/* The keys of one part of a row. */
struct native_keys {
    const float *k, *v; /* row j at j * stride, [D] each */
    int64_t stride;     /* elements */
    int n;
    const uint8_t *mask; /* [n], 1 = attend; NULL = all */
    float fill;          /* score of a key that is not attended */
    float *raw, *s, *p;  /* [n] T(q.k), scores, weights: written */
    float *o;            /* [D] T(p.v): written */
};

struct native_row {
    int d;
    bool bf16;  /* T; else f32 */
    bool parts; /* prior and active; else active alone */
    const float *q;
    const float *sink; /* NULL = none */
    struct native_keys prior, active;
    float m, l;
    float *out; /* [D] */
};

void native_twin_row(struct native_row *row, enum native_wrong wrong);

/* The pieces of it, for flash decoding. */
float native_twin_round(double x, bool bf16); /* to f32, then to T */
float native_twin_sqrt(int d, bool bf16);     /* sqrt(d), rounded to T */
void native_twin_scores(const struct native_row *row, struct native_keys *keys,
                        enum native_wrong wrong);
float native_twin_exp(float x);
void native_twin_product(const struct native_row *row, struct native_keys *keys);

/* The same row by the definition of attention, nothing rounded: out [D]. A row without keys and
 * without sink: the mean of v over all keys. */
void native_exact_row(const struct native_row *row, double *out);

/* How far the output of a right implementation may be from it; derived in native_twin.c. */
double native_exact_bound(const struct native_row *row);

#endif
