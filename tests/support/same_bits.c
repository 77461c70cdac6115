/* SPDX-License-Identifier: Apache-2.0 */
/* same_bits.c - one random layer run in many ways. */
#include "support/same_bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "layer/layer.h"
#include "support/kernels8.h"
#include "support/oracle.h"
#include "support/parallel.h"
#include "support/stored_row.h"

/* Multiply-adds that one run of n tokens may cost, about. */
enum { COST = 5000000 };

static bool affordable(const gqa_config *g, int n)
{
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    int64_t products = (int64_t)g->num_attention_heads * (g->head_dim + dv);
    int64_t limit = n > 600 ? 8 * COST : COST;
    return g->hidden_size > 0 && products * n * (n + 2 * g->hidden_size) <= limit;
}

/* A mask, a bias, key bounds: each in every third or fourth model. */
static void draw_masks(same_bits_model *model)
{
    random_case *c = &model->c;
    int n = model->n;
    size_t cells = (size_t)(SAME_BITS_BATCH * n);
    int64_t shape[4] = {SAME_BITS_BATCH, 1, n, n};
    random_fill u8 = {.dtype = GQA_U8};
    random_fill f32 = {.scale = 1.0};
    if (random_below(c, 3) == 0) {
        model->mask = random_tensor(c, 4, shape, u8);
        for (size_t i = 0; i < cells * (size_t)n; i++) {
            ((unsigned char *)model->mask.data)[i] = random_below(c, 4) != 0;
        }
    }
    if (random_below(c, 4) == 0) {
        model->bias = random_tensor(c, 4, shape, f32);
    }
    if (random_below(c, 4) == 0) {
        model->key_begin = random_memory(c, cells, sizeof(int32_t));
        model->key_end = random_memory(c, cells, sizeof(int32_t));
        for (size_t i = 0; i < cells; i++) {
            model->key_begin[i] = random_below(c, n) / 2;
            model->key_end[i] = model->key_begin[i] + random_below(c, n);
        }
    }
}

void same_bits_model_init(same_bits_model *model, uint64_t seed, int n)
{
    random_case *c = &model->c;
    memset(model, 0, sizeof *model);
    gqa_numerics numerics = (gqa_numerics)(seed % 2);
    for (uint64_t s = seed; !affordable(&c->config, n) || c->config.numerics != numerics;
         s += 100000) {
        random_free(c);
        assert_true(random_draw(c, s, OPT_NUMERICS, -1, OPT_NUMERICS, -1));
    }
    if (n > 600 && seed / 2 % 2 == 0) { /* windows that leave out fold blocks and see four */
        c->config.sliding_window = n * 2 / 3 + (int)(seed % 50);
        c->config.attention_chunk_size = 0;
    }
    c->choice[OPT_STRIDES] = 0;
    random_weights(c);
    const gqa_config *g = &c->config;
    model->dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    model->n = n;
    int lengths[SAME_BITS_BATCH] = {n, n > 5 ? n - 5 : n, (n + 1) / 2};
    memcpy(model->lengths, lengths, sizeof lengths);
    size_t cells = (size_t)(SAME_BITS_BATCH * n);
    model->x = random_memory(c, cells * (size_t)g->hidden_size, sizeof *model->x);
    for (size_t i = 0; i < cells * (size_t)g->hidden_size; i++) {
        bool padding = g->hidden_size_unpadded > 0 &&
                       (int)(i % (size_t)g->hidden_size) >= g->hidden_size_unpadded;
        model->x[i] = padding ? 0.0f : (float)random_normal(c);
    }
    model->ids = random_memory(c, cells, sizeof *model->ids);
    for (size_t i = 0; i < cells; i++) {
        model->ids[i] = (i % (size_t)n == 0 ? 3 : model->ids[i - 1]) + 1 + random_below(c, 2);
    }
    model->positions = random_below(c, 2) != 0;
    draw_masks(model);
}

