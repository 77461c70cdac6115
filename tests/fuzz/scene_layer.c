/* SPDX-License-Identifier: Apache-2.0 */
/* scene_layer.c - a config and its weights from an input; see scene.h. */
#include <string.h>

#include "scene.h"
#include "support/config_fields.h"

/* --- the config --------------------------------------------------------------------------------
 */

enum { PAIRS_MAX = 256, HEADS_MAX = 4096 }; /* of any config (gqa/config.h) */

static int32_t flag(struct scene *scene)
{
    return take_rarely(&scene->in, 3) ? 1 : 0;
}

static float maybe(struct scene *scene, float value)
{
    return flag(scene) != 0 ? value : 0.0f;
}

static void draw_backend(struct scene *scene, gqa_config *g)
{
    const int32_t which = take_below(&scene->in, 8);

    if (which == 7) {
        g->backend = GQA_BACKEND_REFERENCE;
        g->numerics = GQA_NUMERICS_F32;
        g->reference_f64 = flag(scene);
    } else if (which == 6) {
        g->backend = GQA_BACKEND_NEURON; /* fit_neuron follows */
        g->numerics = GQA_NUMERICS_F32;
    } else {
        g->denormals = flag(scene) != 0 ? GQA_DENORMALS_FLUSH : GQA_DENORMALS_KEEP;
    }
}

static void draw_shape(struct scene *scene, gqa_config *g, bool attention)
{
    static const int32_t hidden[] = {24, 40, 13, 33, 0};
    static const int32_t groups[] = {1, 2, 3, 5, 8};
    static const int32_t dims[] = {8, 16, 10, 20, 33, 64};
    static const int32_t values[] = {0, 0, 8, 19, 40};

    g->hidden_size = attention ? 0 : TAKE_OF(&scene->in, hidden);
    g->num_key_value_heads = take_below(&scene->in, 3) + 1;
    g->num_attention_heads = g->num_key_value_heads * TAKE_OF(&scene->in, groups);
    g->head_dim = TAKE_OF(&scene->in, dims);
    g->v_head_dim = TAKE_OF(&scene->in, values);
    g->numerics = flag(scene) != 0 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
    draw_backend(scene, g);
}

static void draw_projections(struct scene *scene, gqa_config *g)
{
    static const gqa_norm norms[] = {GQA_NORM_RMS, GQA_NORM_LAYER};

    if (g->hidden_size == 0) {
        return;
    }
    if (flag(scene) != 0) {
        g->input_norm = TAKE_OF(&scene->in, norms);
        g->input_norm_offset = flag(scene);
    }
    if (flag(scene) != 0) {
        g->post_norm = TAKE_OF(&scene->in, norms);
        g->post_norm_offset = flag(scene);
    }
    if (g->input_norm != GQA_NORM_NONE || g->post_norm != GQA_NORM_NONE) {
        g->norm_cast = flag(scene) != 0 ? GQA_BF16 : GQA_F32;
        g->hidden_size_unpadded = flag(scene) != 0 ? g->hidden_size - 3 : 0;
    }
    g->attn_in_multiplier = maybe(scene, 1.25f);
    g->attn_out_multiplier = maybe(scene, 0.8f);
    g->qkv_layout = (gqa_qkv_layout)take_below(&scene->in, 3);
    g->qkv_bias = flag(scene);
    g->o_bias = flag(scene);
    g->add_residual = flag(scene);
    g->residual_multiplier = g->add_residual != 0 ? maybe(scene, 0.22f) : 0.0f;
    g->weight_storage = flag(scene) != 0 ? GQA_WEIGHT_STORAGE_INT8 : GQA_WEIGHT_STORAGE_NATIVE;
}

/* Just as many as are needed; in hostile scenes, whose sizes may still change, as many as any
 * config may ask for. */
static const double *numbers(struct scene *scene, int32_t pairs, double first)
{
    const int32_t n = scene->hostile ? PAIRS_MAX : pairs;
    double *to = scene_memory(scene, (size_t)n * sizeof *to);

    for (int32_t i = 0; i < n; i++) {
        to[i] = first + i * 0.25;
    }
    return to;
}

