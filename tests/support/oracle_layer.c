/* SPDX-License-Identifier: Apache-2.0 */
/* oracle_layer.c - the oracle's copy of a layer's weights, in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

static bool present(const gqa_tensor *t)
{
    return t->data != NULL;
}

/* All elements of a tensor of rank 1 or 2, row after row; NULL if absent. */
static double *copy_all(const gqa_tensor *t)
{
    if (!present(t)) {
        return NULL;
    }
    int64_t rows = t->rank == 2 ? t->shape[0] : 1;
    int64_t n = t->shape[t->rank - 1];
    double *out = oracle_zeros((size_t)(rows * n), sizeof *out);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < n; i++) {
            out[r * n + i] = oracle_at(t, 0, 0, r, i);
        }
    }
    return out;
}

/* Row r of a matrix as the layer has it, [n]: with int8 storage the integers times their scale,
 * those that are given, or those of gqa/layer.h. Their quotients are formed in f32, as written
 * there. */
static void read_row(const oracle_layer *layer, const gqa_tensor *w, const gqa_tensor *scale, int r,
                     double *out)
{
    int64_t n = w->shape[1];
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        out[i] = oracle_at(w, 0, 0, r, i);
        most = fmax(most, fabs(out[i]));
    }
    if (layer->int8 && w->dtype == GQA_I8) {
        double factor = oracle_at(scale, 0, 0, 0, r);
        for (int64_t i = 0; i < n; i++) {
            out[i] *= factor;
        }
    } else if (layer->int8) {
        float step = (float)most / 127.0f;
        for (int64_t i = 0; i < n; i++) {
            double q = step == 0.0f ? 0.0 : nearbyint((double)((float)out[i] / step));
            out[i] = fmin(fmax(q, -127.0), 127.0) * (double)step;
        }
    }
}

static double *copy_matrix(const oracle_layer *layer, const gqa_tensor *w, const gqa_tensor *scale)
{
    if (!present(w)) {
        return NULL;
    }
    double *out = oracle_zeros((size_t)(w->shape[0] * w->shape[1]), sizeof *out);
    for (int r = 0; r < (int)w->shape[0]; r++) {
        read_row(layer, w, scale, r, out + r * w->shape[1]);
    }
    return out;
}

/* A head's weight repeated for every head: [heads * dk]. */
static double *copy_heads(const gqa_tensor *t, int heads, int dk, bool whole)
{
    double *all = copy_all(t);
    if (all == NULL || whole || t->rank == 2) {
        return all;
    }
    double *out = oracle_zeros((size_t)(heads * dk), sizeof *out);
    for (int h = 0; h < heads; h++) {
        memcpy(out + h * dk, all, (size_t)dk * sizeof *out);
    }
    free(all);
    return out;
}

/* Rows [first, first + n) of a matrix w (and of its bias) to rows [to, to + n) of *out. */
typedef struct row_source {
    const oracle_layer *layer;
    const gqa_tensor *w, *bias, *scale;
} row_source;

static void take_rows(row_source from, int first, int n, double *w, double *bias, int to)
{
    if (!present(from.w)) {
        return;
    }
    int64_t width = from.w->shape[1];
    for (int r = 0; r < n; r++) {
        read_row(from.layer, from.w, from.scale, first + r, w + (to + r) * width);
        if (present(from.bias)) {
            bias[to + r] = oracle_at(from.bias, 0, 0, 0, first + r);
        }
    }
}

/* First row of query head h, of K head g and of V head g in their matrices. */
typedef struct row_places {
    int q, k, v;
} row_places;

static row_places places_of(const oracle_layer *layer, int head_rows, int g)
{
    int group = layer->group;
    int v_rows = layer->config.k_eq_v != 0 ? 0 : layer->dv;
    row_places p = {g * group * head_rows, g * layer->dk, g * layer->dv};
    if (layer->config.qkv_layout == GQA_QKV_FUSED) {
        p.k += layer->hq * head_rows;
        p.v += layer->hq * head_rows + layer->hkv * layer->dk;
    } else if (layer->config.qkv_layout == GQA_QKV_GROUPED) {
        p.q = g * (group * head_rows + layer->dk + v_rows);
        p.k = p.q + group * head_rows;
        p.v = p.k + layer->dk;
    }
    return p;
}

