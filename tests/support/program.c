/* SPDX-License-Identifier: Apache-2.0 */
/* program.c - see program.h. */
#include "support/program.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A name without * and ? must be that of a test: cmocka runs none otherwise, and is content. */
static bool is_known(const char *name, const struct CMUnitTest *tests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, tests[i].name) == 0) {
            return true;
        }
    }
    return strpbrk(name, "*?") != NULL;
}

int run_test_program(int argc, char **argv, const struct CMUnitTest *tests, size_t count,
                     CMFixtureFunction open, CMFixtureFunction close)
{
    const char *const slash = strrchr(argv[0], '/');

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++) {
            puts(tests[i].name);
        }
        return 0;
    }
    if (argc > 2 || (argc == 2 && !is_known(argv[1], tests, count))) {
        fprintf(stderr, "usage: %s [--list | NAME]\n", argv[0]);
        return 2;
    }
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    return _cmocka_run_group_tests(slash != NULL ? slash + 1 : argv[0], tests, count, open, close);
}

int skip_program(const char *why)
{
    printf("skipped: %s\n", why);
    return TEST_SKIPPED;
}
