/* SPDX-License-Identifier: Apache-2.0 */
/* attend_kernels.h - one attention problem run through the entries of a kernel set, every buffer
 * guarded, without walk, plan or cache. */
#ifndef TEST_ATTEND_KERNELS_H
#define TEST_ATTEND_KERNELS_H

#include "kernel/contract/kernel.h"
#include "support/kernels_under_test.h"

enum {
    FEATURE_RANGE = 1,   /* lo, hi */
    FEATURE_VISIBLE = 2, /* bytes */
    FEATURE_BIAS = 4,
    FEATURE_SLOPE = 8,
    FEATURE_SOFTCAP = 16,
    FEATURE_SINK = 32,
    FEATURE_SCALES = 64, /* of K and V, beside the products */
    FEATURES_ALL = 128
};

struct problem {
    int32_t rows, first, group; /* rows [first, first + rows) of tokens x group */
    int32_t keys, dk, dv;
    enum fill fill;
    int32_t features;
    uint64_t seed;
    float softcap, scale; /* base-2 units; of the scores. 0: 3 and PROBLEM_SCALE */
    /* Filled by problem_fill. */
    int32_t tokens;
    float *q;                 /* [tokens][group][dk] */
    float *k, *v;             /* [keys][dk], [keys][dv] */
    int32_t *lo, *hi;         /* [rows] */
    uint8_t *visible;         /* [keys][rows] */
    float *bias;              /* [keys][rows] */
    float *slope;             /* [rows] */
    int32_t *q_pos;           /* [rows] */
    int32_t *k_pos;           /* [keys] */
    float *sink;              /* [rows] */
    float *k_scale, *v_scale; /* [keys] */
};

#define PROBLEM_SCALE 0.25f

void problem_fill(struct problem *p);
void problem_free(struct problem *p);
bool problem_sees(const struct problem *p, int32_t row, int32_t key);

/* What a kernel set gave, by row; at most two fold blocks. */
struct answer {
    float *product;   /* [keys][rows] */
    float *score;     /* [keys][rows] after rules */
    float *m, *l;     /* [3][rows]: two blocks, then their merge */
    float *o;         /* [3][rows][dv] */
    float *out, *lse; /* [rows][dv], [rows] */
};

struct answer answer_new(const struct problem *p);
void answer_free(struct answer *a);

struct variant {
    bool skip;  /* leave out the panels before the first that a row sees */
    bool cut;   /* products in pieces of one panel */
    bool fused; /* by the entry for whole blocks, if it has one */
};

/* false: a guard byte was written. */
bool attend(const struct gqa__kernels *kernels, const struct problem *p, struct variant variant,
            struct answer *answer);

/* Compare by bits; with scores only if all keys were computed. NaN scores count as equal. */
int same_answers(const struct problem *p, const struct answer *a, const struct answer *b,
                 bool with_scores);

/* Outputs against softmax in double, within a bound from the sizes of the operands. */
int near_double(const struct problem *p, gqa_numerics numerics, const struct answer *a);

#endif
