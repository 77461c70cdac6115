/* call.h - one checked call of gqa_forward.
 *
 * api/forward_check.c turns the caller's structs into a gqa__call, api/forward_batch.c fills its
 * batch entries: what can fail has failed when the spine (layer/spine.h) starts.
 */
#ifndef GQA__CALL_H
#define GQA__CALL_H

#include "cache/view.h"
#include "gqa/forward.h"
#include "layer/layer.h"

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

/* Position id of call column t of batch row b. */
int32_t gqa__call_position(const struct gqa__call *call, const struct gqa__batch_entry *row,
                           int32_t b, int32_t t);

#endif