void same_bits_model_free(same_bits_model *model)
{
    random_free(&model->c);
}

/* --- one run -----------------------------------------------------------------------------------
 */

struct run {
    const same_bits_model *model;
    const same_bits_way *way;
    gqa_layer *layer;
    gqa_cache *cache;
    float *hidden, *attn, *lse, *k, *v; /* parts of the result */
    void *scratch[32];                  /* of the call at work */
    int held;
    gqa_error err;
};

static void *hold(struct run *run, size_t count, size_t size)
{
    run->scratch[run->held] = oracle_zeros(count, size);
    return run->scratch[run->held++];
}

static void drop(struct run *run)
{
    while (run->held > 0) {
        free(run->scratch[--run->held]);
    }
}

/* The same layer on the tests' own kernel set. */
static gqa_status take_second_kernels(gqa_layer *layer, const random_case *c,
                                      const gqa_weights *weights, gqa_error *err)
{
    struct gqa__params params = {.config = c->config,
                                 .shape = layer->params.shape,
                                 .backend = layer->params.backend,
                                 .kernels = gqa_test_kernels8(c->config.numerics),
                                 .integer = layer->params.integer};
    gqa__layer_unload(layer);
    layer->params = params;
    layer->blocks = 0;
    return gqa__layer_load(layer, weights, err);
}

/* What would have to be quantised cannot stay where it is. */
static bool placeable(const gqa_config *config, const gqa_weights *w)
{
    const gqa_tensor *const all[] = {&w->wq,     &w->wk,       &w->wv,     &w->wqkv,
                                     &w->wgate,  &w->wo,       &w->tkg_wq, &w->tkg_wk,
                                     &w->tkg_wv, &w->tkg_wqkv, &w->tkg_wo};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (config->weight_storage == GQA_WEIGHT_STORAGE_INT8 && all[i]->data != NULL &&
            all[i]->dtype != GQA_I8) {
            return false;
        }
    }
    return true;
}

static bool open_run(struct run *run)
{
    const same_bits_way *way = run->way;
    const random_case *c = &run->model->c;
    gqa_config config = c->config;
    gqa_weights weights = c->weights;
    gqa_runtime runtime;
    gqa_cache_options options;
    weights.in_place = way->in_place && placeable(&config, &weights);
    gqa_runtime_init(&runtime);
    runtime.num_threads = way->threads;
    runtime.parallel_for = way->reversed      ? parallel_reversed
                           : way->threads > 0 ? parallel_threads
                                              : NULL;
    config.isa = GQA_ISA_SCALAR;
    if (gqa_create(&run->layer, &config, &weights, &runtime, &run->err) != GQA_OK) {
        return false;
    }
    if (way->second_kernels && take_second_kernels(run->layer, c, &weights, &run->err) != GQA_OK) {
        return false;
    }
    run->layer->params.knobs = way->knobs;
    gqa_cache_options_init(&options, run->layer);
    options.max_sequences = SAME_BITS_BATCH;
    options.max_tokens = run->model->n;
    options.page_size = way->page_size;
    if (way->ring) {
        gqa_cache_options_retain(&options, run->layer);
    }
    if (way->dtype_k != GQA_F32) {
        options.dtype_k = way->dtype_k;
    }
    if (way->dtype_v != GQA_F32) {
        options.dtype_v = way->dtype_v;
    }
    options.rotate_k = way->rotate && stored_scaled(options.dtype_k);
    options.rotate_v = way->rotate && stored_scaled(options.dtype_v);
    return way->no_cache ||
           gqa_cache_create(&run->cache, run->layer, &options, &run->err) == GQA_OK;
}

static void ignore(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    (void)user;
    (void)stage;
    (void)b;
    (void)first;
    (void)tensor;
}

