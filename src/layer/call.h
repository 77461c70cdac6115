/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - one checked call of gqa_forward, and the spine that runs it.
 *
 * api/forward.c turns the caller's structs into a gqa__call; everything that can fail has been
 * checked when gqa__spine_run starts.
 */
#ifndef GQA__CALL_H
#define GQA__CALL_H

#include "attention/attention.h"
#include "gqa/forward.h"
#include "layer/layer.h"
#include "stage/stage.h"

/* One row of the batch. */
struct gqa__batch_entry {
    int32_t sequence;      /* of the cache; -1 = inactive */
    int32_t first_valid;   /* call column of the first valid token */
    int32_t n;             /* valid tokens */
    int32_t past;          /* tokens of the sequence before them */
    int32_t columns;       /* column of call column 0 */
    int32_t next_position; /* of the first valid token, if the call gives none */
    bool tkg;              /* phase */
};

struct gqa__call {
    const struct gqa__params *params;
    const gqa_runtime *runtime;
    struct gqa_cache *cache; /* NULL: the call's own, in the workspace */
    gqa_inputs in;           /* own copies; tensors have their full rank and explicit strides */
    gqa_output out;
    int address; /* GQA__ANY_ADDRESS: the workspace's size is asked for; 0: the call is made */
    int32_t batch, tokens;
    bool from_hidden; /* else from q_proj */
    bool project;     /* hidden_states is wanted */
    bool need_sum;    /* hidden_states + residual is used or returned */
    bool append;      /* K and V of this call are computed and appended */
    bool two_pass;    /* a row may see later tokens of the call: append all K and V first */
};

/* The caller's tensor that V comes from. */
static inline const gqa_tensor *gqa__call_v(const struct gqa__call *call)
{
    return call->params->config.k_eq_v ? &call->in.k_proj : &call->in.v_proj;
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

/* Carve everything from the arena; in counting mode only the size is meant. False if it does not
 * fit. */
bool gqa__spine_carve(struct gqa__spine *spine, const struct gqa__call *call,
                      struct gqa__arena *arena);

/* Run the call: rows are filled and checked. Cannot fail. */
void gqa__spine_run(struct gqa__spine *spine);

/* Position id of call column t of batch row b. */
int32_t gqa__call_position(const struct gqa__call *call, const struct gqa__batch_entry *row,
                           int32_t b, int32_t t);

/* block.c: the stages before and after attention, on one block of n tokens. parts: GQA__PART_*. */
void gqa__block_before(struct gqa__spine *spine, int32_t runs, int32_t n, int parts);
void gqa__block_after(struct gqa__spine *spine, int32_t runs, int32_t n);

#endif
