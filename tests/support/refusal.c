/* SPDX-License-Identifier: Apache-2.0 */
/* refusal.c - see refusal.h. */
#include "support/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

gqa_error refusal;

void refused(gqa_status status, gqa_status want, const char *field, const char *text)
{
    if (status != want || refusal.status != want || strcmp(refusal.field, field) != 0 ||
        strstr(refusal.message, text) == NULL) {
        fail_msg("status %d, \"%s\"; it must be %d, \"%s ... %s\"", (int)status, refusal.message,
                 (int)want, field, text);
    }
    memset(&refusal, 0, sizeof refusal);
    refusal.field = "";
}
