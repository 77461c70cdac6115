/* SPDX-License-Identifier: Apache-2.0 */
/* The checker: a negative case for every field, for every combination rule, and for what no field
 * may hold. Which models pass is in test_models.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/config_fields.h"
#include "support/config_neuron_bads.h"
#include "support/program.h"

struct field {
    const char *name;
    char kind;
    size_t offset, size;
};

#define FIELD_ROW(kind, field, previous)                                                           \
    {#field, #kind[0], offsetof(gqa_config, field), FIELD_SIZE(field)},

static const struct field fields[] = {FIELDS(FIELD_ROW)};

enum { FIELD_COUNT = sizeof fields / sizeof fields[0], HEADS = 8, PAIRS = 8 };

/* Arrays that are right, and each with one fault. */
static const double factors[PAIRS] = {1, 1.5, 2, 2.5, 3, 3.5, 4, 1e9};
static const double zero_factor[PAIRS] = {1, 1.5, 2, 0, 3, 3.5, 4, 4.5};
static const double nan_frequency[PAIRS] = {1, 0.5, NAN, 0, 0, 0, 0, 0};
static const double fast_frequency[PAIRS] = {1, 0.5, 0.25, 0, 0, 0, 0, -1001};
static const float slopes[HEADS] = {0.5f, 0.25f, 1e6f, 0, 0, 0, 0, -1.0f};
static const float inf_slope[HEADS] = {0.5f, 0.25f, 0.125f, 0, 0, 0, 0, INFINITY};

/* Sound configs from which a case departs. */
static void block(gqa_config *c) /* a plain decoder layer */
{
    gqa_config_init(c);
    c->hidden_size = 64;
    c->num_attention_heads = HEADS;
    c->num_key_value_heads = 2;
    c->head_dim = 2 * PAIRS;
    c->input_norm = GQA_NORM_RMS;
    c->rope = GQA_ROPE_HALF;
}

static void bare(gqa_config *c) /* attention only, no rope */
{
    block(c);
    c->hidden_size = 0;
    c->input_norm = GQA_NORM_NONE;
    c->rope = GQA_ROPE_NONE;
}

static void plain(gqa_config *c) /* a block without any norm */
{
    block(c);
    c->input_norm = GQA_NORM_NONE;
}

static void linear(gqa_config *c)
{
    block(c);
    c->rope_scaling = GQA_ROPE_SCALING_LINEAR;
    c->rope_factor = 0.5;
}

static void ntk(gqa_config *c)
{
    block(c);
    c->rope_scaling = GQA_ROPE_SCALING_NTK_ALPHA;
    c->rope_factor = 1000;
}

static void dynamic(gqa_config *c)
{
    block(c);
    c->rope_scaling = GQA_ROPE_SCALING_DYNAMIC;
    c->rope_factor = 6;
    c->rope_original_context = 32768;
}

static void llama3(gqa_config *c)
{
    dynamic(c);
    c->rope_scaling = GQA_ROPE_SCALING_LLAMA3;
}

static void yarn(gqa_config *c)
{
    dynamic(c);
    c->rope_scaling = GQA_ROPE_SCALING_YARN;
}

static void longrope(gqa_config *c)
{
    dynamic(c);
    c->rope_scaling = GQA_ROPE_SCALING_LONGROPE;
    c->rope_short_factors = factors;
    c->rope_long_factors = factors;
}

static void table(gqa_config *c)
{
    block(c);
    c->rope_scaling = GQA_ROPE_SCALING_TABLE;
    c->rope_inv_freq = zero_factor;
}

static void sections(gqa_config *c)
{
    block(c);
    c->mrope = GQA_MROPE_INTERLEAVED;
    c->mrope_sections[0] = 3;
    c->mrope_sections[1] = 3;
    c->mrope_sections[2] = 2;
    c->mrope_sections[3] = 0;
    c->rotary_dim = 16;
}

static void warm(gqa_config *c)
{
    block(c);
    c->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
    c->query_temperature_scale = 0.1f;
    c->query_temperature_floor = 8192.0f;
    c->alibi_slopes = slopes;
}

