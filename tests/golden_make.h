/* SPDX-License-Identifier: Apache-2.0 */
/* golden_make.h - golden files made to order: inputs by a fixed seed, expected values by the
 * formulas of tests/golden/README.md in double. Needs GQA_TOOL_PATH. */
#ifndef GQA_TESTS_GOLDEN_MAKE_H
#define GQA_TESTS_GOLDEN_MAKE_H

#include "golden_run.h"
#include "support/random.h"

enum { B_MAX = 3, T_MAX = 16, P_MAX = 16, K_MAX = 32, H_MAX = 8, D_MAX = 16, E_MAX = 40 };

enum past_kind { RISING, RAGGED, RING };
enum row_kind { ALL, LEFT, RIGHT, HOLES, HIDDEN_KEYS };

struct form {
    const char *name;
    int batch, tokens, past, hidden, hq, hkv, dk, dv; /* hidden 0 = stage attn */
    int bidirectional, window, chunk, sinks;
    int bias;                   /* 1: [1, 1, T, K]; 2: [B, Hq, T, K] */
    const char *rope, *scaling; /* NULL = none */
    int rope_dim;
    const char *mrope;   /* NULL = none */
    const char *qk_norm; /* NULL = none */
    int offset;          /* qk_norm_offset */
    int extras;          /* 1: pre-norm, biases, residual, clip, temperature and softcap */
    int first_position;
    int repeat; /* 1: positions come in pairs */
    enum past_kind past_kind;
    enum row_kind row_kind;
    const char *feed;
    int mutated; /* 1: after the oracle has run, an input changes: must FAIL */
};

/* Everything of one file, in double. */
struct world {
    const struct form *f;
    int keys, pairs;
    double mscale, scale, eps, clip, softcap;
    uint64_t seed;
    float x[B_MAX][T_MAX][E_MAX], norm[E_MAX];
    float wq[H_MAX * D_MAX * E_MAX], wk[H_MAX * D_MAX * E_MAX], wv[H_MAX * D_MAX * E_MAX];
    float wo[E_MAX * H_MAX * D_MAX];
    float bq[H_MAX * D_MAX], bk[H_MAX * D_MAX], bv[H_MAX * D_MAX], bo[E_MAX];
    float q_norm[H_MAX * D_MAX], k_norm[H_MAX * D_MAX], sinks[H_MAX];
    float past_k[B_MAX * P_MAX * H_MAX * D_MAX], past_v[B_MAX * P_MAX * H_MAX * D_MAX];
    float q_in[B_MAX * T_MAX * H_MAX * D_MAX], k_in[B_MAX * T_MAX * H_MAX * D_MAX];
    float v_in[B_MAX * T_MAX * H_MAX * D_MAX];
    float bias[B_MAX * H_MAX * T_MAX * K_MAX];
    int32_t q_pos[B_MAX * T_MAX], k_pos[B_MAX * K_MAX], pos3[3 * B_MAX * T_MAX];
    uint8_t key_valid[B_MAX * K_MAX], row_valid[B_MAX * T_MAX];
    double inv_freq[D_MAX];
    /* results, packed as in the file */
    float q[B_MAX * T_MAX * H_MAX * D_MAX], k[B_MAX * T_MAX * H_MAX * D_MAX];
    float v[B_MAX * T_MAX * H_MAX * D_MAX], attn[B_MAX * T_MAX * H_MAX * D_MAX];
    float lse[B_MAX * T_MAX * H_MAX], out[B_MAX * T_MAX * E_MAX];
};

static float uniform(struct world *w) /* [-1, 1) */
{
    return random_float(&w->seed);
}

static void fill(struct world *w, float *data, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        data[i] = scale * uniform(w);
    }
}

/* --- inputs -------------------------------------------------------------------------------------
 */

