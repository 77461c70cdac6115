/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - see fault.h. */
#include "tool/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void tool_fault_clear(struct tool_fault *fault)
{
    fault->text[0] = '\0';
    fault->status = GQA_OK;
}

bool tool_fault_set(struct tool_fault *fault, const char *where, const char *format, ...)
{
    int used = 0;
    va_list args;

    if (fault->text[0] != '\0') {
        return false;
    }
    if (where != NULL) {
        used = snprintf(fault->text, sizeof fault->text, "%.200s: ", where);
    }
    va_start(args, format);
    vsnprintf(fault->text + used, sizeof fault->text - (size_t)used, format, args);
    va_end(args);
    return false;
}

bool tool_fault_gqa(struct tool_fault *fault, const char *where, const char *call,
                    const gqa_error *err)
{
    if (fault->text[0] == '\0') {
        fault->status = err->status;
    }
    return tool_fault_set(fault, where, "%s: %s (%s)", call, err->message,
                          gqa_status_string(err->status));
}

void *tool_alloc(const char *where, int64_t n, size_t elem, struct tool_fault *fault)
{
    void *memory = calloc((size_t)(n > 0 ? n : 1), elem);

    if (memory == NULL) {
        tool_fault_set(fault, where, "no memory for %lld elements", (long long)n);
    }
    return memory;
}
