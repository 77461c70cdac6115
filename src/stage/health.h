/* SPDX-License-Identifier: Apache-2.0 */
/* health.h - what a health report (gqa/health.h) is added up from. Each thread has its own; the
 * order in which they are added changes nothing. */
#ifndef GQA__STAGE_HEALTH_H
#define GQA__STAGE_HEALTH_H

#include <stdbool.h>

#include "gqa/health.h"

struct gqa__health {
    gqa_health seen;    /* but for sink_mean */
    int64_t sink_units; /* the shares of all sinks, each in whole 2^-32 */
};

/* Where a score is. */
struct gqa__health_place {
    int32_t entry, token, head, key;
};

void gqa__health_clear(struct gqa__health *health);

/* n values more. */
void gqa__health_values(gqa_health_values *count, const float *x, int64_t n);

/* A score of this size, no NaN, in natural units. */
void gqa__health_score(struct gqa__health *health, double size,
                       const struct gqa__health_place *place);

/* Has a sink a share in a row of this state? Prior states of the caller's may hold any numbers:
 * with a sum below 0 or beyond all numbers, or a maximum that is none, it has not. */
bool gqa__health_has_share(double m, double l);

/* A row whose sink has this share, from 0 to 1. */
void gqa__health_sink(struct gqa__health *health, double share);

/* What another thread, or another part of the call, has seen. */
void gqa__health_add(struct gqa__health *to, const struct gqa__health *from);

/* The report: seen, with the mean. */
gqa_health gqa__health_report(const struct gqa__health *health);

#endif
