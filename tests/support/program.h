/* SPDX-License-Identifier: Apache-2.0 */
/* program.h - how a test program starts.
 *
 *     test_rope                     all tests
 *     test_rope --list              their names
 *     test_rope NAME                those whose name is NAME, in which * and ? stand for others
 */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEST_SKIPPED = 77 }; /* exit status of a program that skips all its tests */

/* The exit status: how many tests failed; 2 if the words are wrong. open and close (each may be
 * NULL) run once, before the first test and after the last. */
int run_test_program(int argc, char **argv, const struct CMUnitTest *tests, size_t count,
                     CMFixtureFunction open, CMFixtureFunction close);

/* An array of tests. */
#define RUN_TESTS(argc, argv, tests) RUN_TESTS_WITHIN(argc, argv, tests, NULL, NULL)
#define RUN_TESTS_WITHIN(argc, argv, tests, open, close)                                           \
    run_test_program(argc, argv, tests, sizeof(tests) / sizeof(tests)[0], open, close)

/* Says why, and returns TEST_SKIPPED. */
int skip_program(const char *why);

#endif
