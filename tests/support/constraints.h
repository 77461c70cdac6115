/* SPDX-License-Identifier: Apache-2.0 */
/* constraints.h - the calls behind the table of docs/constraints.md. */
#ifndef TEST_CONSTRAINTS_H
#define TEST_CONSTRAINTS_H

#include <stddef.h>

#include "gqa/gqa.h"

/* What a trigger of a checked constraint did. */
struct refusal {
    const char *call;
    gqa_status status;
    gqa_error err;
};

struct checked_constraint {
    const char *id;
    void (*provoke)(struct refusal *refusal);
};

/* show returns without a failed assertion. */
struct lifted_constraint {
    const char *id;
    void (*show)(void);
};

extern const struct checked_constraint checked_constraints[];
extern const size_t checked_count;
extern const struct lifted_constraint lifted_layer_constraints[], lifted_call_constraints[];
extern const size_t lifted_layer_count, lifted_call_count;

#endif
