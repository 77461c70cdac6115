/* SPDX-License-Identifier: Apache-2.0 */
/* differential.h - run a random case on a backend and compare every number with the oracle. */
#ifndef TEST_DIFFERENTIAL_H
#define TEST_DIFFERENTIAL_H

#include "support/oracle.h"
#include "support/random_case.h"

/* What the oracle says about a case: made once, compared with every backend. */
typedef struct differential_truth {
    oracle_layer layer;
    oracle_cache cache; /* after the last call; count 0 without a cache */
    oracle_result result[RANDOM_CALLS];
} differential_truth;

typedef struct differential_stats {
    int64_t numbers;   /* compared */
    int64_t unbounded; /* of them without a finite bound: only NaN and infinity are checked */
    int failures;
    int forms;                   /* calls made once more in another form (differential_form.c) */
    int shared;                  /* outputs of them that lay on inputs */
    double worst;                /* largest |got - want| / bound */
    double sum[GQA_STAGE_COUNT]; /* of |got - want| / bound, per stage */
    int64_t count[GQA_STAGE_COUNT];
} differential_stats;

void differential_truth_init(differential_truth *truth, const random_case *c);
void differential_truth_free(differential_truth *truth, const random_case *c);

/* All calls of the case through taps, outputs and the cache. Prints what differs. */
void differential_run(random_case *c, const differential_truth *truth, gqa_backend backend,
                      differential_stats *stats);

/* gqa_attend on keys and values of its own, with the case's layer and masks. */
void differential_attend(random_case *c, gqa_backend backend, differential_stats *stats);

/* One number. stage: for statistics; plus_zero: an exact zero must be +0. */
typedef struct differential_place {
    const random_case *c;
    differential_stats *stats;
    const char *what;
    gqa_backend backend;
    gqa_stage stage;
    int call, b, t, i;
} differential_place;
void differential_number(const differential_place *place, double got, oracle_num want,
                         gqa_dtype dtype);

/* --- the same call in another form: differential_form.c
 * ----------------------------------------------
 */

/* What a call gave through its tap, and its tables: packed f32, zero where the token is padding. */
typedef struct differential_plain {
    float *stage[GQA_STAGE_COUNT]; /* [B * T][width]; NULL where the call does not have it */
    float *cos, *sin;              /* [B * T][pairs]; NULL without rope */
    float *lse;                    /* [B * T][Hq] */
    const bool *valid;             /* [B * T] */
    int tokens;                    /* T */
} differential_plain;

/* The call on a cache of its own, in a form drawn from the seed: the same bits, and a path as the
 * headers say. False if it failed. inputs: those of the plain form. */
bool form_forward(random_case *c, const differential_place *place, gqa_layer *layer,
                  gqa_cache *cache, const gqa_inputs *inputs, const differential_plain *plain);
/* The same for gqa_attend; plain holds output and lse, packed f32. */
void form_attend(random_case *c, const differential_place *place, const gqa_layer *layer,
                 const gqa_attend_inputs *inputs, const gqa_attend_output *plain);

/* An arrangement in memory, filled with 0xff; inner: dimensions inside of a token. */
gqa_tensor form_tensor(random_case *c, gqa_dtype dtype, int rank, const int64_t *shape, int inner);
/* The same values elsewhere; 16-bit ones perhaps as f32. Absent tensors stay absent. */
void form_input(random_case *c, gqa_tensor *t, int inner);
/* want: row-major, [B][T][heads][dim]; heads_first: got is [B, heads, T, dim]. */
void form_compare(const differential_place *place, const char *what, const gqa_tensor *got,
                  const float *want, bool heads_first);
/* Was anything written between the elements or behind them? Paints the elements over. */
void form_margins(const differential_place *place, const char *what, const gqa_tensor *t);
void form_path(const differential_place *place, const gqa_layer *layer, const gqa_path *path,
               gqa_phase phase, gqa_view view);

#endif
