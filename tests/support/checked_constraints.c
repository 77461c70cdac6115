/* SPDX-License-Identifier: Apache-2.0 */
/* checked_constraints.c - for each checked row of docs/constraints.md the call that is refused. */
#include "support/constraints.h"

#include <string.h>

#include "support/forced_isa.h"
#include "support/small_layer.h"

/* --- configs and weights -----------------------------------------------------------------------
 */

static void check_config(struct refusal *r, const struct weight_set *model)
{
    r->call = "gqa_config_check";
    r->status = gqa_config_check(&model->config, &r->err);
}

static void create(struct refusal *r, const struct weight_set *model)
{
    gqa_layer *layer = NULL;
    skip_refused(&model->config);
    r->call = "gqa_create";
    r->status = gqa_create(&layer, &model->config, &model->weights, NULL, &r->err);
    gqa_destroy(&layer);
}

static void head_dim_inexact(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.head_dim = 0;
    m.config.hidden_size = 26;
    check_config(r, &m);
    weight_set_free(&m);
}

static void heads_indivisible(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.num_key_value_heads = 3;
    check_config(r, &m);
    weight_set_free(&m);
}

static void one_qk_norm(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.qk_norm_scope = GQA_QK_NORM_HEAD;
    m.config.qk_norm = GQA_NORM_RMS;
    weight_set_fill(&m);
    weight_remove(&m.weights.k_norm);
    create(r, &m);
    weight_set_free(&m);
}

static void clip_negative(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.clip_qkv = -1.0f;
    check_config(r, &m);
    weight_set_free(&m);
}

static void two_sinks(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.learned_sinks_size = 2;
    check_config(r, &m);
    weight_set_free(&m);
}

static void sinks_absent(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.learned_sinks_size = 1;
    weight_set_fill(&m);
    weight_remove(&m.weights.sinks);
    create(r, &m);
    weight_set_free(&m);
}

static void hidden_unpadded_wide(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.input_norm = GQA_NORM_RMS;
    m.config.hidden_size_unpadded = SMALL_HIDDEN + 1;
    check_config(r, &m);
    weight_set_free(&m);
}

static void window_negative(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.sliding_window = -1;
    check_config(r, &m);
    weight_set_free(&m);
}

static void wo_narrow(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    weight_set_fill(&m);
    m.weights.wo = gqa_tensor_2d(m.weights.wo.data, GQA_F32, SMALL_HIDDEN, SMALL_HQ * SMALL_DV - 1);
    create(r, &m);
    weight_set_free(&m);
}

static void bo_absent(struct refusal *r)
{
    struct weight_set m;
    small_set_init(&m);
    m.config.o_bias = 1;
    weight_set_fill(&m);
    weight_remove(&m.weights.bo);
    create(r, &m);
    weight_set_free(&m);
}

/* --- caches ------------------------------------------------------------------------------------
 */

