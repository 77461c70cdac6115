/* SPDX-License-Identifier: Apache-2.0 */
/* fewer_cases.c - see fewer_cases.h. */
#include "support/fewer_cases.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int fewer_cases(int n)
{
    static bool said;
    const char *env = getenv("GQA_TEST_BRIEF");
    const int part = env != NULL ? atoi(env) : 1;

    if (part <= 1) {
        return n;
    }
    if (!said) {
        printf("GQA_TEST_BRIEF=%d: one of %d cases\n", part, part);
        fflush(stdout);
        said = true;
    }
    return (n + part - 1) / part;
}
