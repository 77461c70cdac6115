/* SPDX-License-Identifier: Apache-2.0 */
/* params.h - what every stage reads: config, derived shape, kernel set and packed weights. */
#ifndef GQA__PARAMS_H
#define GQA__PARAMS_H

#include "config/shape.h"
#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"
#include "linear/linear.h"

/* Resolved rope: frequencies for each of the tables that a call's length may choose. */
struct gqa__rope {
    int32_t pairs;           /* rotary_dim / 2 */
    double attention_factor; /* multiplies cos and sin */
    double *inv_freq;      /* [pairs]: all kinds but DYNAMIC beyond its context and LONGROPE long */
    double *inv_freq_long; /* [pairs]: LONGROPE beyond rope_original_context, else NULL */
    uint8_t *axis;         /* [pairs] mrope axis of each frequency, all 0 otherwise */
    uint64_t key;          /* hash of everything that decides the tables */
};

/* Test hooks: every value gives the same bits. All zero in a layer from gqa_create. */
struct gqa__knobs {
    bool mask_all_blocks; /* skip no block of any tile, and take none whole: mask them all */
    bool force_key_cut;   /* cut by key range wherever there are two fold blocks */
    int32_t token_block;  /* tokens per pass of the spine; 0 = its own choice */
};

struct gqa__params {
    gqa_config config; /* own copy, its pointers replaced by own copies */
    struct gqa__shape shape;
    const struct gqa__kernels *kernels;
    const struct gqa__integer_kernels *integer; /* for K and V that a cache stores as integers */
    gqa_backend backend;                        /* never AUTO */
    struct gqa__linear qkv;                     /* rows [q | k | v]; q as [hq][q_head_rows] */
    struct gqa__linear gate;                    /* wgate */
    struct gqa__linear o;
    struct gqa__linear tkg_qkv, tkg_o;   /* out 0: token generation uses qkv, o */
    float *input_norm, *input_norm_bias; /* f32 copies, NULL = absent */
    float *q_norm, *k_norm, *q_norm_bias, *k_norm_bias;
    bool q_norm_per_head, k_norm_per_head; /* [H][D] instead of [D] */
    float *post_norm, *post_norm_bias;
    float *sinks, *tkg_sinks; /* [hq] natural logits, or NULL */
    float *slopes;            /* [hq] ALiBi, or NULL */
    struct gqa__rope rope;
    struct gqa__knobs knobs;
};

#endif