/* The caller's projections of a phase. */
typedef struct given_matrices {
    row_source fused, q, k, v;
} given_matrices;

/* A gate that is no tail of q has one matrix, for both phases. */
static void load_projections(oracle_layer *layer, const gqa_weights *w, given_matrices from,
                             oracle_matrices *to)
{
    const gqa_config *c = &layer->config;
    bool split = c->qkv_layout == GQA_QKV_SEPARATE;
    bool tail = c->gate == GQA_GATE_Q_TAIL;
    row_source q = split ? from.q : from.fused;
    row_source k = split ? from.k : from.fused;
    row_source v = split ? from.v : from.fused;
    int head_rows = layer->dk + (tail ? layer->dv : 0);
    size_t width = (size_t)layer->hidden;
    size_t gates = (size_t)(layer->hq * layer->gate_dim);
    to->wq = oracle_zeros((size_t)(layer->hq * layer->dk) * width, sizeof(double));
    to->bq = oracle_zeros((size_t)(layer->hq * layer->dk), sizeof(double));
    to->wk = oracle_zeros((size_t)(layer->hkv * layer->dk) * width, sizeof(double));
    to->bk = oracle_zeros((size_t)(layer->hkv * layer->dk), sizeof(double));
    to->wv = oracle_zeros((size_t)(layer->hkv * layer->dv) * width, sizeof(double));
    to->bv = oracle_zeros((size_t)(layer->hkv * layer->dv), sizeof(double));
    to->wg = tail ? oracle_zeros(gates * width, sizeof(double))
                  : copy_matrix(layer, &w->wgate, &w->wgate_scale);
    to->bg = oracle_zeros(gates, sizeof(double));
    for (int h = 0; h < layer->hq; h++) {
        row_places p = places_of(layer, head_rows, h / layer->group);
        int row = p.q + h % layer->group * head_rows;
        take_rows(q, row, layer->dk, to->wq, to->bq, h * layer->dk);
        if (tail) {
            take_rows(q, row + layer->dk, layer->dv, to->wg, to->bg, h * layer->dv);
        }
    }
    for (int g = 0; g < layer->hkv; g++) {
        row_places p = places_of(layer, head_rows, g);
        take_rows(k, p.k, layer->dk, to->wk, to->bk, g * layer->dk);
        take_rows(c->k_eq_v != 0 ? k : v, c->k_eq_v != 0 ? p.k : p.v, layer->dv, to->wv, to->bv,
                  g * layer->dv);
    }
}

static void load_phases(oracle_layer *layer, const gqa_weights *w)
{
    given_matrices cte = {{layer, &w->wqkv, &w->bqkv, &w->wqkv_scale},
                          {layer, &w->wq, &w->bq, &w->wq_scale},
                          {layer, &w->wk, &w->bk, &w->wk_scale},
                          {layer, &w->wv, &w->bv, &w->wv_scale}};
    given_matrices tkg = {{layer, &w->tkg_wqkv, &w->tkg_bqkv, &w->tkg_wqkv_scale},
                          {layer, &w->tkg_wq, &w->tkg_bq, &w->tkg_wq_scale},
                          {layer, &w->tkg_wk, &w->tkg_bk, &w->tkg_wk_scale},
                          {layer, &w->tkg_wv, &w->tkg_bv, &w->tkg_wv_scale}};
    load_projections(layer, w, cte, &layer->cte);
    if (present(&w->tkg_wq) || present(&w->tkg_wqkv)) {
        load_projections(layer, w, tkg, &layer->tkg);
    }
    layer->cte.wo = copy_matrix(layer, &w->wo, &w->wo_scale);
    layer->cte.bo = copy_all(&w->bo);
    if (present(&w->tkg_wo)) {
        layer->tkg.wo = copy_matrix(layer, &w->tkg_wo, &w->tkg_wo_scale);
        layer->tkg.bo = copy_all(&w->tkg_bo);
    }
}

