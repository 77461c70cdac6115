/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - a case made ready to run in this process: memory, layer, cache, data. */
#ifndef GQA_BENCH_WORK_H
#define GQA_BENCH_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "gqa/gqa.h"
#include "spec.h"
#include "workers.h"

/* More than any last-level cache: what a cold case rotates over. */
#define BENCH_COLD_BYTES ((size_t)5 << 28)

#define BENCH_WHY_TEXT 256

/* What every case may use. */
struct bench_host {
    struct bench_workers workers;
    unsigned char *memory; /* what the read probe streams; NULL until first used */
    size_t memory_bytes;
};

/* One call: seconds of the timed part. false: why says what failed. */
struct bench_work {
    bool (*run)(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT]);
    void (*destroy)(struct bench_work *work);
    double flop, bytes;  /* of one call, where the spec alone does not say it; else 0 */
    const char *kernels; /* kernel set, or NULL */
    int32_t sets;        /* of data that calls rotate over; 0 = 1 */
    size_t workspace;    /* bytes that the call is given, or 0 */
    size_t caches;       /* bytes of a pair's caches, or 0 */

    /* What the last call gave, in f32, [tokens][heads][d] or [tokens][hidden] of one layer after
     * the other; and what it was added to, or NULL. outs 0: it is not told. */
    const float *out, *before;
    size_t outs;
    double error; /* of a baseline that was compared (check.h), or 0 */
};

/* NULL: why says what is missing. Releases what it took on failure. */
struct bench_work *bench_work_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT]);

/* Untimed calls over all sets, so that no timed one is the first to see its data: at least one, and
 * for some seconds at most. */
bool bench_work_visit(struct bench_work *work, char why[BENCH_WHY_TEXT]);

/* NULL-safe. */
void bench_work_destroy(struct bench_work *work);

/* The end of making one: it, if the status is OK; else it is destroyed, why says what failed, and
 * NULL is returned. NULL-safe. */
struct bench_work *bench_work_made(struct bench_work *work, gqa_status status, const gqa_error *err,
                                   char why[BENCH_WHY_TEXT]);

/* One of each kind. */
struct bench_work *bench_attention_create(const struct bench_spec *spec, struct bench_host *host,
                                          char why[BENCH_WHY_TEXT]);
struct bench_work *bench_mix_create(const struct bench_spec *spec, struct bench_host *host,
                                    char why[BENCH_WHY_TEXT]);
struct bench_work *bench_plain_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT]);
struct bench_work *bench_linear_create(const struct bench_spec *spec, struct bench_host *host,
                                       char why[BENCH_WHY_TEXT]);
struct bench_work *bench_parts_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT]);
struct bench_work *bench_pair_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT]);
struct bench_work *bench_probe_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT]);

void bench_host_destroy(struct bench_host *host);

#endif
