/* SPDX-License-Identifier: Apache-2.0 */
/* kv_advice.h - the smallest pair of types whose errors stay below limits. */
#ifndef GQA__TOOL_KV_ADVICE_H
#define GQA__TOOL_KV_ADVICE_H

#include "tool/kv_meter.h"

/* What is allowed. docs/kv-types.md says where the defaults come from. */
struct tool_kv_limits {
    double kl;      /* mean KL divergence of all rows, nats */
    double kl_head; /* of the worst query head */
    double error;   /* rms of the pair's tool_kv_judged */
};

#define TOOL_KV_LIMIT_KL      1e-3
#define TOOL_KV_LIMIT_KL_HEAD 1e-2
#define TOOL_KV_LIMIT_ERROR   2e-2

/* The first limit that a pair breaks. */
enum tool_kv_broken { TOOL_KV_KEEPS, TOOL_KV_BREAKS_KL, TOOL_KV_BREAKS_HEAD, TOOL_KV_BREAKS_ERROR };

enum tool_kv_broken tool_kv_breaks(const struct tool_kv_meter *meter,
                                   const struct tool_kv_pair *pair,
                                   const struct tool_kv_limits *limits);

struct tool_kv_advice {
    const struct tool_kv_pair *pair;    /* keeps the limits with the fewest bytes; of several one of
                                           the    fewest rotations, of these the one of the smallest
                                           error.    The exact pair always keeps them */
    const struct tool_kv_pair *smaller; /* the next one with fewer bytes, which breaks one; NULL if
                                           there is none */
    bool weak_k; /* of the pair, K alone costs attention more than V alone; else V does */
};

void tool_kv_advise(const struct tool_kv_meter *meter, const struct tool_kv_limits *limits,
                    struct tool_kv_advice *advice);

/* Does no other pair have a smaller error with as many bytes or fewer, or fewer bytes with the same
 * error? */
bool tool_kv_unbeaten(const struct tool_kv_meter *meter, const struct tool_kv_pair *pair);

#endif
