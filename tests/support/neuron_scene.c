/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_scene.c - see neuron_scene.h. */
#include "support/neuron_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/random.h"
#include "support/small_layer.h"

static float *numbers(int64_t n, uint64_t seed)
{
    float *const x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = 2.0f * random_float(&seed);
    }
    return x;
}

void scene_init(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->config = attention_config(SCENE_HQ, SCENE_HKV, SCENE_DIM, 0);
    scene->config.backend = GQA_BACKEND_NEURON;
    gqa_weights_init(&scene->weights);
    gqa_runtime_init(&scene->runtime);
    scene->q = numbers((int64_t)SCENE_TOKENS * SCENE_HQ * SCENE_DIM, 1);
    scene->k = numbers((int64_t)SCENE_TOKENS * SCENE_HKV * SCENE_DIM, 2);
    scene->v = numbers((int64_t)SCENE_TOKENS * SCENE_HKV * SCENE_DIM, 3);
    scene->out = numbers((int64_t)SCENE_TOKENS * SCENE_HQ * SCENE_DIM, 4);
    for (int h = 0; h < SCENE_HQ; h++) {
        scene->sinks[h] = 0.37f * (float)(h + 1);
    }
}

gqa_status scene_create(struct scene *scene)
{
    gqa_cache_options options;
    gqa_status status;

    if (scene->config.learned_sinks_size != 0) {
        scene->weights.sinks = gqa_tensor_1d(scene->sinks, GQA_F32, SCENE_HQ);
    }
    status =
        gqa_create(&scene->layer, &scene->config, &scene->weights, &scene->runtime, &scene->err);
    if (status == GQA_OK) {
        gqa_cache_options_init(&options, scene->layer);
        options.max_sequences = 1;
        options.max_tokens = SCENE_TOKENS;
        status = gqa_cache_create(&scene->cache, scene->layer, &options, &scene->err);
    }
    return status;
}

gqa_status scene_run(struct scene *scene, int first, int n)
{
    gqa_inputs *const in = &scene->in;

    in->struct_size = sizeof *in;
    gqa_output_init(&scene->output);
    gqa_neuron_report_init(&scene->report);
    in->q_proj = gqa_tensor_4d(scene->q + (ptrdiff_t)first * SCENE_HQ * SCENE_DIM, GQA_F32, 1, n,
                               SCENE_HQ, SCENE_DIM);
    in->k_proj = gqa_tensor_4d(scene->k + (ptrdiff_t)first * SCENE_HKV * SCENE_DIM, GQA_F32, 1, n,
                               SCENE_HKV, SCENE_DIM);
    in->v_proj = gqa_tensor_4d(scene->v + (ptrdiff_t)first * SCENE_HKV * SCENE_DIM, GQA_F32, 1, n,
                               SCENE_HKV, SCENE_DIM);
    scene->output.attn = gqa_tensor_4d(scene->out, GQA_F32, 1, n, SCENE_HQ, SCENE_DIM);
    scene->output.neuron = &scene->report;
    return gqa_forward(scene->layer, scene->cache, in, &scene->output, NULL, 0, &scene->err);
}

void scene_close(struct scene *scene)
{
    gqa_cache_destroy(&scene->cache);
    gqa_destroy(&scene->layer);
    free(scene->q);
    free(scene->k);
    free(scene->v);
    free(scene->out);
}
