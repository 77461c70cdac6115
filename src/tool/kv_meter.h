/* SPDX-License-Identifier: Apache-2.0 */
/* kv_meter.h - what storing K and V in fewer bits does to a case: a run for each pair of types,
 * compared with the run on a cache that loses nothing. */
#ifndef GQA__TOOL_KV_METER_H
#define GQA__TOOL_KV_METER_H

#include "tool/kv_scores.h"
#include "tool/kv_types.h"
#include "tool/progress.h"
#include "tool/run.h"

/* Of a tensor, over the valid tokens, relative to the rms of the exact one. */
struct tool_kv_error {
    double rms, most;
};

struct tool_kv_pair {
    int k, v;                   /* types, as the choice has them */
    int64_t bytes;              /* of a token, K and V of all KV heads */
    struct tool_kv_error attn;  /* attention output, all heads together */
    struct tool_kv_error *head; /* [Hq] of each head, relative to its own rms */
    int32_t worst;              /* the head with the largest rms */
    struct tool_kv_error out;   /* output projection, before post norm and residual; NaN without */
};

struct tool_kv_meter {
    const struct tool_case *c;
    gqa_path path;
    int64_t rows; /* valid tokens */
    double gap;   /* of tool_kv_scores */
    struct tool_kv_choice choice;
    struct tool_kv_scores scores[TOOL_KV_TYPES]; /* of K of each type */
    struct tool_kv_keys keys[TOOL_KV_TYPES];     /* what caches gave back */
    struct tool_kv_pair *pairs; /* [n][n] K's type, V's type; the first one is exact */
};

static inline const struct tool_kv_pair *tool_kv_pair(const struct tool_kv_meter *meter, int k,
                                                      int v)
{
    return &meter->pairs[k * meter->choice.n + v];
}

/* The error that a pair is judged by: of the output projection, or of attention where there is
 * none. */
static inline double tool_kv_judged(const struct tool_kv_meter *meter,
                                    const struct tool_kv_pair *pair)
{
    return meter->c->block ? pair->out.rms : pair->attn.rms;
}

/* The case must outlive the meter. To be freed, also on failure. */
bool tool_kv_measure(struct tool_kv_meter *meter, const struct tool_case *c,
                     const struct tool_run_options *options, struct tool_progress *progress,
                     struct tool_fault *fault);
void tool_kv_free(struct tool_kv_meter *meter);

#endif
