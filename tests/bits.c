/* SPDX-License-Identifier: Apache-2.0 */
/* usage: gqa_bits [ISA]
 *
 * Prints a hash of the result bits of a handful of layers (backend cpu), one line each; with a
 * kernel set's name, or one in GQA_ISA, only those that it serves here.
 *
 * The numerics promise the same bits from every compiler, optimisation level, CPU and kernel set.
 * tests/bits.expected holds what every build must print; tests/long compares other compilers and
 * foreign CPUs with it too. Uses the public interface only, so it can be cross-compiled alone. */
#include <gqa/gqa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 72, HQ = 6, HKV = 2, D = 20, T = 301, ROWS = (HQ + 2 * HKV) * D };

struct data {
    float norm[HIDDEN], wqkv[ROWS * HIDDEN], bqkv[ROWS], q_norm[D], k_norm[D], sinks[HQ];
    float wgate[HQ * D * HIDDEN], wo[HIDDEN * HQ * D], bo[HIDDEN], x[T * HIDDEN];
};

static void fill(float *a, int n, float scale, uint32_t state)
{
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        a[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
}

static void fill_all(struct data *d)
{
    fill(d->norm, HIDDEN, 1.0f, 1);
    fill(d->wqkv, ROWS * HIDDEN, 0.3f, 2);
    fill(d->bqkv, ROWS, 0.3f, 3);
    fill(d->q_norm, D, 2.0f, 4);
    fill(d->k_norm, D, 2.0f, 5);
    fill(d->sinks, HQ, 3.0f, 6);
    fill(d->wgate, HQ * D * HIDDEN, 0.3f, 7);
    fill(d->wo, HIDDEN * HQ * D, 0.2f, 8);
    fill(d->bo, HIDDEN, 0.1f, 9);
    fill(d->x, T * HIDDEN, 2.0f, 10);
}

static const char *const names[] = {"plain", "gpt-oss", "gemma",         "llama3", "chunked",
                                    "alibi", "gated",   "bidirectional", "int8"};
enum { CASES = sizeof names / sizeof names[0] };

static void configure(gqa_config *config, int which)
{
    static const float slopes[HQ] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.015625f};
    config->rope = GQA_ROPE_HALF;
    switch (which) {
    case 1:
        config->input_norm = GQA_NORM_RMS;
        config->rope_theta = 150000.0;
        config->rope_scaling = GQA_ROPE_SCALING_YARN;
        config->rope_factor = 32.0;
        config->rope_original_context = 4096;
        config->sliding_window = 100;
        config->learned_sinks_size = 1;
        config->add_residual = 1;
        break;
    case 2:
        config->input_norm = GQA_NORM_RMS;
        config->input_norm_offset = 1;
        config->score_scale = 0.07f;
        config->softcap = 20.0f;
        config->sliding_window = 270;
        break;
    case 3:
        config->rope_theta = 500000.0;
        config->rope_scaling = GQA_ROPE_SCALING_LLAMA3;
        config->rope_factor = 8.0;
        config->rope_original_context = 128;
        config->rope = GQA_ROPE_INTERLEAVED;
        break;
    case 4:
        config->attention_chunk_size = 64;
        config->qk_norm_scope = GQA_QK_NORM_HEAD;
        config->qk_norm = GQA_NORM_RMS;
        config->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
        config->query_temperature_scale = 0.1f;
        config->query_temperature_floor = 16.0f;
        break;
    case 5:
        config->rope = GQA_ROPE_NONE;
        config->input_norm = GQA_NORM_LAYER;
        config->alibi_slopes = slopes;
        config->clip_qkv = 1.5f;
        break;
    case 6:
        config->gate = GQA_GATE_ELEMENT;
        config->rotary_dim = 12;
        break;
    case 7:
        config->bidirectional = 1;
        config->right_window = 33;
        config->sliding_window = 40;
        break;
    case 8:
        config->weight_storage = GQA_WEIGHT_STORAGE_INT8;
        config->gate = GQA_GATE_ELEMENT;
        break;
    default:
        break;
    }
}

/* What a line is about. */
struct line {
    int which;
    gqa_numerics numerics;
    gqa_isa isa;
};

