/* SPDX-License-Identifier: Apache-2.0 */
/* context.h - on what, by what and when a run was made: what its numbers hold for. */
#ifndef GQA_BENCH_CONTEXT_H
#define GQA_BENCH_CONTEXT_H

#define BENCH_CONTEXT_TEXT 128

/* A text that the system does not tell is "unknown". */
struct bench_context {
    char date[BENCH_CONTEXT_TEXT]; /* UTC */
    char cpu[BENCH_CONTEXT_TEXT];  /* model name */
    long cpus;                     /* online */
    double load;                   /* average of the last minute; negative = unknown */
    char governor[BENCH_CONTEXT_TEXT];
    char huge_pages[BENCH_CONTEXT_TEXT];   /* always, madvise or never */
    char kernel_sets[BENCH_CONTEXT_TEXT];  /* of libgqa that run here */
    char multiply_add[BENCH_CONTEXT_TEXT]; /* the f32 limit: "avx512", "avx2" or "plain" */
    int tiles;                             /* 1: there are AMX bf16 tile products */
    const char *compiler;                  /* of the library, and its version */
    const char *commit;                    /* of this source when it was built; "-dirty": changed */
};

void bench_context_read(struct bench_context *context);

#endif
