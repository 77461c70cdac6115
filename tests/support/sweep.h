/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.h - something that allocates, with every allocation failing in turn. */
#ifndef TEST_SWEEP_H
#define TEST_SWEEP_H

#include <stdint.h>

#include "gqa/types.h"
#include "support/host.h"
#include "support/weight_set.h"

/* run returns its status and undoes a success; unchanged fails the test if a failed run left a
 * trace. */
struct attempt {
    const char *name;
    gqa_status (*run)(void *arg, gqa_error *err);
    void (*unchanged)(void *arg); /* may be NULL */
    void *arg;
};

/* Fail the k-th allocation of an attempt, and then the k-th and all later ones, for every k until
 * it gets through; the same with misaligned memory. A failure must be reported as what it is and
 * leak nothing. Returns how many allocations a success makes. */
int64_t sweep(struct host *host, const struct attempt *attempt);

/* The same of gqa_create, which leaves no layer when it fails. */
int64_t sweep_create(const char *name, const struct weight_set *set);

#endif
