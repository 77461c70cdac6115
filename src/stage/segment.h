/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - query rows of one sequence and the keys they may see: what both backends compute.
 *
 * A segment is a run of n consecutive valid tokens of one sequence. Backend cpu (attention) and
 * backend reference (reference) take arrays of segments and share nothing else.
 */
#ifndef GQA__SEGMENT_H
#define GQA__SEGMENT_H

#include <stdbool.h>

#include "cache/view.h"
#include "stage/params.h"

/* Values of a call's output from which on a core's caches do not hold them until they are read. */
#define GQA__STREAM_VALUES (1 << 20)

struct gqa__segment {
    struct gqa__kv_view view; /* all keys the segment's rows may see are in it */
    int32_t final_keys;       /* of the sequence when the call ends: for the record of work */
    int32_t n;                /* tokens */
    const int32_t *positions; /* [n] position ids */
    /* [n][hq][dk], tokens q_stride elements apart. q_type and out_type: F32; of backend cpu also
     * BF16 or F16. */
    const void *q;
    gqa_dtype q_type;
    int64_t q_stride;
    void *out; /* [n][hq][dv], tokens out_stride elements apart, or NULL */
    gqa_dtype out_type;
    int64_t out_stride;
    bool stream;        /* out outgrows the caches before it is read: its stores may pass them */
    float *lse;         /* [n][hq], or NULL */
    float *m, *l, *o;   /* raw states [n][hq], [n][hq], [n][hq][dv], or NULL */
    const float *sinks; /* [hq] natural logits, or NULL */
    int32_t entry;      /* the batch entry, ... */
    int32_t column;     /* ... and its column of the segment's first token: for the trace */
    /* Explicit restrictions; NULL data = none. Row i of the segment is query row row0 + i. */
    int32_t batch;            /* index of mask, bias and active_mask in their first extent */
    int32_t row0;             /* row of the segment's first token in them */
    gqa_tensor mask, bias;    /* [1|B, 1|Hq, T, K] with explicit strides */
    gqa_tensor active_mask;   /* [1|B, T, C]; column of a new key = its column - active_column */
    int32_t active_column;    /* column of the call's first token (padding counted) */
    const int32_t *key_begin; /* [n] visible columns, or NULL */
    const int32_t *key_end;
    /* Part of the keys, in indices; range_end 0 = all. */
    int32_t range_begin, range_end;
    /* Raw states of lower keys, merged in first; NULL = none. Same shapes as m, l, o. */
    const float *prior_m, *prior_l, *prior_o;
};

/* The end of the keys that there are for the segment when the call ends, by index. */
static inline int32_t gqa__segment_end(const struct gqa__segment *segment)
{
    return segment->range_end > 0 && segment->range_end < segment->final_keys ? segment->range_end
                                                                              : segment->final_keys;
}

/* A key at column c may be seen by row i only if every explicit restriction that is given agrees:
 * mask[b][h][row0 + i][c], c inside key_begin[i] .. key_end[i] - 1, and, where c >= active_column,
 * active_mask[b][row0 + i][c - active_column]. bias[b][h][row0 + i][c] is added to its score. With
 * a plain view a key's column is its index. */

#endif