static void make_frequencies(struct world *w)
{
    const struct form *f = w->f;
    const double pi = 3.14159265358979323846;

    w->mscale = 1;
    for (int j = 0; j < w->pairs; j++) {
        double base = pow(10000.0, -2.0 * j / f->rope_dim);
        double factor = 4, wave = 2 * pi / base;

        w->inv_freq[j] = base;
        if (f->scaling == NULL) {
            continue;
        }
        if (strcmp(f->scaling, "linear") == 0) {
            w->inv_freq[j] = base / factor;
        } else if (strcmp(f->scaling, "llama3") == 0) { /* context 64, factors 1 and 4 */
            double s = (64 / wave - 1) / 3;
            w->inv_freq[j] = wave < 16   ? base
                             : wave > 64 ? base / factor
                                         : base * ((1 - s) / factor + s);
        } else { /* yarn: context 64, beta 32 and 1, truncated outwards; mscale not the derived one
                  */
            double low = floor(f->rope_dim * log(64 / (2 * pi * 32)) / (2 * log(10000.0)));
            double high = ceil(f->rope_dim * log(64 / (2 * pi)) / (2 * log(10000.0)));
            double ramp;
            low = low < 0 ? 0 : low;
            ramp = fmin(1, fmax(0, (j - low) / (high - low)));
            w->inv_freq[j] = base * (1 - ramp) + base / factor * ramp;
            w->mscale = 1.25;
        }
    }
}

static void make_positions(struct world *w)
{
    const struct form *f = w->f;

    for (int b = 0; b < f->batch; b++) {
        /* A ragged sequence has its valid past in front, shorter by 2 for each sequence. */
        int held = f->past_kind == RAGGED ? f->past - 2 * b : f->past;
        for (int j = 0; j < w->keys; j++) {
            int index = j < f->past ? j : held + j - f->past;
            int place = f->past_kind == RING && j < f->past ? (j + 3) % f->past : index;
            int position = f->first_position * (b + 1) + (f->repeat ? place / 2 : place);
            bool valid = j >= f->past || j < held;

            w->k_pos[b * w->keys + j] = valid ? position : 0;
            w->key_valid[b * w->keys + j] = valid;
        }
        for (int t = 0; t < f->tokens; t++) {
            int q = b * f->tokens + t, k = b * w->keys + f->past + t;
            bool pad = (f->row_kind == LEFT && t < 2 * b + 1) ||
                       (f->row_kind == RIGHT && t >= f->tokens - 2 * b - 1) ||
                       (f->row_kind == HOLES && t % 5 == 3);

            w->q_pos[q] = w->k_pos[k];
            w->row_valid[q] = !pad;
            w->key_valid[k] = !pad && !(f->row_kind == HIDDEN_KEYS && t % 3 == 1);
            for (int axis = 0; axis < 3; axis++) {
                w->pos3[(axis * f->batch + b) * f->tokens + t] = t / (axis + 1) + axis + b;
            }
        }
    }
}

static void make_inputs(struct world *w)
{
    const struct form *f = w->f;
    int group = f->bias == 2 ? f->batch * f->hq : 1;

    fill(w, &w->x[0][0][0], sizeof w->x / sizeof(float), 1.7F);
    fill(w, w->norm, E_MAX, 1.5F);
    fill(w, w->wq, sizeof w->wq / sizeof(float), 0.3F);
    fill(w, w->wk, sizeof w->wk / sizeof(float), 0.3F);
    fill(w, w->wv, sizeof w->wv / sizeof(float), 0.3F);
    fill(w, w->wo, sizeof w->wo / sizeof(float), 0.2F);
    fill(w, w->bq, H_MAX * D_MAX, 0.5F);
    fill(w, w->bk, H_MAX * D_MAX, 0.5F);
    fill(w, w->bv, H_MAX * D_MAX, 0.5F);
    fill(w, w->bo, E_MAX, 0.5F);
    fill(w, w->q_norm, H_MAX * D_MAX, 1.5F);
    fill(w, w->k_norm, H_MAX * D_MAX, 1.5F);
    fill(w, w->sinks, H_MAX, 2.0F);
    fill(w, w->past_k, sizeof w->past_k / sizeof(float), 1.5F);
    fill(w, w->past_v, sizeof w->past_v / sizeof(float), 1.5F);
    fill(w, w->q_in, sizeof w->q_in / sizeof(float), 2.0F);
    fill(w, w->k_in, sizeof w->k_in / sizeof(float), 2.0F);
    fill(w, w->v_in, sizeof w->v_in / sizeof(float), 2.0F);
    for (int i = 0; i < group * f->tokens * w->keys; i++) {
        w->bias[i] = i % 7 == 2 ? -INFINITY : uniform(w);
    }
}

/* --- the oracle ---------------------------------------------------------------------------------
 */

/* heads of dim values of W x + b, or of the file's projections */
static void project(const struct world *w, const double *x, const float *in, const float *weight,
                    const float *b, int n, double *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = w->f->hidden == 0 ? (double)in[i] : w->f->extras ? (double)b[i] : 0;
        for (int e = 0; e < w->f->hidden; e++) {
            y[i] += (double)weight[i * w->f->hidden + e] * x[e];
        }
        y[i] = w->clip > 0 ? fmin(w->clip, fmax(-w->clip, y[i])) : y[i];
    }
}

