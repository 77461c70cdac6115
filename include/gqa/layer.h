/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/layer.h - a layer: one checked config and its weights, packed for one kernel set. */
#ifndef GQA_LAYER_H
#define GQA_LAYER_H

#include "gqa/config.h"
#include "gqa/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gqa_layer gqa_layer; /* immutable after gqa_create: share it between threads */

/* Row-major [out, in] (torch Linear). f32, bf16 or f16 each. Read and packed by gqa_create; none is
 * needed afterwards, but for matrices that are used in place. A tensor that the config does not
 * call for is refused, not ignored. Hq, Hkv, Dk, Dv, hidden as in the config.
 *
 * A layer may have two sets of projections, one for each phase, as Neuron has them where its ranks
 * divide a prefill and a decode differently (init_tkg_cp_qkv_o_proj): tkg_wq and those after it
 * project the tokens of token generation (inputs.phase), the others those of context encoding. q, k
 * and v together have one set or two, and the output has; within a set all is given that the config
 * calls for. The gate has one matrix. A second set takes as much memory as the first.
 *
 * With config.weight_storage INT8 each matrix (wq, wk, wv, wqkv, wgate, wo, tkg_..) comes in one of
 * two forms. As f32, bf16 or f16, without a scale: gqa_create quantises every row by itself, scale
 * = (largest size of the row) / 127, q = w / scale rounded to nearest even, at most 127 in size, 0
 * where scale is 0; a value that is not finite is refused. Or as GQA_I8 (any of -128..127), with
 * its scale: [out], f32, bf16 or f16, finite. The weight is q * scale. With NATIVE, GQA_I8 and
 * scales are refused. */
typedef struct gqa_weights {
    uint32_t struct_size;
    gqa_tensor input_norm;      /* [hidden]; absent with input_norm = unweighted (skip-gamma) */
    gqa_tensor input_norm_bias; /* [hidden]; LAYER only; absent = no additive term */
    gqa_tensor wq, bq;         /* [Hq*Dk, hidden], [Hq*Dk]; with GQA_GATE_Q_TAIL Dk + Dv per head */
    gqa_tensor wk, bk;         /* [Hkv*Dk, hidden], [Hkv*Dk] */
    gqa_tensor wv, bv;         /* [Hkv*Dv, hidden], [Hkv*Dv]; absent with k_eq_v */
    gqa_tensor wqkv, bqkv;     /* all rows of q, k and v in the order of config.qkv_layout */
    gqa_tensor wgate;          /* ELEMENT [Hq*Dv, hidden], HEAD [Hq, hidden] */
    gqa_tensor q_norm, k_norm; /* HEAD [Dk] or [H, Dk]; WHOLE [H*Dk]; both or neither */
    gqa_tensor q_norm_bias, k_norm_bias; /* same shapes; LAYER only; both or neither */
    gqa_tensor sinks;          /* [Hq]: one logit per query head; -inf = none; not scaled */
    gqa_tensor tkg_sinks;      /* [Hq]: used in token generation (TKG) instead; absent = sinks */
    gqa_tensor wo, bo;         /* [hidden, Hq*Dv], [hidden] */
    gqa_tensor post_norm;      /* [hidden]; absent with post_norm = unweighted */
    gqa_tensor post_norm_bias; /* [hidden]; LAYER only */
    gqa_tensor wq_scale, wk_scale, wv_scale; /* [out] each, with GQA_I8 only: as many as the rows */
    gqa_tensor wqkv_scale, wgate_scale, wo_scale;

    /* 1: the matrices (wq, wk, wv, wqkv, wgate, wo, tkg_..) stay where they are, in the mapping of
     * a model file for instance, in any format and with any row stride that a tensor may have.
     * gqa_create reads nothing of them; every call that projects reads them. They must outlive the
     * layer and not change meanwhile. Vectors and scales are copied as ever. Same bits as packed,
     * and the workspace is a few rows per thread larger. Not with hidden_size 0 (GQA_ERR_ARG).
     * GQA_ERR_UNSUPPORTED: a matrix that config.weight_storage INT8 would have to quantise (GQA_I8
     * is used in place); backend reference with a format other than GQA_F32, or rows 2^31 elements
     * or more apart; backend neuron, which keeps weights in config.neuron_io. */
    int32_t in_place;

    /* Of token generation (TKG), shaped as those without tkg_; absent = the same as theirs. */
    gqa_tensor tkg_wq, tkg_bq;
    gqa_tensor tkg_wk, tkg_bk;
    gqa_tensor tkg_wv, tkg_bv;
    gqa_tensor tkg_wqkv, tkg_bqkv;
    gqa_tensor tkg_wo, tkg_bo;
    gqa_tensor tkg_wq_scale, tkg_wk_scale, tkg_wv_scale;
    gqa_tensor tkg_wqkv_scale, tkg_wo_scale;
} gqa_weights;

GQA_API void gqa_weights_init_sized(gqa_weights *weights, size_t size);

static inline void gqa_weights_init(gqa_weights *weights)
{
    gqa_weights_init_sized(weights, sizeof *weights);
}

/* Check config and weights, choose the kernel set, pack. weights may be NULL for an attention-only
 * layer (hidden_size 0) without norms and sinks. runtime NULL = all zero. On failure *out is NULL
 * and nothing is leaked. Reads no environment (see gqa_isa_from_environment).
 * AMX: only where numerics BF16 make its kernel set a candidate, Linux (5.16 and later) is asked
 * for the use of tile data (arch_prctl). The permission is the whole process's, children inherit
 * it, and it is refused where an alternate signal stack is too small for the larger frames; AUTO
 * then takes the next kernel set, a forced AMX kernel set is GQA_ERR_UNSUPPORTED. With
 * config.max_isa below AMX it is not asked. */
GQA_API gqa_status gqa_create(gqa_layer **out, const gqa_config *config, const gqa_weights *weights,
                              const gqa_runtime *runtime, gqa_error *err);

/* NULL-safe (also *layer == NULL); sets *layer to NULL. No call may be using the layer. */
GQA_API void gqa_destroy(gqa_layer **layer);

/* The kernel set that computes, never AUTO. */
GQA_API gqa_isa gqa_layer_isa(const gqa_layer *layer);

/* Identifies the rope configuration: layers with equal keys may share cos and sin tables.
 * 0 without rope. */
GQA_API uint64_t gqa_layer_rope_key(const gqa_layer *layer);

#ifdef __cplusplus
}
#endif
#endif
