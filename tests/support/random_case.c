/* SPDX-License-Identifier: Apache-2.0 */
/* random_case.c - random numbers, tensors and weights of a case. */
#include "random_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "support/random.h"

uint64_t random_case_next(random_case *c)
{
    return random_next(&c->state);
}

int random_below(random_case *c, int n)
{
    return (int)(random_case_next(c) >> 33) % n;
}

double random_normal(random_case *c)
{
    double sum = 0.0;
    for (int i = 0; i < 4; i++) {
        sum += random_unit(&c->state) - 0.5;
    }
    return sum * 1.7320508075688772; /* four uniform numbers have variance 1/3 */
}

void *random_memory(random_case *c, size_t count, size_t size)
{
    if (c->blocks == c->room) {
        int room = 2 * c->room + 64;
        void **grown = oracle_zeros((size_t)room, sizeof *grown);
        if (c->blocks > 0) {
            memcpy(grown, c->memory, (size_t)c->blocks * sizeof *grown);
        }
        free(c->memory);
        c->memory = grown;
        c->room = room;
    }
    c->memory[c->blocks] = oracle_zeros(count, size);
    return c->memory[c->blocks++];
}

void random_free(random_case *c)
{
    for (int i = 0; i < c->blocks; i++) {
        free(c->memory[i]);
    }
    free(c->memory);
    c->memory = NULL;
    c->blocks = c->room = 0;
}

gqa_dtype random_type(random_case *c, random_option option)
{
    int v = c->choice[option];
    return (gqa_dtype)(v == 3 ? random_below(c, 3) : v);
}

static uint16_t encode_f16(double x)
{
    double r = fabs(oracle_round(x, GQA_F16));
    unsigned sign = signbit(x) ? 0x8000u : 0u;
    if (isnan(x)) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (isinf(r)) {
        return (uint16_t)(sign | 0x7c00u);
    }
    if (r < 0x1p-14) {
        return (uint16_t)(sign | (unsigned)(r * 0x1p24));
    }
    int e = ilogb(r);
    return (uint16_t)(sign | ((unsigned)(e + 15) << 10) | ((unsigned)ldexp(r, 10 - e) & 1023u));
}

void random_set(const gqa_tensor *t, const int64_t *index, double value)
{
    int64_t offset = 0;
    int64_t step = 1;
    bool packed = true;
    unsigned char *bytes = t->data;
    for (int i = 0; i < t->rank; i++) {
        packed = packed && t->stride[i] == 0;
    }
    for (int i = t->rank - 1; i >= 0; i--) {
        int64_t extent = t->shape[i];
        offset += index[i] * (packed ? step : t->stride[i]);
        step *= t->dtype == GQA_BITS && i == t->rank - 1 ? (extent + 7) / 8 * 8 : extent;
    }
    float f = (float)value;
    uint16_t h = encode_f16(value);
    uint32_t u;
    memcpy(&u, &f, 4);
    switch (t->dtype) {
    case GQA_F32:
        memcpy(bytes + 4 * offset, &f, 4);
        break;
    case GQA_BF16: /* cut, not rounded: any value is as good; a NaN keeps its quiet bit */
        h = (uint16_t)(u >> 16);
        memcpy(bytes + 2 * offset, &h, 2);
        break;
    case GQA_F16:
        memcpy(bytes + 2 * offset, &h, 2);
        break;
    case GQA_U8: /* any byte but 0 is true */
        bytes[offset] = (unsigned char)(value != 0.0 ? 1 + offset % 255 : 0);
        break;
    case GQA_I8:
        ((int8_t *)t->data)[offset] = (int8_t)fmax(fmin(nearbyint(value), 127.0), -128.0);
        break;
    case GQA_E4M3:
    case GQA_E4M3_240:
    case GQA_I4: /* no tensor has these */
        break;
    case GQA_BITS:
        bytes[offset / 8] &= (unsigned char)~(1u << (offset % 8));
        bytes[offset / 8] |= (unsigned char)((value != 0.0 ? 1u : 0u) << (offset % 8));
        break;
    }
}

static size_t bytes_for(gqa_dtype dtype, int64_t elements)
{
    bool byte = dtype == GQA_U8 || dtype == GQA_I8;
    int64_t bits = dtype == GQA_F32 ? 32 : dtype == GQA_BITS ? 1 : byte ? 8 : 16;
    return (size_t)((elements * bits + 7) / 8);
}

/* Every element of t in turn. False after the last one. */
static bool advance(const gqa_tensor *t, int64_t *index)
{
    for (int i = t->rank - 1; i >= 0; i--) {
        if (++index[i] < t->shape[i]) {
            return true;
        }
        index[i] = 0;
    }
    return false;
}

