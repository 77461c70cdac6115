/* SPDX-License-Identifier: Apache-2.0 */
/* golden_mutants.h - the wrong conventions that tests/golden/MANIFEST.json names, each as a change
 * of a case's config, weights or inputs. Needs GQA_TOOL_PATH. */
#ifndef GQA_TESTS_GOLDEN_MUTANTS_H
#define GQA_TESTS_GOLDEN_MUTANTS_H

#include "golden_run.h"

/* A case that may be bent. Its config, weights and inputs are its own copy; buffers hold changed
 * tensors. */
struct bent {
    struct tool_case c;
    void *buffers[16];
    int count;
    int q_shift;      /* rotate q by positions this much later; -1 = go by gqa_forward */
    bool mixed_heads; /* heads are stored so that head h reads KV head h % Hkv */
};

static void *own(struct bent *bent, size_t bytes)
{
    void *memory = calloc(1, bytes);

    assert_non_null(memory);
    assert_true(bent->count < 16);
    return bent->buffers[bent->count++] = memory;
}

static size_t elem_size(const gqa_tensor *tensor)
{
    return tensor->dtype == GQA_BF16 ? 2 : 4;
}

/* --- mutants ------------------------------------------------------------------------------------
 */

static void no_causal_mask(struct bent *bent)
{
    bent->c.config.bidirectional = 1;
}

static void window_more(struct bent *bent)
{
    bent->c.config.sliding_window++;
}

static void window_less(struct bent *bent)
{
    bent->c.config.sliding_window--;
}

static void window_ignored(struct bent *bent)
{
    bent->c.config.sliding_window = 0;
}

static void sinks_ignored(struct bent *bent)
{
    bent->c.config.learned_sinks_size = 0;
    bent->c.weights.sinks.data = NULL;
}

/* The sinks as f32 of our own. */
static float *own_sinks(struct bent *bent)
{
    float *sinks = own(bent, (size_t)bent->c.hq * sizeof *sinks);
    gqa_tensor to = gqa_tensor_1d(sinks, GQA_F32, bent->c.hq);

    assert_int_equal(gqa_convert(&bent->c.weights.sinks, &to, NULL), GQA_OK);
    bent->c.weights.sinks = to;
    return sinks;
}

static void sinks_scaled(struct bent *bent)
{
    float *sinks = own_sinks(bent);

    for (int32_t h = 0; h < bent->c.hq; h++) {
        sinks[h] /= sqrtf((float)bent->c.dk);
    }
}

/* Read as [q_per_kv, kv]: head kv * G + g takes entry g * Hkv + kv. */
static void sinks_order(struct bent *bent)
{
    float *sinks = own_sinks(bent);
    int32_t group = bent->c.hq / bent->c.hkv;
    float from[64];

    assert_true(bent->c.hq <= 64);
    memcpy(from, sinks, (size_t)bent->c.hq * sizeof *from);
    for (int32_t h = 0; h < bent->c.hq; h++) {
        sinks[h] = from[h % group * bent->c.hkv + h / group];
    }
}

static void rope_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.rope = GQA_ROPE_NONE;
    bent->c.config.rope_scaling = GQA_ROPE_SCALING_NONE;
    bent->c.config.rotary_dim = 0;
    bent->c.config.rope_theta = clean.rope_theta;
    bent->c.config.rope_low_freq_factor = clean.rope_low_freq_factor;
    bent->c.config.rope_high_freq_factor = clean.rope_high_freq_factor;
    bent->c.config.rope_factor = clean.rope_factor;
    bent->c.config.rope_original_context = clean.rope_original_context;
    bent->c.pairs = 0;
}

static void rope_layout_swapped(struct bent *bent)
{
    bent->c.config.rope =
        bent->c.config.rope == GQA_ROPE_HALF ? GQA_ROPE_INTERLEAVED : GQA_ROPE_HALF;
}

static void rope_shifted(struct bent *bent)
{
    bent->q_shift = 1;
}

static void rope_scaling_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.rope_scaling = GQA_ROPE_SCALING_NONE;
    bent->c.config.rope_factor = clean.rope_factor;
    bent->c.config.rope_original_context = clean.rope_original_context;
    bent->c.config.rope_low_freq_factor = clean.rope_low_freq_factor;
    bent->c.config.rope_high_freq_factor = clean.rope_high_freq_factor;
}

static void yarn_truncated(struct bent *bent)
{
    bent->c.config.rope_truncate = 1;
}

static void pre_norm_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.input_norm = GQA_NORM_NONE;
    bent->c.config.input_norm_eps = clean.input_norm_eps;
    bent->c.weights.input_norm.data = NULL;
}

static void pre_norm_eps(struct bent *bent)
{
    bent->c.config.input_norm_eps *= 10;
}

static void residual_missing(struct bent *bent)
{
    bent->c.config.add_residual = 0;
}

static void qkv_bias_missing(struct bent *bent)
{
    bent->c.config.qkv_bias = 0;
    bent->c.weights.bq.data = bent->c.weights.bk.data = bent->c.weights.bv.data = NULL;
}

static void out_bias_missing(struct bent *bent)
{
    bent->c.config.o_bias = 0;
    bent->c.weights.bo.data = NULL;
}

static void scale_off(struct bent *bent)
{
    bent->c.config.score_scale *= 1.02F;
}

/* Where head h lies, if slots p read KV head p / G and head h is to read KV head h % Hkv. */
static int32_t slot_of(const struct tool_case *c, int32_t h)
{
    return h % c->hkv * (c->hq / c->hkv) + h / c->hkv;
}