static void norm_values(const struct world *w, double *y, int n, const float *weight, int layer)
{
    double mean = 0, square = 0;

    for (int i = 0; i < n; i++) {
        mean += layer ? y[i] / n : 0;
    }
    for (int i = 0; i < n; i++) {
        square += (y[i] - mean) * (y[i] - mean) / n;
    }
    for (int i = 0; i < n; i++) {
        y[i] = (y[i] - mean) / sqrt(square + w->eps) *
               (weight != NULL ? (double)weight[i] + w->f->offset : 1.0);
    }
}

static void qk_norm(const struct world *w, double *y, int heads, const float *weight, bool after)
{
    const char *kind = w->f->qk_norm;
    int d = w->f->dk;

    if (kind == NULL || after != (strcmp(kind, "head_rms_noweight_post_rope") == 0)) {
        return;
    }
    if (strcmp(kind, "proj_rms") == 0) {
        norm_values(w, y, heads * d, weight, 0);
        return;
    }
    for (int h = 0; h < heads; h++) {
        bool layer = strcmp(kind, "head_layernorm") == 0;
        norm_values(w, y + h * d, d, after ? NULL : layer ? weight + h * d : weight, layer);
    }
}

static int axis_of(const struct world *w, int j)
{
    if (strcmp(w->f->mrope, "sections") == 0) { /* 2, 1 and the rest */
        return j < 2 ? 0 : j < 3 ? 1 : 2;
    }
    return j % 3 == 1 && j < 3 ? 1 : j % 3 == 2 && j < 3 * 2 ? 2 : 0; /* the rest, 1, 2 */
}

static void rotate(const struct world *w, double *y, int b, int t)
{
    bool half = strcmp(w->f->rope, "half") == 0;

    for (int j = 0; j < w->pairs; j++) {
        int position = w->q_pos[b * w->f->tokens + t];
        int iu = half ? j : 2 * j, iw = half ? j + w->pairs : 2 * j + 1;
        double angle, u = y[iu], v = y[iw], c, s;

        if (w->f->mrope != NULL) {
            position = w->pos3[(axis_of(w, j) * w->f->batch + b) * w->f->tokens + t];
        }
        angle = position * w->inv_freq[j];
        c = w->mscale * cos(angle);
        s = w->mscale * sin(angle);
        y[iu] = u * c - v * s;
        y[iw] = v * c + u * s;
    }
}

/* q, k, v of one token, as a cache stores them. */
static void make_qkv(struct world *w, int b, int t)
{
    const struct form *f = w->f;
    int row = b * f->tokens + t, nq = f->hq * f->dk, nk = f->hkv * f->dk, nv = f->hkv * f->dv;
    double x[E_MAX], q[H_MAX * D_MAX], k[H_MAX * D_MAX], v[H_MAX * D_MAX], heat = 1;
    float offset_free[E_MAX];

    for (int e = 0; e < f->hidden; e++) {
        x[e] = (double)w->x[b][t][e];
        offset_free[e] = w->norm[e] - (float)f->offset; /* norm_values adds it again */
    }
    if (f->extras && f->hidden > 0) {
        norm_values(w, x, f->hidden, f->offset ? offset_free : w->norm, 0);
    }
    project(w, x, w->q_in + row * nq, w->wq, w->bq, nq, q);
    project(w, x, w->k_in + row * nk, w->wk, w->bk, nk, k);
    project(w, x, w->v_in + row * nv, w->wv, w->bv, nv, v);
    qk_norm(w, q, f->hq, w->q_norm, false);
    qk_norm(w, k, f->hkv, w->k_norm, false);
    for (int h = 0; w->pairs > 0 && h < f->hq; h++) {
        rotate(w, q + h * f->dk, b, t);
    }
    for (int h = 0; w->pairs > 0 && h < f->hkv; h++) {
        rotate(w, k + h * f->dk, b, t);
    }
    qk_norm(w, q, f->hq, NULL, true);
    qk_norm(w, k, f->hkv, NULL, true);
    if (f->extras) {
        heat = 1 + 0.25 * log(1 + floor((w->q_pos[row] + 1) / 4.0));
    }
    for (int i = 0; i < nq; i++) {
        w->q[row * nq + i] = (float)(q[i] * heat);
    }
    for (int i = 0; i < nk; i++) {
        w->k[row * nk + i] = (float)k[i];
    }
    for (int i = 0; i < nv; i++) {
        w->v[row * nv + i] = (float)v[i];
    }
}

