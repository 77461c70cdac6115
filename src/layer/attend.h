/* SPDX-License-Identifier: Apache-2.0 */
/* attend.h - one checked call of gqa_attend: attention alone, in blocks of query tokens. */
#ifndef GQA__ATTEND_H
#define GQA__ATTEND_H

#include "attention/attention.h"
#include "gqa/attend.h"
#include "layer/layer.h"

/* One row of the batch. */
struct gqa__attend_entry {
    struct gqa__kv_view view;
    int32_t first_valid, n; /* valid queries; n = 0: inactive or empty */
    bool tkg;
};

struct gqa__attend_call {
    const struct gqa__params *params;
    const gqa_runtime *runtime;
    const struct gqa_cache *cache; /* NULL: plain keys and values */
    gqa_attend_inputs in;          /* tensors have full rank and explicit strides */
    gqa_attend_output out;
    gqa_states prior; /* data NULL = none */
    int address;      /* GQA__ANY_ADDRESS: a size is asked for; 0: the call is made */
    int32_t batch, tokens;
    int32_t keys; /* most keys of a row */
};

struct gqa__attend_work {
    const struct gqa__attend_call *call;
    int32_t block;                  /* query tokens at a time */
    struct gqa__attend_entry *rows; /* [batch] */
    int32_t *positions;             /* [block] */
    bool direct_q, direct_out;      /* the caller's tensors are used in place */
    float *q;                       /* [block][hq][dk] */
    float *out;                     /* [block][hq][dv] */
    float *lse;                     /* [block][hq] */
    void *reference;
    struct gqa__attention *attention;
    gqa_cut cut;
    gqa_work work; /* so far, if output.work asks for it */
};

/* False if it does not fit. */
bool gqa__attend_carve(struct gqa__attend_work *work, const struct gqa__attend_call *call,
                       struct gqa__arena *arena);

/* rows are filled and checked; cannot fail. */
void gqa__attend_run(struct gqa__attend_work *work);

#endif
