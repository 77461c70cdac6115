/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/stage.h - every stage of the layer callable alone, in f32.
 *
 * The functions compute exactly what gqa_forward computes at that place, on packed f32 tensors
 * (gqa_convert brings other formats). [n, ...]: n tokens, 0 or more; all tensors of a call have the
 * same n. A result of gqa_stage_input_norm and gqa_stage_output may be one of the call's inputs;
 * other overlaps are not allowed. They take scratch from the layer's allocator (GQA_ERR_NOMEM).
 * Thread-safe for one layer. A stage that the layer's config does not have copies (or leaves) its
 * input unchanged; the tables of a layer without rope, and projections, norms and residuals of one
 * with hidden_size 0, are GQA_ERR_ARG.
 */
#ifndef GQA_STAGE_H
#define GQA_STAGE_H

#include "gqa/layer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* sum = x + residual (residual NULL: x; sum NULL: not wanted); x_norm = norm(sum).
 * All [n, hidden]. */
GQA_API gqa_status gqa_stage_input_norm(const gqa_layer *layer, const gqa_tensor *x,
                                        const gqa_tensor *residual, const gqa_tensor *sum,
                                        const gqa_tensor *x_norm, gqa_error *err);

/* Here and below the projections are those of context encoding, where the layer has two sets.
 * x_norm [n, hidden] -> q [n, Hq, Dk], k [n, Hkv, Dk], v [n, Hkv, Dv] with bias, before the clip;
 * gate [n, Hq, Dv or 1] where the config has one, else NULL. With k_eq_v v receives k. */
GQA_API gqa_status gqa_stage_qkv(const gqa_layer *layer, const gqa_tensor *x_norm,
                                 const gqa_tensor *q, const gqa_tensor *k, const gqa_tensor *v,
                                 const gqa_tensor *gate, gqa_error *err);

/* In place: clip of q, k, v; then v norm and v_scale on v, key_multiplier on k. Any may be NULL. */
GQA_API gqa_status gqa_stage_clip(const gqa_layer *layer, const gqa_tensor *q, const gqa_tensor *k,
                                  const gqa_tensor *v, gqa_error *err);

/* In place, if the config places the q/k norm here. Either may be NULL. */
GQA_API gqa_status gqa_stage_qk_norm(const gqa_layer *layer, gqa_qk_norm_placement placement,
                                     const gqa_tensor *q, const gqa_tensor *k, gqa_error *err);

/* cos and sin [n, rotary_dim/2] of positions [axes, n] of either sign (axes 1, or mrope's 3 or 4,
 * then axis-major). rope_length as in gqa_inputs, 0 = largest position + 1. Attention factor
 * included, and with rope_reverse the sines are negated. */
GQA_API gqa_status gqa_stage_rope_table(const gqa_layer *layer, const int32_t *positions,
                                        int32_t axes, int32_t rope_length,
                                        const gqa_tensor *cos_out, const gqa_tensor *sin_out,
                                        gqa_error *err);

/* Rotate x [n, heads, Dk], any number of heads, in place by tables [n, rotary_dim/2]. */
GQA_API gqa_status gqa_stage_rope(const gqa_layer *layer, const gqa_tensor *cos_in,
                                  const gqa_tensor *sin_in, const gqa_tensor *x, gqa_error *err);

/* Multiply q [n, Hq, Dk] by the temperature of positions [n] (each >= 0), in place. */
GQA_API gqa_status gqa_stage_query_temperature(const gqa_layer *layer, const int32_t *positions,
                                               const gqa_tensor *q, gqa_error *err);

/* attn [n, Hq, Dv] * activation(gate [n, Hq, Dv or 1]), in place. */
GQA_API gqa_status gqa_stage_gate(const gqa_layer *layer, const gqa_tensor *gate,
                                  const gqa_tensor *attn, gqa_error *err);

/* attn [n, Hq, Dv] -> o_proj [n, hidden] with bias. */
GQA_API gqa_status gqa_stage_output_projection(const gqa_layer *layer, const gqa_tensor *attn,
                                               const gqa_tensor *o_proj, gqa_error *err);

/* out = post_norm(attn_out_multiplier * o_proj), and sum + residual_multiplier * that with
 * config.add_residual (sum NULL otherwise). All [n, hidden]; out may be o_proj. */
GQA_API gqa_status gqa_stage_output(const gqa_layer *layer, const gqa_tensor *o_proj,
                                    const gqa_tensor *sum, const gqa_tensor *out, gqa_error *err);

/* The layer's scaled inverse frequencies, in double: out [rotary_dim/2]; rope_length as above (0 =
 * 1); *attention_factor may be NULL. */
GQA_API gqa_status gqa_rope_frequencies(const gqa_layer *layer, int32_t rope_length, double *out,
                                        double *attention_factor, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
