/* SPDX-License-Identifier: Apache-2.0 */
/* kv_advice.c - see kv_advice.h. */
#include "tool/kv_advice.h"

#include <math.h>
#include <stddef.h>

enum tool_kv_broken tool_kv_breaks(const struct tool_kv_meter *meter,
                                   const struct tool_kv_pair *pair,
                                   const struct tool_kv_limits *limits)
{
    const struct tool_kv_scores *const scores = &meter->scores[pair->k];

    /* A NaN breaks every limit. */
    return !(scores->all.mean <= limits->kl)                        ? TOOL_KV_BREAKS_KL
           : !(scores->head[scores->worst].mean <= limits->kl_head) ? TOOL_KV_BREAKS_HEAD
           : !(tool_kv_judged(meter, pair) <= limits->error)        ? TOOL_KV_BREAKS_ERROR
                                                                    : TOOL_KV_KEEPS;
}

static int rotations(const struct tool_kv_meter *meter, const struct tool_kv_pair *pair)
{
    return meter->choice.type[pair->k]->rotated + meter->choice.type[pair->v]->rotated;
}

/* Of two pairs that keep the limits. */
static bool better(const struct tool_kv_meter *meter, const struct tool_kv_pair *a,
                   const struct tool_kv_pair *b)
{
    const int turned = rotations(meter, a) - rotations(meter, b);

    return a->bytes != b->bytes ? a->bytes < b->bytes
           : turned != 0        ? turned < 0
                                : tool_kv_judged(meter, a) < tool_kv_judged(meter, b);
}

/* Of two pairs that are smaller than the advised one: the larger, then the one of less error. */
static bool nearer(const struct tool_kv_meter *meter, const struct tool_kv_pair *a,
                   const struct tool_kv_pair *b)
{
    return a->bytes != b->bytes ? a->bytes > b->bytes
                                : tool_kv_judged(meter, a) < tool_kv_judged(meter, b);
}

void tool_kv_advise(const struct tool_kv_meter *meter, const struct tool_kv_limits *limits,
                    struct tool_kv_advice *advice)
{
    const int count = meter->choice.n * meter->choice.n;

    advice->pair = &meter->pairs[0];
    advice->smaller = NULL;
    for (int i = 1; i < count; i++) {
        const struct tool_kv_pair *const pair = &meter->pairs[i];
        if (tool_kv_breaks(meter, pair, limits) == TOOL_KV_KEEPS &&
            better(meter, pair, advice->pair)) {
            advice->pair = pair;
        }
    }
    for (int i = 0; i < count; i++) {
        const struct tool_kv_pair *const pair = &meter->pairs[i];
        if (pair->bytes < advice->pair->bytes &&
            (advice->smaller == NULL || nearer(meter, pair, advice->smaller))) {
            advice->smaller = pair;
        }
    }
    advice->weak_k = tool_kv_pair(meter, advice->pair->k, 0)->attn.rms >
                     tool_kv_pair(meter, 0, advice->pair->v)->attn.rms;
}

bool tool_kv_unbeaten(const struct tool_kv_meter *meter, const struct tool_kv_pair *pair)
{
    const double error = tool_kv_judged(meter, pair);

    for (int i = 0; i < meter->choice.n * meter->choice.n; i++) {
        const struct tool_kv_pair *const other = &meter->pairs[i];
        const double its = tool_kv_judged(meter, other);

        if ((other->bytes <= pair->bytes && its < error) ||
            (other->bytes < pair->bytes && its <= error)) {
            return false;
        }
    }
    return !isnan(error);
}