/* The tokens of one call: rows of its tensors [outer, inner, ...]. */
struct rows {
    int count;                  /* batch entries */
    int entry[SAME_BITS_BATCH]; /* of the model */
    int valid[SAME_BITS_BATCH]; /* tokens of each */
    int outer, inner;           /* count x T with padding, or 1 x all tokens: a flat call */
    int *cell;                  /* [outer * inner] entry * n + token of each row */
};

/* want[i] tokens of entries[i] from token from[i] on, as far as it has them. */
static struct rows rows_of(struct run *run, const int *entries, int count, const int *from,
                           const int *want)
{
    const same_bits_model *m = run->model;
    struct rows rows = {.count = count, .outer = run->way->flat ? 1 : count};
    int n = 0;
    for (int b = 0; b < count; b++) {
        int left = m->lengths[entries[b]] - from[b];
        rows.entry[b] = entries[b];
        rows.valid[b] = left < 0 ? 0 : left < want[b] ? left : want[b];
        n += rows.valid[b];
    }
    rows.inner = run->way->flat ? n : want[0];
    rows.cell = hold(run, (size_t)(rows.outer * rows.inner + 1), sizeof *rows.cell);
    n = 0;
    for (int b = 0; b < count; b++) {
        for (int t = 0; t < (run->way->flat ? rows.valid[b] : want[b]); t++) {
            rows.cell[n++] = entries[b] * m->n + from[b] + t;
        }
    }
    return rows;
}

static gqa_tensor gather_x(struct run *run, const struct rows *rows)
{
    int hidden = run->model->c.config.hidden_size;
    int gap = run->way->gaps ? 7 : 0;
    int n = rows->outer * rows->inner;
    float *x = hold(run, (size_t)(n * (hidden + gap) + 16), sizeof *x);
    gqa_tensor t =
        gqa_tensor_3d(x + (run->way->gaps ? 3 : 0), GQA_F32, rows->outer, rows->inner, hidden);
    t.stride[1] = hidden + gap;
    t.stride[0] = (int64_t)rows->inner * (hidden + gap);
    for (int i = 0; i < n; i++) {
        memcpy((float *)t.data + i * t.stride[1],
               run->model->x + (size_t)rows->cell[i] * (size_t)hidden, (size_t)hidden * sizeof *x);
    }
    return t;
}

static int32_t *gather_ints(struct run *run, const int32_t *all, const struct rows *rows)
{
    int n = rows->outer * rows->inner;
    int32_t *out = hold(run, (size_t)(n + 1), sizeof *out);
    for (int i = 0; i < n; i++) {
        out[i] = all[rows->cell[i]];
    }
    return out;
}

/* Query rows of a [B, 1, n, n] tensor. */
static gqa_tensor gather_pairs(struct run *run, const gqa_tensor *all, const struct rows *rows)
{
    int n = rows->outer * rows->inner;
    size_t line = (size_t)run->model->n * (all->dtype == GQA_F32 ? 4 : 1);
    unsigned char *out = hold(run, (size_t)n + 1, line);
    for (int i = 0; i < n; i++) {
        memcpy(out + (size_t)i * line, (unsigned char *)all->data + (size_t)rows->cell[i] * line,
               line);
    }
    return gqa_tensor_4d(out, all->dtype, rows->outer, 1, rows->inner, run->model->n);
}

/* Where the entries begin, or how many of their tokens are valid. */
static void divide(struct run *run, const struct rows *rows, gqa_inputs *in)
{
    int32_t *ids = hold(run, (size_t)rows->count, sizeof *ids);
    int32_t *lengths = hold(run, (size_t)rows->count, sizeof *lengths);
    int32_t *begin = hold(run, (size_t)rows->count + 1, sizeof *begin);
    for (int b = 0; b < rows->count; b++) {
        ids[b] = run->cache != NULL ? rows->entry[b] : b;
        lengths[b] = rows->valid[b];
        begin[b + 1] = begin[b] + lengths[b];
    }
    in->sequences = ids;
    in->lengths = run->way->flat ? NULL : lengths;
    in->row_begin = run->way->flat ? begin : NULL;
    in->batch = run->way->flat ? rows->count : 0;
}

