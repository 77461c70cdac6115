/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_scene.h - attention alone on backend neuron: random q, k, v, a layer, a cache, and calls.
 */
#ifndef TEST_NEURON_SCENE_H
#define TEST_NEURON_SCENE_H

#include "gqa/gqa.h"

enum { SCENE_HQ = 4, SCENE_HKV = 2, SCENE_DIM = 32, SCENE_TOKENS = 1100 };

/* Attention alone on random q, k, v of SCENE_TOKENS tokens. */
struct scene {
    gqa_config config;
    gqa_weights weights;
    float sinks[SCENE_HQ];
    float *q, *k, *v, *out; /* [SCENE_TOKENS][heads][SCENE_DIM] */
    gqa_runtime runtime;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_inputs in;
    gqa_output output;
    gqa_neuron_report report;
    gqa_error err;
};

/* Numbers, a config of backend neuron, a runtime: edit them, then create. */
void scene_init(struct scene *scene);
gqa_status scene_create(struct scene *scene);
/* Tokens first .. first + n - 1. Fields of in but the tensors stay. */
gqa_status scene_run(struct scene *scene, int first, int n);
void scene_close(struct scene *scene);

#endif
