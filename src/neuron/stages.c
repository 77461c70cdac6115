/* SPDX-License-Identifier: Apache-2.0 */
/* stages.c - see stages.h: the sum, the norms, the clip and the rotation. */
#include "neuron/stages.h"

#include <math.h>
#include <string.h>

#include "neuron/engine.h"

gqa_dtype gqa__neuron_io(const struct gqa__params *params)
{
    return params->config.neuron_io == GQA_NEURON_IO_F32 ? GQA_F32 : GQA_BF16;
}

void gqa__neuron_stage_sum(const struct gqa__params *params, const float *a, const float *b,
                           float *sum)
{
    const gqa_dtype io = gqa__neuron_io(params);

    for (int32_t i = 0; i < params->shape.hidden; i++) {
        const float x = gqa__engine_round(io, a[i]);
        sum[i] = b == NULL ? x : gqa__engine_round(io, x + gqa__engine_round(io, b[i]));
    }
}

/* --- norms -------------------------------------------------------------------------------------
 */

/* One vector in place. weight and bias NULL: none. */
struct io_norm {
    gqa_dtype io;
    gqa_neuron_accumulation accumulation;
    gqa_norm kind;  /* RMS or LAYER */
    gqa_dtype cast; /* F32: none; else the normalised value is rounded before the weight */
    float eps, offset;
    int64_t n, n_true; /* values, and over how many the mean is taken: what follows is padding */
    const float *weight, *bias; /* [n] */
};

/* The mean of x - center, or of its square, over n values: one sum, one division. */
static float mean_of(const struct io_norm *norm, const float *x, float center, bool squares)
{
    double wide = 0.0;
    float narrow = 0.0f;

    for (int64_t i = 0; i < norm->n_true; i++) {
        const float away = x[i] - center;
        const float term = squares ? away * away : away;
        wide += (double)term;
        narrow += term;
    }
    if (norm->accumulation == GQA_NEURON_EXACT) {
        narrow = (float)wide;
    }
    return narrow / (float)norm->n_true;
}

static void io_norm_vector(const struct io_norm *norm, float *x)
{
    const float center = norm->kind == GQA_NORM_LAYER ? mean_of(norm, x, 0.0f, false) : 0.0f;
    const float variance = mean_of(norm, x, center, true) + norm->eps;
    const float factor = (float)(1.0 / sqrt((double)variance)); /* the engine's rsqrt */

    for (int64_t i = 0; i < norm->n; i++) {
        float y = gqa__engine_round(norm->cast, (x[i] - center) * factor);
        if (norm->weight != NULL) {
            y *= norm->offset + gqa__engine_round(norm->io, norm->weight[i]);
        }
        if (norm->bias != NULL) {
            y += gqa__engine_round(norm->io, norm->bias[i]);
        }
        x[i] = gqa__engine_round(norm->io, y);
    }
}

static struct io_norm hidden_norm(const struct gqa__params *params)
{
    const struct io_norm norm = {.io = gqa__neuron_io(params),
                                 .accumulation = params->config.neuron_accumulation,
                                 .cast = params->config.norm_cast,
                                 .n = params->shape.hidden,
                                 .n_true = params->shape.hidden_true};

    return norm;
}

void gqa__neuron_stage_input_norm(const struct gqa__params *params, const float *x, float *x_norm)
{
    struct io_norm norm = hidden_norm(params);

    memcpy(x_norm, x, (size_t)params->shape.hidden * sizeof *x);
    norm.kind = params->config.input_norm;
    norm.eps = params->config.input_norm_eps;
    norm.offset = (float)params->config.input_norm_offset;
    norm.weight = params->input_norm;
    norm.bias = params->input_norm_bias;
    if (norm.kind != GQA_NORM_NONE) {
        io_norm_vector(&norm, x_norm);
    }
}

void gqa__neuron_stage_post(const struct gqa__params *params, float *o, int32_t n)
{
    struct io_norm norm = hidden_norm(params);

    norm.kind = params->config.post_norm;
    norm.eps = params->config.post_norm_eps;
    norm.offset = (float)params->config.post_norm_offset;
    norm.weight = params->post_norm;
    norm.bias = params->post_norm_bias;
    for (int32_t t = 0; t < n && norm.kind != GQA_NORM_NONE; t++) {
        io_norm_vector(&norm, o + (int64_t)t * params->shape.hidden);
    }
}

void gqa__neuron_stage_residual(const struct gqa__params *params, const float *sum, const float *o,
                                float *out)
{
    gqa__neuron_stage_sum(params, o, params->config.add_residual != 0 ? sum : NULL, out);
}

/* q or k: each head, or all heads of a token together. */
struct io_heads {
    struct gqa__heads x;
    const float *weight, *bias;
    bool per_head; /* weight and bias are [heads][dk] */
};