static bool sees(const struct world *w, int b, int t, int j)
{
    const struct form *f = w->f;
    int p = w->q_pos[b * f->tokens + t], k = w->k_pos[b * w->keys + j];

    return w->key_valid[b * w->keys + j] && (f->bidirectional || k <= p) &&
           (f->window == 0 || p - k < f->window) && (f->chunk == 0 || p / f->chunk == k / f->chunk);
}

static void attend(struct world *w, int b, int t, int h)
{
    const struct form *f = w->f;
    int row = b * f->tokens + t, kv = h / (f->hq / f->hkv);
    const float *q = w->q + (row * f->hq + h) * f->dk;
    double p[K_MAX], sum = 0, top = f->sinks ? (double)w->sinks[h] : -INFINITY;
    float *out = w->attn + (row * f->hq + h) * f->dv;

    for (int j = 0; j < w->keys; j++) {
        int old = (b * f->past + j) * f->hkv + kv;
        int new = (b * f->tokens + j - f->past) * f->hkv + kv;
        const float *k = j < f->past ? w->past_k + old * f->dk : w->k + new * f->dk;
        double dot = 0;

        for (int d = 0; d < f->dk; d++) {
            dot += (double)q[d] * (double)k[d];
        }
        p[j] = dot * w->scale;
        p[j] = w->softcap > 0 ? w->softcap * tanh(p[j] / w->softcap) : p[j];
        if (f->bias > 0) {
            int plane = f->bias == 2 ? b * f->hq + h : 0;
            p[j] += (double)w->bias[(plane * f->tokens + t) * w->keys + j];
        }
        p[j] = sees(w, b, t, j) ? p[j] : -INFINITY;
        top = fmax(top, p[j]);
    }
    sum = f->sinks ? exp((double)w->sinks[h] - top) : 0;
    for (int j = 0; j < w->keys; j++) {
        p[j] = p[j] > -INFINITY ? exp(p[j] - top) : 0;
        sum += p[j];
    }
    w->lse[row * f->hq + h] = sum > 0 ? (float)(top + log(sum)) : -INFINITY;
    for (int d = 0; d < f->dv; d++) {
        double o = 0;
        for (int j = 0; j < w->keys; j++) {
            int old = (b * f->past + j) * f->hkv + kv;
            int new = (b * f->tokens + j - f->past) * f->hkv + kv;
            o += p[j] == 0 ? 0
                           : p[j] * (double)(j < f->past ? w->past_v[old * f->dv + d]
                                                         : w->v[new * f->dv + d]);
        }
        out[d] = sum > 0 ? (float)(o / sum) : 0.0F;
    }
}

static void run_oracle(struct world *w)
{
    const struct form *f = w->f;

    for (int i = 0; i < f->batch * f->tokens; i++) {
        make_qkv(w, i / f->tokens, i % f->tokens);
    }
    for (int i = 0; i < f->batch * f->tokens; i++) {
        for (int h = 0; h < f->hq; h++) {
            attend(w, i / f->tokens, i % f->tokens, h);
        }
        for (int e = 0; e < f->hidden; e++) {
            int n = f->hq * f->dv;
            double sum =
                f->extras ? (double)w->bo[e] + (double)w->x[i / f->tokens][i % f->tokens][e] : 0;
            for (int d = 0; d < n; d++) {
                sum += (double)w->wo[e * n + d] * (double)w->attn[i * n + d];
            }
            w->out[i * f->hidden + e] = (float)sum;
        }
    }
}

/* --- the file -----------------------------------------------------------------------------------
 */

struct out_file {
    struct tool_tensor tensor[48];
    size_t n;
    json_t *metadata;
    float x[B_MAX * T_MAX * E_MAX]; /* packed */
};

static void put(struct out_file *o, const char *name, enum tool_dtype dtype, const void *data,
                int rank, const int *shape)
{
    struct tool_tensor *tensor = &o->tensor[o->n++];

    tensor->name = name;
    tensor->dtype = dtype;
    tensor->rank = rank;
    tensor->count = 1;
    tensor->data = data;
    for (int i = 0; i < rank; i++) {
        tensor->shape[i] = shape[i];
        tensor->count *= shape[i];
    }
}

