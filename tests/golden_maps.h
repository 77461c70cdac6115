/* SPDX-License-Identifier: Apache-2.0 */
/* golden_maps.h - the integer maps of tests/golden_neuron, as arrays. Needs GQA_TOOL_PATH. */
#ifndef GQA_TESTS_GOLDEN_MAPS_H
#define GQA_TESTS_GOLDEN_MAPS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/safetensors.h"

static inline void maps_open(struct tool_file *file, const char *name)
{
    struct tool_fault fault = {.text = ""};
    char path[512];

    snprintf(path, sizeof path, "%s/tests/golden_neuron/%s.safetensors", GQA_SOURCE_DIR, name);
    if (!tool_file_open(file, path, &fault)) {
        fail_msg("%s", fault.text);
    }
}

/* The tensor of a name made by printf's rules; *count, unless NULL, is its number of elements. */
static inline const void *maps_tensor(const struct tool_file *file, enum tool_dtype dtype,
                                      int64_t *count, const char *format, ...)
{
    char name[96];
    const struct tool_tensor *tensor;
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    tensor = tool_file_find(file, name);
    if (tensor == NULL || tensor->dtype != dtype) {
        fail_msg("no tensor %s of %s", name, tool_dtype_name(dtype));
    }
    if (count != NULL) {
        *count = tensor->count;
    }
    return tensor->data;
}

/* A number of the metadata "key=value key=value". */
static inline int maps_number(const struct tool_file *file, const char *entry, const char *key)
{
    const char *text = tool_file_text(file, entry);
    char find[32];

    snprintf(find, sizeof find, "%s=", key);
    text = text == NULL ? NULL : strstr(text, find);
    if (text == NULL) {
        fail_msg("the metadata %s has no %s", entry, key);
    }
    return atoi(text + strlen(find));
}

/* got, and after it up to room elements that must be left alone: 0x5a in each byte. */
static inline void maps_fill(void *got, size_t bytes)
{
    memset(got, 0x5a, bytes);
}

/* bytes of got are those of want, and the byte behind them was not written. */
static inline void maps_same(const void *got, const void *want, size_t bytes, const char *format,
                             ...)
{
    char where[128];
    va_list args;

    va_start(args, format);
    vsnprintf(where, sizeof where, format, args);
    va_end(args);
    for (size_t i = 0; i < bytes; i++) {
        if (((const unsigned char *)got)[i] != ((const unsigned char *)want)[i]) {
            fail_msg("%s: byte %zu of %zu is %d; it must be %d", where, i, bytes,
                     ((const unsigned char *)got)[i], ((const unsigned char *)want)[i]);
        }
    }
    if (((const unsigned char *)got)[bytes] != 0x5a) {
        fail_msg("%s: written beyond its %zu bytes", where, bytes);
    }
}

#endif
