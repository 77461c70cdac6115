/* SPDX-License-Identifier: Apache-2.0 */
/* same_bits.h - one random layer run in many ways that must all give the same bits.
 *
 * A model is a layer config with weights and a batch of token sequences. same_bits_run feeds it in
 * the way that a same_bits_way says and lays all results into one block of memory, so that two ways
 * are compared by memcmp.
 */
#ifndef TEST_SAME_BITS_H
#define TEST_SAME_BITS_H

#include <stdbool.h>

#include "kernel/contract/kernel.h"
#include "stage/params.h"
#include "support/random_case.h"

enum { SAME_BITS_BATCH = 3 };

typedef struct same_bits_model {
    random_case c; /* config and weights */
    int n;         /* tokens of the longest batch entry */
    int lengths[SAME_BITS_BATCH];
    bool positions;               /* position ids with gaps are given */
    gqa_tensor mask, bias;        /* [B, 1, n, n] or absent */
    int32_t *ids;                 /* [B][n] */
    int32_t *key_begin, *key_end; /* [B][n] or NULL */
    float *x;                     /* [B][n][hidden] */
    int dv;
} same_bits_model;

/* How a model is run. All zero: one call, batch of three, cache of the default type. */
typedef struct same_bits_way {
    const char *name;
    int cut;    /* calls of this many tokens; 0 = all in one */
    int cut_at; /* > 0: the first call only; the rest follows in one or in pieces of cut */
    bool no_cache;
    bool ring; /* the cache keeps what the layer sees */
    int page_size;
    gqa_dtype dtype_k, dtype_v; /* F32 = the default of the numerics */
    bool rotate;                /* the one that is quantised, or both */
    const int *order;           /* [B] batch entry of each place; NULL = 0, 1, 2 */
    bool alone;                 /* every batch entry in calls of its own */
    bool flat;                  /* flat calls: no padding between the entries */
    bool mixed;                 /* flat: entries in pieces of all, 1 and 7 tokens, side by side */
    int threads;
    bool reversed; /* tasks run on the calling thread, last first */
    struct gqa__knobs knobs;
    bool second_kernels; /* the kernel set of support/kernels8.h */
    bool in_place;       /* the weights are */
    bool taps;
    bool gaps;      /* inputs and weights in other places: strides, alignment */
    bool workspace; /* the caller's, full of NaN */
    unsigned mode;  /* bits that are set in MXCSR around the calls; 0 = none */
    int repeat;     /* run this many times on the same layer, the last counts */
} same_bits_way;

/* Draw a model of n tokens whose runs take a fraction of a second; numerics by the seed's parity.
 */
void same_bits_model_init(same_bits_model *model, uint64_t seed, int n);
void same_bits_model_free(same_bits_model *model);

/* [B][n] x {hidden, attn, lse, k, v}, one after the other: *count floats. free() it. NULL and a
 * message if a call fails. */
float *same_bits_run(const same_bits_model *model, const same_bits_way *way, size_t *count);

#endif
