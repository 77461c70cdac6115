/* SPDX-License-Identifier: Apache-2.0 */
/* differential.c - a random case on a backend, with taps on every stage. */
#include "support/differential.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer/layer.h"
#include "support/parallel.h"

static const char *const stage_names[GQA_STAGE_COUNT] = {
    "residual", "x_norm", "q_proj", "k_proj", "v_proj", "gate",      "q",
    "k",        "v",      "attn",   "gated",  "o_proj", "post_norm", "out"};

void differential_truth_init(differential_truth *truth, const random_case *c)
{
    memset(truth, 0, sizeof *truth);
    oracle_layer_init(&truth->layer, &c->config, &c->weights);
    if (c->has_cache) {
        oracle_cache_init(&truth->cache, c->sequences, c->cache.dtype_k, c->cache.dtype_v);
        truth->cache.rotate_k = c->cache.rotate_k != 0;
        truth->cache.rotate_v = c->cache.rotate_v != 0;
    }
    for (int i = 0; i < c->calls; i++) {
        oracle_forward(&truth->layer, c->has_cache ? &truth->cache : NULL, &c->call[i].inputs,
                       &truth->result[i]);
    }
}

void differential_truth_free(differential_truth *truth, const random_case *c)
{
    for (int i = 0; i < c->calls; i++) {
        oracle_result_free(&truth->result[i]);
    }
    if (c->has_cache) {
        oracle_cache_free(&truth->cache);
    }
    oracle_layer_free(&truth->layer);
}

/* One backend at work on a case. */
struct trial {
    random_case *c;
    const oracle_result *result;
    differential_place place;
    int *tapped[GQA_STAGE_COUNT]; /* [B * T] times that a token was shown */
    differential_plain plain;
};

static void fail(struct trial *t, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    if (t->place.stats->failures++ == 0) {
        random_print(stderr, t->c);
    }
}

static void tap(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    struct trial *t = user;
    const oracle_result *r = t->result;
    int width = r->width[stage];
    int64_t given = 1;
    for (int i = 1; i < tensor->rank; i++) {
        given *= tensor->shape[i];
    }
    if (r->stage[stage] == NULL || given != width) {
        fail(t, stage_names[stage], "tapped, but it is no stage of this call or of another width");
        return;
    }
    t->place.what = stage_names[stage];
    t->place.stage = stage;
    t->place.b = b;
    for (int n = 0; n < (int)tensor->shape[0]; n++) {
        t->place.t = first + n;
        t->tapped[stage][b * r->tokens + first + n]++;
        for (t->place.i = 0; t->place.i < width; t->place.i++) {
            double got = (double)((const float *)
                                      tensor->data)[(size_t)n * (size_t)width + (size_t)t->place.i];
            size_t at = (size_t)(b * r->tokens + first + n) * (size_t)width + (size_t)t->place.i;
            differential_number(&t->place, got, r->stage[stage][at], GQA_F32);
            t->plain.stage[stage][at] = (float)got;
        }
    }
}

/* Were all valid tokens shown once at every stage? */
static void check_taps(struct trial *t)
{
    const oracle_result *r = t->result;
    bool projects = t->c->choice[OPT_STOP] != 2;
    for (int s = 0; s < GQA_STAGE_COUNT; s++) {
        bool unused = (s >= GQA_STAGE_O_PROJ && !projects) ||
                      (s == GQA_STAGE_POST_NORM && t->c->config.post_norm == GQA_NORM_NONE);
        for (int i = 0; r->stage[s] != NULL && !unused && i < r->batch * r->tokens; i++) {
            if (t->tapped[s][i] != (r->valid[i] ? 1 : 0)) {
                fail(t, stage_names[s], "a token was not tapped exactly once, or is padding");
                break;
            }
        }
    }
}

