/* SPDX-License-Identifier: Apache-2.0 */
/* reference.h - attention as it is defined: every score of a row written down, then a softmax.
 *
 * The readable truth that backend cpu is compared with. It shares no attention code with it: no
 * tile, no fold, no spans, no kernel set; only the segments and the views of the cache. Scores are
 * in natural units. Sums are rounded to f32 after every addition, or kept in double with
 * config.reference_f64.
 */
#ifndef GQA__REFERENCE_H
#define GQA__REFERENCE_H

#include "gqa/forward.h"
#include "stage/health.h"
#include "stage/segment.h"

/* Bytes of scratch for segments of at most max_keys keys (inside their range); SIZE_MAX when that
 * does not fit a size_t. */
size_t gqa__reference_scratch_bytes(const struct gqa__params *params, int32_t max_keys);

/* What a run says of itself. */
struct gqa__reference_record {
    gqa_work *work;             /* what was done is added to it; NULL: not counted */
    struct gqa__health *health; /* what was seen is added to it; NULL: nobody looks */
};

/* Attention of n segments, one after the other on the calling thread. scratch: that many bytes for
 * the longest of them, aligned to GQA__ALIGN. Cannot fail. Of its work it counts keys and bytes
 * read and multiply-adds; it has no tiles. */
void gqa__reference_attend(const struct gqa__params *params, const struct gqa__segment *segments,
                           int32_t n, void *scratch, const struct gqa__reference_record *record);

#endif
