/* SPDX-License-Identifier: Apache-2.0 */
/* faults.h - ways to spoil a call's arguments, and the list of arguments to spoil. */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

#include "gqa/gqa.h"

/* Element formats a tensor argument takes. */
enum fault_formats { FAULT_FLOATS, FAULT_ONLY_F32, FAULT_MASKS };

/* A tensor argument inside a struct. */
struct fault_tensor {
    const char *field; /* as the error names it */
    size_t offset;     /* of the gqa_tensor in its struct */
    int32_t first_dim; /* the first dimension that is its own: others give the call its extent */
    enum fault_formats formats;
    bool wider_is_fine; /* the last dimension may be larger than needed */
};

/* Number of ways to spoil a tensor; a way that does not apply to it returns false and changes
 * nothing. *status: what the call must return then; text: the way, for messages. */
enum { FAULT_WAYS = 18 };
bool fault_spoil(const struct fault_tensor *which, int way, gqa_tensor *tensor, gqa_status *status,
                 const char **text);

/* Names of the members of a struct of include/gqa, read from the header: "prefix.member" each.
 * Members that are structs of tensors count as one. Returns how many, at most max. */
int fault_members(const char *header, const char *name, const char *prefix, char (*members)[64],
                  int max);

#endif