/* An output tensor and the memory around it. */
struct canvas {
    gqa_tensor *tensor;
    const char *what;
    gqa_stage stage;
    const oracle_num *want; /* [B][T][heads][width / heads] */
    int heads, width;
    bool heads_first; /* [B, heads, T, dim] */
    bool ranked;      /* [B, T, heads, dim], else [B, T, width] */
    unsigned char *memory;
    size_t size;
};

static size_t element_size(gqa_dtype dtype)
{
    return dtype == GQA_F32 ? 4 : 2;
}

static void stretch(struct trial *t, struct canvas *o, gqa_dtype dtype)
{
    random_case *c = t->c;
    int T = t->result->tokens;
    int dim = o->ranked || o->heads_first ? o->width / o->heads : o->width;
    bool gaps = c->choice[OPT_STRIDES] == 1;
    int64_t shape[4] = {c->batch, T, dim, 1};
    gqa_tensor *x = o->tensor;
    int64_t step = 1;
    x->rank = 3;
    if (o->ranked || o->heads_first) {
        x->rank = 4;
        shape[1] = o->heads_first ? o->heads : T;
        shape[2] = o->heads_first ? T : o->heads;
        shape[3] = dim;
    }
    for (int i = x->rank - 1; i >= 0; i--) {
        x->shape[i] = shape[i];
        x->stride[i] = step;
        step = step * shape[i] + (gaps ? 5 : 0);
    }
    x->dtype = dtype;
    o->size = (size_t)(step + 2) * element_size(dtype);
    o->memory = random_memory(c, o->size, 1);
    memset(o->memory, 0xff, o->size);
    x->data = o->memory + (gaps ? element_size(dtype) : 0);
    if (!gaps && c->choice[OPT_STRIDES] == 2) {
        memset(x->stride, 0, sizeof x->stride);
    }
}

static void compare_canvas(struct trial *t, const struct canvas *o)
{
    const oracle_result *r = t->result;
    const gqa_tensor *x = o->tensor;
    int dim = o->width / o->heads;
    differential_place *p = &t->place;
    p->what = o->what;
    p->stage = o->stage;
    for (p->b = 0; p->b < r->batch; p->b++) {
        for (p->t = 0; p->t < r->tokens; p->t++) {
            for (p->i = 0; p->i < o->width; p->i++) {
                int h = p->i / dim;
                int d = p->i % dim;
                double got = o->heads_first ? oracle_at(x, p->b, h, p->t, d)
                             : o->ranked    ? oracle_at(x, p->b, p->t, h, d)
                                            : oracle_at(x, 0, p->b, p->t, p->i);
                size_t at = (size_t)(p->b * r->tokens + p->t) * (size_t)o->width + (size_t)p->i;
                differential_number(p, got, o->want[at], x->dtype);
            }
        }
    }
}

/* Paint every element over and see that nothing else was written. */
static void check_gaps(struct trial *t, const struct canvas *o)
{
    const gqa_tensor *x = o->tensor;
    size_t size = element_size(x->dtype);
    bool packed = x->stride[x->rank - 1] == 0;
    int64_t n[4] = {1, 1, 1, 1};
    for (int i = 0; i < x->rank; i++) {
        n[i] = x->shape[i];
    }
    for (int64_t a = 0; a < n[0] && !packed; a++) {
        for (int64_t b = 0; b < n[1]; b++) {
            for (int64_t e = 0; e < n[2]; e++) {
                int64_t at = a * x->stride[0] + b * x->stride[1] + e * x->stride[2];
                memset((unsigned char *)x->data + (size_t)at * size, 0xff,
                       size * (size_t)(x->rank == 4 ? n[3] : 1));
            }
        }
    }
    for (size_t i = 0; !packed && i < o->size; i++) {
        if (o->memory[i] != 0xff) {
            fail(t, o->what, "something was written between the elements of the output");
            return;
        }
    }
}

enum { CANVASES = 8 };

