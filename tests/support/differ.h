/* differ.h - run a random case on a backend and compare every number with the oracle. */
#ifndef TEST_DIFFER_H
#define TEST_DIFFER_H

#include "support/oracle.h"
#include "support/random_case.h"

/* What the oracle says about a case: made once, compared with every backend. */
typedef struct differ_truth {
    oracle_layer layer;
    oracle_cache cache; /* after the last call; count 0 without a cache */
    oracle_result result[RANDOM_CALLS];
} differ_truth;

typedef struct differ_stats {
    int64_t numbers;   /* compared */
    int64_t unbounded; /* of them without a finite bound: only NaN and infinity are checked */
    int failures;
    double worst;                /* largest |got - want| / bound */
    double sum[GQA_STAGE_COUNT]; /* of |got - want| / bound, per stage */
    int64_t count[GQA_STAGE_COUNT];
} differ_stats;

void differ_truth_init(differ_truth *truth, const random_case *c);
void differ_truth_free(differ_truth *truth, const random_case *c);

/* All calls of the case through taps, outputs and the cache. Prints what differs. */
void differ_run(random_case *c, const differ_truth *truth, gqa_backend backend,
                differ_stats *stats);

/* gqa_attend on keys and values of its own, with the case's layer and masks. */
void differ_attend(random_case *c, gqa_backend backend, differ_stats *stats);

/* One number. stage: for statistics; plus_zero: an exact zero must be +0. */
typedef struct differ_place {
    const random_case *c;
    differ_stats *stats;
    const char *what;
    gqa_backend backend;
    gqa_stage stage;
    int call, b, t, i;
} differ_place;
void differ_number(const differ_place *place, double got, oracle_num want, gqa_dtype dtype);

#endif