static void choose_inputs(struct run *run, const struct rows *rows, gqa_inputs *in)
{
    const same_bits_model *m = run->model;
    gqa_inputs_init(in);
    divide(run, rows, in);
    in->hidden_states = gather_x(run, rows);
    in->phase = GQA_PHASE_CTE;
    if (m->c.config.rope_scaling == GQA_ROPE_SCALING_DYNAMIC ||
        m->c.config.rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        in->rope_length = m->n;
    }
    if (m->positions) {
        in->position_ids = gather_ints(run, m->ids, rows);
    }
    if (m->mask.data != NULL) {
        in->mask = gather_pairs(run, &m->mask, rows);
    }
    if (m->bias.data != NULL) {
        in->bias = gather_pairs(run, &m->bias, rows);
    }
    if (m->key_begin != NULL) {
        in->key_begin = gather_ints(run, m->key_begin, rows);
        in->key_end = gather_ints(run, m->key_end, rows);
    }
    in->tap = run->way->taps ? ignore : NULL;
}

static unsigned enter_mode(unsigned mode)
{
#if defined(__SSE2__)
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | mode);
    return saved;
#else
    return mode;
#endif
}

static void leave_mode(unsigned saved)
{
#if defined(__SSE2__)
    _mm_setcsr(saved);
#else
    (void)saved;
#endif
}

static gqa_status forward(struct run *run, const gqa_inputs *in, gqa_output *out)
{
    size_t size = 0;
    void *workspace = NULL;
    gqa_status status = GQA_OK;
    if (run->way->workspace) {
        status = gqa_workspace_size(run->layer, run->cache, in, out, &size, &run->err);
        workspace = aligned_alloc(64, (size + 127) / 64 * 64);
        memset(workspace, 0xff, size);
    }
    if (status == GQA_OK) {
        unsigned saved = enter_mode(run->way->mode);
        status = gqa_forward(run->layer, run->cache, in, out, workspace, size, &run->err);
        leave_mode(saved);
    }
    free(workspace);
    return status;
}

/* Copy [outer][inner][width] (or, heads > 1, [outer][heads][inner][width]) to the batch entries of
 * the result. */
static void scatter(struct run *run, const float *from, float *to, const struct rows *rows,
                    int heads, int width)
{
    int n = run->model->n;
    for (int i = 0; i < rows->outer * rows->inner; i++) {
        int entry = rows->cell[i] / n, token = rows->cell[i] % n;
        int b = i / rows->inner, t = i % rows->inner;
        for (int h = 0; h < heads; h++) {
            memcpy(to + (size_t)((entry * heads + h) * n + token) * (size_t)width,
                   from + (size_t)((b * heads + h) * rows->inner + t) * (size_t)width,
                   (size_t)width * sizeof *to);
        }
    }
}

