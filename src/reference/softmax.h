/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.h - one row: from written-down scores to a state, and from a state to its output. */
#ifndef GQA__REFERENCE_SOFTMAX_H
#define GQA__REFERENCE_SOFTMAX_H

#include <stdbool.h>
#include <stdint.h>

/* m = max s, l = sum e^(s - m), o = sum e^(s - m) v, natural units. Nothing seen: (-inf, 0, 0). */
struct gqa__reference_state {
    double m, l;
    double *o; /* [dv] */
    int32_t dv;
    bool f64; /* sums stay in double; else rounded to f32 after every addition */
};

void gqa__reference_empty(struct gqa__reference_state *state);

/* The state of n keys with scores [n] (-inf = not seen: their V is not read) and v [n][dv]. */
void gqa__reference_exponentiate(struct gqa__reference_state *state, const double *scores,
                                 const float *v, int32_t n);

/* Merge another state in; its m in base-2 units, as the public raw states have it. o NULL = 0. */
void gqa__reference_merge(struct gqa__reference_state *state, float m, float l, const float *o);

/* Merge a sink: a natural logit without a value; -inf = none. */
void gqa__reference_sink(struct gqa__reference_state *state, float logit);

/* The share that a sink of this logit would take of the softmax, if it were merged in. */
double gqa__reference_share(const struct gqa__reference_state *state, float logit);

/* out [dv] = o / l, exactly 0 when nothing was seen. NULL = not wanted. */
void gqa__reference_output(const struct gqa__reference_state *state, float *out);

/* Natural log of the denominator; -inf when nothing was seen. */
float gqa__reference_lse(const struct gqa__reference_state *state);

/* The state as a public raw state: m in base-2 units, o [dv]. */
void gqa__reference_export(const struct gqa__reference_state *state, float *m, float *l, float *o);

/* tanh by the library's own exp; absolute error below 1e-15. */
double gqa__reference_tanh(double x);

#endif
