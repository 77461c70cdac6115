/* SPDX-License-Identifier: Apache-2.0 */
/* test_whole_blocks.c - blocks of keys that all rows of a tile see whole, with every number of
 * lanes that a tile may have and head dims from small to large: each kernel set gives the bits of
 * the scalar one. Kernels may take several lane pairs through such a block together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "support/program.h"
#include "support/random.h"

enum { KEYS = 1101, GROUP = 8, MOST_TOKENS = 17, MOST_DIM = 256 };

struct scene {
    int32_t tokens, dim;
    gqa_numerics numerics;
    float *q, *k, *v; /* [tokens][GROUP][dim], [KEYS][1][dim] */
};

/* Attention of all tokens to all keys, into out [tokens][GROUP][dim]. false: the kernel set does
 * not run here with these numerics. */
static bool attend(const struct scene *scene, gqa_isa isa, float *out)
{
    gqa_config config;
    gqa_weights weights;
    gqa_attend_inputs inputs;
    gqa_attend_output output;
    gqa_layer *layer = NULL;
    gqa_error err = {.message = ""};
    gqa_status status;

    gqa_config_init(&config);
    gqa_weights_init(&weights);
    config.num_attention_heads = GROUP;
    config.num_key_value_heads = 1;
    config.head_dim = scene->dim;
    config.bidirectional = 1;
    config.numerics = scene->numerics;
    config.isa = isa;
    status = gqa_create(&layer, &config, &weights, NULL, &err);
    if (status == GQA_ERR_UNSUPPORTED && isa != GQA_ISA_SCALAR) {
        return false;
    }
    assert_int_equal(status, GQA_OK);
    gqa_attend_inputs_init(&inputs);
    gqa_attend_output_init(&output);
    inputs.query = gqa_tensor_4d(scene->q, GQA_F32, 1, scene->tokens, GROUP, scene->dim);
    inputs.key = gqa_tensor_4d(scene->k, GQA_F32, 1, KEYS, 1, scene->dim);
    inputs.value = gqa_tensor_4d(scene->v, GQA_F32, 1, KEYS, 1, scene->dim);
    output.output = gqa_tensor_4d(out, GQA_F32, 1, scene->tokens, GROUP, scene->dim);
    status = gqa_attend(layer, NULL, &inputs, &output, NULL, 0, &err);
    if (status != GQA_OK) {
        print_error("%s\n", err.message);
    }
    assert_int_equal(status, GQA_OK);
    gqa_destroy(&layer);
    return true;
}

static void compare(const struct scene *scene)
{
    static const gqa_isa sets[] = {GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX, GQA_ISA_NEON};
    const size_t n = (size_t)scene->tokens * GROUP * (size_t)scene->dim;
    float *right = calloc(n, sizeof *right), *out = calloc(n, sizeof *out);

    assert_non_null(right);
    assert_non_null(out);
    assert_true(attend(scene, GQA_ISA_SCALAR, right));
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (attend(scene, sets[i], out) && memcmp(out, right, n * sizeof *out) != 0) {
            fail_msg("kernel set %d, numerics %d, %d tokens, head dim %d: other bits", (int)sets[i],
                     (int)scene->numerics, (int)scene->tokens, (int)scene->dim);
        }
    }
    free(right);
    free(out);
}

static void whole_blocks(void **state)
{
    static const int32_t tokens[] = {1, 2, 3, 5, 7, 8, 9, 12, 13, 16, 17};
    static const int32_t dims[] = {16, 40, 64, 72, 128, 136, 256};
    const size_t most = (size_t)MOST_TOKENS * GROUP * MOST_DIM + 2 * (size_t)KEYS * MOST_DIM;
    float *numbers = calloc(most, sizeof *numbers);
    uint64_t seed = 20261129;

    (void)state;
    assert_non_null(numbers);
    for (size_t i = 0; i < most; i++) {
        numbers[i] = random_float(&seed) * 2;
    }
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        for (size_t j = i % 2; j < sizeof dims / sizeof dims[0]; j += 2) {
            const int64_t d = dims[j];
            struct scene scene = {.tokens = tokens[i], .dim = dims[j], .q = numbers};
            scene.k = scene.q + tokens[i] * GROUP * d;
            scene.v = scene.k + KEYS * d;
            scene.numerics = GQA_NUMERICS_F32;
            compare(&scene);
            scene.numerics = GQA_NUMERICS_BF16;
            compare(&scene);
        }
    }
    free(numbers);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_blocks)};

    return RUN_TESTS(argc, argv, tests);
}