/* The outputs that this call can have. */
static int lay_out(struct trial *t, const random_call *call, gqa_output *out, struct canvas *canvas)
{
    const oracle_result *r = t->result;
    const oracle_layer l = {.hq = t->c->config.num_attention_heads,
                            .hkv = t->c->config.num_key_value_heads};
    int stop = t->c->choice[OPT_STOP];
    gqa_dtype type = (gqa_dtype)t->c->choice[OPT_OUTPUT_TYPE];
    gqa_stage last = r->stage[GQA_STAGE_GATED] != NULL ? GQA_STAGE_GATED : GQA_STAGE_ATTN;
    int n = 0;
    if (stop != 2) {
        canvas[n++] = (struct canvas){.tensor = &out->hidden_states, .stage = GQA_STAGE_OUT};
    }
    if (stop != 1) {
        canvas[n++] =
            (struct canvas){.tensor = &out->attn, .stage = last, .heads = l.hq, .ranked = true};
    }
    if (call->inputs.hidden_states.data != NULL) {
        canvas[n++] = (struct canvas){.tensor = &out->residual, .stage = GQA_STAGE_RESIDUAL};
    }
    if (call->appends) {
        canvas[n++] = (struct canvas){.tensor = &out->present_key_value.k,
                                      .stage = GQA_STAGE_K,
                                      .heads = l.hkv,
                                      .heads_first = true};
        canvas[n++] = (struct canvas){.tensor = &out->present_key_value.v,
                                      .stage = GQA_STAGE_V,
                                      .heads = l.hkv,
                                      .heads_first = true};
    }
    for (int i = 0; i < n; i++) {
        canvas[i].what = stage_names[canvas[i].stage];
        canvas[i].want = r->stage[canvas[i].stage];
        canvas[i].width = r->width[canvas[i].stage];
        canvas[i].heads = canvas[i].heads > 0 ? canvas[i].heads : 1;
        stretch(t, &canvas[i], type);
    }
    int tables = n;
    if (t->c->config.rope != GQA_ROPE_NONE) {
        canvas[n++] = (struct canvas){.tensor = &out->cos_cache, .what = "cos", .want = r->cos};
        canvas[n++] = (struct canvas){.tensor = &out->sin_cache, .what = "sin", .want = r->sin};
    }
    canvas[n++] = (struct canvas){.tensor = &out->lse, .what = "lse", .want = r->lse};
    for (int i = tables; i < n; i++) {
        int rotary = t->c->config.rotary_dim > 0 ? t->c->config.rotary_dim : t->c->config.head_dim;
        canvas[i].heads = 1;
        canvas[i].stage = GQA_STAGE_RESIDUAL;
        canvas[i].width = i == n - 1 ? l.hq : rotary / 2;
        stretch(t, &canvas[i], GQA_F32);
    }
    return n;
}

static gqa_status forward(struct trial *t, const gqa_layer *layer, gqa_cache *cache,
                          const gqa_inputs *in, gqa_output *out, gqa_error *err)
{
    size_t size = 0;
    if (t->c->seed % 2 == 0) {
        return gqa_forward(layer, cache, in, out, NULL, 0, err);
    }
    gqa_status status = gqa_workspace_size(layer, cache, in, out, &size, err);
    size_t room = (size + 63) / 64 * 64 + 64;
    unsigned char *workspace = aligned_alloc(64, room);
    if (status == GQA_OK && workspace != NULL) {
        memset(workspace, 0xff, room);
        status = gqa_forward(layer, cache, in, out, workspace, size, err);
        for (size_t i = size; i < room; i++) {
            if (workspace[i] != 0xff) {
                fail(t, "workspace", "written beyond its size");
                break;
            }
        }
    }
    free(workspace);
    return status;
}

/* Room for what the taps show. */
static void open_plain(struct trial *t)
{
    const oracle_result *r = t->result;
    size_t rows = (size_t)(r->batch * r->tokens);
    memset(&t->plain, 0, sizeof t->plain);
    for (int s = 0; s < GQA_STAGE_COUNT; s++) {
        t->tapped[s] = random_memory(t->c, rows, sizeof(int));
        if (r->stage[s] != NULL) {
            t->plain.stage[s] = random_memory(t->c, rows * (size_t)r->width[s], sizeof(float));
        }
    }
    t->plain.valid = r->valid;
    t->plain.tokens = r->tokens;
}