#define PUT(name, dtype, data, ...)                                                                \
    put(o, name, dtype, data, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)),                   \
        (int[]){__VA_ARGS__})

static void put_weights(struct out_file *o, const struct world *w)
{
    const struct form *f = w->f;

    PUT("wq", TOOL_F32, w->wq, f->hq * f->dk, f->hidden);
    PUT("wk", TOOL_F32, w->wk, f->hkv * f->dk, f->hidden);
    PUT("wv", TOOL_F32, w->wv, f->hkv * f->dv, f->hidden);
    PUT("wo", TOOL_F32, w->wo, f->hidden, f->hq * f->dv);
    if (f->extras) {
        PUT("norm.weight", TOOL_F32, w->norm, f->hidden);
        PUT("bq", TOOL_F32, w->bq, f->hq * f->dk);
        PUT("bk", TOOL_F32, w->bk, f->hkv * f->dk);
        PUT("bv", TOOL_F32, w->bv, f->hkv * f->dv);
        PUT("bo", TOOL_F32, w->bo, f->hidden);
    }
    for (int i = 0; i < f->batch * f->tokens; i++) {
        memcpy(o->x + i * f->hidden, w->x[i / f->tokens][i % f->tokens],
               (size_t)f->hidden * sizeof(float));
    }
    PUT("x", TOOL_F32, o->x, f->batch, f->tokens, f->hidden);
    PUT("f64.out", TOOL_F32, w->out, f->batch, f->tokens, f->hidden);
}

static void put_tensors(struct out_file *o, const struct world *w)
{
    const struct form *f = w->f;
    int b = f->batch, t = f->tokens;

    if (f->hidden > 0) {
        put_weights(o, w);
    } else {
        PUT("q_proj", TOOL_F32, w->q_in, b, t, f->hq, f->dk);
        PUT("k_proj", TOOL_F32, w->k_in, b, t, f->hkv, f->dk);
        PUT("v_proj", TOOL_F32, w->v_in, b, t, f->hkv, f->dv);
    }
    if (f->qk_norm != NULL && strcmp(f->qk_norm, "head_layernorm") == 0) {
        PUT("q_norm.weight", TOOL_F32, w->q_norm, f->hq, f->dk);
        PUT("k_norm.weight", TOOL_F32, w->k_norm, f->hkv, f->dk);
    } else if (f->qk_norm != NULL && strcmp(f->qk_norm, "head_rms_noweight_post_rope") != 0) {
        bool whole = strcmp(f->qk_norm, "proj_rms") == 0;
        PUT("q_norm.weight", TOOL_F32, w->q_norm, (whole ? f->hq : 1) * f->dk);
        PUT("k_norm.weight", TOOL_F32, w->k_norm, (whole ? f->hkv : 1) * f->dk);
    }
    if (f->sinks) {
        PUT("sinks", TOOL_F32, w->sinks, f->hq);
    }
    if (f->bias > 0) {
        PUT("attn_bias", TOOL_F32, w->bias, f->bias == 2 ? b : 1, f->bias == 2 ? f->hq : 1, t,
            w->keys);
    }
    if (f->past > 0) {
        PUT("past_k", TOOL_F32, w->past_k, b, f->past, f->hkv, f->dk);
        PUT("past_v", TOOL_F32, w->past_v, b, f->past, f->hkv, f->dv);
    }
    if (w->pairs > 0) {
        PUT("inv_freq", TOOL_F64, w->inv_freq, w->pairs);
    }
    if (f->mrope != NULL) {
        PUT("rope_pos3", TOOL_I32, w->pos3, 3, b, t);
    }
    PUT("q_pos", TOOL_I32, w->q_pos, b, t);
    PUT("k_pos", TOOL_I32, w->k_pos, b, w->keys);
    PUT("key_valid", TOOL_U8, w->key_valid, b, w->keys);
    PUT("row_valid", TOOL_U8, w->row_valid, b, t);
    PUT("f64.q", TOOL_F32, w->q, b, t, f->hq, f->dk);
    PUT("f64.k", TOOL_F32, w->k, b, t, f->hkv, f->dk);
    PUT("f64.v", TOOL_F32, w->v, b, t, f->hkv, f->dv);
    PUT("f64.attn", TOOL_F32, w->attn, b, t, f->hq, f->dv);
    PUT("f64.lse", TOOL_F32, w->lse, b, t, f->hq);
}

