/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_attend.c - who sees whom, and one row's softmax over an explicit set of keys. */
#include <math.h>
#include <stdlib.h>

#include "oracle.h"

static const double log2_e = 1.4426950408889634073599246810019;

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q * b > a ? q - 1 : q;
}

/* A mask's own index: extents of 1 are shared. */
static double at_shared(const gqa_tensor *t, const oracle_row *row, int column)
{
    int b = t->shape[0] > 1 ? row->b : 0;
    int h = t->shape[1] > 1 ? row->h : 0;
    return oracle_at(t, b, h, row->t, column);
}

static bool present(const gqa_tensor *t)
{
    return t != NULL && t->data != NULL;
}

static bool seen_by_position(const gqa_config *c, int64_t origin, int64_t q, int64_t k)
{
    if (c->bidirectional == 0 && k > q) {
        return false;
    }
    if (c->bidirectional != 0 && c->right_window > 0 && k > q + c->right_window) {
        return false;
    }
    if (c->sliding_window > 0 && k <= q - c->sliding_window) {
        return false;
    }
    int64_t chunk = c->attention_chunk_size;
    return chunk == 0 || floor_div(q - origin, chunk) == floor_div(k - origin, chunk);
}

bool oracle_visible(const oracle_layer *layer, const oracle_row *row, const oracle_token *key)
{
    int64_t origin = row->keys->tokens[0].position;
    if (!seen_by_position(&layer->config, origin, row->position, key->position)) {
        return false;
    }
    if (present(row->mask) && at_shared(row->mask, row, key->column) == 0.0) {
        return false;
    }
    if (row->key_begin != NULL && (key->column < *row->key_begin || key->column >= *row->key_end)) {
        return false;
    }
    if (present(row->active_mask) && key->column >= row->active_column) {
        int b = row->active_mask->rank > 2 && row->active_mask->shape[0] > 1 ? row->b : 0;
        if (oracle_at(row->active_mask, 0, b, row->t, key->column - row->active_column) == 0.0) {
            return false;
        }
    }
    return !present(row->bias) || at_shared(row->bias, row, key->column) != -(double)INFINITY;
}

/* The scaled query as the products read it, in natural units. */
static void scale_query(const oracle_layer *layer, const oracle_num *q, oracle_num *scaled)
{
    double factor = layer->score_scale * log2_e;
    for (int d = 0; d < layer->dk; d++) {
        oracle_num x = {q[d].v * factor, q[d].e * fabs(factor)};
        x.e += 2 * ORACLE_U * (fabs(x.v) + x.e);
        x = oracle_round_num(x, layer->bf16 ? GQA_BF16 : GQA_F32);
        scaled[d].v = x.v / log2_e;
        scaled[d].e = x.e / log2_e;
    }
}

static oracle_num score_of(const oracle_layer *layer, const oracle_row *row, const oracle_num *q,
                           const oracle_token *key)
{
    const gqa_config *c = &layer->config;
    const oracle_num *k = key->k + row->h / layer->group * layer->dk;
    oracle_num s = {0.0, 0.0};
    double size = 0.0, largest_q = 0.0, sum_k = 0.0;
    for (int d = 0; d < layer->dk; d++) {
        largest_q = fmax(largest_q, fabs(q[d].v) + q[d].e);
        sum_k += fabs(k[d].v) + k[d].e;
        s.v += q[d].v * k[d].v;
        s.e += fabs(q[d].v) * k[d].e + fabs(k[d].v) * q[d].e + q[d].e * k[d].e;
        size += (fabs(q[d].v) + q[d].e) * (fabs(k[d].v) + k[d].e);
    }
    s.e += (layer->dk + 5) * ORACLE_U * size; /* one for a scale beside the product */
    s.e += layer->bf16 ? layer->dk * 0x1p-125 : 0.0;
    if (key->integer_k) { /* each q to one of 32512 steps, or to 0 below 2^-100 */
        s.e += (1.01 * largest_q / 65024 + 0x1p-100) * sum_k;
        s.e += layer->bf16 ? 0x1p-8 * size : 0.0; /* q is not rounded to bf16 first, as here */
    }
    if (c->softcap > 0.0f) {
        double cap = (double)c->softcap;
        /* tanh has slope 1 at most; 12 u for the two constants, the division, tanh and product. */
        s.e += 12 * ORACLE_U * fmin(fabs(s.v) + s.e, 8.0 * cap);
        s.v = cap * tanh(s.v / cap);
    }
    if (c->alibi_slopes != NULL) {
        double drop = (double)c->alibi_slopes[row->h] * fabs((double)row->position - key->position);
        s.v -= drop;
        s.e += ORACLE_U * (fabs(s.v) + s.e + 2 * fabs(drop));
    }
    if (present(row->bias)) {
        double bias = at_shared(row->bias, row, key->column);
        s.v += bias;
        s.e += ORACLE_U * (fabs(s.v) + s.e + 2 * fabs(bias));
    }
    return s;
}

typedef struct row_keys {
    const oracle_token **key;
    oracle_num *s; /* natural scores */
    int n;
} row_keys;

static void collect(const oracle_layer *layer, const oracle_row *row, row_keys *keys)
{
    int length = row->keys->length;
    int end = row->range_end >= 0 && row->range_end < length ? row->range_end : length;
    oracle_num *q = oracle_zeros((size_t)layer->dk, sizeof *q);
    keys->key = oracle_zeros((size_t)length, sizeof *keys->key);
    keys->s = oracle_zeros((size_t)length, sizeof *keys->s);
    keys->n = 0;
    for (int d = 0; d < layer->dk; d++) {
        q[d] = row->q[d];
    }
    if (length > 0 && row->keys->tokens[0].rotated_k) {
        oracle_rotate(q, layer->dk);
    }
    scale_query(layer, q, q);
    for (int i = row->range_begin; i < end; i++) {
        const oracle_token *key = &row->keys->tokens[i];
        if (oracle_visible(layer, row, key)) {
            keys->key[keys->n] = key;
            keys->s[keys->n++] = score_of(layer, row, q, key);
        }
    }
    free(q);
}

