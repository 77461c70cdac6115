/* SPDX-License-Identifier: Apache-2.0 */
/* span.c - see span.h. */
#include "stage/span.h"

#include "base/chunk.h"

struct gqa__span gqa__span_of(const struct gqa__shape *shape, int32_t origin, int32_t p)
{
    struct gqa__span span = {INT32_MIN, INT32_MAX};

    if (shape->right >= 0) { /* 0 is causal */
        span.last = (int64_t)p + shape->right;
    }
    if (shape->window > 0) {
        span.first = (int64_t)p - shape->window + 1;
    }
    if (shape->chunk > 0) {
        const int64_t start = gqa__chunk_start(p, origin, shape->chunk);
        span.first = start > span.first ? start : span.first;
        span.last = start + shape->chunk - 1 < span.last ? start + shape->chunk - 1 : span.last;
    }
    return span;
}

void gqa__span_range(const struct gqa__shape *shape, const struct gqa__kv_view *view, int32_t p,
                     int32_t *lo, int32_t *hi)
{
    const struct gqa__span span = gqa__span_of(shape, view->origin, p);

    *lo = gqa__view_lower_bound(view, span.first);
    *hi = gqa__view_lower_bound(view, span.last + 1);
    if (*hi < *lo) {
        *hi = *lo;
    }
}

bool gqa__span_within(const struct gqa__shape *shape, const struct gqa__retention *retention)
{
    const int32_t window = retention->window, chunk = retention->chunk;
    const bool in_window = (shape->window > 0 && shape->window <= window) ||
                           (shape->chunk > 0 && shape->chunk <= window);
    const bool in_chunk = shape->chunk > 0 && chunk > 0 && chunk % shape->chunk == 0;

    return (window == 0 || in_window) && (chunk == 0 || in_chunk);
}
