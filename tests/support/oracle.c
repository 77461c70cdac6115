/* SPDX-License-Identifier: Apache-2.0 */
/* oracle.c - sequences that grow, and a call from hidden states to the layer's output. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "support/stored_row.h"

void oracle_cache_init(oracle_cache *cache, int sequences, gqa_dtype dtype_k, gqa_dtype dtype_v)
{
    cache->dtype_k = dtype_k;
    cache->dtype_v = dtype_v;
    cache->rotate_k = cache->rotate_v = false;
    cache->count = sequences;
    cache->sequences = oracle_zeros((size_t)sequences, sizeof *cache->sequences);
}

static void drop_from(oracle_sequence *sequence, int length)
{
    for (int i = length; i < sequence->length; i++) {
        free(sequence->tokens[i].k);
        free(sequence->tokens[i].v);
    }
    sequence->length = sequence->length > length ? length : sequence->length;
}

void oracle_cache_free(oracle_cache *cache)
{
    for (int s = 0; s < cache->count; s++) {
        drop_from(&cache->sequences[s], 0);
        free(cache->sequences[s].tokens);
    }
    free(cache->sequences);
}

void oracle_truncate(oracle_cache *cache, int sequence, int length)
{
    oracle_sequence *s = &cache->sequences[sequence];
    drop_from(s, length);
    s->columns = length > 0 ? s->tokens[length - 1].column + 1 : 0;
}

static oracle_token *push(oracle_sequence *sequence)
{
    if (sequence->length == sequence->capacity) {
        int capacity = 2 * sequence->capacity + 16;
        oracle_token *grown = oracle_zeros((size_t)capacity, sizeof *grown);
        if (sequence->length > 0) {
            memcpy(grown, sequence->tokens, (size_t)sequence->length * sizeof *grown);
        }
        free(sequence->tokens);
        sequence->tokens = grown;
        sequence->capacity = capacity;
    }
    return &sequence->tokens[sequence->length++];
}

/* What is quantised, and how far it may be off: x is a float where its error is 0, and then its
 * rotation is known to the bit. */
static void before_codes(const oracle_num *x, int dim, bool rotated, float *values, double *off)
{
    oracle_num turned[STORED_ROW_MOST];
    bool exact = true;
    for (int d = 0; d < dim; d++) {
        values[d] = (float)x[d].v;
        turned[d] = x[d];
        turned[d].e += x[d].e > 0.0 ? ORACLE_U * fabs(x[d].v) : 0.0;
        exact = exact && x[d].e == 0.0;
    }
    if (rotated) {
        stored_rotate(values, dim);
        oracle_rotate(turned, dim);
    }
    for (int d = 0; d < dim; d++) {
        off[d] = rotated && exact ? 0.0 : turned[d].e;
    }
}

/* A row of a scaled type, read back as f32 without rotating it back. Numbers that are off by e move
 * each code by a step at most, and what is off besides. */
static void store_scaled(const oracle_num *x, int dim, gqa_dtype dtype, bool rotated, oracle_num *y)
{
    struct stored_row row;
    float values[STORED_ROW_MOST];
    double off[STORED_ROW_MOST];
    before_codes(x, dim, rotated, values, off);
    stored_row(&row, values, dim, dtype);
    for (int g = 0; g < row.scales; g++) {
        const int end = (g + 1) * row.group < dim ? (g + 1) * row.group : dim;
        double most = 0.0;
        for (int d = g * row.group; d < end; d++) {
            most = fmax(most, off[d]);
        }
        for (int d = g * row.group; d < end; d++) {
            /* A step of e4m3 is an eighth of the value, or 2^-9. Reading back rounds once. */
            const double scale = (double)row.scale[g], size = fabs(row.code[d]) * scale;
            const double step =
                dtype == GQA_I8 || dtype == GQA_I4 ? 1.1 * scale : size / 8 + scale * 0x1p-9;
            y[d].v = (double)stored_value(&row, d);
            y[d].e = ORACLE_U * fabs(y[d].v) + (most > 0.0 ? step + 1.1 * most : 0.0);
        }
    }
}

