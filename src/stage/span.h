/* SPDX-License-Identifier: Apache-2.0 */
/* span.h - who sees whom by the config's rules: causal, left and right window, chunk.
 *
 * Visibility goes by position id. In an ordered view (ids rise with the index) the keys a row sees
 * are one index range; otherwise each key is asked for.
 */
#ifndef GQA__SPAN_H
#define GQA__SPAN_H

#include "cache/view.h"
#include "config/shape.h"

/* Position ids a row at position p may see: [first, last]. origin: position of the sequence's first
 * token, from which chunks are counted. */
struct gqa__span {
    int64_t first, last;
};

struct gqa__span gqa__span_of(const struct gqa__shape *shape, int32_t origin, int32_t p);

/* The index range [*lo, *hi) of an ordered view that a row at position p sees; lo <= hi. */
void gqa__span_range(const struct gqa__shape *shape, const struct gqa__kv_view *view, int32_t p,
                     int32_t *lo, int32_t *hi);

/* Does a row see, to its left, no more than a cache with this retention holds? */
bool gqa__span_within(const struct gqa__shape *shape, const struct gqa__retention *retention);

#endif
