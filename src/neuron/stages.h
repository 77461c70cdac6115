/* SPDX-License-Identifier: Apache-2.0 */
/* stages.h - the layer around attention in the I/O type T, as the framework computes it where no
 * kernel fuses it. Each function has the arguments of its namesake in stage/stage.h; what comes in
 * from the caller is rounded to T first.
 *
 *     sum        T(T(a) + T(b))                                     decoder layer
 *     norm       f32 throughout, rounded once                       custom_calls.py
 *     projection T(one PSUM group), then T(. + bias)                layers.py of nxd
 *     clip       exact, but for the limit, which becomes T
 *     q/k norm   as the norm                                        custom_calls.py
 *     rope, half-split  cos, sin to T; T(T(x cos) + T(x' sin))      utils.py
 *     rope, interleaved f32 throughout, rounded once                apply_rotary_polar_compatible
 *     output     as a projection: reduced in T, then the bias
 *
 * Matrices and their biases have been rounded to T when the layer was made (linear/linear.h, turned
 * weights), norm weights are when they are used. docs/neuron-paths.md says
 * where each comes from and what is a reading. */
#ifndef GQA__NEURON_STAGES_H
#define GQA__NEURON_STAGES_H

#include "stage/stage.h"

/* The layer's I/O type. */
gqa_dtype gqa__neuron_io(const struct gqa__params *params);

/* Of all projections, for blocks of so many tokens. The rows of q, k and v lie at its front, as
 * gqa__stage_qkv_split expects them. */
size_t gqa__neuron_stage_scratch(const struct gqa__params *params, int32_t tokens,
                                 const gqa_runtime *runtime);

/* sum = a + b; b NULL: a alone. All [hidden]; sum may be a. */
void gqa__neuron_stage_sum(const struct gqa__params *params, const float *a, const float *b,
                           float *sum);
void gqa__neuron_stage_input_norm(const struct gqa__params *params, const float *x, float *x_norm);
void gqa__neuron_stage_project(const struct gqa__params *params,
                               const struct gqa__projection *projection,
                               const gqa_runtime *runtime);
void gqa__neuron_stage_clip(const struct gqa__params *params, const struct gqa__qkv *x,
                            bool clipped, int32_t n);
void gqa__neuron_stage_qk_norm(const struct gqa__params *params, gqa_qk_norm_placement placement,
                               const struct gqa__qkv *x, int32_t n);
void gqa__neuron_stage_rope(const struct gqa__params *params, const float *c, const float *s,
                            const struct gqa__heads *x, int32_t n);
void gqa__neuron_stage_oproj(const struct gqa__params *params,
                             const struct gqa__output_projection *projection,
                             const gqa_runtime *runtime);
void gqa__neuron_stage_post(const struct gqa__params *params, float *o, int32_t n);
void gqa__neuron_stage_residual(const struct gqa__params *params, const float *sum, const float *o,
                                float *out);

#endif
