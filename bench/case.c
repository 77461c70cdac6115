/* SPDX-License-Identifier: Apache-2.0 */
/* case.c - see case.h. */
#include "case.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char parts[] = "parts";

struct bench_case *bench_cases_add(struct bench_cases *cases, const char *suite)
{
    struct bench_case *one;

    if (cases->count == cases->room) {
        int32_t room = cases->room == 0 ? 64 : 2 * cases->room;
        struct bench_case *more = realloc(cases->at, (size_t)room * sizeof *more);

        if (more == NULL) {
            return NULL;
        }
        cases->at = more;
        cases->room = room;
    }
    one = &cases->at[cases->count++];
    memset(one, 0, sizeof *one);
    one->suite = suite;
    bench_spec_init(&one->spec);
    return one;
}

void bench_cases_free(struct bench_cases *cases)
{
    free(cases->at);
    memset(cases, 0, sizeof *cases);
}

void bench_case_oppose(struct bench_case *one, const char *label, int32_t group, int32_t peer,
                       const struct bench_spec *spec)
{
    struct bench_opponent *opponent = &one->opponent[one->opponents];

    assert(one->opponents < BENCH_OPPONENTS);
    if (one->opponents < BENCH_OPPONENTS) {
        snprintf(opponent->label, sizeof opponent->label, "%s", label);
        opponent->group = group;
        opponent->peer = peer;
        opponent->spec = *spec;
        one->opponents++;
    }
}

static double rate(enum bench_bound bound, double flop, double bytes, double seconds)
{
    double units = bound == BOUND_COMPUTE ? flop : bound == BOUND_MEMORY ? bytes : 0;

    return seconds > 0 ? units / seconds : 0;
}

double bench_case_rate(const struct bench_case *one)
{
    return rate(one->bound, one->flop, one->bytes, one->stats.median);
}

double bench_case_limit_rate(const struct bench_case *one)
{
    return rate(one->bound, one->limit_flop, one->limit_bytes, one->limit_stats.median);
}

/* The fastest of a group; 0 if all were skipped; -1 if there is none. */
static double group_seconds(const struct bench_case *one, const char *label, int32_t group)
{
    double best = -1;

    for (int32_t i = 0; i < one->opponents; i++) {
        const struct bench_opponent *opponent = &one->opponent[i];

        if (strcmp(opponent->label, label) != 0 || opponent->group != group) {
            continue;
        }
        if (opponent->out || opponent->stats.count == 0) {
            best = best < 0 ? 0 : best;
        } else if (best <= 0 || opponent->stats.median < best) {
            best = opponent->stats.median;
        }
    }
    return best;
}

static double opponent(const struct bench_case *one, const char *label)
{
    double sum = 0;

    for (int32_t group = 0; group < BENCH_OPPONENTS; group++) {
        double seconds = group_seconds(one, label, group);

        if (seconds == 0) {
            return 0;
        }
        sum += seconds > 0 ? seconds : 0;
    }
    return sum;
}

double bench_case_opponent(const struct bench_case *one, const char *label)
{
    double products, softmax;

    if (strcmp(label, parts) != 0) {
        return opponent(one, label);
    }
    products = opponent(one, "products");
    softmax = opponent(one, "softmax");
    return products > 0 && softmax > 0 ? products + softmax : 0;
}

const char *bench_case_label(const struct bench_case *one, int32_t i)
{
    for (int32_t at = 0; at < one->opponents; at++) {
        int32_t first = 0;

        while (strcmp(one->opponent[first].label, one->opponent[at].label) != 0) {
            first++;
        }
        if (first == at && i-- == 0) {
            return one->opponent[at].label;
        }
    }
    return i == 0 && bench_case_opponent(one, parts) > 0 ? parts : NULL;
}
