/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - the table on stdout, and the files. */
#ifndef GQA_BENCH_REPORT_H
#define GQA_BENCH_REPORT_H

#include "case.h"
#include "run.h"

/* CPU, kernel sets, what the percentages mean. */
void bench_report_head(const struct bench_options *options);

/* One case, when it is done; the first of a suite prints the head of its columns. */
void bench_report_case(const struct bench_case *one, bool first);

/* The baselines that took part, or why not. */
void bench_report_tail(const struct bench_runner *runner);

/* false after a message on stderr. */
bool bench_write_json(const char *file, const struct bench_cases *cases,
                      const struct bench_runner *runner);
bool bench_write_csv(const char *file, const struct bench_cases *cases);

/* Compare with an earlier JSON file: prints each case that is in both. A regression is a median
 * above the old max and 10 % above the old median. Returns how many there are, or -1 after a
 * message. */
int bench_compare(const char *file, const struct bench_cases *cases);

#endif
