/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_under_test.h - the kernel sets under test, and the values they are fed. */
#ifndef TEST_KERNELS_UNDER_TEST_H
#define TEST_KERNELS_UNDER_TEST_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/contract/kernel.h"
#include "support/program.h"

/* A kernel set and what to call it: both compilations of the scalar kernels have one name. */
struct kernels_under_test {
    const struct gqa__kernels *kernels;
    const char *name;
};

enum { MAX_KERNELS_UNDER_TEST = 16 }; /* with kernels8 */

/* Every kernel set that this machine runs, for both numerics; prints those that it does not run. */
int32_t list_kernels_under_test(struct kernels_under_test *sets);
/* The second scalar kernel set, for both numerics, behind n others. Returns n + 2. */
int32_t add_kernels8(struct kernels_under_test *sets, int32_t n);

/* A test that each kernel set runs; its state is the struct kernels_under_test. */
struct kernel_test {
    const char *name;
    CMUnitTestFunction run;
};

/* run_test_program of every kind on every kernel set; a test is called "SET KIND". */
int run_kernel_tests(int argc, char **argv, const struct kernel_test *kinds, size_t count,
                     bool with_kernels8);

/* Adversarial contents. NAN and INF values are planted by the tests themselves. */
enum fill { FILL_RANDOM, FILL_EQUAL, FILL_HUGE, FILL_DENORMAL, FILL_WIDE, FILL_COUNT };
const char *fill_name(enum fill fill);
void fill_values(float *x, int64_t n, enum fill fill, uint64_t *state);

/* Bits equal; prints where they first differ. */
int same_floats(const char *what, const float *a, const float *b, int64_t n);

#endif
