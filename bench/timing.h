/* SPDX-License-Identifier: Apache-2.0 */
/* timing.h - a clock and what is said about a set of times. */
#ifndef GQA_BENCH_TIMING_H
#define GQA_BENCH_TIMING_H

#include <stdbool.h>
#include <stddef.h>

/* Seconds of a clock that only rises (CLOCK_MONOTONIC). */
double bench_now(void);

struct bench_times {
    double *seconds; /* [count] */
    size_t count, room;
};

/* p95: 95 of 100 times are not above it (nearest rank). deviation: the standard deviation of the
 * sample, 0 of a single time. */
struct bench_stats {
    double median, min, max, p95, deviation;
    size_t count;
};

bool bench_times_add(struct bench_times *times, double seconds);
void bench_times_free(struct bench_times *times);

/* All zero without times. Sorts them. */
struct bench_stats bench_times_stats(struct bench_times *times);

#endif
