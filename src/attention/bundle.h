/* SPDX-License-Identifier: Apache-2.0 */
/* bundle.h - which segments of a run walk together: those whose sequences share pages.
 *
 * The rows of a bundle see the same first keys, from the same pages. Over the fold blocks that all
 * of them see whole they are one tile, which reads these keys once; then each segment goes on
 * alone. A lane's arithmetic depends on no other lane, and the states go into each row's fold where
 * they would be, so the bits are those of segments apart (docs/cache.md has a picture).
 */
#ifndef GQA__BUNDLE_H
#define GQA__BUNDLE_H

#include "base/arena.h"
#include "stage/segment.h"

/* Every segment of a run in one of its bundles; most are alone. Its memory is one block: a call
 * that shares nothing hardly notices. */
struct gqa__bundles {
    int32_t n;
    int32_t *member;       /* [segments] bundle after bundle */
    int32_t *first_member; /* [n + 1] of each bundle in member */
    int32_t *shared_end;   /* [n] its segments share the fold blocks from where they begin to this
                              one; of a segment alone: where it begins */
    /* While they are made. [segments] */
    int32_t *page;   /* of the first key that a segment's rows see; -1: it shares nothing */
    int32_t *whole;  /* fold blocks from there on that all of its rows see whole; -1: not known */
    int32_t *order;  /* segments that may join a bundle, ... */
    int32_t *blocks; /* ... and the fold blocks that each has in common with it */
};

/* Memory for so many segments. */
void gqa__bundles_carve(struct gqa__bundles *bundles, struct gqa__arena *arena, int32_t segments);

static inline int32_t gqa__bundle_members(const struct gqa__bundles *bundles, int32_t bundle)
{
    return bundles->first_member[bundle + 1] - bundles->first_member[bundle];
}

/* What bundles are made from. */
struct gqa__bundle_source {
    const struct gqa__params *params;
    const struct gqa__segment *segments; /* [n] */
    int32_t n;
    const int32_t *span_lo, *span_hi; /* index range of each token, segment after segment */
    const int64_t *first_token;       /* [n] of each segment in them */
    const int32_t *block_begin;       /* [n] fold blocks of which some row sees a key, from here */
};

/* Bundle after bundle takes the first segment that is left, and of those that share pages with it
 * the ones with which most blocks are read less: (members - 1) times the blocks that all share.
 * Most rows of a bundle: tile_rows. apart: every segment alone. */
void gqa__bundle_segments(struct gqa__bundles *bundles, const struct gqa__bundle_source *source,
                          bool apart);

#endif
