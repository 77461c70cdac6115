/* SPDX-License-Identifier: Apache-2.0 */
/* kv_data.c - see kv_data.h. */
#include "tool/kv_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/time_layer.h"

const char *const tool_kv_shape_names[TOOL_KV_SHAPES] = {"gpt-oss", "llama"};

static void set_sizes(struct tool_case *c, const struct tool_kv_recipe *recipe)
{
    const bool llama = recipe->shape == TOOL_KV_LLAMA;

    c->block = true;
    c->batch = 1;
    c->tokens = c->keys = recipe->tokens;
    c->hidden = llama ? 4096 : TOOL_GPTOSS_HIDDEN;
    c->hq = llama ? 32 : 64;
    c->hkv = 8;
    c->dk = c->dv = llama ? 128 : 64;
    c->pairs = c->dk / 2;
}

static void set_layer(struct tool_case *c, enum tool_kv_shape shape)
{
    gqa_config *const config = &c->config;

    gqa_config_init(config);
    config->hidden_size = c->hidden;
    config->num_attention_heads = c->hq;
    config->num_key_value_heads = c->hkv;
    config->head_dim = c->dk;
    config->input_norm = GQA_NORM_RMS;
    config->qkv_bias = 1;
    config->rope = GQA_ROPE_HALF;
    config->rope_theta = 500000;
    config->score_scale = (float)(1 / sqrt(c->dk));
    if (shape == TOOL_KV_GPT_OSS) {
        config->rope_theta = 150000;
        config->rope_scaling = GQA_ROPE_SCALING_YARN;
        config->rope_factor = 32;
        config->rope_original_context = 4096;
        config->learned_sinks_size = 1;
    }
}

/* NULL and a fault without memory. Of variance 1 / columns, so that a product with numbers of
 * variance 1 has variance 1. */
static float *draw(const struct tool_case *c, uint64_t *seed, int64_t rows, int64_t columns,
                   struct tool_fault *fault)
{
    float *const data = tool_random(seed, rows * columns, sqrtf(3.0F / (float)columns));

    if (data == NULL) {
        tool_fault_set(fault, c->path, "no memory for %lld numbers", (long long)(rows * columns));
    }
    return data;
}

/* Biases of some channels of every KV head: one in each of as many bands of equal width, so that
 * some rotate fast and some slowly. bk [Hkv, Dk] is zero. */
static void put_outliers(const struct tool_case *c, uint64_t *seed, int32_t outliers, float *bk,
                         struct tool_fault *fault)
{
    float *const drawn = tool_random(seed, (int64_t)c->hkv * (outliers + 1) * 3, 1.0F);

    if (drawn == NULL) {
        tool_fault_set(fault, c->path, "no memory for the outlier channels");
    }
    for (int32_t i = 0; drawn != NULL && i < c->hkv * outliers; i++) {
        const int32_t band = i % outliers;
        const int32_t begin = c->dk * band / outliers, end = c->dk * (band + 1) / outliers;
        const int32_t channel = begin + (int32_t)((drawn[3 * i] + 1) / 2 * (float)(end - begin));

        bk[(int64_t)(i / outliers) * c->dk + channel] =
            copysignf(20 + 10 * drawn[3 * i + 1], drawn[3 * i + 2]);
    }
    free(drawn);
}

static void point_case(struct tool_kv_data *data)
{
    struct tool_case *const c = &data->c;
    const int64_t q = (int64_t)c->hq * c->dk, k = (int64_t)c->hkv * c->dk;

    c->x = gqa_tensor_3d(data->x, GQA_F32, 1, c->tokens, c->hidden);
    c->weights.input_norm = gqa_tensor_1d(data->norm, GQA_F32, c->hidden);
    c->weights.wq = gqa_tensor_2d(data->wq, GQA_F32, q, c->hidden);
    c->weights.wk = gqa_tensor_2d(data->wk, GQA_F32, k, c->hidden);
    c->weights.wv = gqa_tensor_2d(data->wv, GQA_F32, k, c->hidden);
    c->weights.wo = gqa_tensor_2d(data->wo, GQA_F32, c->hidden, q);
    c->weights.bq = gqa_tensor_1d(data->bq, GQA_F32, q);
    c->weights.bk = gqa_tensor_1d(data->bk, GQA_F32, k);
    c->weights.bv = gqa_tensor_1d(data->bv, GQA_F32, k);
    if (c->config.learned_sinks_size != 0) {
        c->weights.sinks = gqa_tensor_1d(data->sinks, GQA_F32, c->hq);
    }
    c->q_pos = c->k_pos = data->positions;
    c->key_valid = c->row_valid = data->valid;
    data->schedule = (struct tool_schedule){"one call", 8, 1, &c->tokens};
    c->schedules = &data->schedule;
    c->schedule_count = 1;
}

bool tool_kv_data_make(struct tool_kv_data *data, const struct tool_kv_recipe *recipe,
                       struct tool_fault *fault)
{
    struct tool_case *const c = &data->c;
    uint64_t seed = (uint64_t)recipe->seed;

    memset(data, 0, sizeof *data);
    snprintf(data->name, sizeof data->name, "%s, %d outlier channels, seed %d",
             tool_kv_shape_names[recipe->shape], recipe->outliers, recipe->seed);
    c->path = c->name = data->name;
    set_sizes(c, recipe);
    set_layer(c, recipe->shape);
    gqa_weights_init(&c->weights);
    const int64_t q = (int64_t)c->hq * c->dk, k = (int64_t)c->hkv * c->dk;
    data->wq = draw(c, &seed, q, c->hidden, fault);
    data->wk = draw(c, &seed, k, c->hidden, fault);
    data->wv = draw(c, &seed, k, c->hidden, fault);
    data->wo = draw(c, &seed, c->hidden, q, fault);
    data->x = draw(c, &seed, (int64_t)c->tokens * c->hidden, 1, fault);
    data->sinks = draw(c, &seed, c->hq, 1, fault);
    data->norm = tool_alloc(c->path, c->hidden, sizeof(float), fault);
    data->bq = tool_alloc(c->path, q, sizeof(float), fault);
    data->bk = tool_alloc(c->path, k, sizeof(float), fault);
    data->bv = tool_alloc(c->path, k, sizeof(float), fault);
    data->positions = tool_alloc(c->path, c->tokens, sizeof(int32_t), fault);
    data->valid = tool_alloc(c->path, c->tokens, 1, fault);
    if (fault->text[0] != '\0') {
        return false;
    }
    put_outliers(c, &seed, recipe->outliers, data->bk, fault);
    for (int32_t i = 0; i < c->hidden; i++) {
        data->norm[i] = 1;
    }
    for (int32_t t = 0; t < c->tokens; t++) {
        data->positions[t] = t;
        data->valid[t] = 1;
    }
    point_case(data);
    return fault->text[0] == '\0';
}

void tool_kv_data_free(struct tool_kv_data *data)
{
    float *const arrays[] = {data->x,  data->wq, data->wk, data->wv,   data->wo,
                             data->bq, data->bk, data->bv, data->norm, data->sinks};

    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        free(arrays[i]);
    }
    free(data->positions);
    free(data->valid);
    memset(data, 0, sizeof *data);
}
