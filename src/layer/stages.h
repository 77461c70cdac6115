/* SPDX-License-Identifier: Apache-2.0 */
/* stages.h - who computes the stages of a layer: f32 with one kernel set, or Neuron's I/O type. */
#ifndef GQA__STAGES_H
#define GQA__STAGES_H

#include "stage/stage.h"

/* The stages that round differently; arguments as in stage/stage.h and neuron/stages.h. */
struct gqa__stages {
    size_t (*scratch)(const struct gqa__params *params, int32_t tokens, const gqa_runtime *runtime);
    void (*sum)(const struct gqa__params *params, const float *a, const float *b, float *sum);
    void (*input_norm)(const struct gqa__params *params, const float *x, float *x_norm);
    void (*project)(const struct gqa__params *params, const struct gqa__projection *projection,
                    const gqa_runtime *runtime);
    void (*clip)(const struct gqa__params *params, const struct gqa__qkv *x, bool clipped,
                 int32_t n);
    void (*qk_norm)(const struct gqa__params *params, gqa_qk_norm_placement placement,
                    const struct gqa__qkv *x, int32_t n);
    void (*rope)(const struct gqa__params *params, const float *c, const float *s,
                 const struct gqa__heads *x, int32_t n);
    void (*oproj)(const struct gqa__params *params, const struct gqa__output_projection *projection,
                  const gqa_runtime *runtime);
    void (*post)(const struct gqa__params *params, float *o, int32_t n);
    void (*residual)(const struct gqa__params *params, const float *sum, const float *o,
                     float *out);
};

const struct gqa__stages *gqa__stages_of(const struct gqa__params *params);

/* May the caller's memory be used where it is? Not where every value is rounded on its way in. */
bool gqa__stages_in_place(const struct gqa__params *params);

#endif