/* Head blocks of `block` bytes, `rows` times Hq of them, moved from h to slot_of(h). */
static void mix(struct bent *bent, gqa_tensor *tensor, int64_t rows, size_t block)
{
    const struct tool_case *c = &bent->c;
    unsigned char *to = own(bent, (size_t)(rows * c->hq) * block);
    const unsigned char *from = tensor->data;

    for (int64_t row = 0; row < rows; row++) {
        for (int32_t h = 0; h < c->hq; h++) {
            memcpy(to + (size_t)(row * c->hq + slot_of(c, h)) * block,
                   from + (size_t)(row * c->hq + h) * block, block);
        }
    }
    tensor->data = to;
}

static void kv_head_modulo(struct bent *bent)
{
    struct tool_case *c = &bent->c;
    gqa_weights *w = &c->weights;

    bent->mixed_heads = true;
    assert_true(c->bias == NULL || c->bias_heads == 1);
    if (w->sinks.data != NULL) {
        mix(bent, &w->sinks, 1, elem_size(&w->sinks));
    }
    if (w->q_norm.data != NULL && w->q_norm.shape[0] != c->dk) {
        mix(bent, &w->q_norm, 1, (size_t)c->dk * elem_size(&w->q_norm));
    }
    if (c->block) {
        mix(bent, &w->wq, 1, (size_t)c->dk * (size_t)c->hidden * elem_size(&w->wq));
        mix(bent, &w->wo, c->hidden, (size_t)c->dv * elem_size(&w->wo));
        if (w->bq.data != NULL) {
            mix(bent, &w->bq, 1, (size_t)c->dk * elem_size(&w->bq));
        }
    } else {
        mix(bent, &c->q_proj, (int64_t)c->batch * c->tokens, (size_t)c->dk * elem_size(&c->q_proj));
    }
}

static void qk_norm_ignored(struct bent *bent)
{
    gqa_config clean;

    gqa_config_init(&clean);
    bent->c.config.qk_norm_scope = GQA_QK_NORM_OFF;
    bent->c.config.qk_norm = GQA_NORM_NONE;
    bent->c.config.qk_norm_placement = clean.qk_norm_placement;
    bent->c.config.qk_norm_eps = clean.qk_norm_eps;
    bent->c.weights.q_norm.data = bent->c.weights.k_norm.data = NULL;
}

static void qk_norm_offset(struct bent *bent)
{
    bent->c.config.qk_norm_offset = !bent->c.config.qk_norm_offset;
}

static void softcap_ignored(struct bent *bent)
{
    bent->c.config.softcap = 0;
}

static void chunk_more(struct bent *bent)
{
    bent->c.config.attention_chunk_size++;
}

static void chunk_as_window(struct bent *bent)
{
    bent->c.config.sliding_window = bent->c.config.attention_chunk_size;
    bent->c.config.attention_chunk_size = 0;
}

static void chunk_ignored(struct bent *bent)
{
    bent->c.config.attention_chunk_size = 0;
}

static void temperature_ignored(struct bent *bent)
{
    bent->c.config.query_temperature = GQA_QUERY_TEMPERATURE_NONE;
    bent->c.config.query_temperature_scale = 0;
    bent->c.config.query_temperature_floor = 0;
}

static void temperature_floor(struct bent *bent)
{
    bent->c.config.query_temperature_floor *= 1.13F;
}

static void clip_ignored(struct bent *bent)
{
    bent->c.config.clip_qkv = 0;
}

static void full_rotary(struct bent *bent)
{
    bent->c.config.rotary_dim = bent->c.dk;
    bent->c.pairs = bent->c.dk / 2;
}

static void key_valid_ignored(struct bent *bent)
{
    size_t n = (size_t)bent->c.batch * (size_t)bent->c.keys;
    uint8_t *all = own(bent, n);

    memset(all, 1, n);
    bent->c.key_valid = all;
}

static void bias_ignored(struct bent *bent)
{
    bent->c.bias = NULL;
}

static const struct mutant {
    const char *name;
    void (*apply)(struct bent *bent);
    bool by_attn; /* the manifest's number is that of attn, not of the main result */
} mutants[] = {
    {"no causal mask", no_causal_mask, false},
    {"window+1", window_more, false},
    {"window-1", window_less, false},
    {"window ignored", window_ignored, false},
    {"sinks ignored", sinks_ignored, false},
    {"sinks scaled by 1/sqrt(D)", sinks_scaled, false},
    {"sinks in (q_per_kv, kv) order", sinks_order, false},
    {"rope ignored", rope_ignored, false},
    {"rope layout swapped", rope_layout_swapped, false},
    {"rope positions off by one on q only", rope_shifted, true},
    {"rope scaling ignored", rope_scaling_ignored, false},
    {"yarn truncated correction range", yarn_truncated, false},
    {"pre norm ignored", pre_norm_ignored, false},
    {"pre norm eps x10", pre_norm_eps, false},
    {"residual missing", residual_missing, false},
    {"qkv bias missing", qkv_bias_missing, false},
    {"out bias missing", out_bias_missing, false},
    {"scale x1.02", scale_off, false},
    {"kv head = h % n_kv", kv_head_modulo, true},
    {"qk norm ignored", qk_norm_ignored, false},
    {"qk norm offset flipped", qk_norm_offset, false},
    {"softcap ignored", softcap_ignored, false},
    {"chunk+1", chunk_more, false},
    {"chunk as window", chunk_as_window, false},
    {"chunk ignored", chunk_ignored, false},
    {"temperature ignored", temperature_ignored, false},
    {"temperature floor_scale x1.13", temperature_floor, false},
    {"clip ignored", clip_ignored, false},
    {"full rotary", full_rotary, false},
    {"key_valid ignored", key_valid_ignored, false},
    {"bias ignored", bias_ignored, false},
};

#define MUTANTS (sizeof mutants / sizeof mutants[0])

#endif
