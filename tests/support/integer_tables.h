/* SPDX-License-Identifier: Apache-2.0 */
/* integer_tables.h - the tables of integer kernels under test. */
#ifndef TEST_INTEGER_TABLES_H
#define TEST_INTEGER_TABLES_H

#include <stdint.h>

#include "kernel/contract/integer.h"

struct integer_table {
    const struct gqa__integer_kernels *kernels;
    const char *name;
};

enum { MOST_INTEGER_TABLES = 8 };

/* Those that this machine runs, the plain one first; those that it does not run are printed once.
 * The calling thread is made ready for all of them. Returns how many. */
int32_t list_integer_tables(struct integer_table tables[MOST_INTEGER_TABLES]);

#endif
