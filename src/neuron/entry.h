/* SPDX-License-Identifier: Apache-2.0 */
/* entry.h - attention of backend neuron: one batch entry of a layer's call as one call of a
 * profile.
 *
 * Which profile is what Neuron takes (choose.c), or what the config names. Everything that can be
 * refused is known before a token is appended (check); the run cannot fail. Nothing is shared with
 * the other backends but the description of a call, stage/segment.h. */
#ifndef GQA__NEURON_ENTRY_H
#define GQA__NEURON_ENTRY_H

#include "gqa/neuron_maps.h"
#include "neuron/neuron.h"
#include "stage/segment.h"

/* What decides about an entry. */
struct gqa__neuron_entry {
    const struct gqa__params *params;
    int32_t tokens;      /* columns of the call, padding included: q_len */
    int32_t first_valid; /* padding on the left */
    int32_t n;           /* valid tokens, at least 1 */
    int32_t past;        /* keys before them */
    bool tkg;
    bool sinks, mask, active_mask, bounds; /* given */
    bool consecutive; /* positions of keys and queries: each is one above that before it, */
    bool from_zero;   /* and the first of them is 0 */
};

struct gqa__neuron_choice {
    gqa_neuron_flash_strategy strategy;
    gqa_neuron_profile profile;
};

/* choose.c: as NeuronAttentionBase routes, or as the config says. */
gqa_status gqa__neuron_choose(const struct gqa__neuron_entry *entry,
                              struct gqa__neuron_choice *choice, gqa_error *err);

/* An entry may take several calls, ranks or groups of them that are computed one after the other:
 * one for each rank of context parallelism (cte), or for each KV head (flash_decoding). */
int32_t gqa__neuron_parts_of(const struct gqa__neuron_entry *entry,
                             const struct gqa__neuron_choice *choice);

/* config.neuron_cp_degree, at least 1. */
int32_t gqa__neuron_degree(const struct gqa__neuron_entry *entry);

/* The rows and keys that the profile is given: with padding on the right where a kernel runs, for
 * its tiles; without where the framework does, which changes no row. */
int32_t gqa__neuron_rows_of(const struct gqa__neuron_entry *entry,
                            const struct gqa__neuron_choice *choice);

/* All entries of a call as the requests of one call of the paged kernel (paged_batch.h). */
struct gqa__neuron_batch {
    int32_t requests, rows, blocks; /* so far */
    int32_t block_size, width;      /* tokens of a block; most blocks of a request */
    int32_t *query_lens;            /* [batch] */
    int32_t *context_lens;          /* [batch] */
    int32_t *block_table;           /* [batch][width] */
    void *k_cache, *v_cache;        /* [batch * width][hkv][block_size][dk] of the I/O type */
    struct gqa__neuron_entry whole; /* all of them together: what is said of any */
};

/* Memory of one entry or of a batch, and what its run has said and counted. */
struct gqa__neuron_attention {
    struct gqa__neuron_batch batch; /* paged_schedule alone */
    int32_t tokens, keys;           /* most of an entry */
    gqa_runtime runtime;
    void *q, *out;                 /* [tokens][hq][dk] of the I/O type */
    void *k, *v;                   /* [keys + ranks - 1 + tokens][hkv][dk] prior ones first, for
                                      flash_decoding as many as its ranks divide */
    int32_t *queries;              /* [tokens] positions */
    float *row;                    /* [dk] */
    int32_t *positions, *columns;  /* [keys + tokens] of the keys */
    unsigned char *prior, *active; /* bits [tokens][keys], [tokens][tokens], rows of whole bytes */
    void *workspace;
    size_t workspace_size;
    gqa_neuron_report report;
};

/* For entries of at most so many tokens and keys. paged_schedule: so many entries with so many rows
 * together, whose keys lie in pages of so many tokens. */
struct gqa__neuron_limits {
    int32_t tokens, keys;
    int32_t batch, rows, page_size;
    const gqa_runtime *runtime;
};
void gqa__neuron_attention_carve(struct gqa__neuron_attention *attention, struct gqa__arena *arena,
                                 const struct gqa__params *params,
                                 const struct gqa__neuron_limits *limits);

/* May this entry be served, and how? */
gqa_status gqa__neuron_entry_check(const struct gqa__neuron_attention *attention,
                                   const struct gqa__neuron_entry *entry,
                                   struct gqa__neuron_choice *choice, gqa_error *err);

/* Attention of a segment that holds all valid tokens of a checked entry. */
void gqa__neuron_entry_run(struct gqa__neuron_attention *attention,
                           const struct gqa__neuron_entry *entry,
                           const struct gqa__segment *segment);

/* rule.c: may row i of the segment see the key at this position and column? */
bool gqa__neuron_rule(const struct gqa__shape *shape, const struct gqa__segment *segment, int32_t i,
                      int32_t position, int32_t column);

#endif
