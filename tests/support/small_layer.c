/* SPDX-License-Identifier: Apache-2.0 */
/* small_layer.c - a small layer with weights for its config, a cache, and calls on them. */
#include "support/small_layer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/random.h"

void small_set_init(struct weight_set *set)
{
    weight_set_init(set);
    set->scale = 0.3f;
    set->config.hidden_size = SMALL_HIDDEN;
    set->config.num_attention_heads = SMALL_HQ;
    set->config.num_key_value_heads = SMALL_HKV;
    set->config.head_dim = SMALL_DK;
    set->config.v_head_dim = SMALL_DV;
    set->config.rope = GQA_ROPE_HALF;
    set->config.isa = GQA_ISA_AUTO;
}

gqa_config attention_config(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t v_head_dim)
{
    gqa_config config;
    gqa_config_init(&config);
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = head_dim;
    config.v_head_dim = v_head_dim;
    return config;
}

gqa_layer *attention_layer(const gqa_config *config, const gqa_runtime *runtime)
{
    gqa_layer *layer = NULL;
    gqa_error err = {0};
    skip_refused(config);
    if (gqa_create(&layer, config, NULL, runtime, &err) != GQA_OK) {
        fail_msg("gqa_create: %s", err.message);
    }
    return layer;
}

void small_layer_open(struct small_layer *small, void (*edit)(gqa_config *config))
{
    gqa_cache_options options;
    uint64_t seed = 5;
    memset(small, 0, sizeof *small);
    small_set_init(&small->model);
    if (edit != NULL) {
        edit(&small->model.config);
    }
    skip_refused(&small->model.config);
    weight_set_fill(&small->model);
    if (gqa_create(&small->layer, &small->model.config, &small->model.weights, NULL, &small->err) !=
        GQA_OK) {
        fail_msg("gqa_create: %s", small->err.message);
    }
    gqa_cache_options_init(&options, small->layer);
    options.max_sequences = SMALL_SEQUENCES;
    options.max_tokens = SMALL_TOKENS;
    options.page_size = 16;
    if (gqa_cache_create(&small->cache, small->layer, &options, &small->err) != GQA_OK) {
        fail_msg("gqa_cache_create: %s", small->err.message);
    }
    for (size_t i = 0; i < sizeof small->x / sizeof small->x[0]; i++) {
        small->x[i] = random_float(&seed);
    }
}

void small_layer_close(struct small_layer *small)
{
    gqa_cache_destroy(&small->cache);
    gqa_destroy(&small->layer);
    weight_set_free(&small->model);
}

gqa_status small_layer_forward(struct small_layer *small, gqa_cache *cache, const gqa_inputs *in,
                               int b, int t, const float *x, float *out)
{
    gqa_inputs inputs;
    gqa_output output;
    gqa_inputs_init(&inputs);
    if (in != NULL) {
        inputs = *in;
    }
    gqa_output_init(&output);
    inputs.hidden_states = gqa_tensor_3d(x, GQA_F32, b, t, SMALL_HIDDEN);
    output.hidden_states = gqa_tensor_3d(out, GQA_F32, b, t, SMALL_HIDDEN);
    return gqa_forward(small->layer, cache, &inputs, &output, NULL, 0, &small->err);
}

static uint64_t add(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return hash;
}

uint64_t small_layer_cache_hash(const gqa_cache *cache, int sequences)
{
    static float k[SMALL_HKV * SMALL_TOKENS * SMALL_DK], v[SMALL_HKV * SMALL_TOKENS * SMALL_DV];
    static int32_t positions[SMALL_TOKENS];
    int64_t free_pages = gqa_cache_free_pages(cache);
    uint64_t hash = add(14695981039346656037u, &free_pages, sizeof free_pages);
    for (int s = 0; s < sequences; s++) {
        int32_t n = gqa_cache_length(cache, s);
        gqa_tensor key = gqa_tensor_3d(k, GQA_F32, SMALL_HKV, n, SMALL_DK);
        gqa_tensor value = gqa_tensor_3d(v, GQA_F32, SMALL_HKV, n, SMALL_DV);
        assert_true(n >= 0 && n <= SMALL_TOKENS);
        memset(positions, 0, sizeof positions);
        if (gqa_cache_read(cache, s, 0, &key, &value, positions, NULL) != GQA_OK) {
            fail_msg("gqa_cache_read of sequence %d", s);
        }
        hash = add(hash, &n, sizeof n);
        hash = add(hash, positions, sizeof positions);
        hash = add(hash, k, (size_t)(SMALL_HKV * n * SMALL_DK) * sizeof *k);
        hash = add(hash, v, (size_t)(SMALL_HKV * n * SMALL_DV) * sizeof *v);
    }
    return hash;
}