static oracle_num *copy_stored(const oracle_num *x, int heads, int dim, gqa_dtype dtype,
                               bool rotated)
{
    oracle_num *y = oracle_zeros((size_t)(heads * dim), sizeof *y);
    for (int h = 0; h < heads && stored_scaled(dtype); h++) {
        store_scaled(x + h * dim, dim, dtype, rotated, y + h * dim);
    }
    for (int i = 0; i < heads * dim && !stored_scaled(dtype); i++) {
        y[i] = oracle_round_num(x[i], dtype);
    }
    return y;
}

/* One call, row by row. */
typedef struct call {
    const oracle_layer *layer;
    const gqa_inputs *in;
    oracle_result *result;
    oracle_sequence *sequence; /* of the batch row at work */
    gqa_dtype dtype_k, dtype_v;
    bool rotate_k, rotate_v;
    bool from_hidden, has_sum, read_only;
    int b, first, n; /* batch row, its first valid column and number of valid tokens */
    int past;        /* tokens of the sequence before this call's */
    int active_column;
    int length; /* rope length */
} call;

static oracle_num *stage_at(const call *c, gqa_stage stage, int t)
{
    oracle_result *r = c->result;
    size_t row = (size_t)(c->b * r->tokens + t);
    return r->stage[stage] == NULL ? NULL : r->stage[stage] + row * (size_t)r->width[stage];
}

static void want(oracle_result *result, gqa_stage stage, int width)
{
    size_t rows = (size_t)(result->batch * result->tokens);
    result->width[stage] = width;
    result->stage[stage] = oracle_zeros(rows * (size_t)width, sizeof(oracle_num));
}

static void open_result(call *c)
{
    const oracle_layer *l = c->layer;
    oracle_result *r = c->result;
    size_t rows = (size_t)(r->batch * r->tokens);
    r->valid = oracle_zeros(rows, sizeof *r->valid);
    r->lse = oracle_zeros(rows * (size_t)l->hq, sizeof *r->lse);
    r->cos = oracle_zeros(rows * (size_t)l->pairs, sizeof *r->cos);
    r->sin = oracle_zeros(rows * (size_t)l->pairs, sizeof *r->sin);
    if (c->has_sum) {
        want(r, GQA_STAGE_RESIDUAL, l->hidden);
    }
    if (c->from_hidden) {
        want(r, GQA_STAGE_X_NORM, l->hidden);
    }
    want(r, GQA_STAGE_Q_PROJ, l->hq * l->dk);
    want(r, GQA_STAGE_Q, l->hq * l->dk);
    if (!c->read_only) {
        want(r, GQA_STAGE_K_PROJ, l->hkv * l->dk);
        want(r, GQA_STAGE_V_PROJ, l->hkv * l->dv);
        want(r, GQA_STAGE_K, l->hkv * l->dk);
        want(r, GQA_STAGE_V, l->hkv * l->dv);
    }
    want(r, GQA_STAGE_ATTN, l->hq * l->dv);
    if (l->gate_dim > 0) {
        want(r, GQA_STAGE_GATE, l->hq * l->gate_dim);
        want(r, GQA_STAGE_GATED, l->hq * l->dv);
    }
    if (l->hidden > 0) {
        want(r, GQA_STAGE_O_PROJ, l->hidden);
        want(r, GQA_STAGE_POST_NORM, l->hidden);
        want(r, GQA_STAGE_OUT, l->hidden);
    }
}

static void read_vector(const call *c, const gqa_tensor *t, int token, int heads, int dim,
                        oracle_num *out)
{
    for (int h = 0; h < heads; h++) {
        for (int d = 0; d < dim; d++) {
            out[h * dim + d].v = oracle_at(t, c->b, token, h, d);
            out[h * dim + d].e = 0.0;
        }
    }
}

static void add_inputs(const call *c, int t)
{
    oracle_num *sum = stage_at(c, GQA_STAGE_RESIDUAL, t);
    for (int i = 0; i < c->layer->hidden; i++) {
        sum[i].v = oracle_at(&c->in->hidden_states, 0, c->b, t, i);
        if (c->in->residual.data != NULL) {
            oracle_num add = {oracle_at(&c->in->residual, 0, c->b, t, i), 0.0};
            sum[i] = oracle_add(sum[i], add);
        }
    }
}

static bool is_tkg(const call *c)
{
    return c->in->phase == GQA_PHASE_TKG || (c->in->phase == GQA_PHASE_AUTO && c->past > 0);
}

