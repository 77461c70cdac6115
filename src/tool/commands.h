/* SPDX-License-Identifier: Apache-2.0 */
/* commands.h - the commands: each takes the words after its name and returns an exit status. */
#ifndef GQA__TOOL_COMMANDS_H
#define GQA__TOOL_COMMANDS_H

#include "tool/options.h"

int tool_command_info(struct tool_words *words);
int tool_command_kvmeter(struct tool_words *words);
int tool_command_run(struct tool_words *words);
int tool_command_time(struct tool_words *words);
int tool_command_trace(struct tool_words *words);

/* What --help prints, of gqa and of each command; generated from manual.txt. */
extern const char tool_manual_main[], tool_manual_info[], tool_manual_kvmeter[], tool_manual_run[],
    tool_manual_time[], tool_manual_trace[];

/* "gqa: text" and where help is, to stderr. Returns TOOL_BAD. */
int tool_bad_usage(const struct tool_fault *fault, const char *command);

#endif
