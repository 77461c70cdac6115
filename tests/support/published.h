/* SPDX-License-Identifier: Apache-2.0 */
/* published.h - the layers of published models, as configs; and each of them in miniature, to be
 * computed. */
#ifndef TEST_PUBLISHED_H
#define TEST_PUBLISHED_H

#include <stdbool.h>

#include "support/random_case.h"

/* Which weights a norm has, where it is not the usual: gamma, and beta with LayerNorm (hidden
 * norms); gamma [D] or whole (q and k norms). */
enum published_gamma {
    USUAL_GAMMA,
    NO_GAMMA,
    GAMMA_ALONE,   /* LayerNorm without beta */
    GAMMA_PER_HEAD /* [H, D] */
};

struct published {
    const char *name;
    gqa_config config; /* a field that is zero has its default */
    enum published_gamma hidden_gamma, head_gamma;
    bool borrows; /* later layers read this one's cache */
};

extern const struct published published_models[];
extern const int published_count;

/* The config that an entry of the table means. */
void published_config(const gqa_config *entry, gqa_config *config);

/* The whole config of a model of the table, by its name. */
gqa_config published_named(const char *name);

/* The model as a case: all its features, its heads per KV head, everything else small: head dims a
 * quarter, windows, chunks and contexts shorter than the calls. A ragged batch of two: a prefill, a
 * few tokens after it, one token, and a call that borrows the cache if the model does. False, and
 * *field, if the miniature lost a field. random_build and random_free as for any case. */
bool published_case(int model, random_case *c, const char **field);

#endif
