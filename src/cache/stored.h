/* SPDX-License-Identifier: Apache-2.0 */
/* stored.h - what storing did to K and V, for a health report (gqa/health.h). */
#ifndef GQA__STORED_H
#define GQA__STORED_H

#include "cache/row.h"
#include "cache/view.h"
#include "gqa/health.h"

/* A row that lies as `row` says, and was x [dim] when it was handed over, and `given` [dim] when it
 * was stored: x, or x rotated. */
void gqa__stored_row(gqa_health_stored *count, const float *x, const float *given,
                     const struct gqa__row *row, gqa_dtype dtype, int32_t dim);

/* The same of a token of a sequence, where x was appended, and of one in the host's memory. */
void gqa__stored_in_cache(gqa_health_stored *count, const float *x, const struct gqa_cache *cache,
                          int32_t sequence, const struct gqa__row_at *at);
void gqa__stored_in_host(gqa_health_stored *count, const float *x, const struct gqa__kv_view *view,
                         const struct gqa__row_at *at);

#endif