static void normed(gqa_config *c) /* every norm, a gate and the residual */
{
    block(c);
    c->hidden_size_unpadded = 60;
    c->norm_cast = GQA_BF16;
    c->qk_norm_scope = GQA_QK_NORM_HEAD;
    c->qk_norm = GQA_NORM_LAYER;
    c->qk_norm_placement = GQA_QK_NORM_POST_ROPE;
    c->v_norm = GQA_NORM_RMS;
    c->post_norm = GQA_NORM_LAYER;
    c->gate = GQA_GATE_Q_TAIL;
    c->add_residual = 1;
    c->residual_multiplier = 0.22f;
    c->bidirectional = 1;
    c->right_window = 3;
}

static void reference(gqa_config *c)
{
    block(c);
    c->backend = GQA_BACKEND_REFERENCE;
    c->reference_f64 = 1;
}

static void (*const bases[])(gqa_config *) = {block,    bare,   plain,  linear,   ntk,
                                              dynamic,  llama3, yarn,   longrope, table,
                                              sections, warm,   normed, reference};

enum { BASE_COUNT = sizeof bases / sizeof bases[0] };

static void bases_are_sound(void **state)
{
    (void)state;
    for (int i = 0; i < BASE_COUNT; i++) {
        gqa_config config;
        gqa_error err;
        bases[i](&config);
        memset(&err, 0x33, sizeof err);
        if (gqa_config_check(&config, &err) != GQA_OK) {
            fail_msg("base %d: %s", i, err.message);
        }
        assert_int_equal(err.message[0], 0x33); /* untouched on success */
    }
}

/* One field of a base set to a wrong value; the message must hold both texts. */
struct bad {
    void (*base)(gqa_config *c);
    const char *field;
    double value; /* for pointers: unused */
    const void *pointer;
    const char *says, *limit;
    gqa_status status; /* 0 = GQA_ERR_ARG */
};

