/* SPDX-License-Identifier: Apache-2.0 */
/* golden_run.h - golden files and their manifest for the tests of the tool. Needs GQA_TOOL_PATH. */
#ifndef GQA_TESTS_GOLDEN_RUN_H
#define GQA_TESTS_GOLDEN_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/compare.h"

/* A loaded case and what holds it. */
struct golden {
    char path[512];
    struct tool_file file;
    struct tool_case c;
};

static inline json_t *golden_manifest(void)
{
    json_error_t error;
    json_t *manifest =
        json_load_file(GQA_GOLDEN_DIR "/MANIFEST.json", JSON_REJECT_DUPLICATES, &error);

    if (manifest == NULL || !json_is_array(json_object_get(manifest, "cases"))) {
        fprintf(stderr, "MANIFEST.json: line %d: %s\n", error.line, error.text);
        exit(1);
    }
    return manifest;
}

static inline void golden_load(struct golden *golden, const char *name)
{
    struct tool_fault fault = {.text = ""};

    snprintf(golden->path, sizeof golden->path, "%s/%s", GQA_GOLDEN_DIR, name);
    if (!tool_file_open(&golden->file, golden->path, &fault) ||
        !tool_case_load(&golden->c, &golden->file, &fault)) {
        fail_msg("%s", fault.text);
    }
}

static inline void golden_free(struct golden *golden)
{
    tool_case_free(&golden->c);
    tool_file_close(&golden->file);
}

#endif
