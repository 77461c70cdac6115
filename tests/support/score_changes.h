/* SPDX-License-Identifier: Apache-2.0 */
/* score_changes.h - what happens to the scores of some rows of a problem, in guarded buffers. */
#ifndef TEST_SCORE_CHANGES_H
#define TEST_SCORE_CHANGES_H

#include "support/attend_kernels.h"
#include "support/guarded_buffer.h"

enum { MOST_LANES = 128 }; /* of a tile */

/* Rows [base, base + count) of a problem on a tile of ld lanes. */
struct changed_rows {
    const struct problem *p;
    int32_t base, count, ld;
};

struct score_changes {
    struct guarded_buffer lo, hi, slope, q_pos, k_pos, bias, line_bias, visible;
    struct gqa__score_rules rules;
    const float
        *lane_bias[MOST_LANES]; /* [ld] of [keys]: lanes whose biases are equal share them */
};

/* Of keys [begin, begin + keys) of the problem; biases by key. */
void score_changes_open(struct score_changes *c, const struct changed_rows *rows, int32_t begin,
                        int32_t keys);
/* If there are biases, rules has them by lane. */
void score_changes_by_lane(struct score_changes *c);
/* No guard byte was written. Releases the buffers. */
bool score_changes_close(struct score_changes *c);

#endif