static void draw_rope(struct scene *scene, gqa_config *g)
{
    const int32_t half = g->head_dim / 2;
    int32_t pairs = half;

    g->rope = (gqa_rope)take_below(&scene->in, 3);
    if (g->rope == GQA_ROPE_NONE) {
        return;
    }
    if (flag(scene) != 0 || g->head_dim % 2 != 0) {
        pairs = 4;
        g->rotary_dim = 8;
    }
    g->rope_scaling = (gqa_rope_scaling)take_below(&scene->in, 8);
    if (g->rope_scaling != GQA_ROPE_SCALING_NONE && g->rope_scaling != GQA_ROPE_SCALING_TABLE) {
        g->rope_factor = 4.0;
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_DYNAMIC || g->rope_scaling == GQA_ROPE_SCALING_LLAMA3 ||
        g->rope_scaling == GQA_ROPE_SCALING_YARN || g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_original_context = 8;
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_YARN) {
        g->rope_truncate = flag(scene);
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_LONGROPE) {
        g->rope_short_factors = numbers(scene, pairs, 1.0);
        g->rope_long_factors = numbers(scene, pairs, 1.5);
    }
    if (g->rope_scaling == GQA_ROPE_SCALING_TABLE) {
        g->rope_inv_freq = numbers(scene, pairs, 0.01);
    } else if (flag(scene) != 0) {
        g->rope_theta = 500.0;
    }
    g->rope_reverse = flag(scene);
    g->rope_float_angles = flag(scene);
    if (flag(scene) != 0) {
        g->mrope = flag(scene) != 0 ? GQA_MROPE_INTERLEAVED : GQA_MROPE_SECTIONS;
        g->mrope_sections[1] = pairs / 3;
        g->mrope_sections[2] = pairs / 4;
        g->mrope_sections[0] = pairs - g->mrope_sections[1] - g->mrope_sections[2];
    }
}

static void draw_heads(struct scene *scene, gqa_config *g)
{
    g->clip_qkv = maybe(scene, 0.9f);
    g->key_multiplier = maybe(scene, 0.39f);
    g->v_scale = maybe(scene, 0.707f);
    if (flag(scene) != 0) {
        g->k_eq_v = 1;
        g->v_head_dim = 0;
    }
    if (flag(scene) != 0) {
        g->qk_norm_scope = flag(scene) != 0 ? GQA_QK_NORM_WHOLE : GQA_QK_NORM_HEAD;
        g->qk_norm = (gqa_norm)(take_below(&scene->in, 3) + 1);
        g->qk_norm_placement = (gqa_qk_norm_placement)flag(scene);
        g->qk_norm_offset = g->qk_norm != GQA_NORM_L2 ? flag(scene) : 0;
    }
    g->v_norm = flag(scene) != 0 ? GQA_NORM_RMS : GQA_NORM_NONE;
}

static void draw_scores(struct scene *scene, gqa_config *g)
{
    static const int32_t windows[] = {0, 0, 1, 5, 70}, chunks[] = {0, 0, 0, 7, 64};

    g->score_scale = maybe(scene, 0.17f);
    g->softcap = maybe(scene, 3.0f);
    if (flag(scene) != 0) {
        g->query_temperature = (gqa_query_temperature)(flag(scene) + 1);
        g->query_temperature_scale = 0.1f;
        g->query_temperature_floor = 3.0f;
    }
    if (flag(scene) != 0) {
        const int32_t n = scene->hostile ? HEADS_MAX : g->num_attention_heads;
        float *slopes = scene_memory(scene, (size_t)n * sizeof *slopes);
        for (int32_t h = 0; h < n; h++) {
            slopes[h] = 0.3f / (float)(1 + h);
        }
        g->alibi_slopes = slopes;
    }
    g->bidirectional = flag(scene);
    g->sliding_window = TAKE_OF(&scene->in, windows);
    g->attention_chunk_size = TAKE_OF(&scene->in, chunks);
    g->right_window = g->bidirectional != 0 ? flag(scene) : 0;
    g->learned_sinks_size = flag(scene);
    g->gate = (gqa_gate)(flag(scene) * take_below(&scene->in, 4));
    if (g->gate == GQA_GATE_Q_TAIL && (g->hidden_size == 0 || g->qkv_layout == GQA_QKV_GROUPED)) {
        g->gate = GQA_GATE_ELEMENT;
    }
    g->gate_activation =
        g->gate != GQA_GATE_NONE ? (gqa_gate_activation)flag(scene) : GQA_GATE_SIGMOID;
}