/* x_norm and the projections of one token. */
static void project(const call *c, int t)
{
    const oracle_layer *l = c->layer;
    const oracle_matrices *m = is_tkg(c) && l->tkg.wq != NULL ? &l->tkg : &l->cte;
    const gqa_config *g = &l->config;
    const oracle_num *sum = stage_at(c, GQA_STAGE_RESIDUAL, t);
    oracle_num *x = stage_at(c, GQA_STAGE_X_NORM, t);
    oracle_norm_args args = {.kind = g->input_norm,
                             .eps = (double)g->input_norm_eps,
                             .offset = g->input_norm_offset,
                             .weight = l->input_norm,
                             .bias = l->input_norm_bias,
                             .cast = g->norm_cast,
                             .n = l->hidden,
                             .n_true = l->hidden_true};
    oracle_norm(&args, sum, x);
    for (int i = 0; i < l->hidden; i++) {
        x[i] = oracle_scale(x[i], (double)g->attn_in_multiplier);
    }
    oracle_linear(l, m->wq, m->bq, l->hq * l->dk, l->hidden, x, stage_at(c, GQA_STAGE_Q_PROJ, t));
    if (!c->read_only) {
        oracle_linear(l, m->wk, m->bk, l->hkv * l->dk, l->hidden, x,
                      stage_at(c, GQA_STAGE_K_PROJ, t));
        oracle_linear(l, m->wv, m->bv, l->hkv * l->dv, l->hidden, x,
                      stage_at(c, GQA_STAGE_V_PROJ, t));
    }
    if (l->gate_dim > 0) {
        oracle_linear(l, m->wg, m->bg, l->hq * l->gate_dim, l->hidden, x,
                      stage_at(c, GQA_STAGE_GATE, t));
    }
}

static void read_projections(const call *c, int t)
{
    const oracle_layer *l = c->layer;
    read_vector(c, &c->in->q_proj, t, l->hq, l->dk, stage_at(c, GQA_STAGE_Q_PROJ, t));
    if (!c->read_only) {
        bool same = l->config.k_eq_v != 0;
        read_vector(c, &c->in->k_proj, t, l->hkv, l->dk, stage_at(c, GQA_STAGE_K_PROJ, t));
        read_vector(c, same ? &c->in->k_proj : &c->in->v_proj, t, l->hkv, l->dv,
                    stage_at(c, GQA_STAGE_V_PROJ, t));
    }
    if (l->gate_dim > 0) {
        read_vector(c, &c->in->gate_proj, t, l->hq, l->gate_dim, stage_at(c, GQA_STAGE_GATE, t));
    }
}

static void rope_tables(const call *c, int t, int position)
{
    const oracle_layer *l = c->layer;
    int rows = c->result->batch * c->result->tokens;
    int row = c->b * c->result->tokens + t;
    oracle_num *cosines = c->result->cos + (size_t)row * (size_t)l->pairs;
    oracle_num *sines = c->result->sin + (size_t)row * (size_t)l->pairs;
    int positions[4] = {position, position, position, position};
    for (int a = 0; c->in->rotary_position_ids != NULL && a < l->axes; a++) {
        positions[a] = c->in->rotary_position_ids[a * rows + row];
    }
    if (c->in->cos_cache.data == NULL) {
        oracle_rope_table(l, positions, c->length, cosines, sines);
        return;
    }
    for (int j = 0; j < l->pairs; j++) {
        cosines[j].v = oracle_at(&c->in->cos_cache, 0, c->b, t, j);
        sines[j].v = oracle_at(&c->in->sin_cache, 0, c->b, t, j);
    }
}

