/* SPDX-License-Identifier: Apache-2.0 */
/* sequence_rig.h - a small attention layer, caches for it, and sequences of tokens whose numbers
 * are drawn from a seed each: what the tests of forked, kept, saved and copied sequences share.
 *
 * A rig_line says what a sequence holds. A rig_piece is what a call appends to it. rig_alone gives
 * the truth for a piece: the same tokens in a cache of their own, which holds nothing else. */
#ifndef TEST_SEQUENCE_RIG_H
#define TEST_SEQUENCE_RIG_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "support/host.h"

enum {
    RIG_HQ = 4,
    RIG_HKV = 2,
    RIG_DK = 10,
    RIG_DV = 9,
    RIG_TOKENS = 640, /* most of a sequence */
    RIG_BATCH = 4,    /* most entries of a call */
    RIG_PIECE = 48    /* most columns of a call */
};

struct rig_kind {
    gqa_isa isa;
    gqa_numerics numerics;
    gqa_dtype storage;
    int32_t page_size, threads;
    int32_t window; /* config.sliding_window */
    bool rotate;    /* K and V are stored rotated */
};

/* Every kernel set, numerics and storage type, rotated too, page sizes 16..512, threads 1..4, with
 * and without a window. */
extern const struct rig_kind rig_kinds[];
extern const int rig_kind_count;

/* What a layer and its caches may be besides. */
struct rig_more {
    int32_t chunk; /* config.attention_chunk_size */
    gqa_backend backend;
    bool rings; /* caches keep what the layer can see, that of rig_alone excepted */
};

struct rig_token {
    uint64_t seed;
    int32_t position, column;
};

struct rig_line {
    struct rig_token token[RIG_TOKENS];
    int32_t length, columns;
};

struct rig_piece {
    int32_t sequence; /* of the cache */
    int32_t padding;  /* columns on the left */
    int32_t n;
    struct rig_token token[RIG_PIECE];
};

/* Results of a call, padding included: zeros. */
struct rig_output {
    float attn[RIG_BATCH][RIG_PIECE][RIG_HQ][RIG_DV];
    float lse[RIG_BATCH][RIG_PIECE][RIG_HQ];
};

struct rig {
    struct rig_kind kind;
    struct rig_more more;
    struct host host;
    gqa_layer *layer;
    gqa_cache *own; /* of rig_alone: one sequence, pages of 128 */
    gqa_error err;
};

/* False if this machine or build has no such kernel set. */
bool rig_open(struct rig *rig, const struct rig_kind *kind);
bool rig_open_more(struct rig *rig, const struct rig_kind *kind, const struct rig_more *more);
void rig_close(struct rig *rig);

/* Do caches of both kinds hold the same bytes of a sequence? */
bool rig_same_storage(const struct rig_kind *a, const struct rig_kind *b);

/* A cache of the kind; pages 0 = enough: of rings, for calls of RIG_PIECE tokens. Must succeed. */
gqa_cache *rig_cache(struct rig *rig, int32_t sequences, int32_t tokens, int64_t pages);

/* K [HKV][DK] and V [HKV][DV] of a token; one in 64 has a NaN in V. */
void rig_numbers(uint64_t seed, float *k, float *v);

/* n tokens that go on after the line, behind some padding; tree: their positions may repeat and
 * fall, so the call needs its mask. random: the generator's state. */
void rig_draw(const struct rig_line *line, int32_t sequence, int32_t n, bool tree, uint64_t *random,
              struct rig_piece *piece);

/* A call of `columns` columns that appends the pieces. masked: a mask of random elements, by the
 * seed of the row and the column of the key; a row sees itself. */
struct rig_call {
    const struct rig_piece *pieces; /* [count] */
    int32_t count, columns;
    bool masked;
};
gqa_status rig_forward(struct rig *rig, gqa_cache *cache, const struct rig_call *call,
                       const struct rig_line *lines, struct rig_output *output);

/* The line after a call of so many columns that appended the piece. */
void rig_grow(struct rig_line *line, const struct rig_piece *piece, int32_t columns);
void rig_cut(struct rig_line *line, int32_t length);

/* Put the line's tokens into a sequence that holds none. */
void rig_fill(gqa_cache *cache, int32_t sequence, const struct rig_line *line);

/* What entry `index` of the call must give: computed alone, and compared bit by bit. */
bool rig_as_alone(struct rig *rig, const struct rig_call *call, int32_t index,
                  const struct rig_line *line, const struct rig_output *output);

#endif
