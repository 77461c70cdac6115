/* SPDX-License-Identifier: Apache-2.0 */
/* peer_ggml_layer.c - a layer on pieces of prompts and decodes of many sequences by ggml, as one
 * graph: norm, projections and rope of all tokens at once, attention of each sequence on its own
 * keys, which lie token by token as llama.cpp keeps them. Weights are in bf16 or f16, as keys and
 * values are, or f16 where those are quantised. */
#include <math.h>

#include "config.h"
#include "fill.h"
#include "peer_ggml.h"

enum { NEOX = 2 }; /* rope of the two halves of a head */

/* What all sequences of a call have. */
struct layer {
    int64_t n;       /* tokens */
    int64_t rows;    /* of q, k and v */
    int64_t wide;    /* of q */
    int weights;     /* format */
    void *x;         /* [n][hidden] */
    void *q, *k, *v; /* [n][heads][d] */
    void *all;       /* [n][hq][d] attention of all sequences */
    void *sinks;
};

static int weight_format(const struct ggml_peer *p)
{
    return p->format == FORMAT_F32 || p->format == FORMAT_BF16 ? p->format : FORMAT_F16;
}

/* [rows][columns] of the layer's random weights, which are bf16; NULL without memory. */
static void *make_weights(const struct ggml_peer *p, int64_t rows, int64_t columns)
{
    void *w = p->ggml->new_tensor(p->arena, weight_format(p), columns, rows, 1, 1);
    const size_t n = (size_t)(rows * columns);
    uint16_t *random = bench_alloc(n * sizeof *random);
    float *wide = bench_alloc(n * sizeof *wide);
    const gqa_tensor from = gqa_tensor_1d(random, GQA_BF16, (int64_t)n);
    const gqa_tensor to = gqa_tensor_1d(wide, GQA_F32, (int64_t)n);
    bool ok = random != NULL && wide != NULL;

    if (ok) {
        bench_fill_bf16(random, n, 0.03f, 1);
        ok = gqa_convert(&from, &to, NULL) == GQA_OK;
        p->ggml->quantize(weight_format(p), wide, p->ggml->data(w), 0, rows, columns, NULL);
    }
    bench_free(random);
    bench_free(wide);
    return ok ? w : NULL;
}

/* Positions of the tokens, sequence after sequence. */
static void *make_positions(const struct ggml_peer *p, int64_t n)
{
    void *positions = p->ggml->new_tensor(p->arena, FORMAT_I32, n, 1, 1, 1);
    int32_t *at = p->ggml->data(positions);

    for (int32_t s = 0; s < p->spec.batch; s++) {
        for (int32_t t = 0; t < bench_spec_mix_tokens(&p->spec, s); t++) {
            *at++ = bench_spec_mix_past(&p->spec, s) + t;
        }
    }
    return positions;
}

/* Heads of qkv, from column `first` on; turned unless positions is NULL. */
static void *take_heads(const struct ggml_peer *p, const struct layer *layer, void *qkv,
                        int32_t heads, int64_t first, void *positions)
{
    const size_t token = (size_t)layer->rows * 4, head = (size_t)p->spec.d * 4;
    void *x = p->ggml->view(p->arena, qkv, p->spec.d, heads, layer->n, 1, head, token,
                            token * (size_t)layer->n, (size_t)first * 4);
    gqa_config config;

    if (positions == NULL) {
        return x;
    }
    bench_config(&p->spec, &config);
    return p->ggml->rope(p->arena, x, positions, NULL, p->spec.d, NEOX,
                         config.rope_original_context, (float)config.rope_theta,
                         (float)(1 / config.rope_factor), 1, 1, (float)config.rope_beta_fast,
                         (float)config.rope_beta_slow);
}

/* Norm, projection, rope: q, k and v of all tokens. */
static bool begin(const struct ggml_peer *p, struct layer *layer)
{
    const struct bench_spec *spec = &p->spec;
    const struct ggml *ggml = p->ggml;
    void *const scale = bench_ggml_floats(p, spec->hidden, 1, 1, 1, 0.5f, 2);
    void *const bias = bench_ggml_floats(p, layer->rows, 1, 1, 1, 0.5f, 2);
    void *const w = make_weights(p, layer->rows, spec->hidden);
    void *const positions = make_positions(p, layer->n);
    const int64_t narrow = (int64_t)spec->hkv * spec->d;
    void *x;

    if (w == NULL) {
        return false;
    }
    layer->x = bench_ggml_floats(p, spec->hidden, layer->n, 1, 1, 1.0f, 4);
    x = ggml->mul(p->arena, ggml->rms_norm(p->arena, layer->x, 1e-5f), scale);
    x = ggml->add(p->arena, ggml->mul_mat(p->arena, w, x), bias);
    layer->q = take_heads(p, layer, x, spec->hq, 0, positions);
    layer->k = take_heads(p, layer, x, spec->hkv, layer->wide, positions);
    layer->v = take_heads(p, layer, x, spec->hkv, layer->wide + narrow, NULL);
    layer->all = ggml->new_tensor(p->arena, FORMAT_F32, layer->wide, layer->n, 1, 1);
    layer->sinks = bench_ggml_sinks(p);
    return true;
}

