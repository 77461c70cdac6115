/* SPDX-License-Identifier: Apache-2.0 */
/* refusal.h - a call that must be refused, in words that name what is wrong:
 *
 *     refused(gqa_neuron_mesh(0, 1, mesh, place, &refusal), GQA_ERR_ARG, "world", "is 0");
 */
#ifndef TEST_REFUSAL_H
#define TEST_REFUSAL_H

#include "gqa/types.h"

/* What the call is given for its gqa_error. */
extern gqa_error refusal;

/* The call returned this status, named this field, and its message has this text. */
void refused(gqa_status status, gqa_status want, const char *field, const char *text);

#endif