static const struct bad bads[] = {
    {block, "attention_kind", 3, NULL, "is 3", "0..2", 0},
    {block, "attention_kind", 1, NULL, "is 1", "block-sparse", GQA_ERR_UNSUPPORTED},
    {block, "attention_kind", 2, NULL, "is 2", "MLA", GQA_ERR_UNSUPPORTED},
    {block, "hidden_size", 1048577, NULL, "is 1048577", "0..1048576", 0},
    {block, "num_attention_heads", 0, NULL, "is 0", "1..4096", 0},
    {block, "num_attention_heads", 4097, NULL, "is 4097", "1..4096", 0},
    {block, "num_key_value_heads", 0, NULL, "is 0", "1..8", 0},
    {block, "num_key_value_heads", 9, NULL, "is 9", "1..8", 0},
    {block, "num_key_value_heads", 3, NULL, "is 3", "num_attention_heads = 8", 0},
    {block, "head_dim", 7, NULL, "is 7", "8..512", 0},
    {block, "head_dim", 513, NULL, "is 513", "8..512", 0},
    {bare, "head_dim", 0, NULL, "0 / 8", "8..512", 0},
    {block, "v_head_dim", 7, NULL, "is 7", "8..512", 0},
    {block, "v_head_dim", 513, NULL, "is 513", "8..512", 0},
    {block, "hidden_size_unpadded", 65, NULL, "is 65", "0..64", 0},
    {plain, "hidden_size_unpadded", 60, NULL, "is 60", "without input_norm and post_norm", 0},
    {block, "input_norm", GQA_NORM_L2, NULL, "is 3", "0..2", 0},
    {bare, "input_norm", GQA_NORM_RMS, NULL, "is 1", "hidden_size 0", 0},
    {block, "input_norm_eps", 1.5, NULL, "is 1.5", "0..1", 0},
    {plain, "input_norm_eps", 0.5, NULL, "is 0.5", "1e-06", 0},
    {block, "input_norm_offset", 2, NULL, "is 2", "0..1", 0},
    {plain, "input_norm_offset", 1, NULL, "is 1", "without input_norm", 0},
    {block, "norm_cast", GQA_U8, NULL, "is 3", "0..2", 0},
    {plain, "norm_cast", GQA_BF16, NULL, "is 1", "without input_norm and post_norm", 0},
    {block, "attn_in_multiplier", -2e6, NULL, "is -2e+06", "-1e+06..1e+06", 0},
    {bare, "attn_in_multiplier", 0.5, NULL, "is 0.5", "hidden_size 0", 0},
    {block, "qkv_layout", 3, NULL, "is 3", "0..2", 0},
    {bare, "qkv_layout", 1, NULL, "is 1", "hidden_size 0", 0},
    {block, "qkv_bias", 2, NULL, "is 2", "0..1", 0},
    {bare, "qkv_bias", 1, NULL, "is 1", "hidden_size 0", 0},
    {block, "o_bias", 2, NULL, "is 2", "0..1", 0},
    {bare, "o_bias", 1, NULL, "is 1", "hidden_size 0", 0},
    {block, "clip_qkv", -8, NULL, "is -8", "0..3.40282e+38", 0},
    {block, "k_eq_v", 2, NULL, "is 2", "0..1", 0},
    {block, "key_multiplier", 2e6, NULL, "is 2e+06", "1e+06", 0},
    {block, "v_scale", 2e6, NULL, "is 2e+06", "1e+06", 0},
    {block, "qk_norm_scope", 3, NULL, "is 3", "0..2", 0},
    {block, "qk_norm", GQA_NORM_RMS, NULL, "is 1", "GQA_QK_NORM_OFF", 0},
    {normed, "qk_norm", GQA_NORM_NONE, NULL, "is 0", "1..3", 0},
    {normed, "qk_norm", 4, NULL, "is 4", "1..3", 0},
    {normed, "qk_norm_placement", 2, NULL, "is 2", "0..1", 0},
    {block, "qk_norm_placement", 1, NULL, "is 1", "GQA_QK_NORM_OFF", 0},
    {normed, "qk_norm_eps", -1e-6, NULL, "is -1e-06", "0..1", 0},
    {block, "qk_norm_eps", 1e-5, NULL, "is 1e-05", "without a q, k or v norm", 0},
    {normed, "qk_norm_offset", 2, NULL, "is 2", "0..1", 0},
    {block, "qk_norm_offset", 1, NULL, "is 1", "GQA_QK_NORM_OFF", 0},
    {block, "v_norm", GQA_NORM_LAYER, NULL, "is 2", "0..1", 0},
    {block, "rope", 3, NULL, "is 3", "0..2", 0},
    {block, "rope_scaling", 8, NULL, "is 8", "0..7", 0},
    {bare, "rope_scaling", GQA_ROPE_SCALING_LINEAR, NULL, "is 1", "GQA_ROPE_NONE", 0},
    {block, "rope_theta", 1, NULL, "is 1", "2..1e+30", 0},
    {bare, "rope_theta", 5e5, NULL, "is 500000", "10000", 0},
    {table, "rope_theta", 5e5, NULL, "is 500000", "TABLE", 0},
    {block, "rotary_dim", 18, NULL, "is 18", "2..16", 0},
    {block, "rotary_dim", 7, NULL, "is 7", "even", 0},
    {bare, "rotary_dim", 1, NULL, "is 1", "GQA_ROPE_NONE", 0},
    {block, "rope_freq_dim", 4098, NULL, "is 4098", "2..4096", 0},
    {block, "rope_freq_dim", 33, NULL, "is 33", "even", 0},
    {ntk, "rope_freq_dim", 2, NULL, "is 2", "at least 4", 0},
    {dynamic, "rope_freq_dim", 2, NULL, "is 2", "at least 4", 0},
    {table, "rope_freq_dim", 16, NULL, "is 16", "TABLE", 0},
    {block, "rope_proportional_dim", 18, NULL, "is 18", "2..16", 0},
    {block, "rope_proportional_dim", 5, NULL, "is 5", "even", 0},
    {table, "rope_proportional_dim", 8, NULL, "is 8", "TABLE", 0},
    {block, "rope_factor", 8, NULL, "is 8", "must be 0", 0},
    {linear, "rope_factor", 0, NULL, "is 0", "0.001..1e+09", 0},
    {ntk, "rope_factor", 0.5, NULL, "is 0.5", "1..1e+09", 0},
    {dynamic, "rope_factor", 0, NULL, "is 0", "1..1e+09", 0},
    {llama3, "rope_factor", 0, NULL, "is 0", "1..1e+09", 0},
    {yarn, "rope_factor", 0, NULL, "is 0", "1..1e+09", 0},
    {longrope, "rope_factor", 0, NULL, "is 0", "1..1e+09", 0},
    {block, "rope_original_context", 4096, NULL, "is 4096", "must be 0", 0},
    {dynamic, "rope_original_context", 0, NULL, "is 0", "2..2147483647", 0},
    {llama3, "rope_original_context", 1, NULL, "is 1", "2..2147483647", 0},
    {yarn, "rope_original_context", 0, NULL, "is 0", "2..2147483647", 0},
    {longrope, "rope_original_context", 0, NULL, "is 0", "2..2147483647", 0},
    {block, "rope_low_freq_factor", 2, NULL, "is 2", "LLAMA3", 0},
    {llama3, "rope_low_freq_factor", 0, NULL, "is 0", "0.001", 0},
    {block, "rope_high_freq_factor", 2, NULL, "is 2", "LLAMA3", 0},
    {llama3, "rope_high_freq_factor", 0.5, NULL, "is 0.5", "1..", 0},
    {llama3, "rope_beta_fast", 16, NULL, "is 16", "YARN", 0},
    {yarn, "rope_beta_fast", 1, NULL, "is 1", "rope_beta_slow = 1", 0},
    {block, "rope_beta_slow", 2, NULL, "is 2", "YARN", 0},
    {yarn, "rope_beta_slow", 0, NULL, "is 0", "0.001..1e+09", 0},
    {yarn, "rope_truncate", 2, NULL, "is 2", "0..1", 0},
    {block, "rope_truncate", 1, NULL, "is 1", "YARN", 0},
    {yarn, "rope_attention_factor", -1, NULL, "is -1", "0..1e+06", 0},
    {bare, "rope_attention_factor", 2, NULL, "is 2", "GQA_ROPE_NONE", 0},
    {block, "rope_mscale", 1, NULL, "is 1", "YARN", 0},
    {yarn, "rope_mscale_all_dim", 2e6, NULL, "is 2e+06", "0..1e+06", 0},
    {block, "rope_mscale_all_dim", 1, NULL, "is 1", "YARN", 0},
    {longrope, "rope_short_factors", 0, NULL, "is NULL", "8 values", 0},
    {longrope, "rope_short_factors", 0, zero_factor, "[3] is 0", "0.001..1e+09", 0},
    {block, "rope_short_factors", 0, factors, "not NULL", "LONGROPE", 0},
    {longrope, "rope_long_factors", 0, NULL, "is NULL", "8 values", 0},
    {longrope, "rope_long_factors", 0, zero_factor, "[3] is 0", "0.001..1e+09", 0},
    {yarn, "rope_long_factors", 0, factors, "not NULL", "LONGROPE", 0},
    {table, "rope_inv_freq", 0, NULL, "is NULL", "8 values", 0},
    {table, "rope_inv_freq", 0, nan_frequency, "[2] is nan", "-1000..1000", 0},
    {table, "rope_inv_freq", 0, fast_frequency, "[7] is -1001", "-1000..1000", 0},
    {block, "rope_inv_freq", 0, factors, "not NULL", "TABLE", 0},
    {block, "mrope", 3, NULL, "is 3", "0..2", 0},
    {bare, "mrope", GQA_MROPE_SECTIONS, NULL, "is 1", "GQA_ROPE_NONE", 0},
    {block, "mrope_sections", 8, NULL, "is 8", "GQA_MROPE_NONE", 0},
    {block, "mrope_sections", 1, NULL, "is 1", "GQA_MROPE_NONE", 0},
    {sections, "mrope_sections", 4, NULL, "is 9", "rotary_dim / 2 = 8", 0},
    {sections, "mrope_sections", 9, NULL, "is 9", "0..8", 0},
    {block, "rope_reverse", 2, NULL, "is 2", "0..1", 0},
    {bare, "rope_reverse", 1, NULL, "is 1", "GQA_ROPE_NONE", 0},
    {block, "rope_float_angles", 2, NULL, "is 2", "0..1", 0},
    {bare, "rope_float_angles", 1, NULL, "is 1", "GQA_ROPE_NONE", 0},
    {block, "score_scale", -2e6, NULL, "is -2e+06", "-1e+06..1e+06", 0},
    {block, "softcap", -50, NULL, "is -50", "0..1e+06", 0},
    {block, "query_temperature", 3, NULL, "is 3", "0..2", 0},
    {block, "query_temperature_scale", 0.1, NULL, "is 0.1", "without query_temperature", 0},
    {warm, "query_temperature_scale", 0, NULL, "is 0", "1e-09", 0},
    {block, "query_temperature_floor", 8192, NULL, "is 8192", "without query_temperature", 0},
    {warm, "query_temperature_floor", 0.5, NULL, "is 0.5", "1..2.14748e+09", 0},
    {block, "alibi_slopes", 0, inf_slope, "is inf", "-1e+06..1e+06", 0},
    {block, "bidirectional", 2, NULL, "is 2", "0..1", 0},
    {block, "sliding_window", -1, NULL, "is -1", "0..2147483647", 0},
    {block, "right_window", 4, NULL, "is 4", "without bidirectional", 0},
    {normed, "right_window", -1, NULL, "is -1", "0..2147483647", 0},
    {block, "attention_chunk_size", -1, NULL, "is -1", "0..2147483647", 0},
    {block, "learned_sinks_size", 2, NULL, "is 2", "0..1", 0},
    {block, "gate", 4, NULL, "is 4", "0..3", 0},
    {bare, "gate", GQA_GATE_Q_TAIL, NULL, "is 3", "GQA_GATE_ELEMENT (1)", 0},
    {block, "gate_activation", 1, NULL, "is 1", "without gate", 0},
    {normed, "gate_activation", 2, NULL, "is 2", "0..1", 0},
    {block, "attn_out_multiplier", 2e6, NULL, "is 2e+06", "1e+06", 0},
    {bare, "attn_out_multiplier", 2, NULL, "is 2", "hidden_size 0", 0},
    {block, "post_norm", GQA_NORM_L2, NULL, "is 3", "0..2", 0},
    {bare, "post_norm", GQA_NORM_RMS, NULL, "is 1", "hidden_size 0", 0},
    {normed, "post_norm_eps", 2, NULL, "is 2", "0..1", 0},
    {block, "post_norm_eps", 1e-5, NULL, "is 1e-05", "without post_norm", 0},
    {normed, "post_norm_offset", 2, NULL, "is 2", "0..1", 0},
    {block, "post_norm_offset", 1, NULL, "is 1", "without post_norm", 0},
    {block, "add_residual", 2, NULL, "is 2", "0..1", 0},
    {bare, "add_residual", 1, NULL, "is 1", "hidden_size 0", 0},
    {block, "residual_multiplier", 0.22, NULL, "is 0.22", "without add_residual", 0},
    {normed, "residual_multiplier", 2e6, NULL, "is 2e+06", "1e+06", 0},
    {block, "backend", 4, NULL, "is 4", "0..3", 0},
    {block, "numerics", 2, NULL, "is 2", "0..1", 0},
    {block, "isa", 6, NULL, "is 6", "0..5", 0},
    {block, "reference_f64", 1, NULL, "is 1", "GQA_BACKEND_REFERENCE", 0},
    {reference, "reference_f64", 2, NULL, "is 2", "0..1", 0},
    {block, "weight_storage", 2, NULL, "is 2", "0..1", 0},
    {bare, "weight_storage", 1, NULL, "is 1", "hidden_size 0", 0},
    {reference, "denormals", 1, NULL, "is 1", "without backend GQA_BACKEND_CPU", 0},
    {block, "max_isa", 6, NULL, "is 6", "0..5", 0},
#define NEURON_BAD(base, field, value, says, limit) {base, field, value, NULL, says, limit, 0},
    NEURON_BADS(NEURON_BAD)};