static void say(struct out_file *o, const char *key, const char *format, ...)
{
    char text[64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_object_set_new(o->metadata, key, json_string(text));
}

static void put_metadata(struct out_file *o, const struct world *w)
{
    const struct form *f = w->f;
    const char *const extras[] = {"qkv_bias", "out_bias", "residual"};

    say(o, "stage", f->hidden > 0 ? "block" : "attn");
    say(o, "case", "%s", f->name);
    say(o, "batch", "%d", f->batch);
    say(o, "tokens", "%d", f->tokens);
    say(o, "past", "%d", f->past);
    say(o, "hidden", "%d", f->hidden);
    say(o, "n_q_heads", "%d", f->hq);
    say(o, "n_kv_heads", "%d", f->hkv);
    say(o, "head_dim", "%d", f->dk);
    say(o, "v_head_dim", "%d", f->dv);
    say(o, "scale", "%.17g", w->scale);
    say(o, "causal", "%d", !f->bidirectional);
    say(o, "window", "%d", f->window);
    say(o, "chunk", "%d", f->chunk);
    say(o, "softcap", "%.17g", w->softcap);
    say(o, "sinks", "%d", f->sinks);
    say(o, "attn_bias", "%d", f->bias > 0);
    say(o, "rope", "%s", f->rope != NULL ? f->rope : "none");
    say(o, "rope_dim", "%d", f->rope_dim);
    say(o, "rope_theta", "10000.0");
    say(o, "rope_scaling", "%s", f->scaling != NULL ? f->scaling : "none");
    say(o, "rope_factor", "4.0");
    say(o, "rope_orig_ctx", "64");
    say(o, "rope_low_freq_factor", "1.0");
    say(o, "rope_high_freq_factor", "4.0");
    say(o, "rope_beta_fast", "32.0");
    say(o, "rope_beta_slow", "1.0");
    say(o, "rope_truncate", "1");
    say(o, "rope_mscale", "%.17g", w->mscale);
    say(o, "mrope_layout", "%s", f->mrope != NULL ? f->mrope : "none");
    say(o, "mrope_sections",
        f->mrope == NULL                    ? ""
        : strcmp(f->mrope, "sections") == 0 ? "2,1,%d"
                                            : "%d,1,2",
        w->pairs - 3);
    say(o, "pre_norm", f->extras && f->hidden > 0 ? "rms" : "none");
    say(o, "pre_norm_eps", "%.17g", w->eps);
    say(o, "qk_norm", "%s", f->qk_norm != NULL ? f->qk_norm : "none");
    say(o, "qk_norm_eps", "%.17g", w->eps);
    say(o, "qk_norm_offset", "%d", f->offset);
    say(o, "clip_qkv", "%.17g", w->clip);
    say(o, "q_temp", "%d", f->extras);
    say(o, "q_temp_scale", "0.25");
    say(o, "q_temp_floor", "4.0");
    for (int i = 0; i < 3; i++) {
        say(o, extras[i], "%d", f->extras && f->hidden > 0);
    }
    say(o, "feed_schedule", "%s", f->feed);
    say(o, "tol_q", "3e-5");
    say(o, "tol_k", "3e-5");
    say(o, "tol_attn", "3e-5");
    say(o, "tol_out", "3e-5");
}

static inline void write_form(const struct form *f, const char *path)
{
    struct world *w = calloc(1, sizeof *w);
    struct out_file *o = calloc(1, sizeof *o);
    struct tool_fault fault = {.text = ""};

    assert_non_null(w);
    assert_non_null(o);
    w->f = f;
    w->keys = f->past + f->tokens;
    w->pairs = f->rope_dim / 2;
    w->seed = 99;
    w->scale = 0.25;
    w->eps = 0.0009765625; /* exact in float32 */
    w->clip = f->extras ? 1.75 : 0;
    w->softcap = f->extras ? 4 : 0;
    make_frequencies(w);
    make_inputs(w);
    make_positions(w);
    run_oracle(w);
    if (f->mutated) {
        w->past_v[0] += 1.0F;
        w->wo[0] += 0.01F;
        w->v_in[0] += 0.01F;
    }
    o->metadata = json_object();
    put_tensors(o, w);
    put_metadata(o, w);
    if (!tool_file_write(path, o->tensor, o->n, o->metadata, &fault)) {
        fail_msg("%s", fault.text);
    }
    json_decref(o->metadata);
    free(o);
    free(w);
}

#endif
