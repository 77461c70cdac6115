/* SPDX-License-Identifier: Apache-2.0 */
/* tile.h - one tile of rows against a range of fold blocks. */
#ifndef GQA__TILE_H
#define GQA__TILE_H

#include "attention/fold.h"
#include "attention/key_bits.h"
#include "attention/plan.h"
#include "stage/health.h"

/* What is listed of a block. */
struct gqa__block_lists {
    struct gqa__key_run run[GQA__BLOCK_PANELS];
    struct gqa__integer_run integer_run[GQA__BLOCK_PANELS];
    struct gqa__state merge_into[GQA__FOLD_DEPTH];
    uint8_t mark[GQA__FOLD_BLOCK]; /* where V is large */
};

/* Scratch of one thread. R = tile_rows, F = GQA__FOLD_BLOCK. */
struct gqa__tile_scratch {
    void *q;         /* packed, q_bytes(dk, R) */
    void *integer_q; /* the same by the integer kernels, for K that is stored as integers */
    struct gqa__block_lists *lists;
    float *s;                   /* [F][R] scores */
    void *p;                    /* [F][R] p, as the product with V reads it */
    float *bias;                /* [F][R] by key */
    float *line_bias;           /* [R][F] of tokens, or rows, that do not lie so in the caller's */
    const float **lane_bias;    /* [R] of [F]: each lane's, there or in the caller's memory */
    uint8_t *visible;           /* [F][R] */
    struct gqa__key_bits *seen; /* [R]: of each token, or row, before it is copied to lanes */
    float *gathered; /* [R][dk] queries of several segments, or rotated; NULL where neither is */
    void *panel;     /* gqa__view_scratch_bytes */
    void *kernel;    /* [scratch_bytes] of the kernel set */
    struct gqa__prefetch *prefetch; /* [GQA__BLOCK_PREFETCHES] */
    int32_t *k_pos;                 /* [F] */
    int32_t *columns;               /* [F] */
    int32_t *lo, *hi;         /* [R] key indices the row may see, from the spans of its token */
    int32_t *lo_rel, *hi_rel; /* [R] lo and hi relative to the first key of a block */
    int32_t *q_pos;           /* [R] */
    float *slope;             /* [R] ALiBi * log2e */
    float *sink;              /* [R] logit * log2e */
    struct gqa__fold fold;
    float *other_states;       /* as many as fold.states, while those wait; NULL with one segment */
    gqa_work work;             /* what this thread did in a run, if it is counted */
    struct gqa__health health; /* what it saw, if that is wanted */
};

/* Whose rows a tile has that belong to several segments, and the fold blocks that all of them see
 * whole. */
struct gqa__shared_rows {
    const struct gqa__segment *segments;
    const int32_t *member; /* [members] indices of segments, in the order of the rows */
    int32_t members;
    int32_t block_begin, block_end;
};

/* A tile being walked. */
struct gqa__tile {
    const struct gqa__params *params;
    const struct gqa__segment *segment;
    const int32_t *span_lo, *span_hi;      /* [segment n] index range of each token */
    const struct gqa__shared_rows *shared; /* NULL: all rows are the segment's; else it is the first
                                              one of several, whose keys are read */
    struct gqa__tile_id id;
    struct gqa__tile_id next; /* what this thread will probably walk next; count 0: not known */
    bool whole;               /* the walk goes over all keys of the tile, and its end follows */
    bool finished;            /* the walk has done what the end would do */
    struct gqa__row_map map;  /* rows within [n][hq][dim] relative to the KV head's first head */
    int32_t ld;
    int32_t key_begin, key_end; /* union of the rows' ranges */
    int32_t last_lo, first_hi;  /* every row sees the keys between them */
    bool explicit_mask;         /* a mask, bias, key bounds, active mask or unordered positions */
    bool integer_k, integer_v;  /* K, V is stored as integers: set by gqa__tile_pack */
    gqa_work *work;             /* what is done is added here; NULL = not counted */
    struct gqa__trace *trace;   /* who is told of each block; NULL = nobody */
    struct gqa__health *health; /* scores and rows are looked at for it; NULL = they are not */
    struct gqa__tile_scratch *scratch;
};

struct gqa__attention_limits; /* attention.h */

void gqa__tile_scratch_carve(struct gqa__arena *arena, struct gqa__tile_scratch *scratch,
                             const struct gqa__params *params,
                             const struct gqa__attention_limits *limits);

/* Set up rows, ranges and packed queries. tile->params, segment, spans, id, scratch are set. */
void gqa__tile_begin(struct gqa__tile *tile);

/* shared.c: the same for rows of several segments: tile->shared is set, too. */
void gqa__tile_begin_shared(struct gqa__tile *tile);

/* The last step of both: queries, where tile->map says from q on, rotated if the keys are, and
 * packed; an empty fold. */
void gqa__tile_pack(struct gqa__tile *tile, const void *q, gqa_dtype type);

/* Walk fold blocks [block_begin, block_end) cut to what the rows see, into scratch->fold. */
void gqa__tile_walk(struct gqa__tile *tile, int32_t block_begin, int32_t block_end);

/* Rotates the folded state back if V is rotated, in its place; then prior states, sink, division,
 * and whatever outputs the segment asks for. Not for a tile that is finished. */
void gqa__tile_end(struct gqa__tile *tile, struct gqa__state state);

/* health.c: scores [keys][ld] of keys from `first` on, -inf where a row does not see the key; and
 * the rows' state over all their keys. tile->health is set. */
void gqa__tile_note_scores(const struct gqa__tile *tile, int32_t first, int32_t keys,
                           const float *s);
void gqa__tile_note_rows(const struct gqa__tile *tile, const struct gqa__state *state);

/* Offset of a token's element of column 0, for a query head, in a mask or bias [1|B, 1|Hq, T, K].
 */
static inline int64_t gqa__mask_row(const struct gqa__segment *segment, const gqa_tensor *t,
                                    int32_t head, int32_t token)
{
    const int64_t b = t->shape[0] == 1 ? 0 : segment->batch;
    const int64_t h = t->shape[1] == 1 ? 0 : head;

    return b * t->stride[0] + h * t->stride[1] + (segment->row0 + token) * t->stride[2];
}

/* prefetch.c: what is read after the keys before `end`: the tile's next block, or else what the
 * next tile begins with. list: room for GQA__BLOCK_PREFETCHES. Returns how many. */
int32_t gqa__tile_prefetch(const struct gqa__tile *tile, int32_t end, struct gqa__prefetch *list);

/* What the rows of a tile see of the keys of a block. */
enum gqa__sight {
    GQA__SEE_NONE, /* no row sees a key */
    GQA__SEE_RUNS, /* each row sees one run of keys, or none */
    GQA__SEE_SOME,
    GQA__SEE_ALL /* each row sees every key */
};

/* visible.c: mask, bias, key bounds and the like, for keys [*first, *first + *keys), of which
 * scratch->columns and k_pos are known. NONE; else the keys are cut to the panels of those that
 * some row sees. RUNS: what the rows see is in scratch->lo_rel and hi_rel; SOME: in visible
 * [*keys][ld] there. A bias is in scratch->lane_bias, from the first key on that is left. */
enum gqa__sight gqa__tile_visible(struct gqa__tile *tile, int32_t *first, int32_t *keys);

/* Biases by lane become biases by key, scratch->bias. */
void gqa__tile_spread_bias(struct gqa__tile *tile, struct gqa__score_rules *rules);

/* Does no row see any of these keys? */
bool gqa__tile_hidden(const struct gqa__tile *tile, int32_t first, int32_t keys);

#endif
