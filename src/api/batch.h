/* SPDX-License-Identifier: Apache-2.0 */
/* batch.h - the entries of a batch: what gqa_forward and gqa_attend check alike. */
#ifndef GQA__BATCH_H
#define GQA__BATCH_H

#include "layer/call.h"

/* What inputs.row_begin holds, if it is given: [batch + 1], from 0 to the call's tokens. */
gqa_status gqa__check_rows(const struct gqa__call *call, gqa_error *err);

/* Clear entry b (and its view) and set its sequence; false if it is inactive. */
bool gqa__batch_begin(const struct gqa__call *call, int32_t b);

/* Which of its tokens are valid. */
gqa_status gqa__check_valid(const struct gqa__call *call, int32_t b, gqa_error *err);

/* Mask and bias have a column for each of the entry's. */
gqa_status gqa__check_columns(const struct gqa__call *call, int32_t b, int64_t columns,
                              gqa_error *err);

/* Every key that a row of the entry can see is held: the cache's sequence, a ring, may have lost
 * its beginning. */
gqa_status gqa__check_held(const struct gqa__call *call, int32_t b, gqa_error *err);

/* CTE or TKG: what the call says, else TKG where there is a past. */
void gqa__batch_phase(const struct gqa__call *call, int32_t b);

#endif