enum { BAD_COUNT = sizeof bads / sizeof bads[0] };

static const struct field *find_field(const char *name)
{
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    fail_msg("FIELDS has no %s", name);
    return NULL;
}

/* Write value (or the pointer) into the field; of an array the first element. */
static void set_field(gqa_config *config, const struct field *field, double value,
                      const void *pointer)
{
    unsigned char *const place = (unsigned char *)config + field->offset;
    const int32_t i32 = field->kind == 'f' || field->kind == 'd' ? 0 : (int32_t)value;
    const float f32 = (float)value;

    switch (field->kind) {
    case 'f':
        memcpy(place, &f32, sizeof f32);
        break;
    case 'd':
        memcpy(place, &value, sizeof value);
        break;
    case 'p':
        memcpy(place, &pointer, sizeof pointer);
        break;
    default:
        memcpy(place, &i32, sizeof i32);
        break;
    }
}

/* The config is refused, with this status, and the field named. */
static void expect_refusal(const gqa_config *config, const char *name, gqa_status status,
                           const char *says, const char *limit)
{
    char field[64];
    gqa_error err = {GQA_OK, "", ""};

    (void)snprintf(field, sizeof field, "config.%s", name);
    if (gqa_config_check(config, &err) != status || err.status != status) {
        fail_msg("%s (%s): status %d, not %d: %s", field, says, err.status, status, err.message);
    }
    if (strcmp(err.field, field) != 0 || strncmp(err.message, field, strlen(field)) != 0 ||
        strstr(err.message, says) == NULL || strstr(err.message, limit) == NULL) {
        fail_msg("%s should say \"%s\" and \"%s\": field %s: %s", field, says, limit, err.field,
                 err.message);
    }
    assert_int_equal(gqa_config_check(config, NULL), status);
}

