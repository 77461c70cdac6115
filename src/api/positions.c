/* SPDX-License-Identifier: Apache-2.0 */
/* positions.c - see positions.h. */
#include "api/positions.h"

#include "base/error.h"

static const struct ids_rule {
    const char *field;
    bool negative; /* allowed */
    bool rising;   /* required, unless any_order */
} rules[GQA__IDS_KINDS] = {
    [GQA__IDS_FORWARD] = {"inputs.position_ids", false, true},
    [GQA__IDS_APPEND] = {"positions", false, true},
    [GQA__IDS_TEMPERATURE] = {"positions", false, false},
    [GQA__IDS_KEYS] = {"inputs.key_position_ids", true, true},
    [GQA__IDS_BLOCKS] = {"inputs.blocks.position_ids", false, true},
};

/* ids->ids[i] is not what it must be: at least 0, or above the id before it. */
static gqa_status refuse_id(const struct gqa__ids *ids, int64_t i, int64_t last, gqa_error *err)
{
    const char *const field = rules[ids->of].field;
    const int id = (int)ids->ids[i];
    const bool negative = id < 0 && !rules[ids->of].negative;
    const char *const than = negative ? "at least" : "above";
    const long long limit = negative ? 0 : last;

    if (ids->entry < 0) {
        return gqa__fail(err, GQA_ERR_ARG, field, "[%lld] is %d; it must be %s %lld", (long long)i,
                         id, than, limit);
    }
    return gqa__fail(err, GQA_ERR_ARG, field,
                     "batch entry %d, token %lld is %d; it must be %s %lld%s", (int)ids->entry,
                     (long long)(ids->first + i), id, than, limit,
                     negative ? "" : " (ids rise unless a mask is given)");
}

gqa_status gqa__check_ids(const struct gqa__ids *ids, bool *ordered, gqa_error *err)
{
    const struct ids_rule *const rule = &rules[ids->of];
    int64_t last = ids->above;

    for (int64_t i = 0; ids->ids != NULL && i < ids->n; i++) {
        const int64_t id = ids->ids[i];
        if ((id < 0 && !rule->negative) || (id <= last && rule->rising && !ids->any_order)) {
            return refuse_id(ids, i, last, err);
        }
        if (ordered != NULL) {
            *ordered = *ordered && id > last;
        }
        last = id;
    }
    return GQA_OK;
}
