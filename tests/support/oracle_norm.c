/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_norm.c - norms and the other stages that work on one token's vectors. */
#include <math.h>
#include <stdlib.h>

#include "oracle.h"

/* 1 / sqrt(mean + eps) with the mean of squares known to +- error. */
static oracle_num inverse_root(double mean, double error, double eps, int n)
{
    oracle_num rs;
    double low = fmax(mean - error, 0.0) + eps;
    rs.v = 1.0 / sqrt(mean + eps);
    rs.e = fmax(1.0 / sqrt(low) - rs.v, rs.v - 1.0 / sqrt(mean + error + eps));
    /* Sum of n squares, the division by n, eps, root and inverse: half of n + 6 roundings and two
     * more. */
    rs.e += (0.5 * (n + 6) + 2) * ORACLE_U * (rs.v + rs.e);
    return rs;
}

/* d[i] = x[i] - mean for LAYER, x[i] else; returns rs. */
static oracle_num centre(const oracle_norm_args *a, const oracle_num *x, oracle_num *d)
{
    oracle_num mean = {0.0, 0.0};
    double size = 0.0;
    int n = a->n_true;
    if (a->kind == GQA_NORM_LAYER) {
        for (int i = 0; i < n; i++) {
            mean.v += x[i].v / n;
            mean.e += x[i].e / n;
            size += (fabs(x[i].v) + x[i].e) / n;
        }
        mean.e += (n + 3) * ORACLE_U * size;
    }
    double square = 0.0;
    double error = 0.0;
    double count = a->kind == GQA_NORM_L2 ? 1.0 : n;
    for (int i = 0; i < a->n; i++) {
        d[i].v = x[i].v - mean.v;
        d[i].e = x[i].e + mean.e;
        d[i].e += a->kind == GQA_NORM_LAYER ? ORACLE_U * (fabs(d[i].v) + d[i].e) : 0.0;
        if (i < n) {
            square += d[i].v * d[i].v / count;
            error += (2 * fabs(d[i].v) + d[i].e) * d[i].e / count;
        }
    }
    return inverse_root(square, error, a->eps, n);
}

static oracle_num times(oracle_num a, oracle_num b)
{
    oracle_num y = {a.v * b.v, fabs(a.v) * b.e + fabs(b.v) * a.e + a.e * b.e};
    y.e += ORACLE_U * (fabs(y.v) + y.e);
    return y;
}

void oracle_norm(const oracle_norm_args *a, const oracle_num *x, oracle_num *y)
{
    if (a->kind == GQA_NORM_NONE) {
        for (int i = 0; i < a->n; i++) {
            y[i] = x[i];
        }
        return;
    }
    oracle_num *d = oracle_zeros((size_t)a->n, sizeof *d);
    oracle_num rs = centre(a, x, d);
    for (int i = 0; i < a->n; i++) {
        oracle_num t = oracle_round_num(times(d[i], rs), a->cast);
        if (a->weight != NULL) {
            oracle_num w = {a->offset + a->weight[i], 0.0};
            w.e = a->offset != 0.0 ? ORACLE_U * fabs(w.v) : 0.0;
            t = oracle_round_num(times(t, w), a->cast);
        }
        if (a->bias != NULL) {
            oracle_num b = {a->bias[i], 0.0};
            t = oracle_add(t, b);
        }
        y[i] = t;
    }
    free(d);
}

static oracle_num clamp(oracle_num x, double limit)
{
    if (limit == 0.0 || isnan(x.v)) {
        return x;
    }
    oracle_num y = {fmin(fmax(x.v, -limit), limit), x.e};
    if (fabs(x.v) - x.e >= limit) {
        y.e = 0.0;
    }
    return y;
}