/* What backend neuron has no step for goes, and it is told what it must know. */
static void fit_neuron(struct scene *scene, gqa_config *g)
{
    static const gqa_neuron_release releases[] = {GQA_NEURON_NEWEST, GQA_NEURON_2_29,
                                                  GQA_NEURON_2_27, GQA_NEURON_2_26};

    g->weight_storage = GQA_WEIGHT_STORAGE_NATIVE;
    g->v_head_dim = 0;
    g->attn_in_multiplier = g->attn_out_multiplier = g->residual_multiplier = 0.0f;
    g->k_eq_v = 0;
    g->key_multiplier = g->v_scale = g->softcap = 0.0f;
    g->qk_norm = g->qk_norm == GQA_NORM_L2 ? GQA_NORM_RMS : g->qk_norm;
    g->v_norm = GQA_NORM_NONE;
    g->query_temperature = GQA_QUERY_TEMPERATURE_NONE;
    g->query_temperature_scale = g->query_temperature_floor = 0.0f;
    g->alibi_slopes = NULL;
    g->gate = GQA_GATE_NONE;
    g->gate_activation = GQA_GATE_SIGMOID;
    g->neuron_release = TAKE_OF(&scene->in, releases);
    if (g->neuron_release > GQA_NEURON_NEWEST && g->neuron_release < GQA_NEURON_2_29) {
        g->score_scale = 0.0f;
    }
    g->neuron_io = (gqa_neuron_io)flag(scene);
    g->neuron_accumulation = (gqa_neuron_accumulation)flag(scene);
    g->neuron_divisor = (gqa_neuron_divisor)flag(scene);
    g->neuron_lift_limits = 1 - flag(scene);
    if (flag(scene) != 0) {
        g->neuron_profile = (gqa_neuron_profile)(take_below(&scene->in, 5) + 1);
        g->score_scale = g->neuron_profile == GQA_NEURON_FLASH_FWD ? 0.0f : g->score_scale;
        return;
    }
    g->neuron_attn_kernel = (gqa_neuron_attn_kernel)take_below(&scene->in, 3);
    g->neuron_logical_nc_config = take_below(&scene->in, 3);
    g->neuron_trn1 = flag(scene);
    g->neuron_prefix_caching = flag(scene);
}

/* Every field of the config, its kind as in FIELDS. */
static const struct {
    char kind;
    size_t offset;
} config_fields[] = {
#define FIELD_OF(kind, field, previous) {#kind[0], offsetof(gqa_config, field)},
    FIELDS(FIELD_OF)
#undef FIELD_OF
};

static void spoil_config(struct scene *scene)
{
    struct bytes *in = &scene->in;
    const int32_t at = take_below(in, (int32_t)(sizeof config_fields / sizeof config_fields[0]));
    void *field = (unsigned char *)&scene->config + config_fields[at].offset;
    int32_t whole;
    float single;
    double number;

    switch (config_fields[at].kind) {
    case 'i':
    case 'a':
    case 'e':
        whole = config_fields[at].kind == 'e' ? take_below(in, 10) - 1 : take_odd_int(in);
        memcpy(field, &whole, sizeof whole);
        return;
    case 'f':
        single = (float)take_odd_number(in);
        memcpy(field, &single, sizeof single);
        return;
    case 'd':
        number = take_odd_number(in);
        memcpy(field, &number, sizeof number);
        return;
    default: /* a pointer to less than may be read is the caller's breach: none, or enough */
        memset(field, 0, sizeof(void *));
        if (flag(scene) != 0) {
            double *many = scene_memory(scene, 4096 * sizeof *many);
            const double *const pointer = many;
            many[take_below(in, 8)] = take_odd_number(in);
            memcpy(field, &pointer, sizeof pointer);
        }
    }
}

void scene_config(struct scene *scene, bool attention)
{
    gqa_config *const g = &scene->config;

    draw_shape(scene, g, attention);
    draw_projections(scene, g);
    draw_heads(scene, g);
    draw_rope(scene, g);
    draw_scores(scene, g);
    if (g->backend == GQA_BACKEND_NEURON) {
        fit_neuron(scene, g);
    }
    if (scene->hostile && flag(scene) != 0) {
        do {
            spoil_config(scene);
        } while (take_rarely(&scene->in, 4));
    }
}

/* --- the weights -------------------------------------------------------------------------------
 */

static void vector(struct scene *scene, gqa_tensor *to, int64_t n)
{
    *to = scene_tensor(scene, scene_float(scene), 1, &n);
}

/* With its scale where the layer keeps int8 and the draw wants integers. */
static void matrix(struct scene *scene, gqa_tensor *to, gqa_tensor *scale, int64_t out, int64_t in,
                   bool integers)
{
    const int64_t shape[] = {out, in};

    *to = scene_tensor(scene, integers ? GQA_I8 : scene_float(scene), 2, shape);
    if (integers) {
        vector(scene, scale, out);
    }
}

struct sizes {
    int64_t hidden, dk, dv, q, k, v, heads, kv_heads;
};

static struct sizes sizes_of(const gqa_config *g)
{
    struct sizes s = {.hidden = g->hidden_size,
                      .heads = g->num_attention_heads,
                      .kv_heads = g->num_key_value_heads};