static void bad_values(void **state)
{
    (void)state;
    for (int i = 0; i < BAD_COUNT; i++) {
        const struct bad *const bad = &bads[i];
        gqa_config config;
        bad->base(&config);
        set_field(&config, find_field(bad->field), bad->value, bad->pointer);
        expect_refusal(&config, bad->field, bad->status == 0 ? GQA_ERR_ARG : bad->status, bad->says,
                       bad->limit);
    }
}

static void every_field_has_a_bad_value(void **state)
{
    (void)state;
    for (int i = 0; i < FIELD_COUNT; i++) {
        int found = 0;
        for (int k = 0; k < BAD_COUNT; k++) {
            found += strcmp(bads[k].field, fields[i].name) == 0;
        }
        if (found == 0) {
            fail_msg("no negative case for %s", fields[i].name);
        }
    }
}

/* Used or not, no number may be NaN or infinite, and no integer negative. */
static void hopeless_values(void **state)
{
    static const double hopeless[] = {NAN, INFINITY, -INFINITY};

    (void)state;
    for (int b = 0; b < BASE_COUNT; b++) {
        for (int i = 0; i < FIELD_COUNT; i++) {
            const int real = fields[i].kind == 'f' || fields[i].kind == 'd';
            gqa_config config;
            for (int k = 0; fields[i].kind != 'p' && k < 3; k++) {
                const double value = real ? hopeless[k] : k == 0 ? -1.0 : -2147483648.0;
                bases[b](&config);
                set_field(&config, &fields[i], value, NULL);
                expect_refusal(&config, fields[i].name, GQA_ERR_ARG, real ? "is " : "", "");
            }
        }
    }
}