/* Shares p[i] of the visible keys, their relative errors in p[i].e, and the log of the sum. */
static oracle_num softmax(const oracle_layer *layer, const row_keys *keys, double sink,
                          oracle_num *p)
{
    double m = sink;
    for (int i = 0; i < keys->n; i++) {
        m = keys->s[i].v > m ? keys->s[i].v : m;
    }
    double sum = sink > -(double)INFINITY ? exp(sink - m) : 0.0;
    double low = sum * (1.0 - 8 * ORACLE_U - 2 * ORACLE_U * fabs(sink));
    double high = sum > 0.0 ? sum * (1.0 + 8 * ORACLE_U + 2 * ORACLE_U * fabs(sink)) : 0.0;
    low = sum > 0.0 ? low : 0.0;
    for (int i = 0; i < keys->n; i++) {
        /* Besides the score's own error: two subtractions of maxima (block, row) rounded relative
         * to |s| + |m|, two exponentials of 2 ulp, products. bf16: 2e-4 for the fast exponential
         * (8.6e-5) and for a block's reference that is not its maximum but up to 8 below. */
        double d = keys->s[i].e + 3 * ORACLE_U * (fabs(keys->s[i].v) + fabs(m)) + 12 * ORACLE_U;
        d += layer->bf16 ? 2e-4 : 0.0;
        p[i].v = exp(keys->s[i].v - m);
        p[i].e = d;
        sum += p[i].v;
        low += p[i].v * exp(-d);
        high += p[i].v * exp(d);
        if (isnan(keys->s[i].v)) {
            sum = keys->s[i].v;
        }
    }
    /* Chains over the keys and merges of blocks: at most n roundings. */
    double chain = (keys->n + 4) * ORACLE_U;
    low = low * (1.0 - chain) - 1e-37;
    high = high * (1.0 + chain) + 1e-37;
    for (int i = 0; i < keys->n; i++) {
        double up = low > 0.0 ? exp(p[i].e) * sum / low - 1.0 : (double)INFINITY;
        double down = 1.0 - exp(-p[i].e) * sum / high;
        p[i].v /= sum;
        p[i].e = fmax(up, down) * (1.0 + chain) + chain;
    }
    oracle_num lse = {m + log(sum), 0.0};
    lse.e = low > 0.0 ? fmax(log(high / sum), log(sum / low)) : (double)INFINITY;
    lse.e += 8 * ORACLE_U * (fabs(lse.v) + fabs(m) + 1.0);
    return lse;
}

/* Where V is integers: p times a scale becomes one of 32512 steps of the largest of a block, which
 * is at most that of all keys; or 0, below 2^-100. A code times its scale is at most the row's
 * largest value. */
static double step_of_weights(const oracle_layer *layer, const oracle_row *row,
                              const row_keys *keys, const oracle_num *p)
{
    double most = 0.0;
    if (keys->n == 0 || !keys->key[0]->integer_v) {
        return 0.0;
    }
    for (int i = 0; i < keys->n; i++) {
        const oracle_num *v = keys->key[i]->v + row->h / layer->group * layer->dv;
        for (int d = 0; d < layer->dv; d++) {
            most = fmax(most, p[i].v * (1.0 + p[i].e) * (fabs(v[d].v) + v[d].e));
        }
    }
    return keys->n * (1.01 * most / 65024 + 127 * 0x1p-100);
}

oracle_num oracle_attention_row(const oracle_layer *layer, const oracle_row *row, oracle_num *out)
{
    row_keys keys;
    oracle_num lse = {-(double)INFINITY, 0.0};
    double sink = row->sinks != NULL ? row->sinks[row->h] : -(double)INFINITY;
    collect(layer, row, &keys);
    for (int d = 0; d < layer->dv; d++) {
        out[d].v = out[d].e = 0.0;
    }
    if (keys.n == 0) {
        lse.v = sink;
        lse.e = isfinite(sink) ? 8 * ORACLE_U * (fabs(sink) + 1.0) : 0.0;
    } else {
        oracle_num *p = oracle_zeros((size_t)keys.n, sizeof *p);
        lse = softmax(layer, &keys, sink, p);
        double rounded = layer->bf16 ? 0x1p-8 : 0.0; /* P rounded to bf16: half an ulp, and slack */
        double steps = step_of_weights(layer, row, &keys, p);
        for (int d = 0; d < layer->dv; d++) {
            out[d].e += steps;
            for (int i = 0; i < keys.n; i++) {
                oracle_num v = keys.key[i]->v[row->h / layer->group * layer->dv + d];
                out[d].v += p[i].v * v.v;
                out[d].e += p[i].v * ((p[i].e + rounded) * (fabs(v.v) + v.e) + v.e);
                out[d].e += 1e-37 * fabs(v.v);
                /* What is below 2^-126 of p times a scale, of codes up to 448. */
                out[d].e += v.v != 0.0 ? 6e-36 : 0.0;
            }
            out[d].e += 4 * ORACLE_U * fabs(out[d].v);
        }
        if (keys.key[0]->rotated_v) {
            oracle_rotate(out, layer->dv);
        }
        free(p);
    }
    free(keys.key);
    free(keys.s);
    return lse;
}
