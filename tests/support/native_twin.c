/* SPDX-License-Identifier: Apache-2.0 */
/* native_twin.c - see native_twin.h. */
#include "support/native_twin.h"

#include <math.h>
#include <string.h>

const char *const native_wrong_names[NATIVE_WRONGS] = {
    "right",          "scores f32", "scores one rounding", "sqrt d f32", "single pv", "p f32",
    "normalise last", "mask inf",   "sink dropped",
};

float native_twin_round(double x, bool bf16)
{
    float f = (float)x;
    uint32_t bits;
    if (!bf16) {
        return f;
    }
    memcpy(&bits, &f, sizeof bits);
    /* Half way goes to the even neighbour. */
    const uint32_t rest = bits & 0xffffu;
    bits -= rest;
    if (rest > 0x8000u || (rest == 0x8000u && (bits & 0x10000u) != 0)) {
        bits += 0x10000u;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

float native_twin_sqrt(int d, bool bf16)
{
    return native_twin_round(sqrt((double)d), bf16);
}

float native_twin_exp(float x)
{
    return (float)exp((double)x);
}

static bool attended(const struct native_keys *keys, int j)
{
    return keys->mask == NULL || keys->mask[j] != 0;
}

static double product(const struct native_row *row, const struct native_keys *keys, int j)
{
    double sum = 0.0;
    for (int i = 0; i < row->d; i++) {
        sum += (double)row->q[i] * (double)keys->k[j * keys->stride + i];
    }
    return sum;
}

void native_twin_scores(const struct native_row *row, struct native_keys *keys,
                        enum native_wrong wrong)
{
    const bool raw_t =
        row->bf16 && wrong != NATIVE_SCORES_F32 && wrong != NATIVE_SCORES_ONE_ROUNDING;
    const bool s_t = row->bf16 && wrong != NATIVE_SCORES_F32;
    const float divisor = native_twin_sqrt(row->d, s_t && wrong != NATIVE_SQRT_D_F32);
    for (int j = 0; j < keys->n; j++) {
        const float raw = native_twin_round(product(row, keys, j), raw_t);
        const float fill = wrong == NATIVE_MASK_INF ? -INFINITY : keys->fill;
        keys->raw[j] = raw;
        keys->s[j] = attended(keys, j) ? native_twin_round((double)(raw / divisor), s_t) : fill;
    }
}

void native_twin_product(const struct native_row *row, struct native_keys *keys)
{
    for (int i = 0; i < row->d; i++) {
        double sum = 0.0;
        for (int j = 0; j < keys->n; j++) {
            sum += (double)keys->p[j] * (double)keys->v[j * keys->stride + i];
        }
        keys->o[i] = native_twin_round(sum, row->bf16);
    }
}

static float exponentials(struct native_keys *keys, float m, double sum)
{
    for (int j = 0; j < keys->n; j++) {
        keys->p[j] = native_twin_exp(keys->s[j] - m);
        sum += (double)keys->p[j];
    }
    return (float)sum;
}

static void weights(const struct native_row *row, struct native_keys *keys, enum native_wrong wrong)
{
    for (int j = 0; j < keys->n; j++) {
        const float p = wrong == NATIVE_NORMALISE_LAST ? keys->p[j] : keys->p[j] / row->l;
        keys->p[j] = native_twin_round((double)p, row->bf16 && wrong != NATIVE_P_F32);
    }
}

static void outputs(struct native_row *row, enum native_wrong wrong)
{
    struct native_keys *prior = &row->prior;
    struct native_keys *active = &row->active;
    native_twin_product(row, prior);
    native_twin_product(row, active);
    for (int i = 0; i < row->d; i++) {
        float out = active->o[i];
        if (row->parts) {
            out = native_twin_round((double)(prior->o[i] + active->o[i]), row->bf16);
        }
        row->out[i] = out;
    }
    for (int i = 0; i < row->d && (wrong == NATIVE_SINGLE_PV || wrong == NATIVE_NORMALISE_LAST);
         i++) {
        double sum = 0.0;
        for (int j = 0; j < prior->n; j++) {
            sum += (double)prior->p[j] * (double)prior->v[j * prior->stride + i];
        }
        for (int j = 0; j < active->n; j++) {
            sum += (double)active->p[j] * (double)active->v[j * active->stride + i];
        }
        row->out[i] = native_twin_round(sum, row->bf16 && wrong == NATIVE_SINGLE_PV);
        if (wrong == NATIVE_NORMALISE_LAST) {
            row->out[i] = native_twin_round((double)(row->out[i] / row->l), row->bf16);
        }
    }
}

static float highest(const struct native_keys *keys, float m)
{
    for (int j = 0; j < keys->n; j++) {
        m = keys->s[j] > m ? keys->s[j] : m;
    }
    return m;
}

void native_twin_row(struct native_row *row, enum native_wrong wrong)
{
    const bool sink = row->sink != NULL && wrong != NATIVE_SINK_DROPPED;
    native_twin_scores(row, &row->prior, wrong);
    native_twin_scores(row, &row->active, wrong);
    row->m = highest(&row->active, highest(&row->prior, sink ? *row->sink : -INFINITY));
    /* The sink is summed with the prior keys, or with all of them where there is one part. */
    const double start = sink ? (double)native_twin_exp(*row->sink - row->m) : 0.0;
    if (row->parts) {
        const float prior = exponentials(&row->prior, row->m, start);
        row->l = prior + exponentials(&row->active, row->m, 0.0);
    } else {
        row->l = exponentials(&row->active, row->m, start);
    }
    weights(row, &row->prior, wrong);
    weights(row, &row->active, wrong);
    outputs(row, wrong);
}

/* The visible keys of a row, or all of them if it sees none and has no sink. */
static bool blind(const struct native_row *row)
{
    bool sees = row->sink != NULL;
    for (int j = 0; j < row->prior.n; j++) {
        sees = sees || attended(&row->prior, j);
    }
    for (int j = 0; j < row->active.n; j++) {
        sees = sees || attended(&row->active, j);
    }
    return !sees;
}

static double exact_score(const struct native_row *row, const struct native_keys *keys, int j)
{
    if (blind(row)) {
        return 0.0;
    }
    return attended(keys, j) ? product(row, keys, j) / sqrt((double)row->d) : -INFINITY;
}

void native_exact_row(const struct native_row *row, double *out)
{
    const struct native_keys *const parts[2] = {&row->prior, &row->active};
    double m = row->sink != NULL ? (double)*row->sink : -INFINITY;
    for (int part = 0; part < 2; part++) {
        for (int j = 0; j < parts[part]->n; j++) {
            m = fmax(m, exact_score(row, parts[part], j));
        }
    }
    double l = row->sink != NULL ? exp((double)*row->sink - m) : 0.0;
    memset(out, 0, (size_t)row->d * sizeof *out);
    for (int part = 0; part < 2; part++) {
        for (int j = 0; j < parts[part]->n; j++) {
            const double e = exp(exact_score(row, parts[part], j) - m);
            l += e;
            for (int i = 0; i < row->d; i++) {
                out[i] += e * (double)parts[part]->v[j * parts[part]->stride + i];
            }
        }
    }
    for (int i = 0; i < row->d; i++) {
        out[i] /= l;
    }
}

/* Let u be the unit roundoff of T (2^-8, or 2^-24) and w = 2^-24 that of f32. A score: the product
 * is summed in at most f32, an error of D w A with A = sum |q_i k_i|, and rounded to T (u); the
 * divisor is off by at most u, the quotient is rounded to f32 and to T. So a score s is off by
 *     ds <= (3 u + w) |s| + D w A / sqrt(D), all times 1.01 for the products of small terms.
 * All scores are off by at most the largest ds, so each e / l is off by a factor of at most
 * exp(2 ds). Each exp is off by w, and so is each addition of the n terms of l and the division; of
 * l over ranks, an exp, a product and the sum more. p is rounded to T:
 *     sum p <= G = (1 + u) exp(2 ds + (2 n + 16) w), sum |dp| <= G - 1.
 * A product with V is summed in f32 (n w) and rounded to T, the sum of two such is rounded, and
 * that over ranks: G (3 u + 2 n w) (1 + u)^2 more. All of it times the largest |v|. A row that sees
 * nothing has scores of one value, and ds = 0. */
double native_exact_bound(const struct native_row *row)
{
    const struct native_keys *const parts[2] = {&row->prior, &row->active};
    const double w = 0x1p-24;
    const double u = row->bf16 ? 0x1p-8 : w;
    const double n = (double)(row->prior.n + row->active.n + 1);
    double ds = 0.0;
    double v_max = 0.0;
    for (int part = 0; part < 2; part++) {
        for (int j = 0; j < parts[part]->n; j++) {
            const float *const k = parts[part]->k + j * parts[part]->stride;
            const float *const v = parts[part]->v + j * parts[part]->stride;
            double a = 0.0;
            for (int i = 0; i < row->d; i++) {
                a += fabs((double)row->q[i] * (double)k[i]);
                v_max = fmax(v_max, fabs((double)v[i]));
            }
            if (attended(parts[part], j)) {
                const double s = fabs(exact_score(row, parts[part], j));
                ds = fmax(ds, 1.01 * ((3.0 * u + w) * s + sqrt((double)row->d) * w * a));
            }
        }
    }
    const double g = (1.0 + u) * exp(2.0 * ds + (2.0 * n + 16.0) * w);
    return v_max * (g - 1.0 + g * (3.0 * u + 2.0 * n * w) * (1.0 + u) * (1.0 + u));
}
