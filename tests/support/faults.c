/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c - ways to spoil a call's arguments, and the list of arguments to spoil. */
#include "support/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A dimension that is one too large, one too small or negative. */
static bool spoil_shape(const struct fault_tensor *which, int dim, int64_t change, gqa_tensor *t)
{
    bool last = dim == t->rank - 1;
    if (dim >= t->rank || dim < which->first_dim || (change > 0 && last && which->wider_is_fine)) {
        return false;
    }
    t->shape[dim] = change == 0 ? -1 : t->shape[dim] + change;
    return true;
}

bool fault_spoil(const struct fault_tensor *which, int way, gqa_tensor *t, gqa_status *status,
                 const char **text)
{
    static const char *const texts[FAULT_WAYS] = {
        "dtype 9",       "dtype of the wrong kind",
        "rank 0",        "rank 5",
        "shape[0] + 1",  "shape[1] + 1",
        "shape[2] + 1",  "shape[3] + 1",
        "shape[0] - 1",  "shape[1] - 1",
        "shape[2] - 1",  "shape[3] - 1",
        "shape[1] -1",   "shape[2] -1",
        "last stride 2", "first stride -1",
        "misaligned",    "extents beyond the address space"};
    *text = texts[way];
    *status = way < 2 || way == 16 ? GQA_ERR_ARG : GQA_ERR_SHAPE;
    if (way >= 4 && way < 12) {
        return spoil_shape(which, (way - 4) % 4, way < 8 ? 1 : -1, t);
    }
    switch (way) {
    case 0:
        t->dtype = (gqa_dtype)9;
        return true;
    case 1:
        t->dtype = which->formats == FAULT_MASKS      ? GQA_F32
                   : which->formats == FAULT_ONLY_F32 ? GQA_BF16
                                                      : GQA_U8;
        return true;
    case 2:
    case 3:
        t->rank = way == 2 ? 0 : 5;
        return true;
    case 12:
    case 13:
        return spoil_shape(which, way - 11, 0, t);
    case 14:
        t->stride[t->rank - 1] = 2;
        return true;
    case 15:
        t->stride[0] = -1;
        return true;
    case 16:
        t->data = (unsigned char *)t->data + 1;
        return which->formats != FAULT_MASKS;
    default:
        t->stride[0] = INT64_MAX / 2;
        return true;
    }
}

/* The text of header from `typedef struct name {` to its end, without comments. */
static void read_struct(const char *header, const char *name, char *text, size_t size)
{
    char line[256], start[96], end[96];
    bool inside = false, comment = false;
    size_t used = 0;
    FILE *file = fopen(header, "r");
    assert_non_null(file);
    snprintf(start, sizeof start, "typedef struct %s {", name);
    snprintf(end, sizeof end, "} %s;", name);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, end) != NULL) {
            break;
        }
        for (const char *p = line; inside && *p != '\0'; p++) {
            if (!comment && strncmp(p, "/*", 2) == 0) {
                comment = true;
            } else if (comment && strncmp(p, "*/", 2) == 0) {
                comment = false;
                p++;
            } else if (!comment && used + 1 < size) {
                text[used++] = *p;
            }
        }
        inside = inside || strncmp(line, start, strlen(start)) == 0;
    }
    fclose(file);
    text[used] = '\0';
    assert_true(used > 0 && used + 1 < size);
}

int fault_members(const char *header, const char *name, const char *prefix, char (*members)[64],
                  int max)
{
    char text[4096], word[64] = "";
    size_t length = 0;
    int count = 0;
    read_struct(header, name, text, sizeof text);
    /* A member is the identifier before a comma, a semicolon or a bracket. */
    for (const char *p = text; *p != '\0'; p++) {
        if (isalnum((unsigned char)*p) || *p == '_') {
            length = length + 1 < sizeof word ? length : 0;
            word[length++] = *p;
            word[length] = '\0';
        } else if (*p == ',' || *p == ';' || *p == '[') {
            assert_true(count < max && word[0] != '\0');
            snprintf(members[count++], 64, "%.20s.%.40s", prefix, word);
            length = 0;
        } else {
            length = 0;
        }
    }
    return count;
}
