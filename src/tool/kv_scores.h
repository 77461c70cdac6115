/* SPDX-License-Identifier: Apache-2.0 */
/* kv_scores.h - how far stored keys move the softmax of a case's rows: KL divergence, in double.
 *
 * With p the probabilities that a row gives to the keys it sees (and to the sink) by exact keys,
 * and p' those by stored ones, KL = sum p log(p / p'), in nats. It is 0 exactly where the scores
 * are the same, or all moved by the same amount, and infinite or NaN where a stored key is no
 * number.
 */
#ifndef GQA__TOOL_KV_SCORES_H
#define GQA__TOOL_KV_SCORES_H

#include "tool/case.h"

/* Keys of a case as a cache gives them back. Rows that no query sees hold anything. */
struct tool_kv_keys {
    float *past;  /* [B, P, Hkv, Dk] */
    float *fresh; /* [B, T, Hkv, Dk] */
};

/* Over the rows that see a key or have a sink; 0 if there are none. */
struct tool_kv_divergence {
    double mean, most;
    int64_t rows;
};

struct tool_kv_scores {
    struct tool_kv_divergence all;
    struct tool_kv_divergence *head;    /* [Hq] */
    struct tool_kv_divergence *kv_head; /* [Hkv] over the query heads that read it */
    int32_t worst;                      /* the query head with the largest mean */
};

/* A row is a query head of a valid token. keys [n], the exact ones first; scores [n], zeroed, with
 * their arrays; q [B, T, Hq, Dk] as the scores see it, unscaled; lse [B, T, Hq] that the layer
 * gave. *gap: by how much, at most, the logarithm of a row's sum of exponentials differs from lse.
 */
bool tool_kv_scores(const struct tool_case *c, const float *q, const float *lse,
                    const struct tool_kv_keys *keys, int n, struct tool_kv_scores *scores,
                    double *gap, struct tool_fault *fault);

#endif
