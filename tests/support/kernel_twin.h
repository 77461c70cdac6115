/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_twin.h - Neuron's prefill kernels (flash_fwd, attention_cte) once more, one row at a time
 * and as plainly as it goes: the truth for calls that no golden file has. Shares no code with src.
 */
#ifndef TEST_KERNEL_TWIN_H
#define TEST_KERNEL_TWIN_H

#include <stdbool.h>

/* A call. Numbers are those of gqa_neuron_call, and 0 means the same. */
struct kernel_twin {
    int batch, tokens, keys, hq, hkv, d;
    bool f32;                       /* the I/O type; else bf16 */
    bool divisor_f32;               /* cte */
    const float *q;                 /* [batch][tokens][hq][d] */
    const float *k, *v;             /* [batch][keys][hkv][d] */
    const float *k_prior, *v_prior; /* [batch][prior][hkv][d] */
    const float *sinks;             /* [hq], NULL = none */
    int prior, used;
    int window, bidirectional;
    float scale;
    int seq_tile, wcte;                   /* flash_fwd */
    int cp_degree, cp_offset, cp_strided; /* cte */
    const int *bound_min, *bound_max;     /* cte: [tokens], NULL = not packed */
};

enum { KERNEL_DIM = 144, KERNEL_STEPS = 8 };

/* The state of a row after a large tile of flash_fwd, or after a section of cte. */
struct kernel_state {
    bool ran;                   /* not skipped; a skipped tile leaves m, l and o as they were */
    float m, l, alpha, row_sum; /* row_sum: flash_fwd */
    float o[KERNEL_DIM];        /* flash_fwd; cte: as stored, none after the last section */
};

struct kernel_row {
    int steps;
    struct kernel_state step[KERNEL_STEPS];
    float q[KERNEL_DIM], out[KERNEL_DIM]; /* q as the kernel is given it, or has scaled it */
};

/* Row t of query head h of batch entry b. */
void flash_twin_row(const struct kernel_twin *twin, int b, int h, int t, struct kernel_row *row);
void cte_twin_row(const struct kernel_twin *twin, int b, int h, int t, struct kernel_row *row);

/* May row t see key j, by the definition; prior ones are -used .. -1. (The kernel's own fault with
 * packed rows is not part of it.) */
bool kernel_sees(const struct kernel_twin *twin, int t, int j);

/* The row in exact arithmetic: out [d]. False if it sees no key. *bound: how far the output of a
 * right implementation may be from it; derived in kernel_twin.c. */
bool kernel_exact_row(const struct kernel_twin *twin, int b, int h, int t, double *out,
                      double *bound);

/* A vector [d] of numbers [batch][rows][heads][d]; at: batch entry, row, rows, head, heads. */
const float *kernel_vector(const struct kernel_twin *twin, const float *from, const int at[5]);

#endif
