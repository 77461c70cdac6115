/* SPDX-License-Identifier: Apache-2.0 */
/* One attention layer over six tokens: 4 query heads, 2 KV heads, rope, a window of 4 keys. */
#include <gqa/gqa.h>
#include <stdio.h>

static float wqkv[8 * 16 * 64], wo[64 * 64], x[6 * 64], y[6 * 64]; /* a model's weights and input */

int main(void)
{
    gqa_config config;
    gqa_config_init(&config);
    config.hidden_size = 64, config.num_attention_heads = 4, config.num_key_value_heads = 2;
    config.rope = GQA_ROPE_HALF, config.qkv_layout = GQA_QKV_FUSED, config.sliding_window = 4;
    for (int i = 0; i < 8 * 16 * 64; i++) /* stands for loading them */
        wqkv[i] = (float)(i % 13 - 6) / 16, wo[i % 4096] = (float)(i % 7 - 3) / 8,
        x[i % 384] = (float)(i % 11 - 5) / 4;
    gqa_weights weights;
    gqa_weights_init(&weights);
    weights.wqkv =
        gqa_tensor_2d(wqkv, GQA_F32, 8 * 16, 64); /* rows [Q heads | K heads | V heads] */
    weights.wo = gqa_tensor_2d(wo, GQA_F32, 64, 64);
    gqa_inputs inputs;
    gqa_inputs_init(&inputs);
    inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, 6, 64);
    gqa_output output;
    gqa_output_init(&output);
    output.hidden_states = gqa_tensor_2d(y, GQA_F32, 6, 64);
    gqa_layer *layer = NULL;
    gqa_error err;
    if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK ||
        gqa_forward(layer, NULL, &inputs, &output, NULL, 0, &err) != GQA_OK)
        return printf("%s\n", err.message), 1;
    printf("%s: last token %g %g ...\n", output.path.kernels, (double)y[5 * 64],
           (double)y[5 * 64 + 1]);
    gqa_destroy(&layer);
    return 0;
}
