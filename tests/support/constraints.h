/* SPDX-License-Identifier: Apache-2.0 */
/* constraints.h - the calls behind the rows of docs/constraints.md. */
#ifndef TEST_CONSTRAINTS_H
#define TEST_CONSTRAINTS_H

#include <stddef.h>

#include "gqa/gqa.h"

/* What a trigger of a checked row did. */
struct refusal {
    const char *call;
    gqa_status status;
    gqa_error err;
};

struct checked_row {
    const char *id;
    void (*provoke)(struct refusal *refusal);
};

/* show returns without a failed assertion. */
struct lifted_row {
    const char *id;
    void (*show)(void);
};

extern const struct checked_row checked_rows[];
extern const size_t checked_count;
extern const struct lifted_row lifted_layer_rows[], lifted_call_rows[];
extern const size_t lifted_layer_count, lifted_call_count;

#endif
