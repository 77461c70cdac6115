/* call.c - see call.h. */
#include "layer/call.h"

int32_t gqa__call_position(const struct gqa__call *call, const struct gqa__batch_entry *row,
                           int32_t b, int32_t t)
{
    if (call->in.position_ids != NULL) {
        return call->in.position_ids[(int64_t)b * call->tokens + t];
    }
    if (!call->append) { /* the queries are the cache's last tokens */
        struct gqa__kv_view view;
        gqa__view_cache(&view, call->cache, row->sequence);
        return gqa__view_position(&view, row->past + (t - row->first_valid));
    }
    return row->next_position + (t - row->first_valid);
}
