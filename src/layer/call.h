/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - one checked call of gqa_forward or gqa_attend.
 *
 * api/forward_check.c and api/attend_check.c turn the caller's structs into a gqa__call;
 * api/forward_batch.c and api/attend_batch.c fill its batch entries: what can fail has failed when
 * the spine (layer/spine.h) runs.
 */
#ifndef GQA__CALL_H
#define GQA__CALL_H

#include "cache/view.h"
#include "gqa/attend.h"
#include "layer/layer.h"

/* One sequence of a call. */
struct gqa__batch_entry {
    int32_t sequence;      /* of the cache; -1 = inactive */
    int32_t tokens;        /* call columns, padding included */
    int32_t tensor_b;      /* where call column 0 lies in the caller's tensors [B, T, ...]; */
    int32_t tensor_t;      /* in a flat call [1, T, ...] the entries lie one after the other */
    int32_t first_valid;   /* call column of the first valid token */
    int32_t n;             /* valid tokens */
    int32_t past;          /* tokens of the sequence before them; below 0 where gqa_attend has more
                              queries than keys */
    int32_t columns;       /* column of call column 0 */
    int32_t next_position; /* of the first valid token, if the call gives none */
    int32_t lowest;        /* position below which nothing is seen from now on: of the call's tokens
                              and of one that follows the last one held */
    bool tkg;              /* phase */
};

/* What gqa_attend has and gqa_forward has not. */
struct gqa__attend {
    gqa_tensor key, value;           /* [B, K, Hkv, D] plain keys; absent with a cache */
    const int32_t *key_lengths;      /* [B] or NULL */
    const int32_t *key_position_ids; /* [B, K] or NULL */
    int32_t range_begin, range_end;  /* part of the keys; range_end 0 = all */
    bool leave_out_sinks;
    gqa_states states; /* wanted; data NULL = none */
    gqa_states prior;  /* merged in first; data NULL = none */
    int32_t longest;   /* keys of the longest entry */
};

struct gqa__call {
    const struct gqa__params *params;
    const gqa_runtime *runtime;
    struct gqa_cache *cache; /* NULL: the call's own, in the workspace */
    int address;      /* GQA__ANY_ADDRESS: the workspace's size is asked for; 0: the call is made */
    int32_t batch;    /* entries */
    int32_t outer;    /* of the caller's tensors [outer, tokens, ...]: batch; 1 in a flat call */
    int32_t tokens;   /* call columns of an entry; of all entries together in a flat call */
    int32_t keys;     /* most of a sequence */
    bool alone;       /* gqa_attend: q_proj is what the scores see, attn is the result; no stage */
    bool from_hidden; /* else from q_proj */
    bool project;     /* hidden_states is wanted */
    bool need_sum;    /* hidden_states + residual is used or returned */
    bool append;      /* K and V of this call are computed and appended */
    bool two_pass;    /* a row may see later tokens of the call: append all K and V first */
    struct gqa__attend attend;
    bool in_blocks;      /* the keys lie in the host's blocks: */
    gqa_block_kv blocks; /* own copy, its tensors fitted */
    /* In the workspace, once it is carved. */
    struct gqa__batch_entry *entries; /* [batch] */
    struct gqa__kv_view *views; /* [batch] the keys of each entry when the call ends, if it appends
                                   none, or appends to blocks */
    int64_t *places; /* [outer * tokens] of blocks: where each token goes, while it is checked */
    /* Own copies; tensors have their full rank and explicit strides. */
    gqa_inputs in;
    gqa_output out;
};

/* The caller's tensor that V comes from. */
static inline const gqa_tensor *gqa__call_v(const struct gqa__call *call)
{
    return call->params->config.k_eq_v ? &call->in.k_proj : &call->in.v_proj;
}

/* Call column t of batch entry b in the caller's arrays [B, T]. */
static inline int64_t gqa__call_token(const struct gqa__call *call, int32_t b, int32_t t)
{
    const struct gqa__batch_entry *const entry = &call->entries[b];

    return (int64_t)entry->tensor_b * call->tokens + entry->tensor_t + t;
}

/* Position id of call column t of batch entry b, a valid token. */
int32_t gqa__call_position(const struct gqa__call *call, int32_t b, int32_t t);

#endif
