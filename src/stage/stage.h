/* SPDX-License-Identifier: Apache-2.0 */
/* stage.h - the stages of a layer on n packed tokens, f32. Called by the spine and by the public
 * stage functions; none fails or allocates. Strides are the packed ones of the shape. */
#ifndef GQA__STAGE_H
#define GQA__STAGE_H

#include "stage/params.h"

/* norm.c: one token, x [hidden] -> x_norm; input norm and attn_in_multiplier. */
void gqa__stage_input_norm(const struct gqa__params *params, const float *x, float *x_norm);

/* qkv.c: x_norm -> proj [n][qkv.out] (the front of scratch), rows [q | k | v] with bias. makes
 * chooses which ranges are computed (others are left as they are). */
enum { GQA__MAKE_Q = 1, GQA__MAKE_KV = 2 };
struct gqa__projection {
    const float *x_norm; /* [n][hidden] */
    int32_t n;
    bool tkg;    /* phase: which matrix */
    int makes;   /* GQA__MAKE_* */
    float clip;  /* q, k and v are clamped to +-clip; 0 = they are not */
    float *gate; /* [n][hq][gate_dim] logits of a gate of its own (ELEMENT, HEAD), or NULL */
    void *scratch;
};
size_t gqa__stage_qkv_scratch(const struct gqa__params *params, int32_t tokens,
                              const gqa_runtime *runtime);
void gqa__stage_qkv_project(const struct gqa__params *params,
                            const struct gqa__projection *projection, const gqa_runtime *runtime);

/* Vectors of some tokens: x [.][heads][dim], the heads side by side, tokens step elements apart.
 * x NULL = none. */
struct gqa__heads {
    float *x;
    int64_t step;
    int32_t heads;
};
struct gqa__qkv {
    struct gqa__heads q, k, v; /* dim dk, dk, dv */
    float *gate;               /* [.][hq][gate_dim], or NULL */
};
static inline struct gqa__heads gqa__packed_heads(float *x, int32_t heads, int32_t dim)
{
    const struct gqa__heads packed = {x, (int64_t)heads * dim, heads};
    return packed;
}

/* qkv.c: tokens [begin, end) of the projection, split: q, k, v (k_eq_v: v = k) and gate (Q_TAIL,
 * else left as it is), each from token begin on. */
void gqa__stage_qkv_split(const struct gqa__params *params, const void *scratch, int32_t begin,
                          int32_t end, const struct gqa__qkv *out);

/* qkv.c: q, k and v where they lie in the projection's rows (gate is left). False if only a split
 * gives them: with Q_TAIL the heads are not side by side, with k_eq_v there is no v. */
bool gqa__stage_qkv_rows(const struct gqa__params *params, void *scratch, struct gqa__qkv *out);

/* qkv.c: in place. Clip of q, k, v, unless they come clipped; v_norm and v_scale; key_multiplier.
 */
void gqa__stage_clip(const struct gqa__params *params, const struct gqa__qkv *x, bool clipped,
                     int32_t n);

/* qknorm.c: q and k in place, if the config places it here. */
void gqa__stage_qk_norm(const struct gqa__params *params, gqa_qk_norm_placement placement,
                        const struct gqa__qkv *x, int32_t n);

/* rope.c */
size_t gqa__rope_bytes(const gqa_config *config, const struct gqa__shape *shape);
void gqa__rope_resolve(struct gqa__rope *rope, const gqa_config *config,
                       const struct gqa__shape *shape, void *memory);
/* Frequencies for a length (0 = 1) into out [pairs]. */
void gqa__rope_frequencies(const struct gqa__params *params, int32_t rope_length, double *out);
/* Tables of n positions. */
struct gqa__rope_rows {
    const int32_t *positions; /* positions[axis * axis_stride + i] */
    int64_t axis_stride;
    int32_t n;
    int32_t length;   /* chooses the frequencies */
    double *freq;     /* [pairs] scratch */
    float *cos, *sin; /* [n][pairs] */
};
void gqa__rope_table(const struct gqa__params *params, const struct gqa__rope_rows *rows);
/* Rotate x (dim dk) in place with tables [n][pairs]. */
void gqa__stage_rope(const struct gqa__params *params, const float *c, const float *s,
                     const struct gqa__heads *x, int32_t n);

/* temperature.c: q in place. */
void gqa__stage_temperature(const struct gqa__params *params, const int32_t *positions,
                            const struct gqa__heads *q, int32_t n);

/* gate.c: attn [n][hq][dv] in place; gate [n][hq][gate_dim]. */
void gqa__stage_gate(const struct gqa__params *params, const float *gate, float *attn, int32_t n);

/* oproj.c */
size_t gqa__stage_oproj_scratch(const struct gqa__params *params, int32_t tokens,
                                const gqa_runtime *runtime);
/* out = attn wo^T, or, where no multiplier and no norm follows and sum is given, sum +
 * residual_multiplier * that. */
struct gqa__output_projection {
    const float *attn; /* [n][hq][dv] */
    int32_t n;
    bool tkg;   /* phase: which matrix */
    float *out; /* [n][hidden], out_step apart */
    int64_t out_step;
    const float *sum; /* [n][hidden], sum_step apart, or NULL; does not overlap out */
    int64_t sum_step;
    void *scratch;
};
void gqa__stage_oproj(const struct gqa__params *params,
                      const struct gqa__output_projection *projection, const gqa_runtime *runtime);
/* Multiplier and post norm in place; then one token [hidden], out = sum + residual_multiplier * o,
 * or out = o. */
void gqa__stage_post(const struct gqa__params *params, float *o, int32_t n);
void gqa__stage_residual(const struct gqa__params *params, const float *sum, const float *o,
                         float *out);

/* phase.c: what the CTE or TKG phase uses. Sinks: natural logits [hq], or NULL. */
const float *gqa__stage_sinks(const struct gqa__params *params, bool tkg);
const struct gqa__linear *gqa__stage_qkv_matrix(const struct gqa__params *params, bool tkg);
const struct gqa__linear *gqa__stage_o_matrix(const struct gqa__params *params, bool tkg);
/* Are there matrices of which the phase chooses one? */
bool gqa__stage_two_phases(const struct gqa__params *params);

#endif
