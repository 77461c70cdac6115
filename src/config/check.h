/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - the tools with which the sections of a config are checked.
 *
 * A checker remembers the first fault; every later check is then a no-op, so a section reads as a
 * list of rules. One rule holds for all of them: a field that the rest of the config leaves
 * without a use must have its default or zero, so nothing is silently ignored.
 */
#ifndef GQA__CHECK_H
#define GQA__CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/config.h"

struct gqa__check {
    const gqa_config *config;
    gqa_error *err;
    gqa_status status; /* of the first fault */
};

/* Largest factor that a multiplier, a scale or a slope may be. */
#define GQA__FACTOR_MAX 1e6

/* "config.head_dim" and the field's value, for the functions below. */
#define GQA__INT_FIELD(check, name)  "config." #name, (int64_t)(check)->config->name
#define GQA__REAL_FIELD(check, name) "config." #name, (double)(check)->config->name

/* low <= value <= high. NaN is never in range. */
void gqa__check_int(struct gqa__check *check, const char *field, int64_t value, int64_t low,
                    int64_t high);
void gqa__check_real(struct gqa__check *check, const char *field, double value, double low,
                     double high);
/* value is the default or 0, because the field has no use. why: "without a rope". */
void gqa__check_unused(struct gqa__check *check, const char *field, double value, double usual,
                       const char *why);
/* n factors, each in low .. high, required if wanted, else NULL. */
struct gqa__factors {
    const char *field;
    const double *values; /* [n] or NULL */
    int32_t n;
    double low, high;
    bool wanted;
    const char *when; /* they are: "GQA_ROPE_SCALING_TABLE" */
};
void gqa__check_factors(struct gqa__check *check, const struct gqa__factors *factors);

/* head_dim with its zero resolved; 0 if that is not possible. */
int32_t gqa__check_head_dim(const gqa_config *config);

/* The sections of gqa/config.h, in its order. */
void gqa__check_shape(struct gqa__check *check);
void gqa__check_projection(struct gqa__check *check);
void gqa__check_qk_norm(struct gqa__check *check);
void gqa__check_rope(struct gqa__check *check);
void gqa__check_scores(struct gqa__check *check);
void gqa__check_span(struct gqa__check *check);
void gqa__check_output(struct gqa__check *check);
void gqa__check_backend(struct gqa__check *check);
void gqa__check_neuron(struct gqa__check *check);

#endif
