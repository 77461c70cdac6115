/* SPDX-License-Identifier: Apache-2.0 */
/* flat_call.h - some batch entries of a random call as a call of their own, without padding. */
#ifndef TEST_FLAT_CALL_H
#define TEST_FLAT_CALL_H

#include "support/random_case.h"

enum { FLAT_ENTRIES = 8 };

/* A batch entry of a random call: its columns first .. first + n - 1. */
struct flat_entry {
    int b, first, n;
    int sequence; /* -1 = inactive */
};

/* All entries of a call with their valid tokens (inactive ones: all T). Returns how many. */
int flat_entries(const random_case *c, const random_call *call, struct flat_entry *entries);

/* The call for these entries alone: a flat call of [1, N, ...] tensors, or, row_begin left out
 * (flat = false, one entry), the call of that entry alone. Formats and gaps as the case draws them;
 * the case owns the memory. */
gqa_inputs flat_inputs(random_case *c, const random_call *call, const struct flat_entry *entries,
                       int count, bool flat);

#endif
