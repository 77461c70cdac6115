/* SPDX-License-Identifier: Apache-2.0 */
/* page_model.h - a cache, and what a naive model says of it: each sequence's tokens, its list of
 * pages, each page's holders, and which tokens have left where the cache keeps rings. */
#ifndef TEST_PAGE_MODEL_H
#define TEST_PAGE_MODEL_H

#include "support/sequence_lines.h"

enum {
    SIDE_SEQUENCES = 6,
    SIDE_TOKENS = 100,               /* most of a sequence */
    SIDE_PAGES = 24,                 /* most of a pool */
    SIDE_LIST = SIDE_TOKENS / 16 + 1 /* pages of a sequence */
};

struct side {
    struct rig rig;
    gqa_cache *cache;
    size_t bytes;
    int32_t max_tokens, page_size, pages;
    int32_t granule;       /* tokens that leave together */
    int32_t window, chunk; /* what is kept; 0 = no such rule */
    struct rig_line line[SIDE_SEQUENCES];
    int32_t first[SIDE_SEQUENCES];           /* index of the first token held */
    int32_t holders[SIDE_PAGES];             /* of the model's pages, whose numbers are its own */
    int32_t list[SIDE_SEQUENCES][SIDE_LIST]; /* the model's pages of each sequence */
};

int32_t side_pages_of(const struct side *side, int32_t tokens);
int32_t side_free_pages(const struct side *side);
int32_t side_first_page(const struct side *side, int32_t first);
void side_take_page(struct side *side, int32_t s, int32_t place);
void side_own_page(struct side *side, int32_t s, int32_t place);
bool side_is_shared(const struct side *side, int32_t s, int32_t place);

/* Has the line, of which tokens [0, first) have left, all that a token at this position sees by
 * these rules? */
bool side_holds(const struct rig_line *line, int32_t first, int32_t window, int32_t chunk,
                int32_t position);

/* May the sequence end with so many tokens, and then go on? */
bool side_may_end(const struct side *side, int32_t s, int32_t length);

/* n more tokens for each of these sequences: what leaves first, and then what is taken. */
void side_append(struct side *side, const struct rig_piece *pieces, int32_t count);
void side_cut(struct side *side, int32_t s, int32_t length);

/* Would they find room: in max_tokens, and in pages? */
bool side_has_room(const struct side *side, const struct rig_piece *pieces, int32_t count);

/* The cache's pages are the model's. */
void side_check(const struct side *side);

#endif
