/* SPDX-License-Identifier: Apache-2.0 */
/* native.h - attention as the framework computes it where no kernel does (scaled_qk and
 * manual_softmax of attention_base.py): what the paths native_prefill, native_prefix, native_tkg
 * and flash_decoding have in common.
 *
 * T is the I/O type. The compiler has no tiles that a user sees; here up to 128 rows of one query
 * head are a tile, with all keys. Every product leaves the unit in T, so a score is rounded twice:
 *
 *     raw = T(q.k)    s = T(raw / sqrt_d)    e = exp(s - m) in f32    p = T(e / l)    o = T(p.v)
 *
 * sqrt_d is a Python scalar, which takes the type of the tensor: it is rounded to T as well. A key
 * that a row may not see has the smallest finite number of its type for a score. So a row that sees
 * nothing sees everything alike, unless it has a sink.
 *
 * Sources: scaled_qk (2.26 line 441), manual_softmax (line 1622), the Python scalar by the type
 * rules of torch-xla. These are the roundings that the graph asks for; that the compiler keeps each
 * of them where it fuses is a reading. */
#ifndef GQA__NEURON_NATIVE_H
#define GQA__NEURON_NATIVE_H

#include "neuron/neuron.h"

/* Up to 128 query rows of one head. */
struct gqa__native_rows {
    const struct gqa__neuron_worker *worker;
    int32_t batch, head, rank;
    int32_t first, rows; /* first query row, and how many */
    bool has_sink;
    float sink;
    float *q;      /* [rows][dim] */
    float *m;      /* [rows] */
    float *l;      /* [rows] */
    int64_t *seen; /* [rows] keys that each row sees, of the parts that have been scored */
};

/* Some keys, and what these rows make of them. */
struct gqa__native_part {
    gqa_neuron_part part;
    int32_t first, keys; /* place of the first one among the path's keys, and how many */
    float unseen;        /* the score of a key that a row may not see */
    float *k_turned;     /* [dim][keys] */
    float *v;            /* [keys][dim] */
    uint8_t *sees;       /* [rows][keys], filled by the path */
    float *s_raw;        /* [rows][keys] */
    float *s;            /* [rows][keys] */
    float *p;            /* [rows][keys] */
    float *e;            /* [keys + 1] of one row; the sink is one more column */
    float *o;            /* [rows][dim] */
};

/* Checks: k_prior and v_prior are there, and as many keys as rows. */
gqa_status gqa__native_check_new_tokens(const struct gqa__neuron *call, gqa_error *err);

/* A path that drops learned sinks: say so, and drop them. text is static. */
void gqa__native_drop_sinks(struct gqa__neuron *call, const char *text);

/* Rows of the largest tile. */
int32_t gqa__native_tile_rows(const struct gqa__neuron *call);

/* Carve what rows and parts point to, for at most so many rows and keys. */
void gqa__native_carve_rows(const struct gqa__neuron *call, struct gqa__arena *arena,
                            struct gqa__native_rows *rows);
void gqa__native_carve_part(const struct gqa__neuron *call, struct gqa__arena *arena, int32_t keys,
                            struct gqa__native_part *part);

/* Items of work are tiles of rows: entry by entry, head by head. */
int64_t gqa__native_items(const struct gqa__neuron *call);

/* Begin an item: which rows they are, their queries, m below everything but the sink. */
void gqa__native_open(const struct gqa__neuron_worker *worker, int64_t item,
                      struct gqa__native_rows *rows);

/* Where the keys of a part lie. */
struct gqa__native_source {
    const gqa_tensor *k, *v; /* [B, keys, Hkv, D] */
};
void gqa__native_load(const struct gqa__native_rows *rows, const struct gqa__native_source *source,
                      struct gqa__native_part *part);

/* Who sees whom, by a mask of the call; an absent one lets all. */
void gqa__native_look(const struct gqa__native_rows *rows, const gqa_tensor *mask,
                      struct gqa__native_part *part);

/* The scores of a part, masked; raises m to their maximum. */
void gqa__native_scores(const struct gqa__native_rows *rows, const struct gqa__native_part *part);

/* e = exp(s - m) of a row; returns their sum, with the sink's if there is one. */
float gqa__native_exponentials(const struct gqa__native_rows *rows,
                               const struct gqa__native_part *part, int32_t row, const float *sink);

/* p = T(e / l) of a row. */
void gqa__native_weights(const struct gqa__native_rows *rows, const struct gqa__native_part *part,
                         int32_t row);

/* o = T(p.v) of a part. */
void gqa__native_product(const struct gqa__native_rows *rows, const struct gqa__native_part *part);

/* Rows with prior keys, which come from the cache, and active ones, which are those of the call. */
struct gqa__native_pair {
    struct gqa__native_rows rows;
    struct gqa__native_part prior, active;
    float *o; /* [rows][dim] */
};
void gqa__native_pair_scratch(const struct gqa__neuron *call, struct gqa__arena *arena);

/* Carve and load an item. What its rows see is for the path to fill in. */
void gqa__native_pair_open(const struct gqa__neuron_worker *worker, struct gqa__arena *arena,
                           int64_t item, struct gqa__native_pair *pair);

/* One softmax over both parts, which the sink joins on the prior side, and a product for each:
 * l = f32(sum of prior e) + f32(sum of active e), o = T(T(p.v) + T(p.v)); and the item's end. */
void gqa__native_pair_attend(struct gqa__native_pair *pair);

/* A part or a rank is done: m, l, o of it, each may be NULL. */
void gqa__native_section(const struct gqa__native_rows *rows, const struct gqa__native_part *part,
                         const float *m, const float *l, const float *o);

/* End an item: o [rows][dim] is the output of its rows. */
void gqa__native_close(const struct gqa__native_rows *rows, const float *o);

/* The smallest finite number of a type: torch.finfo(type).min. */
float gqa__native_lowest(gqa_dtype type);

#endif
