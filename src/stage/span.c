/* span.c - see span.h. */
#include "stage/span.h"

/* Start of the chunk that holds p, counted from origin; floor also below the origin. */
static int64_t chunk_start(int64_t p, int64_t origin, int64_t chunk)
{
    const int64_t d = p - origin;
    const int64_t q = d / chunk - (d % chunk < 0);
    return origin + q * chunk;
}

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
        const int64_t start = chunk_start(p, origin, shape->chunk);
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
