/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - run a case and its opponents in alternation. */
#ifndef GQA_BENCH_RUN_H
#define GQA_BENCH_RUN_H

#include "case.h"
#include "options.h"

#define BENCH_CHILDREN 16

struct bench_runner {
    const struct bench_options *options;
    struct bench_host host;
    struct bench_child child[BENCH_CHILDREN]; /* started when first needed */
    int32_t children;
    int32_t at, of; /* progress: this case, and how many */
};

void bench_run(struct bench_runner *runner, struct bench_case *one);

/* End the children, free the rest. */
void bench_runner_end(struct bench_runner *runner);

#endif
