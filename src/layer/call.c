/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - see call.h. */
#include "layer/call.h"

#include "base/memory.h"

/* Position of query i of an entry without ids: its queries are the last keys. Those that are more
 * than the keys lie before the first one; without a key they begin at 0. */
static int32_t position_at_end(const struct gqa__kv_view *view, int32_t past, int32_t i)
{
    const int64_t index = (int64_t)past + i;

    if (view->length == 0) {
        return i;
    }
    if (index >= 0) {
        return gqa__view_position(view, (int32_t)index);
    }
    return (int32_t)gqa__max(view->origin + index, INT32_MIN);
}

int32_t gqa__call_position(const struct gqa__call *call, int32_t b, int32_t t)
{
    const struct gqa__batch_entry *const entry = &call->entries[b];
    const int32_t i = t - entry->first_valid;

    if (call->in.position_ids != NULL) {
        return call->in.position_ids[gqa__call_token(call, b, t)];
    }
    return call->append && !call->in_blocks ? entry->next_position + i
                                            : position_at_end(&call->views[b], entry->past, i);
}