/* A table [B, T, width] of f32 as [B * T][width]. */
static float *packed_table(struct trial *t, const gqa_tensor *x)
{
    int T = t->result->tokens;
    int width = (int)x->shape[2];
    if (x->data == NULL) {
        return NULL;
    }
    float *out = random_memory(t->c, (size_t)(t->result->batch * T * width), sizeof *out);
    for (int i = 0; i < t->result->batch * T * width; i++) {
        out[i] = (float)oracle_at(x, 0, i / width / T, i / width % T, i % width);
    }
    return out;
}

static bool run_call(struct trial *t, gqa_layer *layer, gqa_cache *cache, gqa_cache *other)
{
    const random_call *call = &t->c->call[t->place.call];
    struct canvas canvas[CANVASES];
    gqa_inputs in = call->inputs;
    gqa_output out;
    gqa_error err = {0};
    gqa_output_init(&out);
    int n = lay_out(t, call, &out, canvas);
    open_plain(t);
    in.rope_key = in.cos_cache.data != NULL ? gqa_layer_rope_key(layer) : 0;
    in.tap = tap;
    in.tap_user = t;
    if (forward(t, layer, cache, &in, &out, &err) != GQA_OK) {
        fail(t, "gqa_forward", err.message);
        return false;
    }
    check_taps(t);
    t->plain.cos = packed_table(t, &out.cos_cache);
    t->plain.sin = packed_table(t, &out.sin_cache);
    t->plain.lse = packed_table(t, &out.lse);
    for (int i = 0; i < n; i++) {
        compare_canvas(t, &canvas[i]);
        check_gaps(t, &canvas[i]);
    }
    in.tap_user = NULL;
    return form_forward(t->c, &t->place, layer, other, &in, &t->plain);
}

/* The tokens that the cache holds in the end. */
/* The format in which cached values are as exact as they are stored. */
static gqa_dtype read_as(gqa_dtype storage)
{
    return storage == GQA_BF16 || storage == GQA_F16 ? storage : GQA_F32;
}

/* A row of `heads` heads as it is read: rotated back. */
static void read_back(oracle_num *read, const oracle_num *stored, int heads, int dim, bool rotated)
{
    memcpy(read, stored, (size_t)(heads * dim) * sizeof *read);
    for (int h = 0; h < heads && rotated; h++) {
        oracle_rotate(read + h * dim, dim);
    }
}

static void compare_cache(struct trial *t, const gqa_cache *cache, const differential_truth *truth)
{
    const oracle_layer *l = &truth->layer;
    differential_place *p = &t->place;
    p->stage = GQA_STAGE_K;
    for (p->b = 0; p->b < truth->cache.count; p->b++) {
        const oracle_sequence *s = &truth->cache.sequences[p->b];
        int n = s->length;
        if (gqa_cache_length(cache, p->b) != n) {
            fail(t, "cache", "another length");
            continue;
        }
        float *k = random_memory(t->c, (size_t)(n * l->hkv * l->dk), 4);
        float *v = random_memory(t->c, (size_t)(n * l->hkv * l->dv), 4);
        int32_t *positions = random_memory(t->c, (size_t)n, 4);
        oracle_num *read = random_memory(t->c, (size_t)(l->hkv * (l->dk + l->dv)), sizeof *read);
        gqa_tensor key = gqa_tensor_3d(k, GQA_F32, l->hkv, n, l->dk);
        gqa_tensor value = gqa_tensor_3d(v, GQA_F32, l->hkv, n, l->dv);
        if (n > 0 && gqa_cache_read(cache, p->b, 0, &key, &value, positions, NULL) != GQA_OK) {
            fail(t, "cache", "cannot be read");
            continue;
        }
        for (p->t = 0; p->t < n; p->t++) {
            if (positions[p->t] != s->tokens[p->t].position) {
                fail(t, "cache", "another position");
            }
            p->what = "cached k";
            read_back(read, s->tokens[p->t].k, l->hkv, l->dk, truth->cache.rotate_k);
            for (p->i = 0; p->i < l->hkv * l->dk; p->i++) {
                int at = (p->i / l->dk * n + p->t) * l->dk + p->i % l->dk;
                differential_number(p, (double)k[at], read[p->i], read_as(truth->cache.dtype_k));
            }
            p->what = "cached v";
            read_back(read, s->tokens[p->t].v, l->hkv, l->dv, truth->cache.rotate_v);
            for (p->i = 0; p->i < l->hkv * l->dv; p->i++) {
                int at = (p->i / l->dv * n + p->t) * l->dv + p->i % l->dv;
                differential_number(p, (double)v[at], read[p->i], read_as(truth->cache.dtype_v));
            }
        }
    }
}