/* From the projections to what the cache and the scores get. */
static void transform(const call *c, int t, int position)
{
    const oracle_layer *l = c->layer;
    oracle_num *q = stage_at(c, GQA_STAGE_Q, t);
    oracle_num *k = stage_at(c, GQA_STAGE_K, t);
    oracle_num *v = stage_at(c, GQA_STAGE_V, t);
    memcpy(q, stage_at(c, GQA_STAGE_Q_PROJ, t), (size_t)(l->hq * l->dk) * sizeof *q);
    if (!c->read_only) {
        memcpy(k, stage_at(c, GQA_STAGE_K_PROJ, t), (size_t)(l->hkv * l->dk) * sizeof *k);
        memcpy(v, stage_at(c, GQA_STAGE_V_PROJ, t), (size_t)(l->hkv * l->dv) * sizeof *v);
    }
    oracle_clip(l, q, k, v);
    oracle_qk_norm(l, GQA_QK_NORM_PRE_ROPE, q, k);
    if (l->pairs > 0) {
        size_t row = (size_t)(c->b * c->result->tokens + t) * (size_t)l->pairs;
        rope_tables(c, t, position);
        oracle_rope(l, c->result->cos + row, c->result->sin + row, l->hq, q);
        if (k != NULL) {
            oracle_rope(l, c->result->cos + row, c->result->sin + row, l->hkv, k);
        }
    }
    oracle_qk_norm(l, GQA_QK_NORM_POST_ROPE, q, k);
    oracle_temperature(l, position, q);
}

static void append(const call *c, int t, int position)
{
    const oracle_layer *l = c->layer;
    oracle_token *token = push(c->sequence);
    token->position = position;
    token->column = c->active_column + t;
    token->integer_k = stored_integer(c->dtype_k);
    token->integer_v = stored_integer(c->dtype_v);
    token->rotated_k = c->rotate_k;
    token->rotated_v = c->rotate_v;
    token->k = copy_stored(stage_at(c, GQA_STAGE_K, t), l->hkv, l->dk, c->dtype_k, c->rotate_k);
    token->v = copy_stored(stage_at(c, GQA_STAGE_V, t), l->hkv, l->dv, c->dtype_v, c->rotate_v);
}

static void attend(const call *c, int t, int position)
{
    const oracle_layer *l = c->layer;
    const gqa_inputs *in = c->in;
    size_t cell = (size_t)(c->b * c->result->tokens + t);
    oracle_row row = {.b = c->b, .t = t, .position = position, .keys = c->sequence};
    row.range_end = -1;
    row.mask = &in->mask;
    row.bias = &in->bias;
    row.active_mask = &in->active_mask;
    row.active_column = c->active_column;
    row.key_begin = in->key_begin != NULL ? in->key_begin + cell : NULL;
    row.key_end = in->key_end != NULL ? in->key_end + cell : NULL;
    row.sinks = is_tkg(c) && l->tkg_sinks != NULL ? l->tkg_sinks : l->sinks;
    for (int h = 0; h < l->hq; h++) {
        row.h = h;
        row.q = stage_at(c, GQA_STAGE_Q, t) + h * l->dk;
        c->result->lse[cell * (size_t)l->hq + (size_t)h] =
            oracle_attention_row(l, &row, stage_at(c, GQA_STAGE_ATTN, t) + h * l->dv);
    }
}

/* Gate, output projection, post norm, residual. */
static void finish(const call *c, int t)
{
    const oracle_layer *l = c->layer;
    const oracle_matrices *m = is_tkg(c) && l->tkg.wo != NULL ? &l->tkg : &l->cte;
    const gqa_config *g = &l->config;
    oracle_num *attn = stage_at(c, GQA_STAGE_ATTN, t);
    if (l->gate_dim > 0) {
        oracle_num *gated = stage_at(c, GQA_STAGE_GATED, t);
        memcpy(gated, attn, (size_t)(l->hq * l->dv) * sizeof *gated);
        oracle_gate(l, stage_at(c, GQA_STAGE_GATE, t), gated);
        attn = gated;
    }
    if (l->hidden == 0) {
        return;
    }
    oracle_num *o = stage_at(c, GQA_STAGE_O_PROJ, t);
    oracle_num *post = stage_at(c, GQA_STAGE_POST_NORM, t);
    oracle_num *out = stage_at(c, GQA_STAGE_OUT, t);
    oracle_linear(l, m->wo, m->bo, l->hidden, l->hq * l->dv, attn, o);
    for (int i = 0; i < l->hidden; i++) {
        post[i] = oracle_scale(o[i], (double)g->attn_out_multiplier);
    }
    oracle_norm_args args = {.kind = g->post_norm,
                             .eps = (double)g->post_norm_eps,
                             .offset = g->post_norm_offset,
                             .weight = l->post_norm,
                             .bias = l->post_norm_bias,
                             .cast = g->norm_cast,
                             .n = l->hidden,
                             .n_true = l->hidden_true};
    oracle_norm(&args, post, post);
    for (int i = 0; i < l->hidden; i++) {
        out[i] = post[i];
        if (g->add_residual != 0 && c->has_sum) {
            out[i] = oracle_add(stage_at(c, GQA_STAGE_RESIDUAL, t)[i],
                                oracle_scale(post[i], (double)g->residual_multiplier));
        }
    }
}