static gqa_status make(gqa_layer **layer, const struct data *d, const struct line *line,
                       gqa_error *err)
{
    gqa_config config;
    gqa_config_init(&config);
    config.hidden_size = HIDDEN;
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    config.qkv_layout = GQA_QKV_FUSED;
    config.qkv_bias = 1;
    config.o_bias = 1;
    config.numerics = line->numerics;
    config.isa = line->isa;
    configure(&config, line->which);

    gqa_weights weights;
    gqa_weights_init(&weights);
    if (config.input_norm != GQA_NORM_NONE) {
        weights.input_norm = gqa_tensor_1d(d->norm, GQA_F32, HIDDEN);
    }
    weights.wqkv = gqa_tensor_2d(d->wqkv, GQA_F32, ROWS, HIDDEN);
    weights.bqkv = gqa_tensor_1d(d->bqkv, GQA_F32, ROWS);
    if (config.qk_norm_scope != GQA_QK_NORM_OFF) {
        weights.q_norm = gqa_tensor_1d(d->q_norm, GQA_F32, D);
        weights.k_norm = gqa_tensor_1d(d->k_norm, GQA_F32, D);
    }
    if (config.learned_sinks_size == 1) {
        weights.sinks = gqa_tensor_1d(d->sinks, GQA_F32, HQ);
    }
    if (config.gate != GQA_GATE_NONE) {
        weights.wgate = gqa_tensor_2d(d->wgate, GQA_F32, HQ * D, HIDDEN);
    }
    weights.wo = gqa_tensor_2d(d->wo, GQA_F32, HIDDEN, HQ * D);
    weights.bo = gqa_tensor_1d(d->bo, GQA_F32, HIDDEN);
    return gqa_create(layer, &config, &weights, NULL, err);
}

static uint64_t hash(const float *a, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &a[i], sizeof u);
        for (int shift = 0; shift < 32; shift += 8) {
            h = (h ^ (u >> shift & 0xffu)) * 0x100000001b3u;
        }
    }
    return h;
}

static gqa_status run(const struct data *d, const struct line *line, gqa_error *err)
{
    static float y[T * HIDDEN], lse[T * HQ];
    gqa_inputs inputs;
    gqa_output output;
    gqa_inputs_init(&inputs);
    gqa_output_init(&output);
    inputs.hidden_states = gqa_tensor_2d(d->x, GQA_F32, T, HIDDEN);
    output.hidden_states = gqa_tensor_2d(y, GQA_F32, T, HIDDEN);
    output.lse = gqa_tensor_3d(lse, GQA_F32, 1, T, HQ);

    gqa_layer *layer = NULL;
    gqa_status status = make(&layer, d, line, err);
    if (status == GQA_OK) {
        status = gqa_forward(layer, NULL, &inputs, &output, NULL, 0, err);
    }
    if (status == GQA_OK) {
        printf("%-14s %-5s out %016llx lse %016llx\n", names[line->which],
               line->numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32",
               (unsigned long long)hash(y, T * HIDDEN), (unsigned long long)hash(lse, T * HQ));
    }
    gqa_destroy(&layer);
    return status;
}

static gqa_isa isa_of(const char *name)
{
    for (int isa = GQA_ISA_AUTO; isa <= GQA_ISA_NEON; isa++) {
        if (strcmp(gqa_isa_name((gqa_isa)isa), name) == 0) {
            return (gqa_isa)isa;
        }
    }
    return GQA_ISA_AUTO;
}

int main(int argc, char **argv)
{
    static struct data data;
    struct line line = {0, GQA_NUMERICS_F32, GQA_ISA_AUTO};
    gqa_error bad;
    if (argc > 1) {
        line.isa = isa_of(argv[1]);
    } else if (gqa_isa_from_environment(&line.isa, &bad) != GQA_OK) {
        printf("%s\n", bad.message);
        return 1;
    }
    const int forced = argc > 1 || line.isa != GQA_ISA_AUTO;
    fill_all(&data);
    for (line.which = 0; line.which < CASES; line.which++) {
        for (int numerics = GQA_NUMERICS_F32; numerics <= GQA_NUMERICS_BF16; numerics++) {
            gqa_error err;
            line.numerics = (gqa_numerics)numerics;
            gqa_status status = run(&data, &line, &err);
            if (status != GQA_OK && !(status == GQA_ERR_UNSUPPORTED && forced)) {
                printf("%s: %s\n", names[line.which], err.message);
                return 1;
            }
        }
    }
    return 0;
}