static void choose_runtime(const random_case *c, gqa_runtime *runtime)
{
    gqa_runtime_init(runtime);
    if (c->choice[OPT_THREADS] != 0) {
        runtime->num_threads = c->choice[OPT_THREADS] == 1 ? 1 : 3;
        runtime->parallel_for = c->seed % 3 == 0 ? parallel_threads : parallel_reversed;
    }
}

static gqa_layer *create_layer(struct trial *t)
{
    gqa_config config = t->c->config;
    gqa_layer *layer = NULL;
    gqa_runtime runtime;
    gqa_error err = {0};
    config.backend = t->place.backend;
    if (config.backend == GQA_BACKEND_REFERENCE) {
        config.reference_f64 = t->c->choice[OPT_REFERENCE_F64];
        config.denormals = GQA_DENORMALS_KEEP; /* backend cpu's own; no value here is denormal */
    }
    choose_runtime(t->c, &runtime);
    if (gqa_create(&layer, &config, &t->c->weights, &runtime, &err) != GQA_OK) {
        fail(t, "gqa_create", err.message);
    } else if (t->c->seed % 4 == 0) { /* short calls in several passes too */
        layer->params.knobs.token_block = 3;
    }
    return layer;
}

/* A cache of other pages for the calls in another form. */
static gqa_cache *other_cache(struct trial *t, const gqa_layer *layer)
{
    static const int32_t pages[] = {16, 32, 64, 128, 256, 512};
    gqa_cache_options options = t->c->cache;
    gqa_cache *cache = NULL;
    gqa_error err = {0};
    options.page_size = pages[t->c->seed / 4 % 6];
    if (gqa_cache_create(&cache, layer, &options, &err) != GQA_OK) {
        fail(t, "gqa_cache_create", err.message);
    }
    return cache;
}

void differential_run(random_case *c, const differential_truth *truth, gqa_backend backend,
                      differential_stats *stats)
{
    struct trial t = {.c = c, .place = {.c = c, .stats = stats, .backend = backend}};
    gqa_layer *layer = create_layer(&t);
    gqa_cache *cache = NULL;
    gqa_cache *other = NULL;
    gqa_error err = {0};
    bool good = layer != NULL;
    if (good && c->has_cache && gqa_cache_create(&cache, layer, &c->cache, &err) != GQA_OK) {
        fail(&t, "gqa_cache_create", err.message);
        good = false;
    }
    if (good && c->has_cache) {
        other = other_cache(&t, layer);
        good = other != NULL;
    }
    for (t.place.call = 0; good && t.place.call < c->calls; t.place.call++) {
        t.result = &truth->result[t.place.call];
        good = run_call(&t, layer, cache, other);
    }
    if (good && c->has_cache) {
        compare_cache(&t, cache, truth);
    }
    gqa_cache_destroy(&other);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
}
