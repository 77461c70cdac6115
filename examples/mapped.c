/* SPDX-License-Identifier: Apache-2.0 */
/* Weights used in place: a layer whose matrices stay in the mapping of a file, bf16 as a checkpoint
 * has them. gqa_create reads none of them; the system loads each page when a product first needs
 * it, and processes that map the same file share them. */
#define _POSIX_C_SOURCE 200809L
#include <gqa/gqa.h>
#include <stdio.h>
#include <sys/mman.h>

enum { HIDDEN = 64, ROWS = 8 * 16, BYTES = (ROWS * HIDDEN + HIDDEN * HIDDEN) * 2 };

/* Stands for a model file: wqkv, then wo. A safetensors file has a header in front that says where
 * each tensor begins. */
static FILE *make_file(void)
{
    FILE *file = tmpfile();

    for (int i = 0; file != NULL && i < BYTES / 2; i++) {
        const uint16_t value = (uint16_t)(0x3d00 + i % 13 * 16 + i % 3 * 0x8000); /* bf16 */
        if (fwrite(&value, sizeof value, 1, file) != 1) {
            return NULL;
        }
    }
    return file == NULL || fflush(file) != 0 ? NULL : file;
}

int main(void)
{
    static float x[6 * HIDDEN], y[6 * HIDDEN];
    gqa_layer *layer = NULL;
    gqa_config config;
    gqa_weights weights;
    gqa_inputs inputs;
    gqa_output output;
    gqa_error err;
    FILE *file = make_file();
    uint16_t *map = MAP_FAILED;

    if (file != NULL) {
        map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fileno(file), 0);
    }
    if (map == MAP_FAILED) {
        return 1;
    }
    gqa_config_init(&config);
    config.hidden_size = HIDDEN, config.num_attention_heads = 4, config.num_key_value_heads = 2;
    config.qkv_layout = GQA_QKV_FUSED;
    gqa_weights_init(&weights);
    weights.wqkv = gqa_tensor_2d(map, GQA_BF16, ROWS, HIDDEN);
    weights.wo = gqa_tensor_2d(map + ROWS * HIDDEN, GQA_BF16, HIDDEN, HIDDEN);
    weights.in_place = 1; /* the mapping must outlive the layer */
    gqa_inputs_init(&inputs);
    gqa_output_init(&output);
    for (int i = 0; i < 6 * HIDDEN; i++) {
        x[i] = (float)(i % 11 - 5) / 4;
    }
    inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, 6, HIDDEN);
    output.hidden_states = gqa_tensor_2d(y, GQA_F32, 6, HIDDEN);
    if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK ||
        gqa_forward(layer, NULL, &inputs, &output, NULL, 0, &err) != GQA_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    printf("%s: last token %g %g ...\n", output.path.kernels, (double)y[5 * HIDDEN],
           (double)y[5 * HIDDEN + 1]);
    gqa_destroy(&layer);
    munmap(map, BYTES);
    fclose(file);
    return 0;
}