static bool run_call(struct run *run, const int *entries, int count, const int *from,
                     const int *want)
{
    const struct rows rows = rows_of(run, entries, count, from, want);
    const gqa_config *g = &run->model->c.config;
    int hq = g->num_attention_heads;
    int hkv = g->num_key_value_heads;
    int dk = g->head_dim;
    int dv = run->model->dv;
    int B = rows.outer, T = rows.inner;
    size_t cells = (size_t)(B * T) + 1;
    gqa_inputs in;
    gqa_output out;
    choose_inputs(run, &rows, &in);
    gqa_output_init(&out);
    float *hidden = hold(run, cells * (size_t)g->hidden_size, 4);
    float *attn = hold(run, cells * (size_t)(hq * dv), 4);
    float *lse = hold(run, cells * (size_t)hq, 4);
    float *k = hold(run, cells * (size_t)(hkv * dk), 4);
    float *v = hold(run, cells * (size_t)(hkv * dv), 4);
    out.hidden_states = gqa_tensor_3d(hidden, GQA_F32, B, T, g->hidden_size);
    out.attn = gqa_tensor_4d(attn, GQA_F32, B, T, hq, dv);
    out.lse = gqa_tensor_3d(lse, GQA_F32, B, T, hq);
    out.present_key_value.k = gqa_tensor_4d(k, GQA_F32, B, hkv, T, dk);
    out.present_key_value.v = gqa_tensor_4d(v, GQA_F32, B, hkv, T, dv);
    bool good = forward(run, &in, &out) == GQA_OK;
    scatter(run, hidden, run->hidden, &rows, 1, g->hidden_size);
    scatter(run, attn, run->attn, &rows, 1, hq * dv);
    scatter(run, lse, run->lse, &rows, 1, hq);
    scatter(run, k, run->k, &rows, hkv, dk);
    scatter(run, v, run->v, &rows, hkv, dv);
    drop(run);
    return good;
}

/* All tokens of some batch entries in the calls that the way says. */
static bool feed(struct run *run, const int *entries, int count)
{
    int n = run->model->n;
    int from[SAME_BITS_BATCH] = {0}, want[SAME_BITS_BATCH];
    bool good = true;
    for (int left = n; left > 0 && good;) {
        left = 0;
        for (int b = 0; b < count; b++) {
            int piece = run->way->mixed && b > 0 ? 6 * b - 5 : 0; /* whole, 1, 7 */
            piece = piece > 0 ? piece : run->way->cut > 0 ? run->way->cut : n;
            piece = from[b] == 0 && run->way->cut_at > 0 ? run->way->cut_at : piece;
            want[b] = piece < n - from[b] ? piece : n - from[b];
        }
        good = run_call(run, entries, count, from, want);
        for (int b = 0; b < count; b++) {
            from[b] += want[b];
            left = n - from[b] > left ? n - from[b] : left;
        }
    }
    return good;
}

float *same_bits_run(const same_bits_model *model, const same_bits_way *way, size_t *count)
{
    static const int in_order[SAME_BITS_BATCH] = {0, 1, 2};
    const gqa_config *g = &model->c.config;
    const int *order = way->order != NULL ? way->order : in_order;
    struct run run = {.model = model, .way = way};
    size_t cells = (size_t)(SAME_BITS_BATCH * model->n);
    size_t widths[5] = {(size_t)g->hidden_size, (size_t)(g->num_attention_heads * model->dv),
                        (size_t)g->num_attention_heads,
                        (size_t)(g->num_key_value_heads * g->head_dim),
                        (size_t)(g->num_key_value_heads * model->dv)};
    float **parts[5] = {&run.hidden, &run.attn, &run.lse, &run.k, &run.v};
    *count = cells * (widths[0] + widths[1] + widths[2] + widths[3] + widths[4]);
    float *result = oracle_zeros(*count, sizeof *result);
    float *at = result;
    for (int i = 0; i < 5; i++) {
        *parts[i] = at;
        at += cells * widths[i];
    }
    bool good = open_run(&run);
    for (int again = 0; good && again <= way->repeat; again++) {
        for (int s = 0; s < SAME_BITS_BATCH && run.cache != NULL; s++) {
            good = good && gqa_cache_truncate(run.cache, s, 0, &run.err) == GQA_OK;
        }
        for (int b = 0; way->alone && b < SAME_BITS_BATCH && good; b++) {
            good = feed(&run, &order[b], 1);
        }
        good = good && (way->alone || feed(&run, order, SAME_BITS_BATCH));
    }
    if (!good) {
        fprintf(stderr, "%s: %s\n", way->name, run.err.message);
        free(result);
        result = NULL;
    }
    gqa_cache_destroy(&run.cache);
    gqa_destroy(&run.layer);
    return result;
}
