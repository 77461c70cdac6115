/* SPDX-License-Identifier: Apache-2.0 */
/* time_layer.c - see time_layer.h. */
#include "tool/time_layer.h"

#include <math.h>
#include <stdlib.h>

enum { HIDDEN = TOOL_GPTOSS_HIDDEN, HQ = 64, HKV = 8, DIM = 64 };

/* splitmix64 */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15U;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

float *tool_random(uint64_t *seed, int64_t n, float scale)
{
    float *data = malloc((size_t)n * sizeof *data);

    for (int64_t i = 0; data != NULL && i < n; i++) {
        int32_t bits = (int32_t)(next_random(seed) >> 40) - (1 << 23); /* [-2^23, 2^23) */
        data[i] = scale * (float)bits * 0x1p-23f;
    }
    return data;
}

/* choice: the defaults, but for what the command's options have set. */
static void set_config(gqa_config *config, const gqa_config *choice)
{
    *config = *choice;
    config->hidden_size = HIDDEN;
    config->num_attention_heads = HQ;
    config->num_key_value_heads = HKV;
    config->head_dim = DIM;
    config->input_norm = GQA_NORM_RMS;
    config->input_norm_eps = 1e-5F;
    config->qkv_bias = 1;
    config->o_bias = 1;
    config->rope = GQA_ROPE_HALF;
    config->rope_theta = 150000;
    config->rope_scaling = GQA_ROPE_SCALING_YARN;
    config->rope_factor = 32;
    config->rope_original_context = 4096;
    config->sliding_window = 128;
    config->learned_sinks_size = 1;
    config->add_residual = 1;
}

bool tool_gptoss_create(gqa_layer **layer, const gqa_config *choice, const gqa_runtime *runtime,
                        struct tool_fault *fault)
{
    enum { WQ, WK, WV, WO, BQ, BK, BV, BO, NORM, SINKS, TENSORS };
    static const struct {
        int64_t rows, columns; /* columns 0: a vector */
    } sizes[TENSORS] = {{HQ * DIM, HIDDEN},  {HKV * DIM, HIDDEN},
                        {HKV * DIM, HIDDEN}, {HIDDEN, HQ * DIM},
                        {HQ * DIM, 0},       {HKV * DIM, 0},
                        {HKV * DIM, 0},      {HIDDEN, 0},
                        {HIDDEN, 0},         {HQ, 0}};
    gqa_weights weights;
    gqa_tensor *const slots[TENSORS] = {
        &weights.wq, &weights.wk, &weights.wv, &weights.wo,         &weights.bq,
        &weights.bk, &weights.bv, &weights.bo, &weights.input_norm, &weights.sinks};
    gqa_config config;
    gqa_error err;
    uint64_t seed = 20;
    bool good = true;

    set_config(&config, choice);
    gqa_weights_init(&weights);
    for (int i = 0; i < TENSORS; i++) {
        int64_t rows = sizes[i].rows, columns = sizes[i].columns;
        float scale = columns > 0 ? sqrtf(3.0F / (float)columns) : 1.0F;
        float *data = tool_random(&seed, rows * (columns > 0 ? columns : 1), scale);

        good = good && data != NULL;
        *slots[i] = columns > 0 ? gqa_tensor_2d(data, GQA_F32, rows, columns)
                                : gqa_tensor_1d(data, GQA_F32, rows);
    }
    if (!good) {
        tool_fault_set(fault, "time", "no memory for the weights");
    } else if (gqa_create(layer, &config, &weights, runtime, &err) != GQA_OK) {
        good = tool_fault_gqa(fault, "time", "gqa_create", &err);
    }
    for (int i = 0; i < TENSORS; i++) {
        free(slots[i]->data);
    }
    return good;
}