static void io_norm_heads(const struct gqa__params *params, const struct io_heads *heads, int32_t n)
{
    const bool whole = params->config.qk_norm_scope == GQA_QK_NORM_WHOLE;
    const int64_t dk = params->shape.dk;
    struct io_norm norm = {.io = gqa__neuron_io(params),
                           .accumulation = params->config.neuron_accumulation,
                           .kind = params->config.qk_norm,
                           .eps = params->config.qk_norm_eps,
                           .offset = (float)params->config.qk_norm_offset,
                           .cast = GQA_F32};

    norm.n = norm.n_true = whole ? heads->x.heads * dk : dk;
    for (int64_t t = 0; t < n && heads->x.x != NULL; t++) {
        for (int64_t at = 0; at < heads->x.heads * dk; at += norm.n) {
            const int64_t of = heads->per_head ? at : 0;
            norm.weight = heads->weight == NULL ? NULL : heads->weight + of;
            norm.bias = heads->bias == NULL ? NULL : heads->bias + of;
            io_norm_vector(&norm, heads->x.x + t * heads->x.step + at);
        }
    }
}

void gqa__neuron_stage_qk_norm(const struct gqa__params *params, gqa_qk_norm_placement placement,
                               const struct gqa__qkv *x, int32_t n)
{
    const struct io_heads q = {x->q, params->q_norm, params->q_norm_bias, params->q_norm_per_head};
    const struct io_heads k = {x->k, params->k_norm, params->k_norm_bias, params->k_norm_per_head};

    if (params->config.qk_norm_scope != GQA_QK_NORM_OFF &&
        params->config.qk_norm_placement == placement) {
        io_norm_heads(params, &q, n);
        io_norm_heads(params, &k, n);
    }
}

/* --- clip and rotation -------------------------------------------------------------------------
 */

static void clip_heads(const struct gqa__params *params, const struct gqa__heads *x, int32_t n)
{
    const gqa_dtype io = gqa__neuron_io(params);
    const float limit = gqa__engine_round(io, params->config.clip_qkv);
    const int64_t width = (int64_t)x->heads * params->shape.dk;

    for (int64_t t = 0; t < n && x->x != NULL; t++) {
        float *const values = x->x + t * x->step;
        for (int64_t i = 0; i < width; i++) {
            const float value = gqa__engine_round(io, values[i]);
            const float below = limit > 0.0f && value > limit ? limit : value;
            values[i] = limit > 0.0f && below < -limit ? -limit : below;
        }
    }
}

void gqa__neuron_stage_clip(const struct gqa__params *params, const struct gqa__qkv *x,
                            bool clipped, int32_t n)
{
    (void)clipped; /* no product of this backend clips */
    clip_heads(params, &x->q, n);
    clip_heads(params, &x->k, n);
    clip_heads(params, &x->v, n);
}

/* Half-split: two products and their sum, each rounded. */
static void rotate_half(gqa_dtype io, const struct gqa__rope_args *args, float *x)
{
    const int32_t pairs = args->rotary_dim / 2;

    for (int32_t i = 0; i < pairs; i++) {
        const float c = gqa__engine_round(io, args->c[i]);
        const float s = gqa__engine_round(io, args->s[i]);
        const float a = x[i], b = x[i + pairs];
        x[i] = gqa__engine_round(io, gqa__engine_round(io, a * c) + gqa__engine_round(io, -b * s));
        x[i + pairs] =
            gqa__engine_round(io, gqa__engine_round(io, b * c) + gqa__engine_round(io, a * s));
    }
}

/* Interleaved ("polar"): in f32, rounded once. */
static void rotate_interleaved(gqa_dtype io, const struct gqa__rope_args *args, float *x)
{
    for (int32_t i = 0; i < args->rotary_dim / 2; i++) {
        const float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = gqa__engine_round(io, a * args->c[i] - b * args->s[i]);
        x[2 * i + 1] = gqa__engine_round(io, a * args->s[i] + b * args->c[i]);
    }
}

void gqa__neuron_stage_rope(const struct gqa__params *params, const float *c, const float *s,
                            const struct gqa__heads *x, int32_t n)
{
    const gqa_dtype io = gqa__neuron_io(params);
    const int64_t pairs = params->rope.pairs;

    for (int64_t t = 0; t < n && x->x != NULL; t++) {
        const struct gqa__rope_args args = {
            .rotary_dim = params->shape.rotary_dim, .c = c + t * pairs, .s = s + t * pairs};
        for (int32_t h = 0; h < x->heads; h++) {
            float *const head = x->x + t * x->step + (int64_t)h * params->shape.dk;
            if (params->config.rope == GQA_ROPE_HALF) {
                rotate_half(io, &args, head);
            } else {
                rotate_interleaved(io, &args, head);
            }
        }
    }
}