gqa_tensor random_tensor(random_case *c, int rank, const int64_t *shape, random_fill fill)
{
    gqa_tensor t = {.dtype = fill.dtype, .rank = rank};
    int64_t step = 1;
    int64_t elements = 1;
    bool mask = fill.dtype == GQA_U8 || fill.dtype == GQA_BITS;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = step;
        step *= shape[i];
        step += fill.gaps ? 3 : 0;
        step = fill.dtype == GQA_BITS && i > 0 ? (step + 7) / 8 * 8 : step;
        elements *= shape[i];
    }
    /* One element in front, so that gapped tensors are not aligned either. */
    size_t lead = fill.gaps && fill.dtype != GQA_BITS ? bytes_for(fill.dtype, 1) : 0;
    size_t size = bytes_for(fill.dtype, step) + lead + 8;
    unsigned char *memory = random_memory(c, size, 1);
    memset(memory, 0xff, size); /* NaN of every format, and true */
    t.data = memory + lead;
    if (!fill.gaps && c->choice[OPT_STRIDES] == 2) {
        memset(t.stride, 0, sizeof t.stride);
    }
    int64_t index[4] = {0};
    for (bool more = elements > 0; more; more = advance(&t, index)) {
        double x = mask ? 1.0 : fill.centre + fill.scale * random_normal(c);
        random_set(&t, index, x);
    }
    return t;
}

static gqa_tensor weight(random_case *c, int64_t rows, int64_t columns, random_fill fill)
{
    int64_t shape[2] = {rows, columns};
    fill.dtype = random_type(c, OPT_WEIGHT_TYPE);
    fill.gaps = c->choice[OPT_STRIDES] == 1;
    return rows == 0 ? random_tensor(c, 1, shape + 1, fill) : random_tensor(c, 2, shape, fill);
}

/* A matrix; with given integers most of them are such, and *scale belongs to them: normal values of
 * 40 integers' width, some of them at both ends of the range. */
static gqa_tensor matrix(random_case *c, gqa_tensor *scale, int64_t rows, int64_t columns,
                         random_fill fill)
{
    int64_t shape[2] = {rows, columns};
    random_fill integers = {.dtype = GQA_I8, .gaps = c->choice[OPT_STRIDES] == 1, .scale = 40.0};
    random_fill factor = {.scale = 0.004 * fill.scale, .centre = 0.02 * fill.scale};
    if (c->choice[OPT_WEIGHT_STORAGE] != 2 || random_below(c, 4) == 0) {
        return weight(c, rows, columns, fill);
    }
    *scale = weight(c, 0, rows, factor);
    return random_tensor(c, 2, shape, integers);
}

/* Zero what belongs to the padding of hidden: columns, or rows, from the true size on. */
static void clear_padding(const random_case *c, const gqa_tensor *t, int dimension)
{
    int64_t from = c->config.hidden_size_unpadded;
    int64_t index[4] = {0};
    for (bool more = from > 0 && t->data != NULL; more; more = advance(t, index)) {
        if (index[dimension] >= from) {
            random_set(t, index, 0.0);
        }
    }
}

/* The matrices of a phase. */
typedef struct matrix_set {
    gqa_tensor *wq, *bq, *wk, *bk, *wv, *bv, *wqkv, *bqkv, *wo, *bo;
    gqa_tensor *wq_scale, *wk_scale, *wv_scale, *wqkv_scale, *wo_scale;
} matrix_set;

static void qkv_weights(random_case *c, const matrix_set *m)
{
    const gqa_config *g = &c->config;
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    int hidden = g->hidden_size;
    int q_rows = g->num_attention_heads * (g->head_dim + (g->gate == GQA_GATE_Q_TAIL ? dv : 0));
    int k_rows = g->num_key_value_heads * g->head_dim;
    int v_rows = g->k_eq_v != 0 ? 0 : g->num_key_value_heads * dv;
    random_fill in = {.scale = 1.4 / sqrt(hidden)};
    random_fill bias = {.scale = 0.3};
    if (g->qkv_layout == GQA_QKV_SEPARATE) {
        *m->wq = matrix(c, m->wq_scale, q_rows, hidden, in);
        *m->wk = matrix(c, m->wk_scale, k_rows, hidden, in);
        if (v_rows > 0) {
            *m->wv = matrix(c, m->wv_scale, v_rows, hidden, in);
        }
        if (g->qkv_bias != 0) {
            *m->bq = weight(c, 0, q_rows, bias);
            *m->bk = weight(c, 0, k_rows, bias);
        }
        if (g->qkv_bias != 0 && v_rows > 0) {
            *m->bv = weight(c, 0, v_rows, bias);
        }
    } else {
        *m->wqkv = matrix(c, m->wqkv_scale, q_rows + k_rows + v_rows, hidden, in);
        if (g->qkv_bias != 0) {
            *m->bqkv = weight(c, 0, q_rows + k_rows + v_rows, bias);
        }
    }
    clear_padding(c, m->wq, 1);
    clear_padding(c, m->wk, 1);
    clear_padding(c, m->wv, 1);
    clear_padding(c, m->wqkv, 1);
}

static void output_weights(random_case *c, const matrix_set *m)
{
    const gqa_config *g = &c->config;
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    int width = g->num_attention_heads * dv;
    random_fill out = {.scale = 1.0 / sqrt((double)width)};
    random_fill bias = {.scale = 0.3};
    *m->wo = matrix(c, m->wo_scale, g->hidden_size, width, out);
    if (g->o_bias != 0) {
        *m->bo = weight(c, 0, g->hidden_size, bias);
    }
    clear_padding(c, m->wo, 0);
    clear_padding(c, m->bo, 0);
}

