/* SPDX-License-Identifier: Apache-2.0 */
/* oracle.h - the whole layer again, in double, for the tests.
 *
 * Written from the formulas in include/gqa and docs/semantics.md: naive loops over explicit lists
 * of keys, libm, no code of src. It keeps every token of every sequence (position, column, K and V)
 * and so models caches that grow over several calls, shared caches and truncation.
 *
 * Every number carries a bound on the error of an implementation that follows docs/numerics.md:
 * running error analysis. v is the exact result (in double), e bounds |v - computed| where products
 * are sums in f32 in any order (n terms: n u sum |x w|, u = 2^-24), errors of the operands are
 * carried through first derivatives taken at their worst, and a rounding to bf16 or f16 is the
 * rounding of the interval [v - e, v + e], so that it costs nothing unless the interval holds a
 * rounding boundary. e == 0 means exact: zeros of rows that see no key, and of padding.
 */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include <stdbool.h>

#include "gqa/gqa.h"

#define ORACLE_U 0x1p-24 /* half a unit in the last place of 1, f32 */

typedef struct oracle_num {
    double v, e;
} oracle_num;

/* The projections of a phase. */
typedef struct oracle_matrices {
    double *wq, *bq; /* [hq * dk][hidden], [hq * dk] */
    double *wk, *bk; /* [hkv * dk][hidden] */
    double *wv, *bv; /* [hkv * dv][hidden] */
    double *wg, *bg; /* [hq * gate_dim][hidden] */
    double *wo, *bo; /* [hidden][hq * dv], [hidden] */
} oracle_matrices;

typedef struct oracle_layer {
    gqa_config config; /* pointers are the caller's: they must outlive the layer */
    int hidden, hidden_true, hq, hkv, group, dk, dv;
    int pairs, axes; /* rotary_dim / 2 and position axes; 0 and 1 without rope */
    int gate_dim;    /* gate logits per head */
    bool bf16;       /* numerics */
    bool int8;       /* the matrices below are q * scale, exactly */
    double score_scale;
    double *input_norm, *input_norm_bias; /* [hidden] or NULL */
    oracle_matrices cte, tkg;             /* of each phase; wq or wo NULL: those of cte */
    double *q_norm, *q_norm_bias;         /* [hq * dk] (repeated per head) or NULL */
    double *k_norm, *k_norm_bias;         /* [hkv * dk] or NULL */
    double *sinks, *tkg_sinks;            /* [hq] or NULL */
    double *post_norm, *post_norm_bias;   /* [hidden] or NULL */
} oracle_layer;

typedef struct oracle_token {
    int position, column;
    oracle_num *k, *v; /* as stored: [hkv * dk], [hkv * dv] */
    bool integer_k, integer_v;
    bool rotated_k, rotated_v; /* the rows are */
} oracle_token;

typedef struct oracle_sequence {
    oracle_token *tokens;
    int length, columns, capacity;
} oracle_sequence;

typedef struct oracle_cache {
    gqa_dtype dtype_k, dtype_v;
    bool rotate_k, rotate_v; /* false, unless set before the first token comes */
    int count;
    oracle_sequence *sequences;
} oracle_cache;

/* Results of a call. Arrays are [B * T][width]; rows that are padding or inactive are zero. */
typedef struct oracle_result {
    int batch, tokens;
    bool *valid;                        /* [B * T] */
    oracle_num *stage[GQA_STAGE_COUNT]; /* NULL where the call does not have the stage */
    int width[GQA_STAGE_COUNT];
    oracle_num *lse;       /* [B * T][hq] */
    oracle_num *cos, *sin; /* [B * T][pairs] */
} oracle_result;

/* weights may be NULL. */
void oracle_layer_init(oracle_layer *layer, const gqa_config *config, const gqa_weights *weights);
void oracle_layer_free(oracle_layer *layer);

void oracle_cache_init(oracle_cache *cache, int sequences, gqa_dtype dtype_k, gqa_dtype dtype_v);
void oracle_cache_free(oracle_cache *cache);
void oracle_truncate(oracle_cache *cache, int sequence, int length);

