/* spine.h - the spine: walks a call through the layer in blocks of tokens, so that the workspace
 * does not grow with the call. */
#ifndef GQA__SPINE_H
#define GQA__SPINE_H

#include "attention/attention.h"
#include "layer/call.h"
#include "stage/stage.h"

/* A run of valid tokens of one batch row inside a block. */
struct gqa__token_run {
    int32_t b;     /* batch row */
    int32_t first; /* call column of its first token */
    int32_t n;
    int32_t at; /* its place in the block */
};

/* Token i of a run in the caller's [B, T, ...] tensor. */
static inline int64_t gqa__token_offset(const gqa_tensor *t, const struct gqa__token_run *run,
                                        int32_t i)
{
    return run->b * t->stride[0] + (run->first + i) * t->stride[1];
}

static inline float *gqa__token_row(const gqa_tensor *t, const struct gqa__token_run *run,
                                    int32_t i)
{
    return (float *)t->data + gqa__token_offset(t, run, i); /* a tensor of f32 */
}

/* Working buffers of a block of tokens, and the state of the call. [n]: block tokens. */
struct gqa__spine {
    const struct gqa__call *call;
    int32_t block;                    /* most tokens of a block */
    struct gqa__batch_entry *rows;    /* [batch] */
    struct gqa__token_run *runs;      /* [block] */
    struct gqa__segment *segments;    /* [block] */
    struct gqa_cache *cache;          /* the caller's or the call's own */
    int32_t *positions;               /* [block] */
    int32_t *rotary;                  /* [axes][block] */
    int32_t *columns;                 /* [block] */
    double *freq;                     /* [threads][pairs] */
    float *cos, *sin;                 /* [block][pairs] */
    const gqa_tensor *sum_at;         /* hidden_states + residual is there; NULL: in sum */
    bool sum_apart;                   /* ... and output.hidden_states is elsewhere */
    float *sum;                       /* [block][hidden] */
    float *x;                         /* [block][hidden]: x_norm, later the projected output */
    struct gqa__qkv qkv;              /* of [block] tokens */
    bool whole_qkv;                   /* q, k, v stay in the projection's rows (scratch) */
    bool clipped;                     /* the projection clips them */
    bool direct_q, direct_kv;         /* q_proj, and k_proj and v_proj, are used in place */
    bool direct_attn, direct_out;     /* output.attn and output.hidden_states are */
    float *attn;                      /* [block][hq][dv] */
    float *lse;                       /* [block][hq] */
    void *scratch;                    /* of the projections */
    void *reference;                  /* of backend reference */
    struct gqa__attention *attention; /* of backend cpu */
    gqa_cut cut;
    gqa_work work; /* so far, if output.work asks for it */
};

/* Carve everything from the arena; in counting mode only the size is meant. False if it does not
 * fit. */
bool gqa__spine_carve(struct gqa__spine *spine, const struct gqa__call *call,
                      struct gqa__arena *arena);

/* Run the call: rows are filled and checked. Cannot fail. */
void gqa__spine_run(struct gqa__spine *spine);

#endif
