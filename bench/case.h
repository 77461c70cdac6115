/* SPDX-License-Identifier: Apache-2.0 */
/* case.h - one line of the table: what is timed, what bounds it, what it is compared with. */
#ifndef GQA_BENCH_CASE_H
#define GQA_BENCH_CASE_H

#include "child.h"
#include "timing.h"

#define BENCH_NAME      96
#define BENCH_LABEL     24
#define BENCH_OPPONENTS 12

/* Something timed in alternation with the case. Opponents with one label are one thing in parts:
 * of those with one group the fastest counts, and the groups are added up. */
struct bench_opponent {
    char label[BENCH_LABEL];
    int32_t group;
    struct bench_spec spec;
    int32_t peer; /* enum bench_peer, or -1: this process */

    /* While the case runs. */
    struct bench_work *work;
    struct bench_child *child;
    size_t caches; /* bytes of a pair's caches, or 0 */
    double error;  /* how far a baseline's results are from libgqa's, or 0 */
    bool out;      /* skipped: why */
    char why[BENCH_WHY_TEXT];
    struct bench_times times;
    struct bench_stats stats;
};

enum bench_bound { BOUND_NONE, BOUND_COMPUTE, BOUND_MEMORY };

struct bench_case {
    const char *suite;
    char name[BENCH_NAME];
    struct bench_spec spec;
    enum bench_bound bound;
    struct bench_spec limit; /* the probe that bounds it, unless BOUND_NONE */
    struct bench_opponent opponent[BENCH_OPPONENTS];
    int32_t opponents;

    /* Filled by the run. */
    bool done; /* false: why */
    char why[BENCH_WHY_TEXT];
    const char *kernels;
    size_t workspace;
    size_t caches; /* bytes of a pair's caches, or 0 */
    struct bench_stats stats, limit_stats;
    double flop, bytes;             /* of one call */
    double limit_flop, limit_bytes; /* of one call of the probe */
};

struct bench_cases {
    struct bench_case *at; /* [count] */
    int32_t count, room;
};

/* A new case; NULL without memory. */
struct bench_case *bench_cases_add(struct bench_cases *cases, const char *suite);
void bench_cases_free(struct bench_cases *cases);

/* One more opponent; BENCH_OPPONENTS at most (asserted). */
void bench_case_oppose(struct bench_case *one, const char *label, int32_t group, int32_t peer,
                       const struct bench_spec *spec);

/* Units per second of the case and of its limit: flop or bytes, as the bound says. 0 = unknown. */
double bench_case_rate(const struct bench_case *one);
double bench_case_limit_rate(const struct bench_case *one);

/* Seconds of the opponent with this label, put together from its parts: 0 if a part is missing. */
double bench_case_opponent(const struct bench_case *one, const char *label);

/* The i-th label that occurs; NULL beyond the last. A case with opponents products and softmax has
 * their sum, "parts", as one more. */
const char *bench_case_label(const struct bench_case *one, int32_t i);

#endif
