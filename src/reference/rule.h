/* SPDX-License-Identifier: Apache-2.0 */
/* rule.h - may this row see this key? One predicate, asked for every pair. */
#ifndef GQA__REFERENCE_RULE_H
#define GQA__REFERENCE_RULE_H

#include "stage/segment.h"

/* A query row: token i of a segment and one query head. */
struct gqa__reference_row {
    const struct gqa__segment *segment;
    int32_t token;
    int32_t head;
    int64_t position;
};

/* A key: its position id and its column (segment.h). */
struct gqa__reference_key {
    int64_t position;
    int32_t column;
};

/* A bias of -inf hides the key, whatever its score is. */
bool gqa__reference_visible(const struct gqa__shape *shape, const struct gqa__reference_row *row,
                            const struct gqa__reference_key *key);

/* The bias of this pair, 0 without one. */
float gqa__reference_bias(const struct gqa__reference_row *row,
                          const struct gqa__reference_key *key);

#endif