/* [tokens][keys] in f16 for new tokens after others; NULL for one. */
static void *make_causal(const struct ggml_peer *p, int32_t tokens, int32_t past)
{
    void *mask;
    uint16_t *at;

    if (tokens == 1) {
        return NULL;
    }
    mask = p->ggml->new_tensor(p->arena, FORMAT_F16, past + tokens, tokens, 1, 1);
    at = p->ggml->data(mask);
    for (int32_t t = 0; t < tokens; t++) {
        for (int32_t k = 0; k < past + tokens; k++) {
            *at++ = k <= past + t ? 0 : 0xfc00;
        }
    }
    return mask;
}

/* The graph's nodes of one sequence, whose tokens begin with the call's `first`: keys and values
 * into its cache, attention, and its place among all. */
static void add_sequence(const struct ggml_peer *p, const struct layer *layer, void *graph,
                         int32_t s, int64_t first)
{
    const struct bench_spec *spec = &p->spec;
    const struct ggml *ggml = p->ggml;
    const int32_t tokens = bench_spec_mix_tokens(spec, s), past = bench_spec_mix_past(spec, s);
    const int64_t narrow = (int64_t)spec->hkv * spec->d;
    const struct ggml_keys keys = {0, past + tokens, 1, true};
    const size_t row = ggml->row_size(p->format, narrow);
    const size_t head = (size_t)spec->d * 4, q_token = (size_t)layer->wide * 4;
    const size_t token[2] = {(size_t)narrow * 4, (size_t)layer->rows * 4}; /* of new k, v */
    void *const fresh[2] = {layer->k, layer->v};
    void *seen[2], *q, *out, *to;

    for (int i = 0; i < 2; i++) {
        void *const cache = bench_ggml_keys(p, &keys, i, NULL);
        void *const from = ggml->view(p->arena, fresh[i], narrow, tokens, 1, 1, token[i],
                                      token[i] * (size_t)tokens, token[i] * (size_t)tokens,
                                      token[i] * (size_t)first);
        to = ggml->view(p->arena, cache, narrow, tokens, 1, 1, row, row * (size_t)tokens,
                        row * (size_t)tokens, row * (size_t)past);
        ggml->expand(graph, ggml->copy(p->arena, from, to));
        seen[i] = ggml->view(p->arena, cache, spec->d, keys.count, spec->hkv, 1, row,
                             ggml->row_size(p->format, spec->d), row * (size_t)keys.count, 0);
    }
    q = ggml->view(p->arena, layer->q, spec->d, tokens, spec->hq, 1, q_token, head,
                   q_token * (size_t)tokens, q_token * (size_t)first);
    out = ggml->attention(p->arena, q, seen[0], seen[1], make_causal(p, tokens, past),
                          1 / sqrtf((float)spec->d), 0, 0);
    if (layer->sinks != NULL) {
        ggml->add_sinks(out, layer->sinks);
    }
    to = ggml->view(p->arena, layer->all, spec->d, spec->hq, tokens, 1, head, q_token,
                    q_token * (size_t)tokens, q_token * (size_t)first);
    ggml->expand(graph, ggml->copy(p->arena, out, to));
}

static size_t count_bytes(const struct ggml_peer *p, const struct layer *layer)
{
    const struct bench_spec *spec = &p->spec;
    const size_t hidden = (size_t)spec->hidden, n = (size_t)layer->n;
    const size_t rows = (size_t)layer->rows, wide = (size_t)layer->wide;
    size_t bytes = (rows + wide) * hidden * 4 + (rows + 2 * hidden) * 16;

    for (int32_t s = 0; s < spec->batch; s++) {
        const size_t tokens = (size_t)bench_spec_mix_tokens(spec, s);
        const size_t keys = (size_t)bench_spec_mix_past(spec, s) + tokens;

        bytes += 2 * keys * p->ggml->row_size(p->format, (int64_t)spec->hkv * spec->d);
        bytes += keys * tokens * 2;
    }
    return bytes + n * 4 * (6 * hidden + 3 * rows + 3 * wide + 1);
}

bool bench_ggml_layer(struct ggml_peer *p)
{
    const struct bench_spec *spec = &p->spec;
    const struct ggml *ggml = p->ggml;
    const size_t nodes = 64 + 16 * (size_t)spec->batch;
    struct layer layer = {.n = bench_spec_tokens(spec),
                          .rows = (int64_t)(spec->hq + 2 * spec->hkv) * spec->d,
                          .wide = (int64_t)spec->hq * spec->d};
    const size_t bytes = count_bytes(p, &layer);
    int64_t first = 0;
    void *w, *bias, *y;

    p->work.sets = 1;
    p->parts = 1;
    if (!bench_ggml_arena(p, bytes, nodes) || !begin(p, &layer)) {
        return false;
    }
    p->graph[0] = ggml->new_graph(p->arena, nodes, false);
    ggml->expand(p->graph[0], layer.q);
    for (int32_t s = 0; s < spec->batch; s++) {
        add_sequence(p, &layer, p->graph[0], s, first);
        first += bench_spec_mix_tokens(spec, s);
    }
    w = make_weights(p, spec->hidden, layer.wide);
    bias = bench_ggml_floats(p, spec->hidden, 1, 1, 1, 0.5f, 2);
    if (w == NULL) {
        return false;
    }
    y = ggml->add(p->arena, ggml->mul_mat(p->arena, w, layer.all), bias);
    p->out[0] = ggml->add(p->arena, y, layer.x);
    ggml->expand(p->graph[0], p->out[0]);
    p->work.outs = (size_t)layer.n * (size_t)spec->hidden;
    return true;
}

const char *bench_ggml_layer_refuses(const struct ggml_peer *p)
{
    return p->spec.apart ? "one graph for all sequences is its only form here" : NULL;
}
