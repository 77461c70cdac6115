/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the command gqa. */
#include <stdio.h>
#include <string.h>

#include "tool/commands.h"
#include "tool/output.h"

static const struct {
    const char *name;
    int (*run)(struct tool_words *words);
    const char *manual;
} commands[] = {
    {"info", tool_command_info, tool_manual_info},
    {"kvmeter", tool_command_kvmeter, tool_manual_kvmeter},
    {"run", tool_command_run, tool_manual_run},
    {"time", tool_command_time, tool_manual_time},
    {"trace", tool_command_trace, tool_manual_trace},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static int run_command(int argc, char **argv)
{
    struct tool_words words = {argc, argv, 2};
    struct tool_fault fault = {.text = ""};

    if (argc < 2) {
        fputs(tool_manual_main, stderr);
        return TOOL_BAD;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(tool_manual_main, stdout);
        return TOOL_PASS;
    }
    if (strcmp(argv[1], "--version") == 0) {
        uint32_t version = gqa_version();
        printf("gqa %u.%u.%u\n", version >> 16 & 255, version >> 8 & 255, version & 255);
        return TOOL_PASS;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) {
            continue;
        }
        if (argc > 2 && strcmp(argv[2], "--help") == 0) {
            fputs(commands[i].manual, stdout);
            return TOOL_PASS;
        }
        return commands[i].run(&words);
    }
    tool_fault_set(&fault, NULL, "unknown command %.40s", argv[1]);
    return tool_bad_usage(&fault, "");
}

int main(int argc, char **argv)
{
    tool_output_open();
    return tool_output_close("gqa", run_command(argc, argv), TOOL_BAD);
}
