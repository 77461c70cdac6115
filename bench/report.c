/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h: the table. */
#include "report.h"

#include <string.h>

#include "context.h"

#define WIDTH 44 /* of a case's name */

/* Three digits and a unit. */
static const char *time_text(double seconds, char text[16])
{
    double value = seconds * 1e6;
    const char *unit = "us";

    if (seconds >= 1) {
        value = seconds;
        unit = "s ";
    } else if (seconds >= 1e-3) {
        value = seconds * 1e3;
        unit = "ms";
    }
    snprintf(text, 16, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, unit);
    return text;
}

void bench_report_head(const struct bench_options *options)
{
    struct bench_context context;

    bench_context_read(&context);
    printf("%s, %ld CPUs online, governor %s, huge pages %s; kernel sets: %s; %s; commit %s\n",
           context.cpu, context.cpus, context.governor, context.huge_pages, context.kernel_sets,
           context.compiler, context.commit);
    printf("All parts of a line ran in alternation, up to %d rounds of it. %%: of what the machine "
           "did "
           "in\nthe same rounds (%s multiply-adds, %s, reads in 8 streams). N x: what the "
           "baseline took,\nin times of the median.\n",
           (int)options->repetitions, context.multiply_add,
           context.tiles ? "AMX bf16 tile products" : "no AMX");
}

static void print_rate(const struct bench_case *one)
{
    double rate = bench_case_rate(one);
    double limit = bench_case_limit_rate(one);

    if (rate > 0) {
        printf(" %7.*f %-7s", rate < 1e11 ? 1 : 0, rate / 1e9,
               one->bound == BOUND_COMPUTE ? "GFLOP/s" : "GB/s");
    } else {
        printf(" %15s", "");
    }
    if (rate > 0 && limit > 0) {
        printf(" %4.0f%%", 100 * rate / limit);
    } else {
        printf(" %5s", "");
    }
}

/* Time per token, where a case has many; workspace of a layer; caches of a pair. */
static void print_per_token(const struct bench_case *one)
{
    const double tokens = (double)bench_spec_tokens(&one->spec);
    const bool attends = one->spec.kind == BENCH_ATTENTION || one->spec.kind == BENCH_MIX;

    if (attends && tokens > 1) {
        printf("  %.3g us/token", one->stats.median / tokens * 1e6);
    }
    if (one->spec.kind == BENCH_LAYER) {
        printf("  workspace %.1f MiB", (double)one->workspace / 1048576);
    }
    if (one->caches > 0) {
        printf("  caches %.1f MiB", (double)one->caches / 1048576);
    }
    for (int32_t i = 0; i < one->opponents; i++) {
        if (one->opponent[i].caches > 0 && !one->opponent[i].out) {
            printf(" (%s %.1f MiB)", one->opponent[i].label,
                   (double)one->opponent[i].caches / 1048576);
        }
    }
}

/* The largest error of a baseline's results, where it is known. */
static void print_error(const struct bench_case *one, const char *label)
{
    double most = 0;

    for (int32_t i = 0; i < one->opponents; i++) {
        const struct bench_opponent *opponent = &one->opponent[i];

        if (!opponent->out && strcmp(opponent->label, label) == 0 && opponent->error > most) {
            most = opponent->error;
        }
    }
    if (most > 0) {
        printf(", error %.1e", most);
    }
}

void bench_report_case(const struct bench_case *one, bool first)
{
    char median[16], min[16], p95[16], max[16], deviation[16];
    const char *label;

    if (first) {
        printf("\n%-*s %9s %9s %9s %9s %9s %5s %15s %5s\n", WIDTH, one->suite, "median", "min",
               "p95", "max", "deviation", "calls", "rate", "%");
    }
    if (!one->done) {
        printf("%-*s skipped: %s\n", WIDTH, one->name, one->why);
        fflush(stdout);
        return;
    }
    printf("%-*s %9s %9s %9s %9s %9s %5zu", WIDTH, one->name, time_text(one->stats.median, median),
           time_text(one->stats.min, min), time_text(one->stats.p95, p95),
           time_text(one->stats.max, max), time_text(one->stats.deviation, deviation),
           one->stats.count);
    print_rate(one);
    for (int32_t i = 0; (label = bench_case_label(one, i)) != NULL; i++) {
        double seconds = bench_case_opponent(one, label);

        if (seconds > 0) {
            printf("  %s %.*fx (%s", label, seconds < 10 * one->stats.median ? 2 : 1,
                   seconds / one->stats.median, time_text(seconds, median));
            print_error(one, label);
            printf(")");
        } else {
            printf("  %s -", label);
        }
    }
    print_per_token(one);
    printf("\n");
    for (int32_t i = 0; i < one->opponents; i++) {
        if (one->opponent[i].out && one->opponent[i].child != NULL &&
            one->opponent[i].child->ready) {
            printf("%-*s   skipped %s: %s\n", WIDTH, "", one->opponent[i].label,
                   one->opponent[i].why);
        }
    }
    fflush(stdout);
}

void bench_report_tail(const struct bench_runner *runner)
{
    if (runner->children > 0) {
        printf("\n");
    }
    for (int32_t i = 0; i < runner->children; i++) {
        const struct bench_child *child = &runner->child[i];

        printf("%s%s, %d thread%s: %s\n", child->ready ? "" : "skipped ",
               bench_peer_names[child->peer], (int)child->threads, child->threads == 1 ? "" : "s",
               child->about);
    }
    fflush(stdout);
}
