/* command.h - a program of the shell, its output and exit status. */
#ifndef TEST_COMMAND_H
#define TEST_COMMAND_H

#include <stddef.h>

/* Run the program at path with these words and this redirection ("2>&1" for instance). text [room]
 * receives what it prints, as far as there is room, terminated. Returns the exit status, or 128 and
 * the signal that ended it. */
int run_command(const char *path, const char *words, const char *redirection, char *text,
                size_t room);

#endif
