/* SPDX-License-Identifier: Apache-2.0 */
/* public_functions.c - see public_functions.h. */
#include "support/public_functions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void read_header(const char *folder, const char *name, char *text, size_t size)
{
    char path[512];
    size_t n;
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "r");
    assert_non_null(file);
    n = fread(text, 1, size - 1, file);
    fclose(file);
    assert_true(n < size - 1);
    text[n] = '\0';
}

/* The names between GQA_API and a bracket. */
static int functions_of(const char *folder, const char *header, char (*names)[64], int count,
                        int max)
{
    static char text[1 << 16];
    read_header(folder, header, text, sizeof text);
    for (const char *at = strstr(text, "GQA_API "); at != NULL; at = strstr(at + 1, "GQA_API ")) {
        const char *const end = strchr(at, '(');
        const char *begin = end;
        assert_non_null(end);
        while (begin > at && (isalnum((unsigned char)begin[-1]) || begin[-1] == '_')) {
            begin--;
        }
        assert_true(count < max && end - begin < 64);
        snprintf(names[count++], 64, "%.*s", (int)(end - begin), begin);
    }
    return count;
}

int public_functions(const char *folder, char (*names)[64], int max)
{
    static const char include[] = "#include \"gqa/";
    static char all[1 << 14];
    int count = 0;
    read_header(folder, "gqa.h", all, sizeof all);
    for (char *at = strstr(all, include); at != NULL; at = strstr(at + 1, include)) {
        char *const name = at + sizeof include - 1;
        char header[64];
        snprintf(header, sizeof header, "%.*s", (int)strcspn(name, "\""), name);
        if (strcmp(header, "version.h") != 0) { /* it defines GQA_API */
            count = functions_of(folder, header, names, count, max);
        }
    }
    return count;
}