/* Like gqa_forward on arguments that are known to be good. cache may be NULL. */
void oracle_forward(const oracle_layer *layer, oracle_cache *cache, const gqa_inputs *inputs,
                    oracle_result *result);

/* Like gqa_attend: result has the stages ATTN and lse. Prior states and ranges that cut keys off
 * are modelled by range alone: the keys in [range_begin, range_end), prior left out. */
void oracle_attend(const oracle_layer *layer, const oracle_cache *cache,
                   const gqa_attend_inputs *inputs, oracle_result *result);
void oracle_result_free(oracle_result *result);

/* --- pieces, shared by the oracle's own files and of use to tests ------------------------------
 */

void *oracle_zeros(size_t count, size_t size); /* ends the test program when memory runs out */

/* Element [a][b][c][d] of a tensor whose leading dimensions may be missing (then the leading
 * indices must be 0). Masks read as 0 or 1. */
double oracle_at(const gqa_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d);

/* The Hadamard rotation of a row of n, in place; rotated twice it is what it was. */
void oracle_rotate(oracle_num *x, int n);

/* Round to nearest even of the format; the value itself for GQA_F32. */
double oracle_round(double x, gqa_dtype dtype);
oracle_num oracle_round_num(oracle_num x, gqa_dtype dtype);

/* Scaled inverse frequencies [pairs] and the factor of cos and sin. length as rope_length. */
double oracle_frequencies(const oracle_layer *layer, int length, double *out);
/* cos and sin [pairs] for positions [axes]. */
void oracle_rope_table(const oracle_layer *layer, const int *positions, int length, oracle_num *c,
                       oracle_num *s);
void oracle_rope(const oracle_layer *layer, const oracle_num *c, const oracle_num *s, int heads,
                 oracle_num *x);

/* One vector of n: the norm of kind over its first n_true values. weight, bias: [n] or NULL. */
typedef struct oracle_norm_args {
    gqa_norm kind;
    double eps, offset;
    const double *weight, *bias;
    gqa_dtype cast;
    int n, n_true;
} oracle_norm_args;
void oracle_norm(const oracle_norm_args *args, const oracle_num *x, oracle_num *y);

/* y [out] = w [out][in] x + bias. */
void oracle_linear(const oracle_layer *layer, const double *w, const double *bias, int out, int in,
                   const oracle_num *x, oracle_num *y);
oracle_num oracle_scale(oracle_num x, double factor); /* one f32 product; factor 0 = untouched */
oracle_num oracle_add(oracle_num a, oracle_num b);
/* clip, v norm, scales, norms, rope, temperature: q, k, v of one token as the cache gets them. */
void oracle_clip(const oracle_layer *layer, oracle_num *q, oracle_num *k, oracle_num *v);
void oracle_qk_norm(const oracle_layer *layer, gqa_qk_norm_placement placement, oracle_num *q,
                    oracle_num *k);
void oracle_temperature(const oracle_layer *layer, int position, oracle_num *q);
void oracle_gate(const oracle_layer *layer, const oracle_num *gate, oracle_num *attn);

/* One query row (token t, head h of batch row b) over the keys of a sequence. */
typedef struct oracle_row {
    int b, t, h, position;
    const oracle_sequence *keys;
    int range_begin, range_end;                  /* indices; end < 0 = all */
    const gqa_tensor *mask, *bias, *active_mask; /* NULL or absent = none */
    int active_column;
    const int32_t *key_begin, *key_end; /* of this row; NULL = all */
    const double *sinks;                /* [hq] or NULL */
    const oracle_num *q;                /* [dk] of this head */
} oracle_row;
bool oracle_visible(const oracle_layer *layer, const oracle_row *row, const oracle_token *key);
/* out [dv]; returns the natural log of the denominator. */
oracle_num oracle_attention_row(const oracle_layer *layer, const oracle_row *row, oracle_num *out);

#endif
