/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - how the command reports what went wrong: one line of text, no exit inside. */
#ifndef GQA__TOOL_FAULT_H
#define GQA__TOOL_FAULT_H

#include <stdbool.h>

#include "gqa/types.h"

#if defined(__GNUC__)
#define TOOL_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TOOL_PRINTF(a, b)
#endif

/* Exit statuses of the command. */
enum { TOOL_PASS = 0, TOOL_FAIL = 1, TOOL_BAD = 2 };

struct tool_fault {
    char text[512];    /* always terminated; the first fault stays */
    gqa_status status; /* of the library's, where the fault is one of its */
};

void tool_fault_clear(struct tool_fault *fault);

/* Write "where: message" (where NULL: the message alone). Returns false, so that a failing check
 * is one statement. */
bool tool_fault_set(struct tool_fault *fault, const char *where, const char *format, ...)
    TOOL_PRINTF(3, 4);

/* The library's refusal of what where asked for. Returns false. */
bool tool_fault_gqa(struct tool_fault *fault, const char *where, const char *call,
                    const gqa_error *err);

/* n zeroed elements of elem bytes, for the caller to free; NULL and a fault if they do not fit. */
void *tool_alloc(const char *where, int64_t n, size_t elem, struct tool_fault *fault);

#endif
