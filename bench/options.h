/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line. */
#ifndef GQA_BENCH_OPTIONS_H
#define GQA_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/types.h"

struct bench_options {
    const char *suite;  /* comma-separated names; NULL = all */
    const char *filter; /* part of a case's name, or a pattern with * and ? */
    const char *peers;  /* comma-separated labels; NULL = all */
    int32_t threads;
    gqa_isa isa, max_isa;
    gqa_backend backend;
    int32_t numerics; /* enum gqa_numerics, or -1 = both */
    int32_t repetitions;
    int32_t warmup; /* untimed rounds before the first */
    double seconds; /* per case, once each has run three times */
    const char *json, *csv, *compare;
    const char *onnxruntime, *ggml; /* folders */
    const char *child;              /* be this baseline */
    bool list, help;
};

/* What --help prints; generated from manual.txt. */
extern const char bench_manual_main[];

/* false after a message on stderr. */
bool bench_options_parse(struct bench_options *options, int argc, char **argv);

/* Is name one of a comma-separated list? NULL: yes. */
bool bench_listed(const char *list, const char *name);

/* Does the filter let a name through? */
bool bench_filter(const char *filter, const char *name);

#endif