static int position_of(const call *c, int t)
{
    const oracle_sequence *s = c->sequence;
    if (c->in->position_ids != NULL) {
        return c->in->position_ids[c->b * c->result->tokens + t];
    }
    int i = t - c->first;
    if (c->read_only) {
        return s->tokens[s->length - c->n + i].position;
    }
    return (c->past > 0 ? s->tokens[c->past - 1].position + 1 : 0) + i;
}

static void run_row(call *c)
{
    const gqa_inputs *in = c->in;
    int tokens = c->result->tokens;
    oracle_sequence *s = c->sequence;
    c->first = in->first_valid != NULL ? in->first_valid[c->b] : 0;
    c->n = in->lengths != NULL ? in->lengths[c->b] : tokens - c->first;
    c->past = c->read_only ? s->length - c->n : s->length;
    c->active_column = s->columns;
    if (c->read_only && c->n > 0) { /* the call's columns are those of the queries' own keys */
        c->active_column = s->tokens[c->past].column - c->first;
    }
    c->length = in->rope_length > 0 ? in->rope_length : c->past + c->n;
    int *positions = oracle_zeros((size_t)tokens, sizeof *positions);
    for (int t = c->first; t < c->first + c->n; t++) {
        positions[t] = position_of(c, t);
        c->result->valid[c->b * tokens + t] = true;
        if (c->has_sum) {
            add_inputs(c, t);
        }
        if (c->from_hidden) {
            project(c, t);
        } else {
            read_projections(c, t);
        }
        transform(c, t, positions[t]);
        if (!c->read_only) {
            append(c, t, positions[t]);
        }
    }
    s->columns += c->read_only ? 0 : tokens;
    for (int t = c->first; t < c->first + c->n; t++) {
        attend(c, t, positions[t]);
        finish(c, t);
    }
    free(positions);
}

void oracle_forward(const oracle_layer *layer, oracle_cache *cache, const gqa_inputs *inputs,
                    oracle_result *result)
{
    call c = {.layer = layer, .in = inputs, .result = result};
    c.from_hidden = inputs->q_proj.data == NULL;
    c.has_sum = inputs->hidden_states.data != NULL;
    c.read_only = inputs->borrow_cache != 0 || (!c.from_hidden && inputs->k_proj.data == NULL);
    const gqa_tensor *x = c.from_hidden ? &inputs->hidden_states : &inputs->q_proj;
    int rank = c.from_hidden ? 3 : 4;
    memset(result, 0, sizeof *result);
    result->batch = x->rank == rank ? (int)x->shape[0] : 1;
    result->tokens = (int)x->shape[x->rank == rank ? 1 : 0];
    c.dtype_k = cache != NULL ? cache->dtype_k : layer->bf16 ? GQA_BF16 : GQA_F32;
    c.dtype_v = cache != NULL ? cache->dtype_v : c.dtype_k;
    c.rotate_k = cache != NULL && cache->rotate_k;
    c.rotate_v = cache != NULL && cache->rotate_v;
    open_result(&c);
    for (c.b = 0; c.b < result->batch; c.b++) {
        int id = inputs->sequences != NULL ? inputs->sequences[c.b] : c.b;
        oracle_sequence own = {0};
        if (id < 0) {
            continue;
        }
        c.sequence = cache != NULL ? &cache->sequences[id] : &own;
        run_row(&c);
        drop_from(&own, 0);
        free(own.tokens);
    }
}

void oracle_result_free(oracle_result *result)
{
    for (int s = 0; s < GQA_STAGE_COUNT; s++) {
        free(result->stage[s]);
    }
    free(result->valid);
    free(result->lse);
    free(result->cos);
    free(result->sin);
    memset(result, 0, sizeof *result);
}
