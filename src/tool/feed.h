/* SPDX-License-Identifier: Apache-2.0 */
/* feed.h - how a golden case's keys and rows become calls: past tokens in rising order, runs of
 * valid tokens, and what only a mask can say.
 *
 * The library's columns count the tokens it was given: the valid past tokens of a sequence, then
 * all T new ones. Padding that is a run on the left or right becomes first_valid and lengths;
 * holes, rows whose key nobody may see, positions that do not rise, and chunks that do not start at
 * a sequence's first token become a boolean mask.
 */
#ifndef GQA__TOOL_FEED_H
#define GQA__TOOL_FEED_H

#include "tool/case.h"

struct tool_feed {
    int32_t *past_order; /* [B, P] past keys of each sequence, valid ones, by rising position */
    int32_t *past_count; /* [B] how many */
    int32_t *begin;      /* [B] tokens begin .. end - 1 are computed, the others are padding */
    int32_t *end;        /* [B] */
    int32_t columns;     /* of mask and bias: the most past tokens of a sequence, then T */
    uint8_t *mask;       /* [B, 1, T, columns] or NULL */
    float *bias;         /* [B, bias_heads, T, columns] or NULL */
    bool chunk_by_mask;  /* the mask holds the chunks: the config must not */
};

bool tool_feed_make(struct tool_feed *feed, const struct tool_case *c, struct tool_fault *fault);
void tool_feed_free(struct tool_feed *feed);

/* May query token t of sequence b see key j (0 .. K-1)? By the file's rules, bias left out. */
bool tool_case_sees(const struct tool_case *c, int32_t b, int32_t t, int32_t j);

#endif