/* Faults of two fields, each of them sound by itself. */
static void combinations(void **state)
{
    gqa_config c;

    (void)state;
    block(&c);
    c.hidden_size = 65;
    c.head_dim = 0;
    expect_refusal(&c, "head_dim", GQA_ERR_ARG, "65 / 8", "8..512");
    block(&c);
    c.hidden_size = 32;
    c.head_dim = 0; /* = 4 */
    expect_refusal(&c, "head_dim", GQA_ERR_ARG, "is 4", "8..512");
    block(&c);
    c.head_dim = 13;
    expect_refusal(&c, "rotary_dim", GQA_ERR_ARG, "which is 13", "even");
    block(&c);
    c.k_eq_v = 1;
    c.v_head_dim = 8;
    expect_refusal(&c, "k_eq_v", GQA_ERR_ARG, "v_head_dim = 8", "head_dim = 16");
    normed(&c);
    c.qkv_layout = GQA_QKV_GROUPED;
    expect_refusal(&c, "gate", GQA_ERR_UNSUPPORTED, "is 3", "GQA_QKV_GROUPED");
    block(&c);
    c.isa = GQA_ISA_AVX512;
    c.max_isa = GQA_ISA_AVX2;
    expect_refusal(&c, "max_isa", GQA_ERR_ARG, "is 2", "config.isa is 3");
    c.max_isa = GQA_ISA_SCALAR;
    expect_refusal(&c, "max_isa", GQA_ERR_ARG, "is 1", "config.isa is 3");
    c.isa = GQA_ISA_NEON;
    expect_refusal(&c, "max_isa", GQA_ERR_ARG, "is 1", "config.isa is 5");
    block(&c);
    c.backend = GQA_BACKEND_REFERENCE;
    c.numerics = GQA_NUMERICS_BF16;
    expect_refusal(&c, "numerics", GQA_ERR_UNSUPPORTED, "is 1", "GQA_BACKEND_REFERENCE");
    yarn(&c);
    c.rope_mscale = 0.707;
    expect_refusal(&c, "rope_mscale_all_dim", GQA_ERR_ARG, "is 0", "rope_mscale is 0.707");
    c.rope_mscale_all_dim = 1;
    assert_int_equal(gqa_config_check(&c, NULL), GQA_OK);
    c.rope_attention_factor = 1.25;
    expect_refusal(&c, "rope_mscale", GQA_ERR_ARG, "is 0.707", "rope_attention_factor");
    yarn(&c);
    c.rope_mscale_all_dim = 0.707;
    expect_refusal(&c, "rope_mscale", GQA_ERR_ARG, "is 0", "rope_mscale_all_dim is 0.707");
    longrope(&c);
    c.rope_attention_factor = 1.25;
    expect_refusal(&c, "rope_factor", GQA_ERR_ARG, "is 6", "rope_attention_factor");
    c.rope_factor = 0;
    assert_int_equal(gqa_config_check(&c, NULL), GQA_OK);
}

