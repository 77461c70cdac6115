/* One attention layer: four tokens at once, then two more, one by one, from the cache. */
#include <gqa/gqa.h>
#include <stdio.h>

enum { HIDDEN = 64, HQ = 4, HKV = 2, D = 16, ROWS = (HQ + 2 * HKV) * D, T = 6 };
static float wqkv[ROWS * HIDDEN], wo[HIDDEN * HQ * D], x[T * HIDDEN], y[T * HIDDEN];

int main(void)
{
    for (int i = 0; i < ROWS * HIDDEN; i++) /* stands for a model's weights and input */
        wqkv[i] = (float)(i % 13 - 6) / 16, wo[i % (HIDDEN * HQ * D)] = (float)(i % 7 - 3) / 8;
    for (int i = 0; i < T * HIDDEN; i++)
        x[i] = (float)(i % 11 - 5) / 4;
    gqa_config config;
    gqa_config_init(&config);
    config.hidden_size = HIDDEN, config.head_dim = D, config.rope = GQA_ROPE_HALF;
    config.num_attention_heads = HQ, config.num_key_value_heads = HKV;
    config.qkv_layout = GQA_QKV_FUSED, config.sliding_window = 4;
    gqa_weights weights;
    gqa_weights_init(&weights);
    weights.wqkv = gqa_tensor_2d(wqkv, GQA_F32, ROWS, HIDDEN);
    weights.wo = gqa_tensor_2d(wo, GQA_F32, HIDDEN, HQ * D);

    gqa_layer *layer = NULL;
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_error err;
    if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK)
        return printf("%s\n", err.message), 1;
    gqa_cache_options_init(&options, layer);
    options.max_tokens = 1024;
    gqa_status status = gqa_cache_create(&cache, layer, &options, &err);
    for (int t = 0, n = 4; status == GQA_OK && t < T; t += n, n = 1) {
        gqa_inputs inputs;
        gqa_output output;
        gqa_inputs_init(&inputs);
        gqa_output_init(&output);
        inputs.hidden_states = gqa_tensor_2d(x + t * HIDDEN, GQA_F32, n, HIDDEN);
        output.hidden_states = gqa_tensor_2d(y + t * HIDDEN, GQA_F32, n, HIDDEN);
        status = gqa_forward(layer, cache, &inputs, &output, NULL, 0, &err);
        printf("tokens %d..%d: y = %g ...\n", t, t + n - 1, (double)y[t * HIDDEN]);
    }
    if (status != GQA_OK)
        printf("%s\n", err.message);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return status != GQA_OK;
}
