/* SPDX-License-Identifier: Apache-2.0 */
/* sequences.h - the ids of sequences: one, or those of a batch. */
#ifndef GQA__SEQUENCES_H
#define GQA__SEQUENCES_H

#include "layer/call.h"

/* The cache is there and has the sequence; field names its id. */
gqa_status gqa__check_sequence(const gqa_cache *cache, const char *field, int32_t sequence,
                               gqa_error *err);

/* ... and the sequence holds no tokens. */
gqa_status gqa__check_empty(const gqa_cache *cache, const char *field, int32_t sequence,
                            gqa_error *err);

/* The sequence may end with this token: it is held, and so is all that the next one, at the
 * position behind it, can see. field and its value: what was asked for. */
gqa_status gqa__check_last(const gqa_cache *cache, int32_t sequence, int32_t index,
                           const char *field, int32_t value, gqa_error *err);

/* May storage types be converted? 0 or 1. */
gqa_status gqa__check_convert(int32_t convert, gqa_error *err);

/* Each id is -1 (inactive) or 0 .. max_sequences - 1. sequences NULL: 0 .. batch - 1. */
gqa_status gqa__check_sequences(const int32_t *sequences, int32_t batch, int32_t max_sequences,
                                gqa_error *err);

/* No two ids >= 0 are equal; names the first entry that repeats an earlier one. entries [batch] is
 * overwritten: the ids are sorted there, in n log n steps, unless they rise as they are. */
gqa_status gqa__check_distinct(const int32_t *sequences, int32_t batch,
                               struct gqa__batch_entry *entries, gqa_error *err);

#endif