static void gate_weights(random_case *c)
{
    const gqa_config *g = &c->config;
    gqa_weights *w = &c->weights;
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    int gates = g->num_attention_heads * (g->gate == GQA_GATE_HEAD ? 1 : dv);
    random_fill in = {.scale = 1.4 / sqrt(g->hidden_size)};
    if (g->gate == GQA_GATE_ELEMENT || g->gate == GQA_GATE_HEAD) {
        w->wgate = matrix(c, &w->wgate_scale, gates, g->hidden_size, in);
        clear_padding(c, &w->wgate, 1);
    }
}

static void projection_weights(random_case *c)
{
    gqa_weights *w = &c->weights;
    const matrix_set first = {&w->wq,       &w->bq,         &w->wk,       &w->bk,
                              &w->wv,       &w->bv,         &w->wqkv,     &w->bqkv,
                              &w->wo,       &w->bo,         &w->wq_scale, &w->wk_scale,
                              &w->wv_scale, &w->wqkv_scale, &w->wo_scale};
    const matrix_set tkg = {
        &w->tkg_wq,       &w->tkg_bq,       &w->tkg_wk,       &w->tkg_bk,         &w->tkg_wv,
        &w->tkg_bv,       &w->tkg_wqkv,     &w->tkg_bqkv,     &w->tkg_wo,         &w->tkg_bo,
        &w->tkg_wq_scale, &w->tkg_wk_scale, &w->tkg_wv_scale, &w->tkg_wqkv_scale, &w->tkg_wo_scale};
    qkv_weights(c, &first);
    gate_weights(c);
    output_weights(c, &first);
    if (c->choice[OPT_TKG] == 1 || c->choice[OPT_TKG] == 3) {
        qkv_weights(c, &tkg);
    }
    if (c->choice[OPT_TKG] >= 2) {
        output_weights(c, &tkg);
    }
}

static void hidden_norms(random_case *c)
{
    const gqa_config *g = &c->config;
    gqa_weights *w = &c->weights;
    random_fill in = {.scale = 0.2, .centre = g->input_norm_offset != 0 ? 0.0 : 1.0};
    random_fill post = {.scale = 0.2, .centre = g->post_norm_offset != 0 ? 0.0 : 1.0};
    random_fill bias = {.scale = 0.2};
    int input = c->choice[OPT_INPUT_WEIGHT];
    int output = c->choice[OPT_POST_WEIGHT];
    if (input == 1 || input == 2) {
        w->input_norm = weight(c, 0, g->hidden_size, in);
    }
    if (input >= 2) {
        w->input_norm_bias = weight(c, 0, g->hidden_size, bias);
    }
    if (output == 1 || output == 2) {
        w->post_norm = weight(c, 0, g->hidden_size, post);
    }
    if (output >= 2) {
        w->post_norm_bias = weight(c, 0, g->hidden_size, bias);
    }
}

static void head_norms(random_case *c)
{
    const gqa_config *g = &c->config;
    gqa_weights *w = &c->weights;
    int hq = g->num_attention_heads;
    int hkv = g->num_key_value_heads;
    int choice = c->choice[OPT_QK_WEIGHT];
    bool whole = g->qk_norm_scope == GQA_QK_NORM_WHOLE;
    int n = g->head_dim;
    random_fill fill = {.scale = 0.2, .centre = g->qk_norm_offset != 0 ? 0.0 : 1.0};
    random_fill bias = {.scale = 0.2};
    if (choice == 2) {
        w->q_norm = weight(c, hq, n, fill);
        w->k_norm = weight(c, hkv, n, fill);
    } else if (choice != 0) {
        w->q_norm = weight(c, 0, whole ? hq * n : n, fill);
        w->k_norm = weight(c, 0, whole ? hkv * n : n, fill);
    }
    if (choice == 3) {
        w->q_norm_bias = weight(c, 0, whole ? hq * n : n, bias);
        w->k_norm_bias = weight(c, 0, whole ? hkv * n : n, bias);
    }
}

void random_weights(random_case *c)
{
    const gqa_config *g = &c->config;
    gqa_weights *w = &c->weights;
    int hq = g->num_attention_heads;
    random_fill sink = {.scale = 1.5};
    gqa_weights_init(w);
    if (g->hidden_size > 0) {
        projection_weights(c);
        hidden_norms(c);
    }
    head_norms(c);
    if (c->choice[OPT_SINKS] > 0) {
        w->sinks = weight(c, 0, hq, sink);
        for (int64_t h = 0; c->choice[OPT_SINKS] == 2 && h < hq; h += 2) {
            random_set(&w->sinks, &h, -(double)INFINITY);
        }
    }
    if (c->choice[OPT_SINKS] == 3) {
        w->tkg_sinks = weight(c, 0, hq, sink);
    }
}

void random_build(random_case *c)
{
    random_weights(c);
    random_calls(c);
}
