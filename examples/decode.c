/* SPDX-License-Identifier: Apache-2.0 */
/* A gpt-oss shaped layer (small numbers) decodes token by token; the bits are those of one call.
 *
 * The layer: RMS norm, fused QKV with bias, YaRN, a window of 8 keys, one sink per query head,
 * output projection with bias, residual. The loop is what a generating host does; here the next
 * token's input is simply the next row of x. At the end one call over all tokens is compared with
 * memcmp, and the last three tokens are taken back and fed again, as after a rejected speculation.
 */
#include <gqa/gqa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 96, HQ = 8, HKV = 2, D = 16, T = 40, ROWS = (HQ + 2 * HKV) * D };

static float norm[HIDDEN], wqkv[ROWS * HIDDEN], bqkv[ROWS], sinks[HQ];
static float wo[HIDDEN * HQ * D], bo[HIDDEN], x[T * HIDDEN];

static void fill(float *a, int n, float scale)
{
    static unsigned state = 1;
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        a[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
}

static gqa_status make_layer(gqa_layer **layer, gqa_error *err)
{
    gqa_config config;
    gqa_config_init(&config);
    config.hidden_size = HIDDEN;
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    config.input_norm = GQA_NORM_RMS;
    config.input_norm_eps = 1e-5f;
    config.qkv_layout = GQA_QKV_FUSED;
    config.qkv_bias = 1;
    config.o_bias = 1;
    config.rope = GQA_ROPE_HALF;
    config.rope_theta = 150000.0;
    config.rope_scaling = GQA_ROPE_SCALING_YARN;
    config.rope_factor = 32.0;
    config.rope_original_context = 4096;
    config.sliding_window = 8;
    config.learned_sinks_size = 1;
    config.add_residual = 1;

    gqa_weights weights;
    gqa_weights_init(&weights);
    weights.input_norm = gqa_tensor_1d(norm, GQA_F32, HIDDEN);
    weights.wqkv = gqa_tensor_2d(wqkv, GQA_F32, ROWS, HIDDEN);
    weights.bqkv = gqa_tensor_1d(bqkv, GQA_F32, ROWS);
    weights.sinks = gqa_tensor_1d(sinks, GQA_F32, HQ);
    weights.wo = gqa_tensor_2d(wo, GQA_F32, HIDDEN, HQ * D);
    weights.bo = gqa_tensor_1d(bo, GQA_F32, HIDDEN);
    return gqa_create(layer, &config, &weights, NULL, err);
}

/* Tokens first .. first + n - 1 of x through the layer into the same rows of y. */
static gqa_status feed(const gqa_layer *layer, gqa_cache *cache, int first, int n, float *y,
                       gqa_error *err)
{
    gqa_inputs inputs;
    gqa_inputs_init(&inputs);
    inputs.hidden_states = gqa_tensor_2d(x + first * HIDDEN, GQA_F32, n, HIDDEN);

    gqa_output output;
    gqa_output_init(&output);
    output.hidden_states = gqa_tensor_2d(y + first * HIDDEN, GQA_F32, n, HIDDEN);
    return gqa_forward(layer, cache, &inputs, &output, NULL, 0, err);
}

int main(void)
{
    static float whole[T * HIDDEN], steps[T * HIDDEN];
    fill(norm, HIDDEN, 1.0f);
    fill(wqkv, ROWS * HIDDEN, 0.1f);
    fill(bqkv, ROWS, 0.1f);
    fill(sinks, HQ, 2.0f);
    fill(wo, HIDDEN * HQ * D, 0.1f);
    fill(bo, HIDDEN, 0.1f);
    fill(x, T * HIDDEN, 1.0f);

    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    gqa_error err;
    int same = 0;
    gqa_status status = make_layer(&layer, &err);
    if (status == GQA_OK) {
        gqa_cache_options options;
        gqa_cache_options_init(&options, layer);
        options.max_tokens = T;
        status = gqa_cache_create(&cache, layer, &options, &err);
    }

    /* The prompt, then one token per step. */
    for (int t = 0, n = 25; status == GQA_OK && t < T; t += n, n = 1) {
        status = feed(layer, cache, t, n, steps, &err);
    }
    /* The last three again. */
    if (status == GQA_OK) {
        memset(steps + (T - 3) * HIDDEN, 0, 3 * HIDDEN * sizeof(float));
        status = gqa_cache_truncate(cache, 0, T - 3, &err);
    }
    if (status == GQA_OK) {
        status = feed(layer, cache, T - 3, 3, steps, &err);
    }
    /* All at once, without a cache. */
    if (status == GQA_OK) {
        status = feed(layer, NULL, 0, T, whole, &err);
        same = memcmp(whole, steps, sizeof whole) == 0;
        printf("%d tokens in one call and in steps: %s\n", T, same ? "the same bits" : "DIFFERENT");
    }
    if (status != GQA_OK) {
        printf("%s: %s\n", gqa_status_string(status), err.message);
    }
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