static void load_rest(oracle_layer *layer, const gqa_weights *w)
{
    bool whole = layer->config.qk_norm_scope == GQA_QK_NORM_WHOLE;
    layer->input_norm = copy_all(&w->input_norm);
    layer->input_norm_bias = copy_all(&w->input_norm_bias);
    layer->q_norm = copy_heads(&w->q_norm, layer->hq, layer->dk, whole);
    layer->k_norm = copy_heads(&w->k_norm, layer->hkv, layer->dk, whole);
    layer->q_norm_bias = copy_heads(&w->q_norm_bias, layer->hq, layer->dk, whole);
    layer->k_norm_bias = copy_heads(&w->k_norm_bias, layer->hkv, layer->dk, whole);
    layer->sinks = copy_all(&w->sinks);
    layer->tkg_sinks = copy_all(&w->tkg_sinks);
    layer->post_norm = copy_all(&w->post_norm);
    layer->post_norm_bias = copy_all(&w->post_norm_bias);
}

void oracle_layer_init(oracle_layer *layer, const gqa_config *config, const gqa_weights *weights)
{
    memset(layer, 0, sizeof *layer);
    layer->config = *config;
    layer->hidden = config->hidden_size;
    layer->hidden_true =
        config->hidden_size_unpadded > 0 ? config->hidden_size_unpadded : config->hidden_size;
    layer->hq = config->num_attention_heads;
    layer->hkv = config->num_key_value_heads;
    layer->group = layer->hq / layer->hkv;
    layer->dk = config->head_dim > 0 ? config->head_dim : layer->hidden / layer->hq;
    layer->dv = config->v_head_dim > 0 ? config->v_head_dim : layer->dk;
    layer->axes = 1;
    if (config->rope != GQA_ROPE_NONE) {
        layer->pairs = (config->rotary_dim > 0 ? config->rotary_dim : layer->dk) / 2;
        if (config->mrope != GQA_MROPE_NONE) {
            layer->axes = config->mrope_sections[3] > 0 ? 4 : 3;
        }
    }
    layer->gate_dim = config->gate == GQA_GATE_NONE   ? 0
                      : config->gate == GQA_GATE_HEAD ? 1
                                                      : layer->dv;
    layer->int8 = config->weight_storage == GQA_WEIGHT_STORAGE_INT8;
    layer->bf16 = config->numerics == GQA_NUMERICS_BF16;
    layer->score_scale =
        config->score_scale != 0.0f ? (double)config->score_scale : 1.0 / sqrt((double)layer->dk);
    if (weights != NULL) {
        if (layer->hidden > 0) {
            load_phases(layer, weights);
        }
        load_rest(layer, weights);
    }
}

void oracle_layer_free(oracle_layer *layer)
{
    const oracle_matrices *const cte = &layer->cte, *const tkg = &layer->tkg;
    double *all[] = {cte->wq,           cte->bq,
                     cte->wk,           cte->bk,
                     cte->wv,           cte->bv,
                     cte->wg,           cte->bg,
                     cte->wo,           cte->bo,
                     tkg->wq,           tkg->bq,
                     tkg->wk,           tkg->bk,
                     tkg->wv,           tkg->bv,
                     tkg->wg,           tkg->bg,
                     tkg->wo,           tkg->bo,
                     layer->input_norm, layer->input_norm_bias,
                     layer->q_norm,     layer->q_norm_bias,
                     layer->k_norm,     layer->k_norm_bias,
                     layer->sinks,      layer->tkg_sinks,
                     layer->post_norm,  layer->post_norm_bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    memset(layer, 0, sizeof *layer);
}