static void create_cache(struct refusal *r, gqa_dtype dtype, int32_t page_size)
{
    struct small_layer small;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    small_layer_open(&small, NULL);
    gqa_cache_options_init(&options, small.layer);
    options.max_tokens = 40;
    options.dtype_k = dtype;
    options.page_size = page_size;
    r->call = "gqa_cache_create";
    r->status = gqa_cache_create(&cache, small.layer, &options, &r->err);
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

static void cache_of_bytes(struct refusal *r)
{
    create_cache(r, GQA_U8, 16);
}

static void page_of_48(struct refusal *r)
{
    create_cache(r, GQA_F32, 48);
}

static void append_beyond_end(struct refusal *r)
{
    static const float zeros[(SMALL_TOKENS + 1) * SMALL_HKV * SMALL_DK];
    struct small_layer small;
    gqa_tensor k = gqa_tensor_3d(zeros, GQA_F32, 1, SMALL_HKV, SMALL_DK);
    gqa_tensor v = gqa_tensor_3d(zeros, GQA_F32, 1, SMALL_HKV, SMALL_DV);
    small_layer_open(&small, NULL);
    r->call = "gqa_cache_append";
    do {
        r->status = gqa_cache_append(small.cache, 0, &k, &v, NULL, &r->err);
    } while (r->status == GQA_OK);
    small_layer_close(&small);
}

/* --- forward calls -----------------------------------------------------------------------------
 */

static float scratch[2 * (SMALL_TOKENS + 1) * SMALL_HIDDEN];
static const float ones[2 * (SMALL_TOKENS + 1) * SMALL_HIDDEN];
static const uint8_t mask_bytes[SMALL_TOKENS];

static void forward(struct refusal *r, struct small_layer *small, gqa_cache *cache,
                    const gqa_inputs *in, int b, int t)
{
    r->call = "gqa_forward";
    r->status = small_layer_forward(small, cache, in, b, t, ones, scratch);
    r->err = small->err;
}

/* A call of b x t tokens with the inputs as they are, on a fresh small. */
static void forward_fresh(struct refusal *r, const gqa_inputs *in, int b, int t)
{
    struct small_layer small;
    small_layer_open(&small, NULL);
    forward(r, &small, small.cache, in, b, t);
    small_layer_close(&small);
}

static void longer_than_cache(struct refusal *r)
{
    forward_fresh(r, NULL, 1, SMALL_TOKENS + 1);
}

static void pool_exhausted(struct refusal *r)
{
    struct small_layer small;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    small_layer_open(&small, NULL);
    gqa_cache_options_init(&options, small.layer);
    options.max_sequences = 2;
    options.max_tokens = 40;
    options.page_size = 16;
    options.num_pages = 3;
    r->status = gqa_cache_create(&cache, small.layer, &options, &r->err);
    if (r->status == GQA_OK) {
        forward(r, &small, cache, NULL, 2, 17); /* two pages each */
    }
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

static void sequence_unknown(struct refusal *r)
{
    static const int32_t sequences[1] = {SMALL_SEQUENCES};
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.sequences = sequences;
    forward_fresh(r, &in, 1, 2);
}

static void sequence_twice(struct refusal *r)
{
    static const int32_t sequences[2] = {1, 1};
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.sequences = sequences;
    forward_fresh(r, &in, 2, 2);
}

static void positions_falling(struct refusal *r)
{
    static const int32_t positions[3] = {4, 6, 6};
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.position_ids = positions;
    forward_fresh(r, &in, 1, 3);
}

static void phase_unknown(struct refusal *r)
{
    gqa_inputs in;
    gqa_inputs_init(&in);
    in.phase = (gqa_phase)3;
    forward_fresh(r, &in, 1, 2);
}

static void mask_too_narrow(struct refusal *r)
{
    struct small_layer small;
    gqa_inputs in;
    gqa_inputs_init(&in);
    small_layer_open(&small, NULL);
    forward(r, &small, small.cache, NULL, 1, 5);
    in.mask = gqa_tensor_4d(mask_bytes, GQA_U8, 1, 1, 2, 6); /* 5 past keys and 2 new */
    forward(r, &small, small.cache, &in, 1, 2);
    small_layer_close(&small);
}

static void hidden_narrow(struct refusal *r)
{
    struct small_layer small;
    gqa_inputs in;
    gqa_output out;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(ones, GQA_F32, 1, 2, SMALL_HIDDEN - 1);
    out.hidden_states = gqa_tensor_3d(scratch, GQA_F32, 1, 2, SMALL_HIDDEN);
    r->call = "gqa_forward";
    r->status = gqa_forward(small.layer, small.cache, &in, &out, NULL, 0, &r->err);
    small_layer_close(&small);
}

static void other_head_dim(gqa_config *config)
{
    config->head_dim = SMALL_DK + 2;
}

static void foreign_cache(struct refusal *r)
{
    struct small_layer small, other;
    small_layer_open(&small, NULL);
    small_layer_open(&other, other_head_dim);
    forward(r, &small, other.cache, NULL, 1, 2);
    small_layer_close(&small);
    small_layer_close(&other);
}

/* Tables of the given width (and only one of them) and key offset. */
static void tables(struct refusal *r, int width, int with_sin, uint64_t key_offset)
{
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.cos_cache = gqa_tensor_3d(ones, GQA_F32, 1, 2, width);
    if (with_sin) {
        in.sin_cache = gqa_tensor_3d(ones, GQA_F32, 1, 2, width);
    }
    in.rope_key = gqa_layer_rope_key(small.layer) + key_offset;
    forward(r, &small, small.cache, &in, 1, 2);
    small_layer_close(&small);
}

static void tables_of_other_rope(struct refusal *r)
{
    tables(r, SMALL_DK / 2, 1, 1);
}

static void tables_of_head_dim(struct refusal *r)
{
    tables(r, SMALL_DK, 1, 0);
}

static void cos_alone(struct refusal *r)
{
    tables(r, SMALL_DK / 2, 0, 0);
}

static void borrow_without_cache(struct refusal *r)
{
    struct small_layer small;
    gqa_inputs in;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.borrow_cache = 1;
    forward(r, &small, NULL, &in, 1, 2);
    small_layer_close(&small);
}

const struct checked_constraint checked_constraints[] = {
    {"N101", head_dim_inexact},
    {"N102", heads_indivisible},
    {"N107", one_qk_norm},
    {"N109", clip_negative},
    {"N116", two_sinks},
    {"N117", sinks_absent},
    {"N203", longer_than_cache},
    {"N204", append_beyond_end},
    {"N207", sequence_unknown},
    {"N209", cache_of_bytes},
    {"N214", page_of_48},
    {"N215", pool_exhausted},
    {"N229", tables_of_other_rope},
    {"N230", hidden_unpadded_wide},
    {"N301", hidden_narrow},
    {"N302", mask_too_narrow},
    {"N306", positions_falling},
    {"N307", foreign_cache},
    {"N310", tables_of_head_dim},
    {"N311", cos_alone},
    {"N314", borrow_without_cache},
    {"N317", sequence_twice},
    {"N502", window_negative},
    {"N505", phase_unknown},
    {"N601", wo_narrow},
    {"N602", bo_absent},
};
const size_t checked_count = sizeof checked_constraints / sizeof checked_constraints[0];