/* Zero and the default are both no use of a field. */
static void unused_fields_may_be_zero(void **state)
{
    gqa_config c;

    (void)state;
    bare(&c);
    c.input_norm_eps = 0;
    c.qk_norm_eps = 0;
    c.post_norm_eps = 0;
    c.rope_theta = 0;
    c.rope_low_freq_factor = 0;
    c.rope_high_freq_factor = 0;
    c.rope_beta_fast = 0;
    c.rope_beta_slow = 0;
    assert_int_equal(gqa_config_check(&c, NULL), GQA_OK);
}

static void interleaved_sections(void **state)
{
    static const int32_t wrong[][4] = {{2, 3, 2, 1}, {2, 4, 2, 0}, {4, 1, 3, 0}, {1, 1, 1, 5}};
    static const char *const said[][2] = {{"[3] is 1;", "must be 0"},
                                          {"[1] is 4;", "at most 3"},
                                          {"[2] is 3;", "at most 2"},
                                          {"[3] is 5;", "must be 0"}};
    gqa_config c;

    (void)state;
    for (int i = 0; i < 4; i++) {
        sections(&c);
        memcpy(c.mrope_sections, wrong[i], sizeof wrong[i]);
        expect_refusal(&c, "mrope_sections", GQA_ERR_ARG, said[i][0], said[i][1]);
        c.mrope = GQA_MROPE_SECTIONS; /* which has no such limit */
        assert_int_equal(gqa_config_check(&c, NULL), GQA_OK);
    }
}

static void struct_sizes(void **state)
{
    struct {
        gqa_config config;
        int32_t later[4];
    } newer;
    gqa_config c;
    gqa_error err;

    (void)state;
    assert_int_equal(gqa_config_check(NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "config");
    memset(&c, 0, sizeof c);
    assert_int_equal(gqa_config_check(&c, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "config");
    assert_non_null(strstr(err.message, "init"));
    block(&c);
    c.struct_size = offsetof(gqa_config, backend); /* an older caller */
    c.backend = (gqa_backend)77;
    assert_int_equal(gqa_config_check(&c, NULL), GQA_OK);
    memset(&newer, 0, sizeof newer);
    block(&newer.config);
    newer.config.struct_size = sizeof newer;
    assert_int_equal(gqa_config_check(&newer.config, NULL), GQA_OK);
    newer.later[3] = 1;
    assert_int_equal(gqa_config_check(&newer.config, &err), GQA_ERR_UNSUPPORTED);
}

static void init_of_any_size(void **state)
{
    gqa_config whole;

    (void)state;
    gqa_config_init(&whole);
    assert_int_equal(whole.struct_size, sizeof whole);
    assert_true(whole.rope_theta == 10000.0 && whole.input_norm_eps == 1e-6f);
    assert_true(whole.rope_high_freq_factor == 4.0 && whole.rope_beta_fast == 32.0);
    for (size_t n = 0; n <= sizeof whole + 16; n++) {
        _Alignas(gqa_config) unsigned char bytes[sizeof whole + 32];
        memset(bytes, 0xaa, sizeof bytes);
        gqa_config_init_sized((gqa_config *)(void *)bytes, n);
        for (size_t i = sizeof whole.struct_size; i < sizeof bytes; i++) {
            const int own = i < sizeof whole ? ((unsigned char *)&whole)[i] : 0;
            assert_int_equal(bytes[i], i < n ? own : 0xaa);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bases_are_sound),
        cmocka_unit_test(bad_values),
        cmocka_unit_test(every_field_has_a_bad_value),
        cmocka_unit_test(hopeless_values),
        cmocka_unit_test(combinations),
        cmocka_unit_test(interleaved_sections),
        cmocka_unit_test(unused_fields_may_be_zero),
        cmocka_unit_test(struct_sizes),
        cmocka_unit_test(init_of_any_size),
    };

    return RUN_TESTS(argc, argv, tests);
}
