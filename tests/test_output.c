/* SPDX-License-Identifier: Apache-2.0 */
/* test_output.c - the programs' files and streams: output that is lost is an exit status and a
 * message, and an input that is no regular file is refused at once by what it is. */
#define _POSIX_C_SOURCE 200809L
#include "golden_run.h"
#include "support/program.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE "'" GQA_GOLDEN_DIR "/s17_fully_masked_rows_sinks.safetensors'"
#define PIPE "test_output_pipe"
#define COPY "test_output_copy.safetensors"

/* What a shell command that begins with the program must give. */
struct expectation {
    const char *words;   /* after the program */
    int status;          /* exit status */
    const char *message; /* part of stderr; NULL: stderr is empty */
};

/* The exit status (128 + signal after a crash, 124 after 60 s); text receives stderr. */
static int run_shell(const char *program, const char *words, char *text, size_t room)
{
    char command[2048];
    FILE *pipe;
    size_t n;
    int status;

    snprintf(command, sizeof command, "timeout 60 '%s' %s", program, words);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    n = fread(text, 1, room - 1, pipe);
    text[n] = '\0';
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect_all(const char *program, const struct expectation *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char text[4096];
        const int status = run_shell(program, list[i].words, text, sizeof text);

        if (status != list[i].status ||
            (list[i].message == NULL ? text[0] != '\0' : strstr(text, list[i].message) == NULL)) {
            fail_msg("%s: exit status %d, \"%s\"; expected %d, \"%s\"", list[i].words, status, text,
                     list[i].status, list[i].message == NULL ? "" : list[i].message);
        }
    }
}

#define EXPECT_ALL(program, list) expect_all(program, list, sizeof(list) / sizeof(list)[0])

#define LOST "cannot write standard output: No space left on device"
#define SHUT "cannot write standard output: Bad file descriptor"
#define RUN  "run --backend reference --feed first " CASE

/* stderr goes where stdout went, before stdout goes elsewhere. */
static void lost_output_is_told(void **state)
{
    static const struct expectation tool[] = {
        {"--version 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"--help 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"info --help 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"info 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"info --json 2>&1 >/dev/full", 2, "gqa: " LOST},
        {RUN " 2>&1 >/dev/full", 2, "gqa: " LOST},
        {RUN " --json 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"time --backend reference --tokens 3 2>&1 >/dev/full", 2, "gqa: " LOST},
        {"info 2>&1 >&-", 2, "gqa: " SHUT},
        {RUN " 2>&1 >&-", 2, "gqa: " SHUT},
        {RUN " --out " COPY " 2>&1 >&-", 2, "gqa: " SHUT},
        {"info 2>&1 >/dev/null", 0, NULL},
        {RUN " 2>&1 >/dev/null", 0, NULL},
        {"info <&- >/dev/null", 0, NULL},
        {RUN " --out /dev/full 2>&1 >/dev/null", 2, "/dev/full: cannot write: No space left"},
        {RUN " --out /nowhere/x 2>&1 >/dev/null", 2, "/nowhere/x: No such file"},
        {RUN " --out . 2>&1 >/dev/null", 2, ".: Is a directory"},
    };
    struct stat copy;

    (void)state;
    if (access("/dev/full", W_OK) != 0) {
        skip(); /* only Linux and NetBSD have it */
    }
    EXPECT_ALL(GQA_TOOL_PATH, tool);
    /* With stdout closed the file of --out must not have become stdout. */
    assert_int_equal(stat(COPY, &copy), 0);
    EXPECT_ALL(GQA_TOOL_PATH,
               ((const struct expectation[]){{"run " COPY " 2>&1 >/dev/null", 2, "metadata"}}));
    remove(COPY);
}

static void what_is_no_file_is_refused(void **state)
{
    static const struct expectation tool[] = {
        {"run " PIPE " 2>&1 >/dev/null", 2, "gqa: " PIPE ": not a regular file but a pipe"},
        {"run /dev/null 2>&1 >/dev/null", 2,
         "/dev/null: not a regular file but a character device"},
        {"run . 2>&1 >/dev/null", 2, "gqa: .: not a regular file but a directory"},
        {"run missing 2>&1 >/dev/null", 2, "gqa: missing: No such file or directory"},
        {"run /dev/stdin 2>&1 >/dev/null <" CASE, 0, NULL},
    };

    (void)state;
    remove(PIPE);
    assert_int_equal(mkfifo(PIPE, 0600), 0);
    EXPECT_ALL(GQA_TOOL_PATH, tool);
    remove(PIPE);
    if (geteuid() != 0) { /* root may read everything */
        FILE *file = fopen(COPY, "w");

        assert_non_null(file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(COPY, 0), 0);
        EXPECT_ALL(GQA_TOOL_PATH, ((const struct expectation[]){{"run " COPY " 2>&1 >/dev/null", 2,
                                                                 COPY ": Permission denied"}}));
        remove(COPY);
    }
}

/* The case is mapped while its values are written. */
static void a_case_is_not_overwritten(void **state)
{
    struct stat before, after;

    (void)state;
    assert_int_equal(system("cp " CASE " " COPY), 0);
    assert_int_equal(stat(COPY, &before), 0);
    EXPECT_ALL(GQA_TOOL_PATH,
               ((const struct expectation[]){
                   {"run " COPY " --out ./" COPY " 2>&1 >/dev/null", 2, "would overwrite"}}));
    assert_int_equal(stat(COPY, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    remove(COPY);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_output_is_told),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_case_is_not_overwritten),
    };
    return RUN_TESTS(argc, argv, tests);
}
