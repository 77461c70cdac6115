/* SPDX-License-Identifier: Apache-2.0 */
/* timing.c - see timing.h. */
#define _POSIX_C_SOURCE 200809L
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool bench_times_add(struct bench_times *times, double seconds)
{
    if (times->count == times->room) {
        size_t room = times->room == 0 ? 64 : 2 * times->room;
        double *more = realloc(times->seconds, room * sizeof *more);

        if (more == NULL) {
            return false;
        }
        times->seconds = more;
        times->room = room;
    }
    times->seconds[times->count++] = seconds;
    return true;
}

void bench_times_free(struct bench_times *times)
{
    free(times->seconds);
    memset(times, 0, sizeof *times);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double deviation(const double *seconds, size_t n)
{
    double mean = 0, square = 0;

    for (size_t i = 0; i < n; i++) {
        mean += seconds[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        square += (seconds[i] - mean) * (seconds[i] - mean);
    }
    return n > 1 ? sqrt(square / (double)(n - 1)) : 0;
}

struct bench_stats bench_times_stats(struct bench_times *times)
{
    struct bench_stats stats = {0};
    size_t n = times->count;

    if (n > 0) {
        qsort(times->seconds, n, sizeof *times->seconds, compare);
        stats.min = times->seconds[0];
        stats.max = times->seconds[n - 1];
        stats.median = n % 2 == 1 ? times->seconds[n / 2]
                                  : 0.5 * (times->seconds[n / 2 - 1] + times->seconds[n / 2]);
        stats.p95 = times->seconds[(95 * n + 99) / 100 - 1];
        stats.deviation = deviation(times->seconds, n);
        stats.count = n;
    }
    return stats;
}
