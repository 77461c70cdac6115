/* SPDX-License-Identifier: Apache-2.0 */
/* An engine with a KV cache of its own: two requests in blocks of 16 tokens that a block table puts
 * in order, one flat call per step. The library writes the new keys and values into the engine's
 * memory.
 *
 * The second request begins with the first one's 32 tokens. The engine hands out their blocks once
 * more; only what follows is computed. In the end the second request says what it says alone, from
 * the same bits.
 */
#include <gqa/gqa.h>
#include <stdio.h>
#include <string.h>

enum {
    HIDDEN = 64,
    HQ = 4,
    HKV = 2,
    D = 16,
    BLOCKS = 8,
    SIZE = 16,
    WIDTH = 4,
    PREFIX = 32,
    STEPS = 5
};

static float wqkv[(HQ + 2 * HKV) * D * HIDDEN], wo[HIDDEN * HQ * D]; /* a model's weights */
static uint16_t k[BLOCKS * SIZE * HKV * D],
    v[BLOCKS * SIZE * HKV * D]; /* the engine's pool, bf16 */
static float x[(PREFIX + 1) * HIDDEN], y[(PREFIX + 1) * HIDDEN];

static void numbers(float *to, size_t n, unsigned state)
{
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        to[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

/* Token `index` of a request, as a host's embedding would give it. */
static void embed(float *to, unsigned request, int32_t index)
{
    numbers(to, HIDDEN, (index < PREFIX ? 0u : request) * 1000u + (unsigned)index);
}

/* counts[b] more tokens for each of `batch` requests, which hold lengths[b]: one flat call. */
static gqa_status step(const gqa_layer *layer, gqa_block_kv *kv, int32_t *lengths,
                       const int32_t *counts, int32_t batch, gqa_error *err)
{
    int32_t rows[3] = {0};
    gqa_inputs inputs;
    gqa_output output;
    gqa_status status;

    for (int32_t b = 0; b < batch; b++) {
        for (int32_t i = 0; i < counts[b]; i++) {
            embed(x + (rows[b] + i) * HIDDEN, (unsigned)b + 1, lengths[b] + i);
        }
        rows[b + 1] = rows[b] + counts[b];
    }
    gqa_inputs_init(&inputs);
    inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, rows[batch], HIDDEN);
    inputs.row_begin = rows;
    inputs.batch = batch;
    inputs.blocks = kv;
    gqa_output_init(&output);
    output.hidden_states = gqa_tensor_2d(y, GQA_F32, rows[batch], HIDDEN);
    kv->lengths = lengths;
    status = gqa_forward(layer, NULL, &inputs, &output, NULL, 0, err);
    for (int32_t b = 0; b < batch && status == GQA_OK; b++) {
        lengths[b] += counts[b];
    }
    return status;
}

int main(void)
{
    /* Blocks in whatever order they were free; the second request shares the first two. */
    const int32_t table[2 * WIDTH] = {5, 2, 7, 0, 5, 2, 1, 0};
    const int32_t prompt[2] = {PREFIX, 0}, each[2] = {1, 1};
    int32_t lengths[2] = {0, 0}, alone = 0;
    float shared[HIDDEN];
    gqa_config config;
    gqa_weights weights;
    gqa_layer *layer = NULL;
    gqa_block_kv kv;
    gqa_error err;
    gqa_status status;

    gqa_config_init(&config);
    config.hidden_size = HIDDEN, config.num_attention_heads = HQ, config.num_key_value_heads = HKV;
    config.rope = GQA_ROPE_HALF, config.qkv_layout = GQA_QKV_FUSED;
    numbers(wqkv, sizeof wqkv / sizeof wqkv[0], 1);
    numbers(wo, sizeof wo / sizeof wo[0], 2);
    gqa_weights_init(&weights);
    weights.wqkv = gqa_tensor_2d(wqkv, GQA_F32, (HQ + 2 * HKV) * D, HIDDEN);
    weights.wo = gqa_tensor_2d(wo, GQA_F32, HIDDEN, HQ * D);
    gqa_block_kv_init(&kv);
    kv.key = gqa_blocks_of(k, GQA_BF16, GQA_BLOCKS_TOKENS, BLOCKS, HKV, SIZE, D);
    kv.value = gqa_blocks_of(v, GQA_BF16, GQA_BLOCKS_TOKENS, BLOCKS, HKV, SIZE, D);
    kv.block_table = table;
    kv.max_blocks = WIDTH;

    status = gqa_create(&layer, &config, &weights, NULL, &err);
    if (status == GQA_OK) {
        status = step(layer, &kv, lengths, prompt, 1, &err);
    }
    lengths[1] = PREFIX; /* the second request finds its beginning there */
    for (int i = 0; i < STEPS && status == GQA_OK; i++) {
        status = step(layer, &kv, lengths, each, 2, &err);
    }
    memcpy(shared, y + HIDDEN, sizeof shared);

    /* The same request alone, token by token, in blocks of its own. */
    const int32_t own[WIDTH] = {3, 4, 6, 0};
    kv.block_table = own;
    for (int32_t i = 0; i < PREFIX + STEPS && status == GQA_OK; i++) {
        gqa_inputs inputs;
        gqa_output output;
        embed(x, 2, i);
        gqa_inputs_init(&inputs);
        inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, 1, HIDDEN);
        inputs.blocks = &kv;
        gqa_output_init(&output);
        output.hidden_states = gqa_tensor_2d(y, GQA_F32, 1, HIDDEN);
        kv.lengths = &alone;
        status = gqa_forward(layer, NULL, &inputs, &output, NULL, 0, &err);
        alone = i + 1;
    }
    gqa_destroy(&layer);
    if (status != GQA_OK) {
        return printf("%s\n", err.message), 1;
    }
    printf("request 2, token %d: %g %g ..., in shared blocks and alone\n", PREFIX + STEPS - 1,
           (double)shared[0], (double)shared[1]);
    return memcmp(shared, y, sizeof shared) == 0 ? 0 : (printf("other bits alone\n"), 1);
}
