/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - where the vectors of a call's tokens lie: in the caller's memory or in the workspace.
 *
 * Chosen once, when the workspace is carved. Every step then reads and writes a place and does not
 * ask whose memory it is.
 */
#ifndef GQA__PLACE_H
#define GQA__PLACE_H

#include "base/arena.h"
#include "base/tensor.h"
#include "layer/call.h"

/* A run of valid tokens of one batch entry inside a block. */
struct gqa__token_run {
    int32_t b;     /* batch entry */
    int32_t first; /* call column of its first token */
    int32_t n;
    int32_t at;                 /* its place in the block */
    int32_t tensor_b, tensor_t; /* of its first token in the caller's tensors [B, T, ...] */
};

/* One vector of f32 for each token. */
struct gqa__place {
    /* The caller's [B, T, ...], used where it is (q and attn of backend cpu may be of 16 bits);
     * NULL: in the buffer. */
    const gqa_tensor *tensor;
    float *buffer; /* [block][step] of the workspace; both NULL: nobody wants it */
    int64_t step;
};

/* How q, k, v and the gate's logits come to their places. */
enum gqa__source {
    GQA__SOURCE_CALLER, /* from the caller's q_proj, k_proj, v_proj and gate_proj */
    GQA__SOURCE_SPLIT,  /* split out of the rows of the projection */
    GQA__SOURCE_ROWS,   /* they lie in the rows of the projection and stay there */
    GQA__SOURCE_FINAL   /* the caller's are used where they are: no stage touches them */
};

struct gqa__places {
    enum gqa__source source;
    struct gqa__place q, k, v;  /* [hq][dk], [hkv][dk], [hkv][dv] */
    struct gqa__place gate;     /* [hq][gate_dim] */
    struct gqa__place cos, sin; /* [pairs] */
    struct gqa__place attn;     /* [hq][dv] */
    struct gqa__place lse;      /* [hq] */
    struct gqa__place sum;      /* [hidden] hidden_states + residual; its buffer is always there */
    struct gqa__place kv_sum;   /* ... in a pass for K and V alone, which writes no output */
    struct gqa__place x;        /* [hidden] x_norm, later the projected output */
    struct gqa__place out;      /* [hidden] the layer's result */
    float product_clip;         /* the projection clips q, k and v to it; 0 = it does not */
    bool attn_final;            /* nothing is stored, gated or shown after attention */
    bool attn_streams;          /* attn outgrows the caches before it is read */
    bool sum_in_product;        /* the output projection of a single run adds the sum itself */
};

/* Values of q and of the attention's output of one token that lie in the workspace, in a call that
 * begins with q. */
int64_t gqa__places_staged(const struct gqa__call *call);

/* Choose every place for blocks of n tokens and take the buffers. scratch: of the projections, NULL
 * while the workspace is counted. */
void gqa__places_carve(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                       void *scratch, struct gqa__arena *arena);

/* Token i of a run in the caller's [B, T, ...] tensor. */
static inline int64_t gqa__token_offset(const gqa_tensor *t, const struct gqa__token_run *run,
                                        int32_t i)
{
    return run->tensor_b * t->stride[0] + (run->tensor_t + i) * t->stride[1];
}

/* The same in the buffer, or NULL. */
static inline float *gqa__place_own(const struct gqa__place *place,
                                    const struct gqa__token_run *run, int32_t i)
{
    return place->buffer == NULL ? NULL : place->buffer + (run->at + i) * place->step;
}

/* ... and where it lies. */
static inline float *gqa__place_vector(const struct gqa__place *place,
                                       const struct gqa__token_run *run, int32_t i)
{
    if (place->tensor == NULL) {
        return gqa__place_own(place, run, i);
    }
    return (float *)place->tensor->data + gqa__token_offset(place->tensor, run, i);
}

/* The first token of a run where it lies, of any format. */
static inline void *gqa__place_values(const struct gqa__place *place,
                                      const struct gqa__token_run *run, gqa_dtype *dtype)
{
    *dtype = GQA_F32;
    if (place->tensor == NULL) {
        return gqa__place_own(place, run, 0);
    }
    *dtype = place->tensor->dtype;
    return gqa__values_at(place->tensor->data, gqa__token_offset(place->tensor, run, 0), *dtype);
}

/* From a token of a run to the next one. */
static inline int64_t gqa__place_step(const struct gqa__place *place)
{
    return place->tensor == NULL ? place->step : place->tensor->stride[1];
}

/* Tokens of the block from `first` on, `step` apart: NULL if no stage may touch them, since the
 * caller has them, or nobody wants them. */
static inline float *gqa__place_vectors(const struct gqa__place *place, int32_t first)
{
    return place->tensor != NULL || place->buffer == NULL ? NULL
                                                          : place->buffer + first * place->step;
}

#endif
