/* SPDX-License-Identifier: Apache-2.0 */
/* sequence_lines.h - a cache of a sequence_rig, and what each of its sequences should hold.
 * Whatever is done to both is compared: results with those of the sequence alone, contents with the
 * numbers of the tokens. */
#ifndef TEST_SEQUENCE_LINES_H
#define TEST_SEQUENCE_LINES_H

#include "support/sequence_rig.h"

struct lines {
    struct rig rig;
    gqa_cache *cache; /* of RIG_BATCH sequences */
    size_t bytes;     /* of the cache's memory, which begins at the struct */
    uint64_t random;
    struct rig_line line[RIG_BATCH];
    struct rig_output output; /* of the last call */
};

/* False if this machine or build has no such kernel set. pages 0 = enough. */
bool lines_open(struct lines *lines, const struct rig_kind *kind, int64_t pages);
bool lines_open_more(struct lines *lines, const struct rig_kind *kind, const struct rig_more *more,
                     int64_t pages);
void lines_close(struct lines *lines);

/* Put n tokens into sequence 0, which holds none; V of the last one has a NaN. */
void lines_fill(struct lines *lines, int32_t n);

/* One call with n more tokens for each of `count` sequences; tree: their positions may fall, and a
 * mask is given. If it succeeds, each must give the bits of the sequence alone. */
gqa_status lines_append(struct lines *lines, const int32_t *sequences, int32_t count, int32_t n,
                        bool tree);
gqa_status lines_append_one(struct lines *lines, int32_t sequence);

/* gqa_cache_fork, truncate and keep, which must succeed; a fork takes no page. */
void lines_fork(struct lines *lines, int32_t from, int32_t to);
void lines_cut(struct lines *lines, int32_t sequence, int32_t length);
void lines_keep(struct lines *lines, int32_t sequence, int32_t last, const int32_t *kept,
                int32_t n);

/* One more token for each needs more pages than are free, and changes no byte of the cache. */
void lines_refuse_full(struct lines *lines, const int32_t *sequences, int32_t count,
                       const char *words);

/* The sequence of this cache holds what the line says, whatever its layout: lengths, positions,
 * columns, K and V as storage rounds them. */
void lines_compare(const struct rig *rig, const gqa_cache *cache, int32_t sequence,
                   const struct rig_line *line);

#endif
