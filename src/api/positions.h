/* SPDX-License-Identifier: Apache-2.0 */
/* positions.h - the position ids that a caller may pass: one check for every way in. */
#ifndef GQA__POSITIONS_H
#define GQA__POSITIONS_H

#include <stdbool.h>

#include "gqa/types.h"

/* Which ids. Those of tokens are at least 0: the query temperature is defined from there on. They
 * rise where a sequence is searched by position. Two kinds are not here, because they may be any
 * numbers: the queries of gqa_attend, which are each by themselves, and the positions of a
 * rotation, which turns both ways. */
enum gqa__ids_of {
    GQA__IDS_FORWARD,     /* gqa_forward, appending or read-only: at least 0, rising */
    GQA__IDS_APPEND,      /* gqa_cache_append: at least 0, rising */
    GQA__IDS_TEMPERATURE, /* gqa_stage_query_temperature: at least 0, any order */
    GQA__IDS_KEYS,        /* gqa_attend, keys: any sign, rising */
    GQA__IDS_BLOCKS,      /* keys in the host's blocks: at least 0, rising */
    GQA__IDS_KINDS
};

struct gqa__ids {
    enum gqa__ids_of of;
    const int32_t *ids; /* [n] the caller's; NULL = nothing to check */
    int64_t n;
    int32_t entry, first; /* batch entry, and the column of ids[0] in it; entry -1 = a plain list */
    int64_t above;        /* ids rise from above this number on */
    bool any_order;       /* a mask or key bounds say who sees whom: the ids need not rise */
};

/* GQA_ERR_ARG names the field and the first id that breaks the rule. *ordered (may be NULL) is
 * cleared if ids do not rise from above `above` on; else left. */
gqa_status gqa__check_ids(const struct gqa__ids *ids, bool *ordered, gqa_error *err);

#endif
