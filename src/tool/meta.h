/* SPDX-License-Identifier: Apache-2.0 */
/* meta.h - the string metadata of a golden file as numbers and names. */
#ifndef GQA__TOOL_META_H
#define GQA__TOOL_META_H

#include "tool/safetensors.h"

/* Each reads a key that must be there. On a missing key, or a value that is no such thing, the
 * fault is set (the first one stays) and the lowest value is returned: check the fault at the end.
 */
int32_t tool_meta_int(const struct tool_file *file, const char *key, int32_t low, int32_t high,
                      struct tool_fault *fault);
double tool_meta_number(const struct tool_file *file, const char *key, struct tool_fault *fault);

/* Index of the value among names, which ends with NULL. */
int tool_meta_choice(const struct tool_file *file, const char *key, const char *const *names,
                     struct tool_fault *fault);

/* A number that may be absent: NaN then. Negative ones are refused. */
double tool_meta_tolerance(const struct tool_file *file, const char *key, struct tool_fault *fault);

/* Decimal digits with an optional sign, nothing else. */
bool tool_parse_int(const char *text, int32_t *out);

/* A finite decimal number, without blanks. */
bool tool_parse_number(const char *text, double *out);

/* n numbers separated by commas; returns how many there were, -1 if one is none. */
int tool_parse_ints(const char *text, int32_t *out, int n);

/* Refuse keys that the schema does not have. */
bool tool_meta_check_keys(const struct tool_file *file, struct tool_fault *fault);

#endif