    s.dk = g->head_dim != 0 ? g->head_dim : g->hidden_size / g->num_attention_heads;
    s.dv = g->v_head_dim != 0 ? g->v_head_dim : s.dk;
    s.q = s.heads * (s.dk + (g->gate == GQA_GATE_Q_TAIL ? s.dv : 0));
    s.k = s.kv_heads * s.dk;
    s.v = g->k_eq_v != 0 ? 0 : s.kv_heads * s.dv;
    return s;
}

static void draw_matrices(struct scene *scene, const struct sizes *s)
{
    const gqa_config *const g = &scene->config;
    gqa_weights *const w = &scene->weights;
    const bool integers = g->weight_storage == GQA_WEIGHT_STORAGE_INT8 && flag(scene) != 0;

    if (g->qkv_layout == GQA_QKV_SEPARATE) {
        matrix(scene, &w->wq, &w->wq_scale, s->q, s->hidden, integers);
        matrix(scene, &w->wk, &w->wk_scale, s->k, s->hidden, integers);
        if (s->v > 0) {
            matrix(scene, &w->wv, &w->wv_scale, s->v, s->hidden, integers);
        }
    } else {
        matrix(scene, &w->wqkv, &w->wqkv_scale, s->q + s->k + s->v, s->hidden, integers);
    }
    if (g->qkv_bias != 0 && g->qkv_layout == GQA_QKV_SEPARATE) {
        vector(scene, &w->bq, s->q);
        vector(scene, &w->bk, s->k);
        if (s->v > 0) {
            vector(scene, &w->bv, s->v);
        }
    } else if (g->qkv_bias != 0) {
        vector(scene, &w->bqkv, s->q + s->k + s->v);
    }
    if (g->gate == GQA_GATE_ELEMENT || g->gate == GQA_GATE_HEAD) {
        const int64_t rows = g->gate == GQA_GATE_HEAD ? s->heads : s->heads * s->dv;
        matrix(scene, &w->wgate, &w->wgate_scale, rows, s->hidden, integers);
    }
    matrix(scene, &w->wo, &w->wo_scale, s->hidden, s->heads * s->dv, integers);
    if (g->o_bias != 0) {
        vector(scene, &w->bo, s->hidden);
    }
    w->in_place = flag(scene);
}

static void draw_norm(struct scene *scene, gqa_norm norm, int64_t n, gqa_tensor *weight,
                      gqa_tensor *bias)
{
    if (norm != GQA_NORM_NONE && flag(scene) == 0) {
        vector(scene, weight, n);
    }
    if (norm == GQA_NORM_LAYER && flag(scene) != 0) {
        vector(scene, bias, n);
    }
}

static void draw_qk_norm(struct scene *scene, const struct sizes *s)
{
    const gqa_config *const g = &scene->config;
    gqa_weights *const w = &scene->weights;
    const bool whole = g->qk_norm_scope == GQA_QK_NORM_WHOLE;

    if (g->qk_norm_scope == GQA_QK_NORM_OFF || flag(scene) != 0) {
        return;
    }
    vector(scene, &w->q_norm, whole ? s->heads * s->dk : s->dk);
    vector(scene, &w->k_norm, whole ? s->k : s->dk);
    if (g->qk_norm == GQA_NORM_LAYER && flag(scene) != 0) {
        vector(scene, &w->q_norm_bias, whole ? s->heads * s->dk : s->dk);
        vector(scene, &w->k_norm_bias, whole ? s->k : s->dk);
    }
}

bool scene_weights(struct scene *scene)
{
    const gqa_config *const g = &scene->config;
    gqa_weights *const w = &scene->weights;
    struct sizes s;

    if (g->num_attention_heads <= 0 || g->num_attention_heads > 256 ||
        g->num_key_value_heads <= 0 || g->num_key_value_heads > 256 || g->hidden_size < 0 ||
        g->hidden_size > 1024 || g->head_dim < 0 || g->head_dim > 512 || g->v_head_dim < 0 ||
        g->v_head_dim > 512) {
        return false;
    }
    s = sizes_of(g);
    if ((s.q + s.k + s.v + s.heads * s.dv) * (s.hidden + 1) > 1 << 16) {
        return false;
    }
    if (s.hidden > 0) {
        draw_matrices(scene, &s);
        draw_norm(scene, g->input_norm, s.hidden, &w->input_norm, &w->input_norm_bias);
        draw_norm(scene, g->post_norm, s.hidden, &w->post_norm, &w->post_norm_bias);
    }
    draw_qk_norm(scene, &s);
    if (g->learned_sinks_size != 0) {
        vector(scene, &w->sinks, s.heads);
        if (flag(scene) != 0) {
            vector(scene, &w->tkg_sinks, s.heads);
        }
    }
    scene_spoil_tensors(scene, w, offsetof(gqa_weights, input_norm),
                        offsetof(gqa_weights, in_place));
    return true;
}