void oracle_clip(const oracle_layer *layer, oracle_num *q, oracle_num *k, oracle_num *v)
{
    const gqa_config *c = &layer->config;
    for (int i = 0; i < layer->hq * layer->dk; i++) {
        q[i] = clamp(q[i], (double)c->clip_qkv);
    }
    for (int i = 0; k != NULL && i < layer->hkv * layer->dk; i++) {
        k[i] = oracle_scale(clamp(k[i], (double)c->clip_qkv), (double)c->key_multiplier);
    }
    for (int h = 0; v != NULL && h < layer->hkv; h++) {
        oracle_num *head = v + h * layer->dv;
        oracle_norm_args args = {.kind = c->v_norm, .eps = (double)c->qk_norm_eps};
        args.n = args.n_true = layer->dv;
        for (int i = 0; i < layer->dv; i++) {
            head[i] = clamp(head[i], (double)c->clip_qkv);
        }
        oracle_norm(&args, head, head);
        for (int i = 0; i < layer->dv; i++) {
            head[i] = oracle_scale(head[i], (double)c->v_scale);
        }
    }
}

static void norm_heads(const oracle_layer *layer, const double *weight, const double *bias,
                       int heads, oracle_num *x)
{
    const gqa_config *c = &layer->config;
    bool whole = c->qk_norm_scope == GQA_QK_NORM_WHOLE;
    int n = whole ? heads * layer->dk : layer->dk;
    for (int first = 0; first < heads * layer->dk; first += n) {
        oracle_norm_args args = {.kind = c->qk_norm,
                                 .eps = (double)c->qk_norm_eps,
                                 .offset = c->qk_norm_offset,
                                 .weight = weight != NULL ? weight + first : NULL,
                                 .bias = bias != NULL ? bias + first : NULL,
                                 .n = n,
                                 .n_true = n};
        oracle_norm(&args, x + first, x + first);
    }
}

void oracle_qk_norm(const oracle_layer *layer, gqa_qk_norm_placement placement, oracle_num *q,
                    oracle_num *k)
{
    if (layer->config.qk_norm_scope == GQA_QK_NORM_OFF ||
        layer->config.qk_norm_placement != placement) {
        return;
    }
    norm_heads(layer, layer->q_norm, layer->q_norm_bias, layer->hq, q);
    if (k != NULL) {
        norm_heads(layer, layer->k_norm, layer->k_norm_bias, layer->hkv, k);
    }
}

void oracle_temperature(const oracle_layer *layer, int position, oracle_num *q)
{
    const gqa_config *c = &layer->config;
    if (c->query_temperature == GQA_QUERY_TEMPERATURE_NONE) {
        return;
    }
    int shift = c->query_temperature == GQA_QUERY_TEMPERATURE_LLAMA4 ? 1 : 0;
    double steps = floor(((double)position + shift) / (double)c->query_temperature_floor);
    oracle_num factor = {1.0 + (double)c->query_temperature_scale * log(1.0 + steps), 0.0};
    factor.e = ORACLE_U * fabs(factor.v);
    for (int i = 0; i < layer->hq * layer->dk; i++) {
        q[i] = times(q[i], factor);
    }
}

void oracle_gate(const oracle_layer *layer, const oracle_num *gate, oracle_num *attn)
{
    bool softplus = layer->config.gate_activation == GQA_GATE_SOFTPLUS;
    for (int h = 0; h < layer->hq; h++) {
        for (int d = 0; d < layer->dv; d++) {
            oracle_num g = gate[h * layer->gate_dim + (layer->gate_dim > 1 ? d : 0)];
            oracle_num a;
            /* Slopes: 1/4 and 1 at most. The functions themselves: 8 u of the result, and the
             * rounding inside their argument. */
            if (softplus) {
                a.v = g.v > 0.0 ? g.v + log1p(exp(-g.v)) : log1p(exp(g.v));
                a.e = g.e;
            } else {
                a.v = 1.0 / (1.0 + exp(-g.v));
                a.e = 0.25 * g.e + a.v * (1.0 - a.v) * 4 * ORACLE_U * fabs(g.v);
            }
            a.e += 8 * ORACLE_U * (fabs(a.v) + a.e);
            attn[h * layer->dv + d] = times(attn[h * layer->dv + d], a);
        }
    }
}
