/* SPDX-License-Identifier: Apache-2.0 */
/* paged_twin.h - Neuron's paged kernel with a schedule once more, one row at a time and as plainly
 * as it goes: the truth for calls that no golden file has. Shares no code with src. */
#ifndef TEST_PAGED_TWIN_H
#define TEST_PAGED_TWIN_H

#include <stdbool.h>

enum paged_wrong {
    PAGED_RIGHT,
    PAGED_L_FROM_BF16_P,        /* the row sum is that of the rounded P */
    PAGED_P_F32,                /* P not rounded */
    PAGED_Q_SCALE_F32,          /* q times scale not rounded */
    PAGED_COLUMNS_NOT_PERMUTED, /* keys in kernel order, masks in linear order */
    PAGED_LINEAR_L,             /* a plain sum instead of the running logarithm */
    PAGED_SKIP_IGNORED,         /* a skipped load leaves the first blocks, not the last ones */
    PAGED_WRONGS
};
extern const char *const paged_wrong_names[PAGED_WRONGS];

enum { PAGED_REQUESTS = 8, PAGED_BLOCKS = 1024, PAGED_KEYS = 2048, PAGED_DIM = 136 };

struct paged_twin {
    int hq, hkv, d, tokens; /* tokens: rows of q, padding included */
    int requests, width, blocks, block_size;
    const int *query_lens, *context_lens; /* [requests] */
    const int *block_table;               /* [requests][width] */
    int q_tile, kv_tile;                  /* kv_tile at most PAGED_KEYS */
    int padded;                           /* tiles of the schedule, or 0 */
    bool row_order;
    const float *q, *k, *v;         /* [tokens][hq | hkv | hkv][d], bf16 values */
    const float *k_cache, *v_cache; /* [blocks][hkv][block_size][d] */
    float scale;
    float *m, *l, *o; /* [tokens][hq], [tokens][hq], [tokens][hq][d]: written */
    float *out;       /* [tokens][hq][d]: written */
};

void paged_twin_run(struct paged_twin *twin, enum paged_wrong wrong);

/* Row `token` of query head `head` by the definition of attention: the context of its request and
 * the tokens of it up to this one. out [d]. False for a padding row. *bound: how far the output of
 * a right implementation may be from it; derived in paged_twin.c. */
bool paged_exact_row(const struct paged_twin *twin, int token, int head, double *out,
                     double *bound);

#endif
