/* SPDX-License-Identifier: Apache-2.0 */
/* child.h - a baseline in a process of its own, that answers one timed case per line.
 *
 * The child first writes "ready TEXT" (what it is), or "skip TEXT" and ends. Then for each line it
 * reads, it answers "ok SECONDS" of one call, or "skip TEXT". Behind the seconds may stand
 * " caches=BYTES", what a pair's keys and values take, and " error=E", how far its results
 * are from libgqa's (check.h). The line is a case (spec.h), or "drop": free what they held. A case
 * that is repeated keeps its data; the first call on it is preceded by an untimed one.
 */
#ifndef GQA_BENCH_CHILD_H
#define GQA_BENCH_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "options.h"
#include "work.h"

/* The baselines. */
enum bench_peer {
    PEER_OPENBLAS,         /* OPENBLAS_CORETYPE as fits the CPU */
    PEER_OPENBLAS_DEFAULT, /* as it comes */
    PEER_ONEDNN,
    PEER_GGML, /* keys and values in f16 */
    PEER_GGML_BF16,
    PEER_GGML_Q8,
    PEER_GGML_F32,
    PEER_GGML_Q4,
    PEER_ORT,
    PEER_ORT_NO_FLASH, /* ORT_GQA_DISABLE_FLASH_ATTENTION=1 */
    PEER_ORT_INT8,     /* keys and values in int8 */
    PEER_ORT_INT4,     /* in int4 */
    PEERS
};

extern const char *const bench_peer_names[PEERS];

struct bench_child {
    enum bench_peer peer;
    int32_t threads;
    pid_t pid; /* 0 = not started */
    FILE *to, *from;
    char about[BENCH_WHY_TEXT]; /* its "ready" or "skip" text */
    bool ready;
};

/* Start it if it is not; false (about says why) if there is no such baseline here. The options name
 * the folders that hold the installed ones; NULL: onnxruntime and ggml beside the folder of this
 * program. */
bool bench_child_start(struct bench_child *child, const struct bench_options *options);

struct bench_answer {
    double seconds;
    size_t caches; /* bytes, or 0 */
    double error;  /* or 0 */
};

/* One answer. false: why. */
bool bench_child_ask(struct bench_child *child, const char *line, struct bench_answer *answer,
                     char why[BENCH_WHY_TEXT]);

void bench_child_stop(struct bench_child *child);

/* The child's side: gqa-bench --child NAME. Returns the exit status. */
int bench_serve(const struct bench_options *options);

struct bench_work *bench_openblas_create(const struct bench_spec *spec, struct bench_host *host,
                                         char why[BENCH_WHY_TEXT]);
struct bench_work *bench_onednn_create(const struct bench_spec *spec, struct bench_host *host,
                                       char why[BENCH_WHY_TEXT]);
struct bench_work *bench_ggml_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT]);

/* Open ggml in `folder` as the baseline of that name, before any case of it is made: about says
 * what it is; false: what is missing. */
bool bench_ggml_about(const char *name, const char *folder, int32_t threads,
                      char about[BENCH_WHY_TEXT]);

/* What is linked: "OpenBLAS ...", "oneDNN 2.6.3", or NULL. */
const char *bench_openblas_about(void);
const char *bench_onednn_about(void);

#endif
