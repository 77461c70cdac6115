/* SPDX-License-Identifier: Apache-2.0 */
/* test_constraints.c - docs/constraints.md is true: each checked constraint is refused in these
 * words, each lifted constraint runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/constraints.h"
#include "support/program.h"

enum { MAX_CONSTRAINTS = 200, MAX_LINE = 1024, CELL = 512 };

/* One line of the table. */
struct constraint {
    char id[16];
    char verdict[32];
    char text[CELL]; /* the last cell */
};

static struct constraint constraints[MAX_CONSTRAINTS];
static size_t constraint_count;

/* Copy the n-th cell (from 0) of a table line, without the blanks around it. */
static bool cell(const char *line, int n, char *dst, size_t size)
{
    const char *begin = line, *end;
    for (int i = 0; i <= n; i++) {
        begin = strchr(begin, '|');
        if (begin == NULL) {
            return false;
        }
        begin++;
    }
    end = strchr(begin, '|');
    if (end == NULL) {
        return false;
    }
    while (*begin == ' ') {
        begin++;
    }
    while (end > begin && end[-1] == ' ') {
        end--;
    }
    assert_true((size_t)(end - begin) < size);
    memcpy(dst, begin, (size_t)(end - begin));
    dst[end - begin] = '\0';
    return true;
}

static int read_constraints(void **state)
{
    FILE *file = fopen(GQA_SOURCE_DIR "/docs/constraints.md", "r");
    char line[MAX_LINE];
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        struct constraint *constraint = &constraints[constraint_count];
        if (line[0] != '|' || strncmp(line, "|---", 4) == 0 || strncmp(line, "| id ", 5) == 0) {
            continue;
        }
        assert_true(constraint_count < MAX_CONSTRAINTS);
        assert_true(strchr(line, '\n') != NULL);
        if (!cell(line, 0, constraint->id, sizeof constraint->id) ||
            !cell(line, 2, constraint->verdict, sizeof constraint->verdict) ||
            !cell(line, 3, constraint->text, sizeof constraint->text)) {
            fail_msg("not four cells: %s", line);
        }
        constraint_count++;
    }
    fclose(file);
    return 0;
}

static bool is_checked(const char *id)
{
    for (size_t i = 0; i < checked_count; i++) {
        if (strcmp(id, checked_constraints[i].id) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_lifted(const char *id)
{
    for (size_t i = 0; i < lifted_layer_count; i++) {
        if (strcmp(id, lifted_layer_constraints[i].id) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < lifted_call_count; i++) {
        if (strcmp(id, lifted_call_constraints[i].id) == 0) {
            return true;
        }
    }
    return false;
}

static const struct constraint *find(const char *id)
{
    for (size_t i = 0; i < constraint_count; i++) {
        if (strcmp(id, constraints[i].id) == 0) {
            return &constraints[i];
        }
    }
    fail_msg("%s has a trigger, but no line in docs/constraints.md", id);
    return NULL;
}

/* Ids are unique and of the form N123; each line has a verdict, a reason and what its verdict asks.
 */
static void constraints_are_complete(void **state)
{
    (void)state;
    assert_true(constraint_count > 80);
    for (size_t i = 0; i < constraint_count; i++) {
        const struct constraint *constraint = &constraints[i];
        bool wordless = strstr(constraint->text, "no call can show it") != NULL;
        unsigned number;
        char rest;
        if (sscanf(constraint->id, "N%3u%c", &number, &rest) != 1) {
            fail_msg("bad id '%s'", constraint->id);
        }
        assert_ptr_equal(find(constraint->id), constraint);
        assert_true(strlen(constraint->text) > 10);
        if (strcmp(constraint->verdict, "checked") == 0) {
            if (!is_checked(constraint->id) || is_lifted(constraint->id)) {
                fail_msg("%s is checked, but has no trigger that is refused", constraint->id);
            }
        } else if (strcmp(constraint->verdict, "lifted") == 0) {
            if (is_lifted(constraint->id) == wordless || is_checked(constraint->id)) {
                fail_msg("%s is lifted: either a trigger or the words 'no call can show it'",
                         constraint->id);
            }
        } else if (strcmp(constraint->verdict, "not applicable") != 0 ||
                   is_checked(constraint->id) || is_lifted(constraint->id)) {
            fail_msg("%s: verdict '%s'", constraint->id, constraint->verdict);
        }
    }
}

/* The n-th text between a pair of the quote character. */
static void quoted(const struct constraint *constraint, char quote, int n, char *dst, size_t size)
{
    const char *begin = constraint->text, *end = NULL;
    for (int i = 0; i <= n; i++) {
        begin = strchr(end != NULL ? end + 1 : begin, quote);
        end = begin != NULL ? strchr(begin + 1, quote) : NULL;
        if (end == NULL) {
            fail_msg("%s names no call, status, field and message", constraint->id);
        }
    }
    assert_true((size_t)(end - begin) <= size);
    memcpy(dst, begin + 1, (size_t)(end - begin - 1));
    dst[end - begin - 1] = '\0';
}

static const char *status_name(gqa_status status)
{
    switch (status) {
    case GQA_ERR_ARG:
        return "GQA_ERR_ARG";
    case GQA_ERR_SHAPE:
        return "GQA_ERR_SHAPE";
    case GQA_ERR_UNSUPPORTED:
        return "GQA_ERR_UNSUPPORTED";
    case GQA_ERR_CACHE_FULL:
        return "GQA_ERR_CACHE_FULL";
    default:
        return gqa_status_string(status);
    }
}

static void checked_constraints_are_refused(void **state)
{
    int bad = 0;
    (void)state;
    for (size_t i = 0; i < checked_count; i++) {
        const struct constraint *constraint = find(checked_constraints[i].id);
        char call[64], status[64], field[64], message[128];
        struct refusal got;
        quoted(constraint, '`', 0, call, sizeof call);
        quoted(constraint, '`', 1, status, sizeof status);
        quoted(constraint, '`', 2, field, sizeof field);
        quoted(constraint, '"', 0, message, sizeof message);
        memset(&got, 0, sizeof got);
        checked_constraints[i].provoke(&got);
        if (got.status == GQA_OK || strcmp(got.call, call) != 0 ||
            strcmp(status_name(got.status), status) != 0 || strcmp(got.err.field, field) != 0 ||
            got.err.status != got.status || strstr(got.err.message, message) == NULL) {
            print_error("%s: %s %s %s \"%s\"\n  gave %s %s %s \"%s\"\n", constraint->id, call,
                        status, field, message, got.call, status_name(got.status),
                        got.err.field != NULL ? got.err.field : "", got.err.message);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

static void show(const struct lifted_constraint *shown, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        print_message("%s\n", find(shown[i].id)->id);
        shown[i].show();
    }
}

static void lifted_constraints_run(void **state)
{
    (void)state;
    show(lifted_layer_constraints, lifted_layer_count);
    show(lifted_call_constraints, lifted_call_count);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constraints_are_complete),
        cmocka_unit_test(checked_constraints_are_refused),
        cmocka_unit_test(lifted_constraints_run),
    };
    return RUN_TESTS_WITHIN(argc, argv, tests, read_constraints, NULL);
}
